// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {GasLib} from "./GasLib.sol";

/// @title SignatureLib
/// @notice Whether an account, or a contract, signed typed data.
library SignatureLib {
    /// @dev Half of the secp256k1 group order: a higher s is the twin of a lower one, and only one may count.
    uint256 internal constant S_MAX = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    /// @dev What an ERC-1271 signer may burn. Wallets that check a P-256 signature in Solidity need about 350k.
    uint256 internal constant CONTRACT_SIGNER_GAS = 500_000;

    bytes4 internal constant ERC1271_MAGIC = 0x1626ba7e;

    /// @notice The EIP-712 digest of a struct under a domain.
    function digest(bytes32 separator, bytes32 structHash) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", separator, structHash));
    }

    /// @notice Whether `signer` signed `hash`.
    /// @dev Recovery comes first, whatever code the signer has: an account that delegated its code (EIP-7702) after
    /// signing must not be able to disown its vouchers. A contract is asked only if recovery fails.
    function isSignedBy(address signer, bytes32 hash, bytes calldata signature) internal view returns (bool) {
        if (recover(hash, signature) == signer && signer != address(0)) return true;
        if (signer.code.length == 0) return false;
        return _contractAccepts(signer, hash, signature);
    }

    /// @notice The account that made a 65-byte, low-s signature with v 27 or 28; zero for anything else.
    function recover(bytes32 hash, bytes calldata signature) internal pure returns (address) {
        if (signature.length != 65) return address(0);
        bytes32 r;
        bytes32 s;
        uint8 v;
        // The length was checked; slices would check it three times more.
        assembly ("memory-safe") {
            r := calldataload(signature.offset)
            s := calldataload(add(signature.offset, 0x20))
            v := byte(0, calldataload(add(signature.offset, 0x40)))
        }
        if (uint256(s) > S_MAX || (v != 27 && v != 28)) return address(0);
        return ecrecover(hash, v, r, s);
    }

    /// @dev The call is bounded, so that a signer cannot burn a batch, and it gets its full bound or is not made, so that
    /// a caller cannot starve it into a no. Of the answer one word is copied, however long it is.
    function _contractAccepts(address signer, bytes32 hash, bytes calldata signature) private view returns (bool) {
        bytes memory data = abi.encodeWithSelector(ERC1271_MAGIC, hash, signature);
        GasLib.demand(CONTRACT_SIGNER_GAS);
        bool ok;
        uint256 size;
        bytes32 answer;
        assembly ("memory-safe") {
            ok := staticcall(CONTRACT_SIGNER_GAS, signer, add(data, 0x20), mload(data), 0x00, 0x20)
            size := returndatasize()
            answer := mload(0x00)
        }
        return ok && size >= 32 && answer == bytes32(ERC1271_MAGIC);
    }
}
