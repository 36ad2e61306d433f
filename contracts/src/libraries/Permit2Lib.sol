// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

/// @dev The one function of Permit2's SignatureTransfer that the escrow calls.
interface IPermit2 {
    struct TokenPermissions {
        address token;
        uint256 amount;
    }

    struct PermitTransferFrom {
        TokenPermissions permitted;
        uint256 nonce;
        uint256 deadline;
    }

    struct SignatureTransferDetails {
        address to;
        uint256 requestedAmount;
    }

    function permitWitnessTransferFrom(
        PermitTransferFrom calldata permit,
        SignatureTransferDetails calldata transferDetails,
        address owner,
        bytes32 witness,
        string calldata witnessTypeString,
        bytes calldata signature
    ) external;
}

/// @title Permit2Lib
/// @notice What binds a Permit2 transfer to a channel: the witnesses of draft-evm-session-00, Open Payload.
library Permit2Lib {
    bytes32 internal constant OPEN_TYPEHASH =
        keccak256("ChannelOpenWitness(address payee,bytes32 salt,address authorizedSigner)");
    bytes32 internal constant TOP_UP_TYPEHASH = keccak256("ChannelTopUpWitness(bytes32 channelId)");

    string internal constant OPEN_TYPE =
        "ChannelOpenWitness witness)ChannelOpenWitness(address payee,bytes32 salt,address authorizedSigner)TokenPermissions(address token,uint256 amount)";
    string internal constant TOP_UP_TYPE =
        "ChannelTopUpWitness witness)ChannelTopUpWitness(bytes32 channelId)TokenPermissions(address token,uint256 amount)";

    /// @dev What the payer signed beside token, amount and spender.
    struct Permit {
        uint256 nonce;
        uint256 deadline;
        bytes32 witness;
        string witnessType;
    }

    function openWitness(address payee, bytes32 salt, address authorizedSigner) internal pure returns (bytes32) {
        return keccak256(abi.encode(OPEN_TYPEHASH, payee, salt, authorizedSigner));
    }

    function topUpWitness(bytes32 channelId) internal pure returns (bytes32) {
        return keccak256(abi.encode(TOP_UP_TYPEHASH, channelId));
    }

    /// @notice The call that moves `amount` of `token` from `owner` to this escrow.
    function encode(address token, address owner, uint256 amount, Permit memory permit, bytes calldata signature)
        internal
        view
        returns (bytes memory)
    {
        return abi.encodeCall(
            IPermit2.permitWitnessTransferFrom,
            (
                IPermit2.PermitTransferFrom(IPermit2.TokenPermissions(token, amount), permit.nonce, permit.deadline),
                IPermit2.SignatureTransferDetails(address(this), amount),
                owner,
                permit.witness,
                permit.witnessType,
                signature
            )
        );
    }
}
