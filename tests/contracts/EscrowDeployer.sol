// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {ChannelEscrow} from "../../contracts/src/ChannelEscrow.sol";
import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {Test} from "forge-std/Test.sol";

/// @dev Deploys the escrow under test: as the tests' own codegen makes it, or from the artifact that the variable
/// WEIR_ESCROW_ARTIFACT names. So the published bytecode is tested without compiling the tests a second time.
abstract contract EscrowDeployer is Test {
    function escrowCode() internal view returns (bytes memory) {
        string memory artifact = vm.envOr("WEIR_ESCROW_ARTIFACT", string(""));
        return bytes(artifact).length == 0 ? type(ChannelEscrow).creationCode : vm.getCode(artifact);
    }

    function deployEscrow(string memory name, IChannelEscrow.TokenCap[] memory caps, address permit2)
        internal
        returns (ChannelEscrow escrow)
    {
        bytes memory code = bytes.concat(escrowCode(), abi.encode(name, caps, permit2));
        assembly {
            escrow := create(0, add(code, 0x20), mload(code))
            if iszero(escrow) {
                returndatacopy(0, 0, returndatasize())
                revert(0, returndatasize())
            }
        }
    }
}
