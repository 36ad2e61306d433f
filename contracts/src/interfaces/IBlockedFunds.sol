// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

/// @title IBlockedFunds
/// @notice The way back for money that the escrow paid and a receive policy turned away (Tempo from T6 on, TIP-1028): the
/// token answered true and gave it to the guard, and for accounts that named nobody to recover it the guard listens to the
/// sender alone, which is the escrow.
interface IBlockedFunds {
    /// @dev Not the 320 bytes of a receipt of version 1. Send `receipt` as the guard's `TransferBlocked` has it.
    error UnsupportedReceipt();
    /// @dev `recipient` is the receipt's whole word.
    error NotRecipient(address caller, bytes32 recipient);
    /// @dev There is no guard on this chain, or not yet.
    error NoReceivePolicyGuard();

    /// @notice Claims what a receive policy turned away on its way to the caller, and sends it to `to`.
    /// @dev Promise: only the recipient that the receipt names decides where its money goes, once; no money of the escrow
    /// moves, and no channel changes.
    /// Assumption: the guard is the chain's own, which checks that the receipt is true and unspent and that the escrow may
    /// claim it, and emits `ReceiptClaimed` with the amount.
    /// Warning: the token's rules are those of the moment: it must not be paused, and has to allow the escrow as sender and
    /// `to` as recipient; the receive policy of `to` must let the escrow through, so a caller whose policy still does not
    /// names another `to` or changes the policy first. Who named a recovery authority claims through that one, not here.
    /// A virtual address (TIP-1022) can call nothing, so nothing that was sent to one and turned away comes back here:
    /// name none in `withdrawRefund`. A key that an account lets call this escrow may send what is recovered anywhere.
    /// @param receipt As the guard emitted it in `TransferBlocked`.
    function recoverBlocked(bytes calldata receipt, address to) external;
}
