// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {EscrowMoves} from "./EscrowMoves.sol";
import {IChannelEscrow} from "./interfaces/IChannelEscrow.sol";
import {IRelayedEscrow} from "./interfaces/IRelayedEscrow.sol";
import {Permit2Lib} from "./libraries/Permit2Lib.sol";
import {SignatureLib} from "./libraries/SignatureLib.sol";
import {IERC3009, TokenLib} from "./libraries/TokenLib.sol";
import {VoucherLib} from "./libraries/VoucherLib.sol";

/// @title RelayedEscrow
/// @notice What anybody may send for a payer or a payee that signed for it.
abstract contract RelayedEscrow is EscrowMoves {
    using TokenLib for address;

    /// @dev What an EIP-3009 signature covers beside from, to and value.
    struct Receive {
        uint256 validAfter;
        uint256 validBefore;
        bytes32 nonce;
    }

    /// @dev A payee's leave for one relayed call. `scope` is the channel, or zero for batches.
    struct Leave {
        address payee;
        bytes32 scope;
        uint256 nonce;
        uint256 deadline;
    }

    // ------------------------------------------------------------------------------------------ funded by the payer

    /// @inheritdoc IRelayedEscrow
    function openWithAuthorization(
        address payee,
        address token,
        uint128 deposit,
        bytes32 salt,
        address authorizedSigner,
        address from,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external lock returns (bytes32 channelId) {
        Opening memory opening = Opening(payee, token, deposit, salt, authorizedSigner, from, 0);
        _checkNonce(nonce, _nonceOf(opening));
        channelId = _open(opening);
        _receive(opening.token, opening.payer, opening.deposit, Receive(validAfter, validBefore, nonce), signature);
    }

    /// @inheritdoc IRelayedEscrow
    function topUpWithAuthorization(
        bytes32 channelId,
        uint128 additionalDeposit,
        address from,
        bytes32 topUpSalt,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external lock {
        _checkNonce(nonce, keccak256(abi.encode(channelId, additionalDeposit, from, topUpSalt)));
        (Record storage record, address payee) = _live(channelId);
        address token = _credit(record, channelId, _payerOf(record), payee, additionalDeposit);
        _receive(token, from, additionalDeposit, Receive(validAfter, validBefore, nonce), signature);
    }

    /// @inheritdoc IRelayedEscrow
    function openWithPermit2(
        address payee,
        address token,
        uint128 deposit,
        bytes32 salt,
        address authorizedSigner,
        address from,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external lock returns (bytes32 channelId) {
        Opening memory opening = Opening(payee, token, deposit, salt, authorizedSigner, from, 0);
        channelId = _open(opening);
        bytes32 witness = Permit2Lib.openWitness(opening.payee, opening.salt, opening.authorizedSigner);
        Permit2Lib.Permit memory permit = Permit2Lib.Permit(nonce, deadline, witness, Permit2Lib.OPEN_TYPE);
        _permit(opening.token, opening.payer, opening.deposit, permit, signature);
    }

    /// @inheritdoc IRelayedEscrow
    function topUpWithPermit2(
        bytes32 channelId,
        uint128 additionalDeposit,
        address from,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external lock {
        (Record storage record, address payee) = _live(channelId);
        address token = _credit(record, channelId, _payerOf(record), payee, additionalDeposit);
        Permit2Lib.Permit memory permit =
            Permit2Lib.Permit(nonce, deadline, Permit2Lib.topUpWitness(channelId), Permit2Lib.TOP_UP_TYPE);
        _permit(token, from, additionalDeposit, permit, signature);
    }

    // -------------------------------------------------------------------------------------- authorised by the payee

    /// @inheritdoc IRelayedEscrow
    function settleWithAuthorization(
        bytes32 channelId,
        uint128 cumulativeAmount,
        uint256 nonce,
        uint256 deadline,
        bytes calldata payeeSignature,
        bytes calldata voucherSignature
    ) external lock {
        bytes32 structHash = keccak256(
            abi.encode(VoucherLib.SETTLE_TYPEHASH, channelId, cumulativeAmount, nonce, deadline)
        );
        (Record storage record, address payee) = _live(channelId);
        _useLeave(Leave(payee, channelId, nonce, deadline), structHash, payeeSignature);
        _settle(record, payee, channelId, cumulativeAmount, cumulativeAmount, voucherSignature);
    }

    /// @inheritdoc IRelayedEscrow
    function closeWithAuthorization(
        bytes32 channelId,
        uint128 cumulativeAmount,
        uint256 nonce,
        uint256 deadline,
        bytes calldata payeeSignature,
        bytes calldata voucherSignature
    ) external lock {
        bytes32 structHash = keccak256(
            abi.encode(VoucherLib.CLOSE_TYPEHASH, channelId, cumulativeAmount, nonce, deadline)
        );
        (Record storage record, address payee) = _live(channelId);
        _useLeave(Leave(payee, channelId, nonce, deadline), structHash, payeeSignature);
        _closeAt(record, payee, channelId, cumulativeAmount, voucherSignature);
    }

    /// @inheritdoc IChannelEscrow
    function settleManyWithAuthorization(
        address payee,
        address token,
        Row[] calldata rows,
        uint256 nonce,
        uint256 deadline,
        bytes calldata payeeSignature
    ) external lock returns (uint256 paid, Verdict[] memory verdicts) {
        Leave memory leave = Leave(payee, 0, nonce, deadline);
        _checkLeave(leave, _hashBatch(VoucherLib.SETTLE_MANY_TYPEHASH, token, rows, leave), payeeSignature);
        (paid, verdicts) = _settleRows(payee, token, rows);
        _useNonceIfAllLanded(leave, verdicts);
        _pay(token, payee, paid);
    }

    /// @inheritdoc IChannelEscrow
    function closeManyWithAuthorization(
        address payee,
        address token,
        Row[] calldata rows,
        uint256 nonce,
        uint256 deadline,
        bytes calldata payeeSignature
    ) external lock returns (uint256 paid, Verdict[] memory verdicts) {
        Leave memory leave = Leave(payee, 0, nonce, deadline);
        _checkLeave(leave, _hashBatch(VoucherLib.CLOSE_MANY_TYPEHASH, token, rows, leave), payeeSignature);
        Closing[] memory closings;
        (paid, verdicts, closings) = _closeRows(payee, token, rows);
        _useNonceIfAllLanded(leave, verdicts);
        _payOut(token, payee, paid, closings);
    }

    /// @inheritdoc IRelayedEscrow
    function cancelAuthorization(bytes32 channelId, uint256 nonce) external lock {
        if (_usedNonces[msg.sender][channelId][nonce]) revert NonceAlreadyUsed(msg.sender, channelId, nonce);
        _useNonce(msg.sender, channelId, nonce);
    }

    // ---------------------------------------------------------------------------------------------------- internals

    function _nonceOf(Opening memory o) private pure returns (bytes32) {
        return keccak256(abi.encode(o.payer, o.payee, o.token, o.salt, o.authorizedSigner));
    }

    /// @dev EIP-3009 has no room for the channel's terms, so they are hashed into the nonce that the payer signs.
    function _checkNonce(bytes32 given, bytes32 derived) private pure {
        if (given != derived) revert NonceMismatch(given, derived);
    }

    function _receive(address token, address from, uint256 amount, Receive memory r, bytes calldata signature) private {
        bytes memory data = abi.encodeCall(
            IERC3009.receiveWithAuthorization,
            (from, address(this), amount, r.validAfter, r.validBefore, r.nonce, signature)
        );
        token.pullThrough(token, from, amount, data);
    }

    function _permit(
        address token,
        address from,
        uint256 amount,
        Permit2Lib.Permit memory permit,
        bytes calldata signature
    ) private {
        if (PERMIT2 == address(0)) revert Permit2NotSupported();
        token.pullThrough(PERMIT2, from, amount, Permit2Lib.encode(token, from, amount, permit, signature));
    }

    function _useLeave(Leave memory leave, bytes32 structHash, bytes calldata signature) private {
        _checkLeave(leave, structHash, signature);
        _useNonce(leave.payee, leave.scope, leave.nonce);
    }

    function _checkLeave(Leave memory leave, bytes32 structHash, bytes calldata signature) private view {
        // forge-lint: disable-next-line(block-timestamp) -- a validator may shift it by seconds, which payees allow for.
        if (block.timestamp > leave.deadline) revert AuthorizationExpired(leave.deadline);
        if (_usedNonces[leave.payee][leave.scope][leave.nonce]) {
            revert NonceAlreadyUsed(leave.payee, leave.scope, leave.nonce);
        }
        if (!SignatureLib.isSignedBy(leave.payee, _digest(structHash), signature)) {
            revert InvalidSignature(leave.scope, leave.payee);
        }
    }

    function _useNonce(address payee, bytes32 scope, uint256 nonce) private {
        _usedNonces[payee][scope][nonce] = true;
        emit AuthorizationUsed(payee, scope, nonce);
    }

    /// @dev A landed row cannot land again, because captures are totals. So a batch with skipped rows may be sent again
    /// for them, and whoever sends it early, to have rows skipped, uses up nothing (E7).
    function _useNonceIfAllLanded(Leave memory leave, Verdict[] memory verdicts) private {
        for (uint256 i = 0; i < verdicts.length; ++i) {
            if (verdicts[i] != Verdict.Landed) return;
        }
        _useNonce(leave.payee, leave.scope, leave.nonce);
    }

    function _hashBatch(bytes32 typeHash, address token, Row[] calldata rows, Leave memory leave)
        private
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(typeHash, token, VoucherLib.hashRows(rows), leave.nonce, leave.deadline));
    }
}
