// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {EscrowState} from "./EscrowState.sol";
import {IChannelEscrow} from "./interfaces/IChannelEscrow.sol";
import {ChannelIdLib} from "./libraries/ChannelIdLib.sol";
import {TokenLib} from "./libraries/TokenLib.sol";

/// @title ChannelEscrow
/// @notice The one contract that holds deposits. What each function promises is written in IChannelEscrow.
/// @dev Every function goes checks, effects, interactions.
contract ChannelEscrow is EscrowState {
    using TokenLib for address;

    struct Refund {
        bytes32 channelId;
        address payer;
        uint256 amount;
    }

    bool private transient _entered;

    /// @dev Each function is safe by its order alone for tokens without hooks; the lock is for tokens with them.
    modifier lock() {
        if (_entered) revert Reentered();
        _entered = true;
        _;
        _entered = false;
    }

    /// @param name The EIP-712 domain's name: "EVM Payment Channel", or "Tempo Stream Channel" for Tempo v1 clients.
    /// @param caps The tokens served and the most that one channel may hold of each. Fixed for good.
    constructor(string memory name, TokenCap[] memory caps) EscrowState(name, caps) {}

    // -------------------------------------------------------------------------------------------- payer's functions

    /// @inheritdoc IChannelEscrow
    function open(address payee, address token, uint128 deposit, bytes32 salt, address authorizedSigner)
        external
        lock
        returns (bytes32 channelId)
    {
        channelId = _open(payee, token, deposit, salt, authorizedSigner, 0);
        token.pull(msg.sender, deposit);
    }

    /// @inheritdoc IChannelEscrow
    function openWithCap(
        address payee,
        address token,
        uint128 deposit,
        bytes32 salt,
        address authorizedSigner,
        uint128 maxDeposit
    ) external lock returns (bytes32 channelId) {
        if (maxDeposit == 0) revert DepositExceedsCap(deposit, 0);
        channelId = _open(payee, token, deposit, salt, authorizedSigner, maxDeposit);
        token.pull(msg.sender, deposit);
    }

    /// @inheritdoc IChannelEscrow
    function topUp(bytes32 channelId, uint128 additionalDeposit) external lock {
        _topUp(channelId, additionalDeposit);
    }

    /// @inheritdoc IChannelEscrow
    function topUp(bytes32 channelId, uint256 additionalDeposit) external lock {
        _topUp(channelId, additionalDeposit);
    }

    /// @inheritdoc IChannelEscrow
    function lowerMaxDeposit(bytes32 channelId, uint128 maxDeposit) external lock {
        Record storage record = _liveRecordOfPayer(channelId);
        uint128 limit = _capOf(record);
        if (maxDeposit > limit) revert CapNotLower(maxDeposit, limit);
        if (maxDeposit < record.deposit) revert CapBelowDeposit(maxDeposit, record.deposit);

        record.payerCap = maxDeposit;
        emit MaxDepositLowered(channelId, maxDeposit);
    }

    /// @inheritdoc IChannelEscrow
    function requestClose(bytes32 channelId) external lock {
        Record storage record = _liveRecordOfPayer(channelId);
        if (record.closeRequestedAt != 0) return;

        record.closeRequestedAt = uint64(block.timestamp);
        emit CloseRequested(channelId, msg.sender, record.payee, block.timestamp + CLOSE_GRACE_PERIOD);
    }

    /// @inheritdoc IChannelEscrow
    function withdraw(bytes32 channelId) external lock {
        Record storage record = _liveRecordOfPayer(channelId);
        uint256 requestedAt = record.closeRequestedAt;
        uint256 readyAt = requestedAt + CLOSE_GRACE_PERIOD;
        // forge-lint: disable-next-line(block-timestamp) -- a validator may shift it by seconds, the grace is minutes.
        if (requestedAt == 0 || block.timestamp < readyAt) {
            revert CloseNotReady(channelId, requestedAt == 0 ? 0 : readyAt);
        }

        record.finalized = true;
        uint128 refund = record.deposit - record.settled;
        emit ChannelExpired(channelId, msg.sender, record.payee);
        emit ChannelClosed(channelId, msg.sender, record.payee, record.settled, refund);

        _refund(_tokens[record.tokenIndex], Refund({channelId: channelId, payer: msg.sender, amount: refund}));
    }

    /// @inheritdoc IChannelEscrow
    function withdrawRefund(address token, address to) external lock returns (uint256 amount) {
        amount = _credits[token][msg.sender];
        if (amount == 0) revert NoRefund(msg.sender, token);
        if (to == address(0) || to == address(this)) revert InvalidRecipient(to);

        _credits[token][msg.sender] = 0;
        emit RefundWithdrawn(msg.sender, token, to, amount);

        token.push(to, amount);
    }

    // -------------------------------------------------------------------------------------------- payee's functions

    /// @inheritdoc IChannelEscrow
    function settle(bytes32 channelId, uint128 cumulativeAmount, bytes calldata signature) external {
        _settle(channelId, cumulativeAmount, cumulativeAmount, signature);
    }

    /// @inheritdoc IChannelEscrow
    function settleCapture(bytes32 channelId, uint128 cumulativeAmount, uint128 captureAmount, bytes calldata signature)
        external
    {
        _settle(channelId, cumulativeAmount, captureAmount, signature);
    }

    /// @inheritdoc IChannelEscrow
    function close(bytes32 channelId, uint128 cumulativeAmount, bytes calldata signature) external {
        // A voucher that was collected already, or a lower one, closes at what is settled: the payee forfeits the rest.
        uint128 settled = _records[channelId].settled;
        uint128 capture = cumulativeAmount < settled ? settled : cumulativeAmount;
        _close(channelId, cumulativeAmount, capture, signature);
    }

    /// @inheritdoc IChannelEscrow
    function closeCapture(bytes32 channelId, uint128 cumulativeAmount, uint128 captureAmount, bytes calldata signature)
        external
    {
        _close(channelId, cumulativeAmount, captureAmount, signature);
    }

    /// @inheritdoc IChannelEscrow
    function settleMany(address token, Row[] calldata rows)
        external
        lock
        returns (uint256 paid, Verdict[] memory verdicts)
    {
        uint16 tokenIndex = _listedIndex(token);
        verdicts = new Verdict[](rows.length);
        for (uint256 i = 0; i < rows.length; ++i) {
            Row calldata row = rows[i];
            Verdict verdict = _judgeRow(tokenIndex, row, false);
            verdicts[i] = verdict;
            if (verdict != Verdict.Landed) continue;

            uint128 delta = _capture(_records[row.channelId], row.captureAmount);
            paid += delta;
            emit RowSettled(row.channelId, msg.sender, row.captureAmount, delta);
        }

        if (paid != 0) token.push(msg.sender, paid);
    }

    /// @inheritdoc IChannelEscrow
    function closeMany(address token, Row[] calldata rows)
        external
        lock
        returns (uint256 paid, Verdict[] memory verdicts)
    {
        uint16 tokenIndex = _listedIndex(token);
        verdicts = new Verdict[](rows.length);
        Refund[] memory refunds = new Refund[](rows.length);
        for (uint256 i = 0; i < rows.length; ++i) {
            Row calldata row = rows[i];
            Verdict verdict = _judgeRow(tokenIndex, row, true);
            verdicts[i] = verdict;
            if (verdict != Verdict.Landed) continue;

            uint128 delta;
            (delta, refunds[i]) = _finalize(row.channelId, row.captureAmount);
            paid += delta;
        }

        if (paid != 0) token.push(msg.sender, paid);
        for (uint256 i = 0; i < refunds.length; ++i) {
            _refund(token, refunds[i]);
        }
    }

    // ---------------------------------------------------------------------------------------------------- internals

    /// @param ownCap The payer's own cap, or 0 for none.
    function _open(
        address payee,
        address token,
        uint128 deposit,
        bytes32 salt,
        address authorizedSigner,
        uint128 ownCap
    ) private returns (bytes32 channelId) {
        if (payee == address(0) || payee == address(this)) revert InvalidPayee(payee);
        _checkFirstDeposit(token, deposit, ownCap);
        channelId = ChannelIdLib.compute(msg.sender, payee, token, salt, authorizedSigner);
        Record storage record = _records[channelId];
        if (record.payee != address(0)) revert ChannelAlreadyExists(channelId);

        record.payer = msg.sender;
        record.payee = payee;
        record.tokenIndex = _listings[token].index;
        record.deposit = deposit;
        if (authorizedSigner == msg.sender) {
            record.signerKind = SignerKind.Payer;
        } else if (authorizedSigner != address(0)) {
            record.signerKind = SignerKind.Other;
            record.otherSigner = authorizedSigner;
        }
        emit ChannelOpened(channelId, msg.sender, payee, token, authorizedSigner, salt, deposit);
        if (ownCap != 0) {
            record.payerCap = ownCap;
            emit MaxDepositLowered(channelId, ownCap);
        }
    }

    function _checkFirstDeposit(address token, uint128 deposit, uint128 ownCap) private view {
        uint128 limit = _listings[token].maxDeposit;
        if (limit == 0) revert TokenNotListed(token);
        if (ownCap > limit) revert CapNotLower(ownCap, limit);
        if (ownCap != 0) limit = ownCap;
        if (deposit == 0) revert ZeroDeposit();
        if (deposit > limit) revert DepositExceedsCap(deposit, limit);
    }

    function _topUp(bytes32 channelId, uint256 additionalDeposit) private {
        Record storage record = _liveRecordOfPayer(channelId);
        if (additionalDeposit == 0) revert ZeroDeposit();
        if (additionalDeposit > type(uint128).max) revert DepositOverflow(additionalDeposit);
        uint256 newDeposit = record.deposit + additionalDeposit;
        if (newDeposit > type(uint128).max) revert DepositOverflow(newDeposit);
        uint128 limit = _capOf(record);
        if (newDeposit > limit) revert DepositExceedsCap(newDeposit, limit);

        // forge-lint: disable-next-line(unsafe-typecast)
        record.deposit = uint128(newDeposit);
        if (record.closeRequestedAt != 0) {
            record.closeRequestedAt = 0;
            emit CloseRequestCancelled(channelId, msg.sender, record.payee);
        }
        emit TopUp(channelId, msg.sender, record.payee, additionalDeposit, newDeposit);

        _tokens[record.tokenIndex].pull(msg.sender, additionalDeposit);
    }

    function _settle(bytes32 channelId, uint128 cumulativeAmount, uint128 captureAmount, bytes calldata signature)
        private
        lock
    {
        Record storage record = _records[channelId];
        Verdict verdict = _judgeStanding(record);
        if (verdict == Verdict.Landed) {
            verdict = _judgeCapture(channelId, cumulativeAmount, captureAmount, signature, false);
        }
        if (verdict != Verdict.Landed) _refuse(verdict, channelId, cumulativeAmount, captureAmount);

        uint128 delta = _capture(record, captureAmount);
        emit Settled(channelId, record.payer, msg.sender, cumulativeAmount, delta, captureAmount);

        _tokens[record.tokenIndex].push(msg.sender, delta);
    }

    function _close(bytes32 channelId, uint128 cumulativeAmount, uint128 captureAmount, bytes calldata signature)
        private
        lock
    {
        Verdict verdict = _judgeStanding(_records[channelId]);
        if (verdict == Verdict.Landed) {
            verdict = _judgeCapture(channelId, cumulativeAmount, captureAmount, signature, true);
        }
        if (verdict != Verdict.Landed) _refuse(verdict, channelId, cumulativeAmount, captureAmount);

        address token = _tokens[_records[channelId].tokenIndex];
        (uint128 delta, Refund memory refund) = _finalize(channelId, captureAmount);

        if (delta != 0) token.push(msg.sender, delta);
        _refund(token, refund);
    }

    function _judgeRow(uint16 tokenIndex, Row calldata row, bool closing) private returns (Verdict verdict) {
        Record storage record = _records[row.channelId];
        verdict = _judgeStanding(record);
        if (verdict == Verdict.Landed && record.tokenIndex != tokenIndex) verdict = Verdict.OtherToken;
        if (verdict == Verdict.Landed) {
            verdict = _judgeCapture(row.channelId, row.cumulativeAmount, row.captureAmount, row.signature, closing);
        }
        if (verdict != Verdict.Landed) emit RowSkipped(row.channelId, msg.sender, verdict);
    }

    function _listedIndex(address token) private view returns (uint16) {
        Listing storage listing = _listings[token];
        if (listing.maxDeposit == 0) revert TokenNotListed(token);
        return listing.index;
    }

    function _capture(Record storage record, uint128 captureAmount) private returns (uint128 delta) {
        delta = captureAmount - record.settled;
        record.settled = captureAmount;
    }

    function _finalize(bytes32 channelId, uint128 captureAmount) private returns (uint128 delta, Refund memory refund) {
        Record storage record = _records[channelId];
        delta = _capture(record, captureAmount);
        record.finalized = true;
        refund = Refund({channelId: channelId, payer: record.payer, amount: record.deposit - captureAmount});
        emit ChannelClosed(channelId, refund.payer, msg.sender, captureAmount, refund.amount);
    }

    /// @dev The credit can only be known after the push; until then the lock keeps everybody out.
    function _refund(address token, Refund memory refund) private {
        if (refund.amount == 0 || token.tryPush(refund.payer, refund.amount)) return;
        _credits[token][refund.payer] += refund.amount;
        emit RefundCredited(refund.channelId, refund.payer, token, refund.amount);
    }
}
