// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

/// @dev Turns the 65 bytes of a good signature into bytes that must never pass for it.
library Spoil {
    uint256 internal constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
    /// @dev Those below are refused also by a wallet that looks at the first 65 bytes only, and at no rule but the curve's.
    uint256 internal constant CURVE_KINDS = 6;
    uint256 internal constant KINDS = 12;

    function spoil(bytes memory good, uint256 kind, uint256 dice) internal pure returns (bytes memory) {
        (bytes32 r, bytes32 s, uint8 v) = split(good);
        if (kind == 0) return flip(good, dice % 512);
        if (kind == 1) return abi.encodePacked(r, s, v ^ 7);
        if (kind == 2) return cut(good, dice % 65);
        if (kind == 3) return new bytes(65);
        if (kind == 4) return abi.encodePacked(s, r, v);
        if (kind == 5) return abi.encodePacked(keccak256(good), s, v);
        if (kind == 6) return abi.encodePacked(r, bytes32(ORDER - uint256(s)), v ^ 7);
        if (kind == 7) return abi.encodePacked(good, new bytes(1 + dice % 200));
        if (kind == 8) return abi.encodePacked(r, bytes32(uint256(s) | (uint256(v - 27) << 255)));
        if (kind == 9) return abi.encodePacked(r, s, v - 27);
        if (kind == 10) return abi.encodePacked(r, bytes32(ORDER - uint256(s)), v);
        // forge-lint: disable-next-line(unsafe-typecast) -- any v but 27 and 28.
        return abi.encodePacked(r, s, uint8(29 + dice % 227));
    }

    function split(bytes memory signature) internal pure returns (bytes32 r, bytes32 s, uint8 v) {
        (r, s) = abi.decode(signature, (bytes32, bytes32));
        v = uint8(signature[64]);
    }

    function flip(bytes memory good, uint256 bit) private pure returns (bytes memory bad) {
        bad = bytes.concat(good);
        // forge-lint: disable-next-line(unsafe-typecast)
        bad[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
    }

    function cut(bytes memory good, uint256 length) private pure returns (bytes memory bad) {
        bad = bytes.concat(good);
        assembly ("memory-safe") {
            mstore(bad, length)
        }
    }
}
