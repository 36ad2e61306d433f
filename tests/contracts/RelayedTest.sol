// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {EscrowTest} from "./EscrowTest.sol";
import {Permit2} from "./mocks/Permit2.sol";

/// @dev The stage of the relayed profile: an escrow that knows a Permit2, a payer that approved only that, a payee with a
/// key. Every type is spelled out here as the draft writes it, and not taken from the contracts under test.
abstract contract RelayedTest is EscrowTest {
    bytes internal constant ROW_TYPE =
        "Row(bytes32 channelId,uint128 cumulativeAmount,uint128 captureAmount,bytes signature)";

    Permit2 internal permit2;
    uint256 internal payeeKey;
    address internal relayer = makeAddr("relayer");

    struct Terms {
        address payee;
        address token;
        uint128 deposit;
        bytes32 salt;
        address signer;
        address from;
    }

    function setUp() public virtual override {
        super.setUp();
        permit2 = new Permit2();
        escrow = deployEscrow("EVM Payment Channel", oneCap(address(token), CAP), address(permit2));
        (payee, payeeKey) = makeAddrAndKey("payee with a key");
        vm.startPrank(payer);
        token.approve(address(escrow), type(uint256).max);
        token.approve(address(permit2), type(uint256).max);
        vm.stopPrank();
    }

    function terms() internal view returns (Terms memory) {
        return Terms(payee, address(token), DEPOSIT, SALT, signer, payer);
    }

    // ------------------------------------------------------------------------------------------------ payer's signatures

    function openNonce(Terms memory t) internal pure returns (bytes32) {
        return keccak256(abi.encode(t.from, t.payee, t.token, t.salt, t.signer));
    }

    function signReceive(uint256 key, address from, uint256 value, bytes32 nonce) internal view returns (bytes memory) {
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256(
                    "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
                ),
                from,
                address(escrow),
                value,
                0,
                type(uint256).max,
                nonce
            )
        );
        return pack(key, keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), structHash)));
    }

    /// @dev What the payer signs for `signed`, sent as the opening of `sent`.
    function callOpen3009(Terms memory signed, Terms memory sent) internal view returns (bytes memory) {
        bytes memory signature = signReceive(payerKey, signed.from, signed.deposit, openNonce(signed));
        return abi.encodeCall(
            escrow.openWithAuthorization,
            (
                sent.payee,
                sent.token,
                sent.deposit,
                sent.salt,
                sent.signer,
                sent.from,
                0,
                type(uint256).max,
                openNonce(sent),
                signature
            )
        );
    }

    function permitHash(string memory witnessType, bytes32 witness, uint256 amount, uint256 nonce)
        internal
        view
        returns (bytes32)
    {
        bytes32 permitted = keccak256(
            abi.encode(keccak256("TokenPermissions(address token,uint256 amount)"), address(token), amount)
        );
        string memory full = string.concat(
            "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,",
            witnessType,
            "TokenPermissions(address token,uint256 amount)"
        );
        bytes32 structHash = keccak256(
            abi.encode(keccak256(bytes(full)), permitted, address(escrow), nonce, type(uint256).max, witness)
        );
        return keccak256(abi.encodePacked(hex"1901", permit2.DOMAIN_SEPARATOR(), structHash));
    }

    function signOpenPermit(Terms memory t, uint256 nonce) internal view returns (bytes memory) {
        bytes32 witness = keccak256(
            abi.encode(
                keccak256("ChannelOpenWitness(address payee,bytes32 salt,address authorizedSigner)"),
                t.payee,
                t.salt,
                t.signer
            )
        );
        string memory witnessType =
            "ChannelOpenWitness witness)ChannelOpenWitness(address payee,bytes32 salt,address authorizedSigner)";
        return pack(payerKey, permitHash(witnessType, witness, t.deposit, nonce));
    }

    function signTopUpPermit(bytes32 id, uint256 amount, uint256 nonce) internal view returns (bytes memory) {
        bytes32 witness = keccak256(abi.encode(keccak256("ChannelTopUpWitness(bytes32 channelId)"), id));
        string memory witnessType = "ChannelTopUpWitness witness)ChannelTopUpWitness(bytes32 channelId)";
        return pack(payerKey, permitHash(witnessType, witness, amount, nonce));
    }

    function callOpenPermit(Terms memory signed, Terms memory sent) internal view returns (bytes memory) {
        return abi.encodeCall(
            escrow.openWithPermit2,
            (
                sent.payee,
                sent.token,
                sent.deposit,
                sent.salt,
                sent.signer,
                sent.from,
                7,
                type(uint256).max,
                signOpenPermit(signed, 7)
            )
        );
    }

    function callTopUp3009(bytes32 id, uint128 amount, bytes32 topUpSalt) internal view returns (bytes memory) {
        bytes32 nonce = keccak256(abi.encode(id, amount, payer, topUpSalt));
        return abi.encodeCall(
            escrow.topUpWithAuthorization,
            (id, amount, payer, topUpSalt, 0, type(uint256).max, nonce, signReceive(payerKey, payer, amount, nonce))
        );
    }

    function callTopUpPermit(bytes32 id, uint128 amount, uint256 nonce) internal view returns (bytes memory) {
        return abi.encodeCall(
            escrow.topUpWithPermit2, (id, amount, payer, nonce, type(uint256).max, signTopUpPermit(id, amount, nonce))
        );
    }

    // ------------------------------------------------------------------------------------------------ payee's signatures

    function signLeave(string memory verb, bytes32 id, uint128 amount, uint256 nonce, uint256 deadline)
        internal
        view
        returns (bytes memory)
    {
        string memory typed =
            string.concat(verb, "(bytes32 channelId,uint128 cumulativeAmount,uint256 nonce,uint256 deadline)");
        return signStruct(payeeKey, keccak256(abi.encode(keccak256(bytes(typed)), id, amount, nonce, deadline)));
    }

    function signBatch(string memory verb, IChannelEscrow.Row[] memory rows, uint256 nonce, uint256 deadline)
        internal
        view
        returns (bytes memory)
    {
        bytes memory hashes;
        for (uint256 i = 0; i < rows.length; ++i) {
            IChannelEscrow.Row memory r = rows[i];
            hashes = bytes.concat(
                hashes,
                keccak256(
                    abi.encode(
                        keccak256(ROW_TYPE), r.channelId, r.cumulativeAmount, r.captureAmount, keccak256(r.signature)
                    )
                )
            );
        }
        string memory typed =
            string.concat(verb, "(address token,Row[] rows,uint256 nonce,uint256 deadline)", string(ROW_TYPE));
        return signStruct(
            payeeKey, keccak256(abi.encode(keccak256(bytes(typed)), address(token), keccak256(hashes), nonce, deadline))
        );
    }

    function signStruct(uint256 key, bytes32 structHash) internal view returns (bytes memory) {
        return pack(key, keccak256(abi.encodePacked(hex"1901", escrow.domainSeparator(), structHash)));
    }

    function pack(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    // ----------------------------------------------------------------------------------------------------- the relayer

    function send(bytes memory data) internal {
        vm.prank(relayer);
        (bool ok, bytes memory answer) = address(escrow).call(data);
        if (!ok) {
            assembly {
                revert(add(answer, 0x20), mload(answer))
            }
        }
    }

    function sendRefused(bytes memory data) internal returns (bytes4) {
        vm.prank(relayer);
        (bool ok, bytes memory answer) = address(escrow).call(data);
        assertFalse(ok, "not refused");
        return bytes4(answer);
    }
}
