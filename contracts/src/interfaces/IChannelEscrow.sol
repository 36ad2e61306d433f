// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

/// @title IChannelEscrow
/// @notice Locks a payer's deposit per channel and pays it out to one payee against the payer's signed cumulative
/// vouchers. This file is the manual: each function states what it promises, what it assumes, and what to beware of.
/// @dev All amounts are base units of the channel's token. All times are Unix seconds. There is no owner, no pause, no
/// upgrade and no delegatecall. Of every listed token it is assumed that a transfer which answers true, or nothing, moved
/// exactly what was asked, that any other answer moved nothing, and that balances do not change by themselves. The
/// escrow checks this where it takes money in; where it pays out it has to believe it. Warning: it is untrue of a TIP-20
/// on Tempo, from T6 on, if the receiver's policy (TIP-1028) turns the escrow away: IBlockedFunds gets that back. A
/// signature with a high s is no key's; a wallet that is asked (ERC-1271) may still take it, to the same effect, once.
/// Promises ESC-1 to ESC-6 are listed in INVARIANTS.md. The file imports nothing, because it is also read as it is by the
/// Rust bindings.
interface IChannelEscrow {
    // ------------------------------------------------------------------------------------------------------- types

    /// @notice A channel as `getChannel` reports it. An unknown channel is all zeros.
    /// @param finalized Whether the channel is closed. Sticky: once true, the record never changes again.
    /// @param closeRequestedAt When the payer asked to close, or 0.
    /// @param payer Who deposited, and who gets the refund.
    /// @param payee The only address that vouchers can pay.
    /// @param token The ERC-20 token of the deposit.
    /// @param authorizedSigner Who signs vouchers, as given at open; zero means the payer.
    /// @param deposit Everything deposited so far.
    /// @param settled Everything paid to the payee so far.
    struct Channel {
        bool finalized;
        uint64 closeRequestedAt;
        address payer;
        address payee;
        address token;
        address authorizedSigner;
        uint128 deposit;
        uint128 settled;
    }

    /// @notice One token that this escrow serves, and the most that a single channel may hold of it.
    struct TokenCap {
        address token;
        uint128 maxDeposit;
    }

    /// @notice One row of a batch.
    /// @param channelId The channel to collect from.
    /// @param cumulativeAmount The amount that the voucher was signed for.
    /// @param captureAmount The absolute new settled total, not an increment.
    /// @param signature The voucher's signature.
    struct Row {
        bytes32 channelId;
        uint128 cumulativeAmount;
        uint128 captureAmount;
        bytes signature;
    }

    /// @notice What became of a row; everything but `Landed` is the reason why it was skipped.
    /// @dev In the order in which they are tested: a row gets the first that applies.
    enum Verdict {
        Landed,
        ChannelUnknown,
        ChannelIsFinalized,
        OtherPayee,
        OtherToken,
        NotIncreasing,
        ExceedsDeposit,
        ExceedsCumulative,
        BadSignature
    }

    /// @notice What a payee lets an operator do for it. The money goes to the payee alone, whatever the right.
    enum OperatorRights {
        None,
        Settle,
        SettleAndClose
    }

    // ------------------------------------------------------------------------------------------------------ events

    event ChannelOpened(
        bytes32 indexed channelId,
        address indexed payer,
        address indexed payee,
        address token,
        address authorizedSigner,
        bytes32 salt,
        uint256 deposit
    );
    event Settled(
        bytes32 indexed channelId,
        address indexed payer,
        address indexed payee,
        uint256 cumulativeAmount,
        uint256 deltaPaid,
        uint256 newSettled
    );
    event TopUp(
        bytes32 indexed channelId,
        address indexed payer,
        address indexed payee,
        uint256 additionalDeposit,
        uint256 newDeposit
    );
    event CloseRequested(
        bytes32 indexed channelId, address indexed payer, address indexed payee, uint256 closeGraceEnd
    );
    event CloseRequestCancelled(bytes32 indexed channelId, address indexed payer, address indexed payee);
    /// @dev `settledToPayee` is the channel's settled total, earlier settlements included. Every closing emits this.
    event ChannelClosed(
        bytes32 indexed channelId,
        address indexed payer,
        address indexed payee,
        uint256 settledToPayee,
        uint256 refundedToPayer
    );
    /// @dev Emitted before `ChannelClosed` when the payer withdrew after the grace period.
    event ChannelExpired(bytes32 indexed channelId, address indexed payer, address indexed payee);

    /// @notice A row of `settleMany` landed: the slim form of `Settled`.
    event RowSettled(bytes32 indexed channelId, address indexed payee, uint128 newSettled, uint128 deltaPaid);
    /// @notice A row of a batch was skipped.
    /// @dev Anyone may send a batch with rows of others: `caller` tells whose attempt it was.
    event RowSkipped(bytes32 indexed channelId, address indexed caller, Verdict reason);
    /// @notice The payer's own cap of a channel was set (at open) or lowered.
    event MaxDepositLowered(bytes32 indexed channelId, uint128 maxDeposit);
    /// @notice A payee set or revoked an operator.
    event OperatorSet(address indexed payee, address indexed operator, OperatorRights rights);
    /// @notice A refund could not be pushed and waits for `withdrawRefund`.
    event RefundCredited(bytes32 indexed channelId, address indexed payer, address indexed token, uint256 amount);
    /// @notice A payer collected its refund credit.
    event RefundWithdrawn(address indexed payer, address indexed token, address to, uint256 amount);

    // ------------------------------------------------------------------------------------------------------ errors

    error ChannelAlreadyExists(bytes32 channelId);
    error ChannelNotFound(bytes32 channelId);
    error ChannelFinalized(bytes32 channelId);
    error NotPayee(bytes32 channelId, address caller);
    error NotPayer(bytes32 channelId, address caller);
    error NotOperator(address payee, address caller);
    error InvalidPayee(address payee);
    error ZeroDeposit();
    error DepositOverflow(uint256 deposit);
    error DepositExceedsCap(uint256 deposit, uint128 maxDeposit);
    error CapNotLower(uint128 maxDeposit, uint128 limit);
    error CapBelowDeposit(uint128 maxDeposit, uint128 deposit);
    error AmountNotIncreasing(bytes32 channelId, uint128 amount, uint128 settled);
    error AmountExceedsDeposit(bytes32 channelId, uint128 amount, uint128 deposit);
    error AmountExceedsCumulative(bytes32 channelId, uint128 amount, uint128 cumulativeAmount);
    error InvalidSignature(bytes32 channelId, address signer);
    /// @dev `readyAt` is 0 when no close was requested.
    error CloseNotReady(bytes32 channelId, uint256 readyAt);
    error TokenNotListed(address token);
    /// @dev The constructor's refusal: cap zero or over 96 bits, no code at the address, listed twice, or too many tokens.
    error InvalidTokenCap(address token, uint128 maxDeposit);
    error TransferFailed(address token, address counterparty, uint256 amount);
    /// @dev The token moved another amount than it was asked to (a fee on transfer, or a rebase in between).
    error UnexpectedDelta(address token, uint256 expected, uint256 balanceBefore, uint256 balanceAfter);
    /// @dev Send the call again with more gas: nothing is judged on a bounded call that could not get its full bound.
    error NotEnoughGas(uint256 required, uint256 available);
    error NoRefund(address payer, address token);
    error InvalidRecipient(address to);
    error Reentered();

    // -------------------------------------------------------------------------- the draft's core: payer's functions

    /// @notice Opens a channel with the caller as payer and pulls `deposit` from it.
    /// @dev Promise: exactly `deposit` arrived, or nothing happened (ESC-1, ESC-2). An id that was ever used, a
    /// finalized one included, is refused for good (ESC-3).
    /// Assumption: the caller approved this escrow for `deposit`.
    /// Warning: the payee is fixed for the life of the channel, and so is the signer. A payer that is a contract wallet
    /// does best to name a fresh key as `authorizedSigner`.
    /// @param authorizedSigner Who signs the vouchers; zero means the payer.
    function open(address payee, address token, uint128 deposit, bytes32 salt, address authorizedSigner)
        external
        returns (bytes32 channelId);

    /// @notice Adds to the deposit, payer only, and cancels a pending close request.
    /// @dev Promise: exactly `additionalDeposit` arrived, the deposit stays under its cap, and nobody but the payer
    /// can cancel the payer's close request.
    /// Assumption: the caller approved this escrow for `additionalDeposit`.
    /// Warning: after a top-up the grace period starts anew with the next `requestClose`.
    function topUp(bytes32 channelId, uint128 additionalDeposit) external;

    /// @notice The same as the other `topUp`, in the Tempo stream channel's signature.
    /// @dev Promise: an amount over 128 bits is refused as `DepositOverflow`.
    function topUp(bytes32 channelId, uint256 additionalDeposit) external;

    /// @notice Starts the grace period, payer only.
    /// @dev Promise: from `CLOSE_GRACE_PERIOD` later on `withdraw` pays, whatever the payee does (ESC-5). Asking again
    /// changes nothing and emits nothing, so that a retry can never prolong the wait.
    /// Warning: the payee may go on settling, and may close, until the payer has withdrawn.
    function requestClose(bytes32 channelId) external;

    /// @notice Finalizes the channel after the grace period and refunds `deposit - settled`, payer only.
    /// @dev Promise: the refund is pushed, or credited if the token refuses the push (ESC-5).
    /// Warning: nothing can be collected from the channel afterwards, however good the voucher.
    function withdraw(bytes32 channelId) external;

    // -------------------------------------------------------------------------- the draft's core: payee's functions

    /// @notice Collects up to `cumulativeAmount` and leaves the channel open, payee only.
    /// @dev Promise: `settled` becomes `cumulativeAmount` and the difference goes to the payee alone (ESC-3, ESC-4).
    /// Assumption: settled < cumulativeAmount <= deposit, and the signer signed the voucher (see `getVoucherDigest`).
    /// Warning: the contract takes all that the voucher authorises; `settleCapture` can take less. A contract signer
    /// (ERC-1271) may change its mind until the voucher is settled.
    function settle(bytes32 channelId, uint128 cumulativeAmount, bytes calldata signature) external;

    /// @notice Collects up to `cumulativeAmount`, refunds the rest and finalizes, payee only.
    /// @dev Promise: the payee gets `cumulativeAmount - settled`, the payer gets `deposit - cumulativeAmount` (pushed or
    /// credited), for good. With `cumulativeAmount <= settled` the payee forfeits: nothing is paid, no signature needed.
    /// Assumption: the call carries enough gas for a full bounded refund push, else `NotEnoughGas`.
    /// Warning: a lower voucher than the best one forfeits the difference.
    function close(bytes32 channelId, uint128 cumulativeAmount, bytes calldata signature) external;

    // ---------------------------------------------------------------------------------- added: caps set by the payer

    /// @notice `open` with the payer's own, lower cap on everything this channel may ever hold.
    /// @dev Promise: deposit <= maxDeposit <= the token's cap, and no top-up passes it (ESC-2).
    function openWithCap(
        address payee,
        address token,
        uint128 deposit,
        bytes32 salt,
        address authorizedSigner,
        uint128 maxDeposit
    ) external returns (bytes32 channelId);

    /// @notice Lowers the channel's cap, payer only.
    /// @dev Promise: the cap never rises and is never under the deposit.
    function lowerMaxDeposit(bytes32 channelId, uint128 maxDeposit) external;

    // ------------------------------------------------------------------------- added: captures and batches (payee's)

    /// @notice `settle` that takes less than the voucher authorises, for the payee and its operators.
    /// @dev Promise: `settled` becomes `captureAmount`, which is an absolute total (ESC-3, ESC-4).
    /// Assumption: settled < captureAmount <= min(cumulativeAmount, deposit). The voucher itself may exceed the deposit.
    function settleCapture(bytes32 channelId, uint128 cumulativeAmount, uint128 captureAmount, bytes calldata signature)
        external;

    /// @notice `close` that takes less than the voucher authorises, for the payee and its operators with that right.
    /// @dev Promise: as `close`, with `captureAmount` as the final settled total.
    /// Assumption: settled <= captureAmount <= min(cumulativeAmount, deposit). With captureAmount == settled nothing is
    /// paid, and neither the cumulative amount nor the signature is looked at.
    function closeCapture(bytes32 channelId, uint128 cumulativeAmount, uint128 captureAmount, bytes calldata signature)
        external;

    /// @notice `settleCapture` for many channels of the caller, with one transfer of `token` to the caller.
    /// @dev Promise: a bad row is skipped with a reason and never stops the others (ESC-6); each row sees the effects of
    /// those before it; the caller gets exactly the sum of what the landed rows moved.
    /// Assumption: enough gas to ask each ERC-1271 signer in full, else the whole call reverts with `NotEnoughGas`: a
    /// lack of gas is never mistaken for a bad row.
    /// Warning: if the token refuses the one transfer to the caller, all rows revert.
    /// @return paid What was transferred to the caller.
    /// @return verdicts One per row, in their order, for simulations.
    function settleMany(address token, Row[] calldata rows) external returns (uint256 paid, Verdict[] memory verdicts);

    /// @notice `closeCapture` for many channels of the caller, with one transfer of `token` to the caller.
    /// @dev Promise: as `settleMany`; landed rows are finalized and each refund is pushed or credited, so that a payer
    /// whom the token refuses cannot stop the others (ESC-6). A row with captureAmount == settled closes without a
    /// signature; a lower one is skipped. Landed rows emit `ChannelClosed`.
    /// Assumption: the gas left before each refund covers a full bounded push, else the whole call reverts.
    function closeMany(address token, Row[] calldata rows) external returns (uint256 paid, Verdict[] memory verdicts);

    // -------------------------------------------------------------------- added: batches sent by others for a payee

    /// @notice Lets `operator` collect for the caller, or takes the right back with `OperatorRights.None`.
    /// @dev Promise: an operator can use `settleCapture` and `settleManyFor`, and, with `SettleAndClose`, `closeCapture`
    /// and `closeManyFor`; it can move nothing but what vouchers carry, to nobody but the payee and the payers.
    /// Warning: who may close may also forfeit: it can close channels below what their vouchers are worth.
    function setOperator(address operator, OperatorRights rights) external;

    /// @notice `settleMany` over the channels of `payee`, for the payee and its operators.
    function settleManyFor(address payee, address token, Row[] calldata rows)
        external
        returns (uint256 paid, Verdict[] memory verdicts);

    /// @notice `closeMany` over the channels of `payee`, for the payee and its operators with that right.
    function closeManyFor(address payee, address token, Row[] calldata rows)
        external
        returns (uint256 paid, Verdict[] memory verdicts);

    /// @notice `settleMany` for anybody, over rows that `payee` signed as
    /// SettleManyAuthorization(address token,Row[] rows,uint256 nonce,uint256 deadline).
    /// @dev Promise: no amount, row or signature differs from what the payee signed. A row can land once only, because
    /// captures are totals; the nonce is used up when all rows of a call landed. So a batch with skipped rows can be sent
    /// again for them until its deadline, and whoever sends it early uses up nothing.
    /// Warning: `cancelAuthorization(0, nonce)` takes it back. A batch of one row is how to relay a capture.
    function settleManyWithAuthorization(
        address payee,
        address token,
        Row[] calldata rows,
        uint256 nonce,
        uint256 deadline,
        bytes calldata payeeSignature
    ) external returns (uint256 paid, Verdict[] memory verdicts);

    /// @notice `closeMany` for anybody, over rows that `payee` signed as
    /// CloseManyAuthorization(address token,Row[] rows,uint256 nonce,uint256 deadline).
    /// @dev Promise: as `settleManyWithAuthorization`.
    function closeManyWithAuthorization(
        address payee,
        address token,
        Row[] calldata rows,
        uint256 nonce,
        uint256 deadline,
        bytes calldata payeeSignature
    ) external returns (uint256 paid, Verdict[] memory verdicts);

    // ----------------------------------------------------------------------------------------------- added: refunds

    /// @notice Sends the caller's whole refund credit of `token` to `to`.
    /// @dev Promise: only the payer to whom it is owed can move it, once.
    /// Warning: `to` need not be the payer, for a payer whom the token blocks.
    function withdrawRefund(address token, address to) external returns (uint256 amount);

    /// @notice What a payer can collect with `withdrawRefund`.
    function refundCredit(address token, address payer) external view returns (uint256);

    // ------------------------------------------------------------------------------------------------------- views

    /// @notice How long after `requestClose` the payee still has the field to itself, in seconds.
    function CLOSE_GRACE_PERIOD() external view returns (uint64);

    /// @notice keccak256 of the voucher's EIP-712 type string.
    function VOUCHER_TYPEHASH() external view returns (bytes32);

    /// @notice The channel's state; all zeros if it was never opened.
    function getChannel(bytes32 channelId) external view returns (Channel memory);

    /// @notice `getChannel` for many, in the given order.
    function getChannelsBatch(bytes32[] calldata channelIds) external view returns (Channel[] memory channelStates);

    /// @notice `getChannel` as a flat tuple, in the Tempo stream channel's signature.
    function channels(bytes32 channelId)
        external
        view
        returns (
            bool finalized,
            uint64 closeRequestedAt,
            address payer,
            address payee,
            address token,
            address authorizedSigner,
            uint128 deposit,
            uint128 settled
        );

    /// @notice keccak256(abi.encode(payer, payee, token, salt, authorizedSigner, this escrow, chain id)).
    function computeChannelId(address payer, address payee, address token, bytes32 salt, address authorizedSigner)
        external
        view
        returns (bytes32);

    /// @notice The EIP-712 digest that a voucher's signer signs.
    function getVoucherDigest(bytes32 channelId, uint128 cumulativeAmount) external view returns (bytes32);

    /// @notice The EIP-712 domain separator, of the chain as it is now: after a fork it follows the new chain id.
    function domainSeparator() external view returns (bytes32);

    /// @notice The domain's name, e.g. "EVM Payment Channel". Its version is "1".
    function domainName() external view returns (string memory);

    /// @notice ERC-5267.
    function eip712Domain()
        external
        view
        returns (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chainId,
            address verifyingContract,
            bytes32 salt,
            uint256[] memory extensions
        );

    /// @notice The most that one channel may hold of `token`; 0 if this escrow does not serve it.
    function maxDepositOf(address token) external view returns (uint128);

    /// @notice All tokens served, in the constructor's order.
    function listedTokens() external view returns (address[] memory);

    /// @notice The payer's own cap of the channel, or 0 if it set none (then the token's cap holds).
    function payerCapOf(bytes32 channelId) external view returns (uint128);

    /// @notice What `operator` may do for `payee`.
    function operatorRights(address payee, address operator) external view returns (OperatorRights);
}
