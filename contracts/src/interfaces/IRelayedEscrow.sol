// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

/// @title IRelayedEscrow
/// @notice The draft's relayed profile: what anybody may send, and pay the gas for, when a payer or a payee signed for
/// it. Batches that a payee signed for are in IChannelEscrow, beside the other batches.
/// @dev Source: draft-evm-session-00, Relayed / Gasless Operations Profile. Who sends a call gains nothing by it: every
/// value that decides where money goes is under the signature. The file imports nothing, so that bindings can read it.
interface IRelayedEscrow {
    /// @notice A payee's nonce is used up, by a relayed call or by the payee itself.
    /// @dev `channelId` is zero for the nonces of batches.
    event AuthorizationUsed(address indexed payee, bytes32 indexed channelId, uint256 nonce);

    /// @dev An EIP-3009 nonce must be derived from the channel's terms; `derived` is what these arguments give.
    error NonceMismatch(bytes32 given, bytes32 derived);
    error NonceAlreadyUsed(address payee, bytes32 channelId, uint256 nonce);
    error AuthorizationExpired(uint256 deadline);
    error Permit2NotSupported();
    /// @dev The constructor's refusal: there is no code at the address.
    error InvalidPermit2(address permit2);

    // -------------------------------------------------------------------------------------- funded by the payer

    /// @notice Opens a channel of `from`, with a deposit that `from` signed over by EIP-3009.
    /// @dev Promise: as `open` with `from` as payer. A caller who changes any of the channel's terms is refused, because
    /// `nonce` must be keccak256(abi.encode(from, payee, token, salt, authorizedSigner)) and is signed.
    /// Assumption: the token has `receiveWithAuthorization` with a `bytes` signature (USDC 2.2).
    /// Warning: the channel gets the token's cap, because the signature cannot bind another.
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
    ) external returns (bytes32 channelId);

    /// @notice Adds to a channel's deposit what `from` signed over by EIP-3009. `from` need not be the payer.
    /// @dev Promise: the deposit can only grow, within its cap, and what is refunded later is the payer's. A pending close
    /// request stays: only the payer's own `topUp` cancels it, so a withheld authorisation holds nobody.
    /// Assumption: `nonce` is keccak256(abi.encode(channelId, additionalDeposit, from, topUpSalt)).
    function topUpWithAuthorization(
        bytes32 channelId,
        uint128 additionalDeposit,
        address from,
        bytes32 topUpSalt,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external;

    /// @notice Opens a channel of `from`, with a deposit that `from` signed over through Permit2.
    /// @dev Promise: as `open` with `from` as payer; the signature's witness binds payee, salt and signer.
    /// Assumption: `from` approved Permit2 for the token, and signed for the Permit2 that `PERMIT2` names.
    /// Warning: the channel gets the token's cap, because the signature cannot bind another.
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
    ) external returns (bytes32 channelId);

    /// @notice Adds to a channel's deposit what `from` signed over through Permit2. `from` need not be the payer.
    /// @dev Promise: as `topUpWithAuthorization`; the witness binds the channel.
    function topUpWithPermit2(
        bytes32 channelId,
        uint128 additionalDeposit,
        address from,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external;

    // ---------------------------------------------------------------------------------- authorised by the payee

    /// @notice `settle`, for a payee that signed SettleAuthorization(channelId, cumulativeAmount, nonce, deadline).
    /// @dev Promise: as `settle`; the money goes to the payee, whoever calls. The nonce works once, for this payee and
    /// channel, in this function or in `closeWithAuthorization`.
    /// Warning: until the deadline anybody may send it; `cancelAuthorization` takes it back.
    function settleWithAuthorization(
        bytes32 channelId,
        uint128 cumulativeAmount,
        uint256 nonce,
        uint256 deadline,
        bytes calldata payeeSignature,
        bytes calldata voucherSignature
    ) external;

    /// @notice `close`, for a payee that signed CloseAuthorization(channelId, cumulativeAmount, nonce, deadline).
    /// @dev Promise: as `close`, forfeiting included: with `cumulativeAmount <= settled` no voucher is looked at.
    function closeWithAuthorization(
        bytes32 channelId,
        uint128 cumulativeAmount,
        uint256 nonce,
        uint256 deadline,
        bytes calldata payeeSignature,
        bytes calldata voucherSignature
    ) external;

    /// @notice Uses up a nonce of the caller, so that what it signed with it can never land.
    /// @param channelId The channel that was signed for, or zero for a batch.
    function cancelAuthorization(bytes32 channelId, uint256 nonce) external;

    // -------------------------------------------------------------------------------------------------- views

    /// @notice Whether a payee's nonce is used up; `channelId` is zero for the nonces of batches.
    function isNonceUsed(address payee, bytes32 channelId, uint256 nonce) external view returns (bool);

    /// @notice Which relayed paths this escrow serves.
    /// @return withAuthorization The EIP-3009 functions; whether a token has that interface is the token's matter.
    /// @return withPermit2 The Permit2 functions.
    /// @return byPayee The functions that a payee's signature authorises.
    function relayedPaths() external view returns (bool withAuthorization, bool withPermit2, bool byPayee);

    /// @notice The Permit2 that signatures are checked by, or zero if this escrow serves none.
    function PERMIT2() external view returns (address);
}
