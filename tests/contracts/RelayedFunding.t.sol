// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {IRelayedEscrow} from "../../contracts/src/interfaces/IRelayedEscrow.sol";
import {RelayedTest} from "./RelayedTest.sol";

/// @dev Opens that a payer signed for and anybody sends.
contract RelayedOpenTest is RelayedTest {
    function calls(Terms memory signed, Terms memory sent) private view returns (bytes[2] memory) {
        return [callOpen3009(signed, sent), callOpenPermit(signed, sent)];
    }

    function test_openWith_StoresPullsAndReportsAsOpenDoes() public {
        bytes[2] memory both = calls(terms(), terms());
        uint256 start = vm.snapshotState();
        for (uint256 i = 0; i < both.length; ++i) {
            bytes32 id = escrow.computeChannelId(payer, payee, address(token), SALT, signer);
            uint256 before = token.balanceOf(payer);
            vm.expectEmit();
            emit IChannelEscrow.ChannelOpened(id, payer, payee, address(token), signer, SALT, DEPOSIT);
            send(both[i]);

            IChannelEscrow.Channel memory channel = escrow.getChannel(id);
            assertEq(channel.payer, payer);
            assertEq(channel.payee, payee);
            assertEq(channel.authorizedSigner, signer);
            assertEq(channel.deposit, DEPOSIT);
            assertEq(before - token.balanceOf(payer), DEPOSIT);
            assertEq(token.balanceOf(address(escrow)), DEPOSIT);
            settle(id, 10);
            requestClose(id);
            waitForGrace();
            withdraw(id);
            assertEq(token.balanceOf(payer), before - 10);
            vm.revertToState(start);
        }
    }

    /// @dev E2: whoever sees the signature and sends it with terms of its own gets nothing.
    function test_E2_openWith_NoTermCanBeChanged() public {
        Terms[6] memory changed;
        for (uint256 i = 0; i < changed.length; ++i) {
            changed[i] = terms();
        }
        changed[0].payee = stranger;
        changed[1].salt = "another";
        changed[2].signer = stranger;
        changed[3].deposit = DEPOSIT - 1;
        changed[4].deposit = DEPOSIT + 1;
        changed[5].from = stranger;
        fund(stranger, CAP);
        vm.prank(stranger);
        token.approve(address(permit2), CAP);
        for (uint256 i = 0; i < changed.length; ++i) {
            bytes[2] memory both = calls(terms(), changed[i]);
            for (uint256 j = 0; j < both.length; ++j) {
                assertEq(sendRefused(both[j]), IChannelEscrow.TransferFailed.selector);
            }
        }
        assertEq(token.balanceOf(address(escrow)), 0);
    }

    /// @dev E2: the nonce that the payer signed, with other terms, is refused before the token is asked.
    function test_E2_openWithAuthorization_RevertWhen_TheNonceIsNotDerived() public {
        Terms memory t = terms();
        bytes32 signed = openNonce(t);
        bytes memory signature = signReceive(payerKey, payer, DEPOSIT, signed);
        t.payee = stranger;
        vm.expectRevert(abi.encodeWithSelector(IRelayedEscrow.NonceMismatch.selector, signed, openNonce(t)));
        escrow.openWithAuthorization(
            stranger, address(token), DEPOSIT, SALT, signer, payer, 0, type(uint256).max, signed, signature
        );
    }

    function test_openWith_RevertWhen_SentTwice() public {
        bytes[2] memory both = calls(terms(), terms());
        uint256 start = vm.snapshotState();
        for (uint256 i = 0; i < both.length; ++i) {
            send(both[i]);
            assertEq(sendRefused(both[0]), IChannelEscrow.ChannelAlreadyExists.selector);
            assertEq(sendRefused(both[1]), IChannelEscrow.ChannelAlreadyExists.selector);
            vm.revertToState(start);
        }
    }

    function test_openWith_RefusesWhatOpenRefuses() public {
        Terms memory t = terms();
        t.deposit = 0;
        refuseBoth(t, IChannelEscrow.ZeroDeposit.selector);
        t.deposit = CAP + 1;
        refuseBoth(t, IChannelEscrow.DepositExceedsCap.selector);
        t = terms();
        t.payee = address(0);
        refuseBoth(t, IChannelEscrow.InvalidPayee.selector);
        t.payee = address(escrow);
        refuseBoth(t, IChannelEscrow.InvalidPayee.selector);
        t = terms();
        t.token = stranger;
        refuseBoth(t, IChannelEscrow.TokenNotListed.selector);
    }

    function refuseBoth(Terms memory t, bytes4 why) private {
        bytes[2] memory both = calls(t, t);
        for (uint256 i = 0; i < both.length; ++i) {
            assertEq(sendRefused(both[i]), why);
        }
    }

    function testFuzz_V5_openWith_NoOtherBytesOpen(uint256 bit, bool permit) public {
        bytes memory signature =
            permit ? signOpenPermit(terms(), 7) : signReceive(payerKey, payer, DEPOSIT, openNonce(terms()));
        bit = bound(bit, 0, 65 * 8 - 1);
        // forge-lint: disable-next-line(unsafe-typecast)
        signature[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        Terms memory t = terms();
        bytes memory data = permit
            ? abi.encodeCall(
                escrow.openWithPermit2,
                (t.payee, t.token, t.deposit, t.salt, t.signer, t.from, 7, type(uint256).max, signature)
            )
            : abi.encodeCall(
                escrow.openWithAuthorization,
                (t.payee, t.token, t.deposit, t.salt, t.signer, t.from, 0, type(uint256).max, openNonce(t), signature)
            );
        assertEq(sendRefused(data), IChannelEscrow.TransferFailed.selector);
    }

    function test_openWithAuthorization_PassesItsTimesOn() public {
        Terms memory t = terms();
        bytes memory signature = signReceive(payerKey, payer, DEPOSIT, openNonce(t));
        bytes32 nonce = openNonce(t);
        for (uint256 i = 0; i < 2; ++i) {
            (uint256 validAfter, uint256 validBefore) =
                i == 0 ? (block.timestamp, type(uint256).max) : (0, block.timestamp);
            vm.expectRevert(
                abi.encodeWithSelector(IChannelEscrow.TransferFailed.selector, address(token), payer, uint256(DEPOSIT))
            );
            escrow.openWithAuthorization(
                payee, address(token), DEPOSIT, SALT, signer, payer, validAfter, validBefore, nonce, signature
            );
        }
    }

    function test_openWithPermit2_RevertWhen_TheEscrowKnowsNoPermit2() public {
        escrow = newEscrow(address(token), CAP);
        assertEq(sendRefused(callOpenPermit(terms(), terms())), IRelayedEscrow.Permit2NotSupported.selector);
        bytes32 id = openWithApproval();
        assertEq(sendRefused(callTopUpPermit(id, 5, 1)), IRelayedEscrow.Permit2NotSupported.selector);
    }

    function openWithApproval() private returns (bytes32) {
        vm.prank(payer);
        token.approve(address(escrow), CAP);
        return openChannel();
    }

    function test_relayedPathsSaysWhatIsServed() public {
        (bool withAuthorization, bool withPermit2, bool byPayee) = escrow.relayedPaths();
        assertTrue(withAuthorization && withPermit2 && byPayee);
        assertEq(escrow.PERMIT2(), address(permit2));
        escrow = newEscrow(address(token), CAP);
        (withAuthorization, withPermit2, byPayee) = escrow.relayedPaths();
        assertTrue(withAuthorization && byPayee);
        assertFalse(withPermit2);
        assertEq(escrow.PERMIT2(), address(0));
    }

    function test_constructor_RevertWhen_ThereIsNoPermit2() public {
        vm.expectRevert(abi.encodeWithSelector(IRelayedEscrow.InvalidPermit2.selector, stranger));
        deployEscrow("EVM Payment Channel", oneCap(address(token), CAP), stranger);
    }
}

/// @dev Top-ups that somebody signed for and anybody sends.
contract RelayedTopUpTest is RelayedTest {
    bytes32 internal id;

    function setUp() public override {
        super.setUp();
        id = openChannel();
    }

    function calls(uint128 amount) private view returns (bytes[2] memory) {
        return [callTopUp3009(id, amount, "again"), callTopUpPermit(id, amount, 8)];
    }

    function test_topUpWith_AddsAndReports() public {
        bytes[2] memory both = calls(5);
        for (uint128 i = 0; i < both.length; ++i) {
            vm.expectEmit();
            emit IChannelEscrow.TopUp(id, payer, payee, 5, DEPOSIT + 5 * (i + 1));
            send(both[i]);
            assertEq(sendRefused(both[i]), IChannelEscrow.TransferFailed.selector, "landed twice");
        }
        assertEq(token.balanceOf(address(escrow)), DEPOSIT + 10);
    }

    /// @dev E1: a payee holds back a top-up that the payer signed, and plays it when the payer wants out.
    function test_E1_aWithheldTopUpCancelsNoCloseRequest() public {
        bytes[2] memory both = calls(5);
        requestClose(id);
        uint64 requestedAt = escrow.getChannel(id).closeRequestedAt;
        for (uint256 i = 0; i < both.length; ++i) {
            vm.prank(payee);
            (bool ok,) = address(escrow).call(both[i]);
            assertTrue(ok);
            assertEq(escrow.getChannel(id).closeRequestedAt, requestedAt);
        }
        waitForGrace();
        uint256 before = token.balanceOf(payer);
        withdraw(id);
        assertEq(token.balanceOf(payer) - before, DEPOSIT + 10);
    }

    function test_E1_evenThePayersOwnRelayedTopUpCancelsNothing() public {
        bytes memory data = callTopUp3009(id, 5, "again");
        requestClose(id);
        vm.prank(payer);
        (bool ok,) = address(escrow).call(data);
        assertTrue(ok);
        assertGt(escrow.getChannel(id).closeRequestedAt, 0);
    }

    function test_topUpWithAuthorization_OfAStrangersMoneyIsThePayers() public {
        (address giver, uint256 giverKey) = makeAddrAndKey("giver");
        token.mint(giver, 5);
        bytes32 nonce = keccak256(abi.encode(id, uint128(5), giver, bytes32("gift")));
        bytes memory signature = signReceive(giverKey, giver, 5, nonce);
        escrow.topUpWithAuthorization(id, 5, giver, "gift", 0, type(uint256).max, nonce, signature);
        requestClose(id);
        waitForGrace();
        uint256 before = token.balanceOf(payer);
        withdraw(id);
        assertEq(token.balanceOf(payer) - before, DEPOSIT + 5);
        assertEq(token.balanceOf(giver), 0);
    }

    function test_E2_topUpWith_NeitherChannelNorAmountCanBeChanged() public {
        bytes32 other = openChannel("other");
        bytes32 nonce = keccak256(abi.encode(id, uint128(5), payer, bytes32("again")));
        bytes memory signature = signReceive(payerKey, payer, 5, nonce);
        bytes32 derived = keccak256(abi.encode(other, uint128(5), payer, bytes32("again")));
        vm.expectRevert(abi.encodeWithSelector(IRelayedEscrow.NonceMismatch.selector, nonce, derived));
        escrow.topUpWithAuthorization(other, 5, payer, "again", 0, type(uint256).max, nonce, signature);
        derived = keccak256(abi.encode(id, uint128(4), payer, bytes32("again")));
        vm.expectRevert(abi.encodeWithSelector(IRelayedEscrow.NonceMismatch.selector, nonce, derived));
        escrow.topUpWithAuthorization(id, 4, payer, "again", 0, type(uint256).max, nonce, signature);

        bytes memory permitted = signTopUpPermit(id, 5, 8);
        bytes memory moved = abi.encodeCall(escrow.topUpWithPermit2, (other, 5, payer, 8, type(uint256).max, permitted));
        assertEq(sendRefused(moved), IChannelEscrow.TransferFailed.selector);
        moved = abi.encodeCall(escrow.topUpWithPermit2, (id, 4, payer, 8, type(uint256).max, permitted));
        assertEq(sendRefused(moved), IChannelEscrow.TransferFailed.selector);
    }

    function test_topUpWith_RefusesWhatTopUpRefuses() public {
        refuseBoth(0, IChannelEscrow.ZeroDeposit.selector);
        refuseBoth(CAP + 1 - DEPOSIT, IChannelEscrow.DepositExceedsCap.selector);
        refuseBoth(type(uint128).max, IChannelEscrow.DepositOverflow.selector);
        close(id, 1);
        refuseBoth(5, IChannelEscrow.ChannelFinalized.selector);
        id = "unknown";
        refuseBoth(5, IChannelEscrow.ChannelNotFound.selector);
    }

    function refuseBoth(uint128 amount, bytes4 why) private {
        bytes[2] memory both = calls(amount);
        for (uint256 i = 0; i < both.length; ++i) {
            assertEq(sendRefused(both[i]), why);
        }
    }

    function test_topUpWith_KeepsThePayersCap() public {
        vm.prank(payer);
        id = escrow.openWithCap(payee, address(token), DEPOSIT, "capped", signer, DEPOSIT + 4);
        refuseBoth(5, IChannelEscrow.DepositExceedsCap.selector);
        send(callTopUp3009(id, 4, "again"));
    }
}
