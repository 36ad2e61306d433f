// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {EscrowState} from "./EscrowState.sol";
import {RelayedEscrow} from "./RelayedEscrow.sol";
import {IBlockedFunds} from "./interfaces/IBlockedFunds.sol";
import {IChannelEscrow} from "./interfaces/IChannelEscrow.sol";
import {ReceivePolicyLib} from "./libraries/ReceivePolicyLib.sol";
import {TokenLib} from "./libraries/TokenLib.sol";

/// @title ChannelEscrow
/// @notice The one contract that holds deposits. What each function promises is written in IChannelEscrow,
/// IRelayedEscrow and IBlockedFunds.
/// @dev Every function goes checks, effects, interactions. Here is what payers, payees and operators send themselves;
/// RelayedEscrow has what others send for them, EscrowMoves what both do to a channel, EscrowState what is kept.
contract ChannelEscrow is RelayedEscrow, IBlockedFunds {
    using TokenLib for address;

    /// @param name The EIP-712 domain's name: "EVM Payment Channel", or "Tempo Stream Channel" for Tempo v1 clients.
    /// @param caps The tokens served and the most that one channel may hold of each. Fixed for good.
    /// @param permit2 The chain's Permit2, or zero for an escrow without the Permit2 functions.
    constructor(string memory name, TokenCap[] memory caps, address permit2) EscrowState(name, caps, permit2) {}

    // -------------------------------------------------------------------------------------------- payer's functions

    /// @inheritdoc IChannelEscrow
    function open(address payee, address token, uint128 deposit, bytes32 salt, address authorizedSigner)
        external
        lock
        returns (bytes32 channelId)
    {
        channelId = _open(Opening(payee, token, deposit, salt, authorizedSigner, msg.sender, 0));
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
        channelId = _open(Opening(payee, token, deposit, salt, authorizedSigner, msg.sender, maxDeposit));
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
        (Record storage record,) = _liveOfPayer(channelId);
        (, uint128 limit) = _tokenAndCapOf(record);
        if (maxDeposit > limit) revert CapNotLower(maxDeposit, limit);
        if (maxDeposit < record.deposit) revert CapBelowDeposit(maxDeposit, record.deposit);

        record.capped = true;
        record.ownCap = maxDeposit;
        emit MaxDepositLowered(channelId, maxDeposit);
    }

    /// @inheritdoc IChannelEscrow
    function requestClose(bytes32 channelId) external lock {
        (Record storage record, address payee) = _liveOfPayer(channelId);
        if (record.closeRequestedAt != 0) return;

        record.closeRequestedAt = uint40(block.timestamp);
        emit CloseRequested(channelId, msg.sender, payee, block.timestamp + CLOSE_GRACE_PERIOD);
    }

    /// @inheritdoc IChannelEscrow
    function withdraw(bytes32 channelId) external lock {
        (Record storage record, address payee) = _liveOfPayer(channelId);
        uint256 requestedAt = record.closeRequestedAt;
        uint256 readyAt = requestedAt + CLOSE_GRACE_PERIOD;
        // forge-lint: disable-next-line(block-timestamp) -- a validator may shift it by seconds, the grace is minutes.
        if (requestedAt == 0 || block.timestamp < readyAt) {
            revert CloseNotReady(channelId, requestedAt == 0 ? 0 : readyAt);
        }

        record.finalized = true;
        uint128 refund = record.deposit - record.settled;
        emit ChannelExpired(channelId, msg.sender, payee);
        emit ChannelClosed(channelId, msg.sender, payee, record.settled, refund);

        _refund(_tokenOf(record), channelId, msg.sender, refund);
    }

    /// @inheritdoc IChannelEscrow
    function withdrawRefund(address token, address to) external lock returns (uint256 amount) {
        amount = _credits[token][msg.sender];
        if (amount == 0) revert NoRefund(msg.sender, token);
        _checkRecipient(to);

        _credits[token][msg.sender] = 0;
        emit RefundWithdrawn(msg.sender, token, to, amount);

        token.push(to, amount);
    }

    // ------------------------------------------------------------------- whoever was paid and turned the money away

    /// @inheritdoc IBlockedFunds
    function recoverBlocked(bytes calldata receipt, address to) external lock {
        _checkRecipient(to);
        ReceivePolicyLib.claim(receipt, msg.sender, to);
    }

    // -------------------------------------------------------------------------------------------- payee's functions

    /// @inheritdoc IChannelEscrow
    function settle(bytes32 channelId, uint128 cumulativeAmount, bytes calldata signature) external lock {
        (Record storage record, address payee) = _liveOfPayee(channelId);
        _settle(record, payee, channelId, cumulativeAmount, cumulativeAmount, signature);
    }

    /// @inheritdoc IChannelEscrow
    function close(bytes32 channelId, uint128 cumulativeAmount, bytes calldata signature) external lock {
        (Record storage record, address payee) = _liveOfPayee(channelId);
        _closeAt(record, payee, channelId, cumulativeAmount, signature);
    }

    /// @inheritdoc IChannelEscrow
    function setOperator(address operator, OperatorRights rights) external lock {
        _operators[msg.sender][operator] = rights;
        emit OperatorSet(msg.sender, operator, rights);
    }

    // ---------------------------------------------------------------------------------- the payee's or its operator's

    /// @inheritdoc IChannelEscrow
    function settleCapture(bytes32 channelId, uint128 cumulativeAmount, uint128 captureAmount, bytes calldata signature)
        external
        lock
    {
        (Record storage record, address payee) = _liveOfCollector(channelId, OperatorRights.Settle);
        _settle(record, payee, channelId, cumulativeAmount, captureAmount, signature);
    }

    /// @inheritdoc IChannelEscrow
    function closeCapture(bytes32 channelId, uint128 cumulativeAmount, uint128 captureAmount, bytes calldata signature)
        external
        lock
    {
        (Record storage record, address payee) = _liveOfCollector(channelId, OperatorRights.SettleAndClose);
        _close(record, payee, channelId, cumulativeAmount, captureAmount, signature);
    }

    /// @inheritdoc IChannelEscrow
    function settleMany(address token, Row[] calldata rows)
        external
        lock
        returns (uint256 paid, Verdict[] memory verdicts)
    {
        return _settleMany(msg.sender, token, rows);
    }

    /// @inheritdoc IChannelEscrow
    function closeMany(address token, Row[] calldata rows)
        external
        lock
        returns (uint256 paid, Verdict[] memory verdicts)
    {
        return _closeMany(msg.sender, token, rows);
    }

    /// @inheritdoc IChannelEscrow
    function settleManyFor(address payee, address token, Row[] calldata rows)
        external
        lock
        returns (uint256 paid, Verdict[] memory verdicts)
    {
        if (!_mayCollect(payee, OperatorRights.Settle)) revert NotOperator(payee, msg.sender);
        return _settleMany(payee, token, rows);
    }

    /// @inheritdoc IChannelEscrow
    function closeManyFor(address payee, address token, Row[] calldata rows)
        external
        lock
        returns (uint256 paid, Verdict[] memory verdicts)
    {
        if (!_mayCollect(payee, OperatorRights.SettleAndClose)) revert NotOperator(payee, msg.sender);
        return _closeMany(payee, token, rows);
    }

    // ---------------------------------------------------------------------------------------------------- internals

    /// @dev What is sent to the escrow itself is nobody's.
    function _checkRecipient(address to) private view {
        if (to == address(0) || to == address(this)) revert InvalidRecipient(to);
    }

    function _topUp(bytes32 channelId, uint256 additionalDeposit) private {
        (Record storage record, address payee) = _liveOfPayer(channelId);
        if (record.closeRequestedAt != 0) {
            record.closeRequestedAt = 0;
            emit CloseRequestCancelled(channelId, msg.sender, payee);
        }
        _credit(record, channelId, msg.sender, payee, additionalDeposit).pull(msg.sender, additionalDeposit);
    }

    function _settleMany(address payee, address token, Row[] calldata rows)
        private
        returns (uint256 paid, Verdict[] memory verdicts)
    {
        (paid, verdicts) = _settleRows(payee, token, rows);
        _pay(token, payee, paid);
    }

    function _closeMany(address payee, address token, Row[] calldata rows)
        private
        returns (uint256 paid, Verdict[] memory verdicts)
    {
        Closing[] memory closings;
        (paid, verdicts, closings) = _closeRows(payee, token, rows);
        _payOut(token, payee, paid, closings);
    }
}
