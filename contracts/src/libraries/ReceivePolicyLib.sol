// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IBlockedFunds} from "../interfaces/IBlockedFunds.sol";

/// @dev The one function of Tempo's ReceivePolicyGuard that the escrow calls.
interface IReceivePolicyGuard {
    function claim(address to, bytes calldata receipt) external;
}

/// @title ReceivePolicyLib
/// @notice Claims from Tempo's ReceivePolicyGuard (TIP-1028) for the recipient that a receipt names.
library ReceivePolicyLib {
    IReceivePolicyGuard internal constant GUARD = IReceivePolicyGuard(0xB10C000000000000000000000000000000000000);

    /// @dev Another version may have another layout, in which the fifth word is anybody's to choose.
    uint256 internal constant RECEIPT_VERSION = 1;
    /// @dev Ten words, none of them an offset: a field is where it is and nowhere else.
    uint256 internal constant RECEIPT_BYTES = 320;

    /// @dev The guard also takes a receipt with dirty bits, and with bytes at its end. Here the recipient must stand in it so
    /// that there is one way only to read it.
    function claim(bytes calldata receipt, address recipient, address to) internal {
        if (receipt.length != RECEIPT_BYTES) revert IBlockedFunds.UnsupportedReceipt();
        // version, token, recovery authority, originator, recipient
        (uint256 version,,,, uint256 named) = abi.decode(receipt, (uint256, uint256, uint256, uint256, uint256));
        if (version != RECEIPT_VERSION) revert IBlockedFunds.UnsupportedReceipt();
        // Whole words are compared: bits above the address name nobody.
        if (named != uint160(recipient)) revert IBlockedFunds.NotRecipient(recipient, bytes32(named));
        if (address(GUARD).code.length == 0) revert IBlockedFunds.NoReceivePolicyGuard();
        GUARD.claim(to, receipt);
    }
}
