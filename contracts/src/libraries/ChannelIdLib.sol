// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

/// @title ChannelIdLib
/// @notice Names a channel by what is fixed at its opening, its escrow and its chain.
library ChannelIdLib {
    /// @dev The id holds no epoch. That is safe only because a record is never deleted: a used id stays used.
    function compute(address payer, address payee, address token, bytes32 salt, address authorizedSigner)
        internal
        view
        returns (bytes32)
    {
        return keccak256(abi.encode(payer, payee, token, salt, authorizedSigner, address(this), block.chainid));
    }
}
