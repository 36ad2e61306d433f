// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IChannelEscrow} from "../interfaces/IChannelEscrow.sol";

/// @title GasLib
/// @notice Keeps a caller from starving a bounded call (EIP-150) so that its failure looks like a verdict.
library GasLib {
    /// @dev What the call itself costs before the 63/64 are reckoned: a cold account, memory, the stack around it.
    uint256 internal constant CALL_OVERHEAD_GAS = 20_000;

    /// @notice Reverts unless a call made next can be given `bound` gas in full.
    function demand(uint256 bound) internal view {
        uint256 required = bound + bound / 63 + CALL_OVERHEAD_GAS;
        uint256 available = gasleft();
        if (available < required) revert IChannelEscrow.NotEnoughGas(required, available);
    }
}
