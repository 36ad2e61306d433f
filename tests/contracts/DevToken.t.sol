// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {DevToken} from "../../contracts/src/dev/DevToken.sol";
import {Test} from "forge-std/Test.sol";

contract DevTokenTest is Test {
    DevToken internal token;
    address internal from;
    uint256 internal key;
    address internal to = makeAddr("to");
    bytes32 internal constant NONCE = keccak256("nonce");

    function setUp() public {
        vm.warp(1_700_000_000);
        token = new DevToken();
        (from, key) = makeAddrAndKey("from");
        token.mint(from, 100);
    }

    function sign(bytes32 typeHash, uint256 value) private view returns (uint8 v, bytes32 r, bytes32 s) {
        bytes32 structHash = keccak256(abi.encode(typeHash, from, to, value, 0, type(uint256).max, NONCE));
        return vm.sign(key, keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), structHash)));
    }

    function test_erc20() public {
        vm.prank(from);
        token.transfer(to, 10);
        vm.prank(from);
        token.approve(address(this), 20);
        token.transferFrom(from, to, 15);
        assertEq(token.balanceOf(to), 25);
        assertEq(token.allowance(from, address(this)), 5);
        vm.expectRevert(abi.encodeWithSelector(DevToken.InsufficientAllowance.selector, address(this), 5, 6));
        token.transferFrom(from, to, 6);
        vm.expectRevert(abi.encodeWithSelector(DevToken.InsufficientBalance.selector, to, 25, 26));
        vm.prank(to);
        token.transfer(from, 26);
        assertEq(token.totalSupply(), 100);
    }

    function test_transferWithAuthorization_OnceInEitherForm() public {
        (uint8 v, bytes32 r, bytes32 s) = sign(token.TRANSFER_WITH_AUTHORIZATION_TYPEHASH(), 7);
        uint256 start = vm.snapshotState();
        token.transferWithAuthorization(from, to, 7, 0, type(uint256).max, NONCE, v, r, s);
        assertEq(token.balanceOf(to), 7);
        vm.revertToState(start);
        token.transferWithAuthorization(from, to, 7, 0, type(uint256).max, NONCE, abi.encodePacked(r, s, v));
        assertEq(token.balanceOf(to), 7);
        vm.expectRevert(abi.encodeWithSelector(DevToken.AuthorizationAlreadyUsed.selector, from, NONCE));
        token.transferWithAuthorization(from, to, 7, 0, type(uint256).max, NONCE, v, r, s);
    }

    function test_receiveWithAuthorization_OnlyByTheRecipient() public {
        (uint8 v, bytes32 r, bytes32 s) = sign(token.RECEIVE_WITH_AUTHORIZATION_TYPEHASH(), 7);
        vm.expectRevert(abi.encodeWithSelector(DevToken.CallerNotRecipient.selector, address(this), to));
        token.receiveWithAuthorization(from, to, 7, 0, type(uint256).max, NONCE, v, r, s);
        vm.expectRevert(abi.encodeWithSelector(DevToken.InvalidSignature.selector, from));
        token.transferWithAuthorization(from, to, 7, 0, type(uint256).max, NONCE, v, r, s);
        uint256 start = vm.snapshotState();
        vm.prank(to);
        token.receiveWithAuthorization(from, to, 7, 0, type(uint256).max, NONCE, v, r, s);
        vm.revertToState(start);
        vm.prank(to);
        token.receiveWithAuthorization(from, to, 7, 0, type(uint256).max, NONCE, abi.encodePacked(r, s, v));
        assertEq(token.balanceOf(to), 7);
    }

    function test_authorization_RevertWhen_OutsideItsTime() public {
        bytes memory any = new bytes(65);
        vm.expectRevert(abi.encodeWithSelector(DevToken.AuthorizationNotYetValid.selector, block.timestamp));
        token.transferWithAuthorization(from, to, 7, block.timestamp, type(uint256).max, NONCE, any);
        vm.expectRevert(abi.encodeWithSelector(DevToken.AuthorizationExpired.selector, block.timestamp));
        token.transferWithAuthorization(from, to, 7, 0, block.timestamp, NONCE, any);
    }

    function test_authorization_RevertWhen_TheBytesAreNoSignature() public {
        for (uint256 length = 0; length < 130; length += 64) {
            vm.expectRevert(abi.encodeWithSelector(DevToken.InvalidSignature.selector, from));
            token.transferWithAuthorization(from, to, 7, 0, type(uint256).max, NONCE, new bytes(length));
        }
    }

    function test_cancelAuthorization_BurnsTheNonce() public {
        bytes32 structHash = keccak256(abi.encode(token.CANCEL_AUTHORIZATION_TYPEHASH(), from, NONCE));
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(key, keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), structHash)));
        token.cancelAuthorization(from, NONCE, v, r, s);
        assertTrue(token.authorizationState(from, NONCE));
    }
}
