// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IPermit2} from "../../../contracts/src/libraries/Permit2Lib.sol";

interface ITransferFrom {
    function transferFrom(address from, address to, uint256 amount) external returns (bool);
}

/// @dev Permit2's SignatureTransfer as its documentation has it, for one function: domain without a version, the caller
/// as spender, unordered nonces in a bitmap, the witness's type appended to the stub.
contract Permit2 is IPermit2 {
    string internal constant STUB =
        "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,";

    mapping(address owner => mapping(uint256 word => uint256)) public nonceBitmap;

    error SignatureExpired(uint256 deadline);
    error InvalidNonce();
    error InvalidSigner();

    // forge-lint: disable-next-line(mixed-case-function)
    function DOMAIN_SEPARATOR() public view returns (bytes32) {
        bytes32 typeHash = keccak256("EIP712Domain(string name,uint256 chainId,address verifyingContract)");
        return keccak256(abi.encode(typeHash, keccak256("Permit2"), block.chainid, address(this)));
    }

    function permitWitnessTransferFrom(
        PermitTransferFrom calldata permit,
        SignatureTransferDetails calldata transferDetails,
        address owner,
        bytes32 witness,
        string calldata witnessTypeString,
        bytes calldata signature
    ) external {
        if (block.timestamp > permit.deadline) revert SignatureExpired(permit.deadline);
        useNonce(owner, permit.nonce);
        bytes32 typeHash = keccak256(abi.encodePacked(STUB, witnessTypeString));
        bytes32 permitted =
            keccak256(abi.encode(keccak256("TokenPermissions(address token,uint256 amount)"), permit.permitted));
        bytes32 structHash =
            keccak256(abi.encode(typeHash, permitted, msg.sender, permit.nonce, permit.deadline, witness));
        check(owner, keccak256(abi.encodePacked(hex"1901", DOMAIN_SEPARATOR(), structHash)), signature);
        require(transferDetails.requestedAmount <= permit.permitted.amount, "amount");
        move(permit.permitted.token, owner, transferDetails.to, transferDetails.requestedAmount);
    }

    /// @dev Permit2 serves tokens that answer nothing, too.
    function move(address token, address from, address to, uint256 amount) private {
        (bool ok, bytes memory answer) = token.call(abi.encodeCall(ITransferFrom.transferFrom, (from, to, amount)));
        bool moved = ok && (answer.length == 0 ? token.code.length != 0 : abi.decode(answer, (uint256)) == 1);
        require(moved, "TRANSFER_FROM_FAILED");
    }

    function useNonce(address owner, uint256 nonce) private {
        uint256 bit = 1 << (nonce & 0xff);
        uint256 flipped = nonceBitmap[owner][nonce >> 8] ^= bit;
        if (flipped & bit == 0) revert InvalidNonce();
    }

    function check(address owner, bytes32 digest, bytes calldata signature) private pure {
        (bytes32 r, bytes32 s) = abi.decode(signature, (bytes32, bytes32));
        address recovered = ecrecover(digest, uint8(signature[64]), r, s);
        if (recovered == address(0) || recovered != owner) revert InvalidSigner();
    }
}
