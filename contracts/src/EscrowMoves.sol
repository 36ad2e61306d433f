// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {EscrowState} from "./EscrowState.sol";
import {ChannelIdLib} from "./libraries/ChannelIdLib.sol";
import {TokenLib} from "./libraries/TokenLib.sol";

/// @title EscrowMoves
/// @notice Everything that changes a channel. Who may ask for it is decided before, by the functions that call these.
abstract contract EscrowMoves is EscrowState {
    using TokenLib for address;

    /// @dev In the order of the draft's parameters.
    struct Opening {
        address payee;
        address token;
        uint128 deposit;
        bytes32 salt;
        address authorizedSigner;
        address payer;
        /// @dev The payer's own cap, or 0 for none.
        uint128 ownCap;
    }

    /// @dev What a channel that closes pays to each side.
    struct Closing {
        bytes32 channelId;
        address payer;
        uint256 delta;
        uint256 refund;
    }

    /// @dev 1 while a function runs. A whole word, so that setting it needs no reading.
    uint256 private transient _entered;

    /// @dev Each function is safe by its order alone for tokens without hooks; the lock is for tokens with them.
    modifier lock() {
        if (_entered != 0) revert Reentered();
        _entered = 1;
        _;
        _entered = 0;
    }

    // ----------------------------------------------------------------------------------------------------- deposits

    /// @dev Writes the channel down. The caller of this pulls the deposit, and that reverts unless all of it arrives.
    function _open(Opening memory o) internal returns (bytes32 channelId) {
        if (o.payee == address(0) || o.payee == address(this)) revert InvalidPayee(o.payee);
        uint16 tokenIndex = _checkFirstDeposit(o.token, o.deposit, o.ownCap);
        channelId = ChannelIdLib.compute(o.payer, o.payee, o.token, o.salt, o.authorizedSigner);
        Record storage record = _records[channelId];
        if (record.route != 0) revert ChannelAlreadyExists(channelId);

        (address signer, SignerKind kind) = _signerOf(o);
        record.signer = signer;
        record.route = _intern(o.payee, o.token);
        record.tokenIndex = tokenIndex;
        record.signerKind = kind;
        // forge-lint: disable-next-line(unsafe-typecast) -- a listed cap fits, and the deposit is under it.
        record.deposit = uint96(o.deposit);
        if (kind == SignerKind.Other) record.otherPayer = o.payer;
        emit ChannelOpened(channelId, o.payer, o.payee, o.token, o.authorizedSigner, o.salt, o.deposit);
        if (o.ownCap != 0) {
            record.capped = true;
            record.ownCap = o.ownCap;
            emit MaxDepositLowered(channelId, o.ownCap);
        }
    }

    function _signerOf(Opening memory o) private pure returns (address, SignerKind) {
        if (o.authorizedSigner == address(0)) return (o.payer, SignerKind.Zero);
        return (o.authorizedSigner, o.authorizedSigner == o.payer ? SignerKind.Payer : SignerKind.Other);
    }

    function _checkFirstDeposit(address token, uint128 deposit, uint128 ownCap) private view returns (uint16) {
        ListingIndex memory listing = _listingOf[token];
        uint128 limit = listing.maxDeposit;
        if (limit == 0) revert TokenNotListed(token);
        if (ownCap > limit) revert CapNotLower(ownCap, limit);
        if (ownCap != 0) limit = ownCap;
        if (deposit == 0) revert ZeroDeposit();
        if (deposit > limit) revert DepositExceedsCap(deposit, limit);
        return listing.index;
    }

    function _intern(address payee, address token) private returns (uint40 route) {
        route = _routeOf[payee][token];
        if (route != 0) return route;
        route = ++_routeCount;
        _routeOf[payee][token] = route;
        _payeeOf[route] = payee;
    }

    /// @dev Writes the greater deposit down, whoever pays it. A pending close request stays as it is (E1).
    function _credit(Record storage record, bytes32 channelId, address payer, address payee, uint256 additionalDeposit)
        internal
        returns (address token)
    {
        if (additionalDeposit == 0) revert ZeroDeposit();
        if (additionalDeposit > type(uint128).max) revert DepositOverflow(additionalDeposit);
        uint256 newDeposit = record.deposit + additionalDeposit;
        if (newDeposit > type(uint128).max) revert DepositOverflow(newDeposit);
        uint128 limit;
        (token, limit) = _tokenAndCapOf(record);
        if (newDeposit > limit) revert DepositExceedsCap(newDeposit, limit);

        // forge-lint: disable-next-line(unsafe-typecast) -- a listed cap fits, and the deposit is under it.
        record.deposit = uint96(newDeposit);
        emit TopUp(channelId, payer, payee, additionalDeposit, newDeposit);
    }

    // --------------------------------------------------------------------------------------------------- collecting

    function _settle(
        Record storage record,
        address payee,
        bytes32 channelId,
        uint128 cumulativeAmount,
        uint128 captureAmount,
        bytes calldata signature
    ) internal {
        _demandCapture(record, channelId, cumulativeAmount, captureAmount, signature, false);

        uint128 delta = _capture(record, captureAmount);
        emit Settled(channelId, _payerOf(record), payee, cumulativeAmount, delta, captureAmount);

        _tokenOf(record).push(payee, delta);
    }

    /// @dev The draft's close: a voucher that was collected already, or a lower one, closes at what is settled, and the
    /// payee forfeits the rest.
    function _closeAt(
        Record storage record,
        address payee,
        bytes32 channelId,
        uint128 cumulativeAmount,
        bytes calldata signature
    ) internal {
        uint128 settled = record.settled;
        uint128 capture = cumulativeAmount < settled ? settled : cumulativeAmount;
        _close(record, payee, channelId, cumulativeAmount, capture, signature);
    }

    function _close(
        Record storage record,
        address payee,
        bytes32 channelId,
        uint128 cumulativeAmount,
        uint128 captureAmount,
        bytes calldata signature
    ) internal {
        _demandCapture(record, channelId, cumulativeAmount, captureAmount, signature, true);

        Closing memory closing = _finalize(record, channelId, captureAmount, payee);

        address token = _tokenOf(record);
        _pay(token, payee, closing.delta);
        _refund(token, closing.channelId, closing.payer, closing.refund);
    }

    function _demandCapture(
        Record storage record,
        bytes32 channelId,
        uint128 cumulativeAmount,
        uint128 captureAmount,
        bytes calldata signature,
        bool closing
    ) private view {
        Verdict verdict = _judgeCapture(record, channelId, cumulativeAmount, captureAmount, signature, closing);
        if (verdict != Verdict.Landed) _refuse(verdict, channelId, cumulativeAmount, captureAmount);
    }

    /// @dev Lands the good rows and reports the bad ones. The caller of this pays out what was collected.
    function _settleRows(address payee, address token, Row[] calldata rows)
        internal
        returns (uint256 collected, Verdict[] memory verdicts)
    {
        uint40 route = _listedRoute(payee, token);
        verdicts = new Verdict[](rows.length);
        for (uint256 i = 0; i < rows.length; ++i) {
            Row calldata row = rows[i];
            Record storage record = _records[row.channelId];
            Verdict verdict = _judgeRow(record, route, payee, row, false);
            verdicts[i] = verdict;
            if (verdict != Verdict.Landed) continue;

            uint128 delta = _capture(record, row.captureAmount);
            collected += delta;
            emit RowSettled(row.channelId, payee, row.captureAmount, delta);
        }
    }

    /// @dev As `_settleRows`, with what the landed rows pay back.
    function _closeRows(address payee, address token, Row[] calldata rows)
        internal
        returns (uint256 collected, Verdict[] memory verdicts, Closing[] memory closings)
    {
        uint40 route = _listedRoute(payee, token);
        verdicts = new Verdict[](rows.length);
        closings = new Closing[](rows.length);
        for (uint256 i = 0; i < rows.length; ++i) {
            Row calldata row = rows[i];
            Record storage record = _records[row.channelId];
            Verdict verdict = _judgeRow(record, route, payee, row, true);
            verdicts[i] = verdict;
            if (verdict != Verdict.Landed) continue;

            closings[i] = _finalize(record, row.channelId, row.captureAmount, payee);
            collected += closings[i].delta;
        }
    }

    function _payOut(address token, address payee, uint256 collected, Closing[] memory closings) internal {
        _pay(token, payee, collected);
        for (uint256 i = 0; i < closings.length; ++i) {
            _refund(token, closings[i].channelId, closings[i].payer, closings[i].refund);
        }
    }

    function _pay(address token, address payee, uint256 collected) internal {
        if (collected != 0) token.push(payee, collected);
    }

    /// @dev 0 when the payee never had a channel in the token; then no row is of its own.
    function _listedRoute(address payee, address token) private view returns (uint40 route) {
        route = _routeOf[payee][token];
        if (route == 0 && _listingOf[token].maxDeposit == 0) revert TokenNotListed(token);
    }

    function _judgeRow(Record storage record, uint40 route, address payee, Row calldata row, bool closing)
        private
        returns (Verdict verdict)
    {
        verdict = _judgeStanding(record, route, payee);
        if (verdict == Verdict.Landed) {
            verdict =
                _judgeCapture(record, row.channelId, row.cumulativeAmount, row.captureAmount, row.signature, closing);
        }
        if (verdict != Verdict.Landed) emit RowSkipped(row.channelId, msg.sender, verdict);
    }

    function _judgeStanding(Record storage record, uint40 route, address payee) private view returns (Verdict) {
        uint40 recorded = record.route;
        if (recorded == 0) return Verdict.ChannelUnknown;
        if (record.finalized) return Verdict.ChannelIsFinalized;
        if (recorded == route) return Verdict.Landed;
        return _payeeOf[recorded] == payee ? Verdict.OtherToken : Verdict.OtherPayee;
    }

    function _capture(Record storage record, uint128 captureAmount) private returns (uint128 delta) {
        delta = captureAmount - record.settled;
        // forge-lint: disable-next-line(unsafe-typecast) -- judged to be within the deposit.
        record.settled = uint96(captureAmount);
    }

    function _finalize(Record storage record, bytes32 channelId, uint128 captureAmount, address payee)
        private
        returns (Closing memory closing)
    {
        closing.channelId = channelId;
        closing.payer = _payerOf(record);
        closing.refund = record.deposit - captureAmount;
        record.finalized = true;
        closing.delta = _capture(record, captureAmount);
        emit ChannelClosed(channelId, closing.payer, payee, captureAmount, closing.refund);
    }

    /// @dev The credit can only be known after the push; until then the lock keeps everybody out.
    function _refund(address token, bytes32 channelId, address payer, uint256 amount) internal {
        if (amount == 0 || token.tryPush(payer, amount)) return;
        _credits[token][payer] += amount;
        emit RefundCredited(channelId, payer, token, amount);
    }
}
