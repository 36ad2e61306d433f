// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {EscrowTest} from "./EscrowTest.sol";
import {Wallet} from "./mocks/Signers.sol";
import {WeirdToken} from "./mocks/WeirdTokens.sol";

contract WeirdTokensTest is EscrowTest {
    WeirdToken internal weird;

    function setUp() public override {
        super.setUp();
        weird = new WeirdToken();
        escrow = newEscrow(address(weird), CAP);
        weird.mint(payer, CAP);
        vm.prank(payer);
        weird.approve(address(escrow), CAP);
    }

    function openWeird() private returns (bytes32) {
        vm.prank(payer);
        return escrow.open(payee, address(weird), DEPOSIT, SALT, signer);
    }

    function expectPullFailure() private {
        vm.expectRevert(
            abi.encodeWithSelector(IChannelEscrow.TransferFailed.selector, address(weird), payer, uint256(DEPOSIT))
        );
    }

    function test_E3_feeOnTransferIsRefusedAtOpenAndTopUp() public {
        bytes32 id = openWeird();
        weird.setFee(1, 0);
        uint256 held = weird.balanceOf(address(escrow));
        vm.expectRevert(
            abi.encodeWithSelector(IChannelEscrow.UnexpectedDelta.selector, address(weird), 5, held, held + 4)
        );
        topUp(id, 5);
        vm.expectRevert(
            abi.encodeWithSelector(
                IChannelEscrow.UnexpectedDelta.selector, address(weird), DEPOSIT, held, held + DEPOSIT - 1
            )
        );
        vm.prank(payer);
        escrow.open(payee, address(weird), DEPOSIT, "other", signer);
    }

    function test_E3_aTokenThatDeliversTooMuchIsRefused() public {
        weird.setFee(0, 1);
        vm.expectRevert(
            abi.encodeWithSelector(
                IChannelEscrow.UnexpectedDelta.selector, address(weird), DEPOSIT, uint256(0), DEPOSIT + 1
            )
        );
        openWeird();
    }

    /// @dev What the token says instead of a balance is passed on; too little is no balance.
    function test_E3_aTokenThatHidesTheBalanceIsRefused() public {
        bytes memory asked = abi.encodeCall(weird.balanceOf, (address(escrow)));
        vm.mockCallRevert(address(weird), asked, "hidden");
        vm.expectRevert(bytes("hidden"));
        openWeird();
        vm.mockCall(address(weird), asked, new bytes(31));
        vm.expectRevert(new bytes(31));
        openWeird();
        vm.clearMockedCalls();
        openWeird();
    }

    function test_E3_returnsNothingIsServed() public {
        weird.setMood(WeirdToken.Mood.ReturnsNothing);
        bytes32 id = openWeird();
        settle(id, 10);
        close(id, 30);
        assertEq(weird.balanceOf(payee), 30);
        assertEq(weird.balanceOf(payer), CAP - 30);
    }

    function test_E3_everyRefusalAtThePullIsAFailedOpen() public {
        WeirdToken.Mood[5] memory moods = [
            WeirdToken.Mood.ReturnsFalse,
            WeirdToken.Mood.ReturnsTwo,
            WeirdToken.Mood.Reverts,
            WeirdToken.Mood.Bombs,
            WeirdToken.Mood.BurnsGas
        ];
        for (uint256 i = 0; i < moods.length; ++i) {
            weird.setMood(moods[i]);
            expectPullFailure();
            vm.prank(payer);
            escrow.open{gas: 5_000_000}(payee, address(weird), DEPOSIT, SALT, signer);
        }
        weird.setMood(WeirdToken.Mood.Plain);
        weird.setPaused(true);
        expectPullFailure();
        openWeird();
    }

    function test_E3_aRefusedPayoutUndoesTheSettlement() public {
        bytes32 id = openWeird();
        WeirdToken.Mood[3] memory moods = [WeirdToken.Mood.ReturnsFalse, WeirdToken.Mood.Reverts, WeirdToken.Mood.Bombs];
        bytes memory signature = sign(id, 10);
        for (uint256 i = 0; i < moods.length; ++i) {
            weird.setMood(moods[i]);
            vm.expectRevert(
                abi.encodeWithSelector(IChannelEscrow.TransferFailed.selector, address(weird), payee, uint256(10))
            );
            vm.prank(payee);
            escrow.settle(id, 10, signature);
            assertEq(settledOf(id), 0);
        }
    }

    function test_E3_aTokenWhoseCodeVanishedIsRefused() public {
        bytes32 id = openWeird();
        vm.etch(address(weird), "");
        bytes memory signature = sign(id, 10);
        vm.expectRevert(
            abi.encodeWithSelector(IChannelEscrow.TransferFailed.selector, address(weird), payee, uint256(10))
        );
        vm.prank(payee);
        escrow.settle(id, 10, signature);
    }

    function test_E3_balancesBeyond128BitsDoNoHarm() public {
        weird.mint(address(escrow), uint256(type(uint128).max) + 1);
        bytes32 id = openWeird();
        close(id, 10);
        assertEq(weird.balanceOf(address(escrow)), uint256(type(uint128).max) + 1);
    }

    /// @dev Every function that changes something, called from the token's hook by the very party that may call it.
    function test_E3_reentryIsRefusedOnEveryFunction() public {
        Wallet wallet = new Wallet();
        weird.mint(address(wallet), CAP);
        wallet.call(address(weird), abi.encodeCall(weird.approve, (address(escrow), CAP)));
        // The wallet is payer and payee of its own channel, so that no access check stands in the hook's way.
        bytes32 id = escrow.computeChannelId(address(wallet), address(wallet), address(weird), SALT, signer);
        bytes memory opening = abi.encodeCall(escrow.open, (address(wallet), address(weird), DEPOSIT, SALT, signer));
        (bool ok,) = wallet.call(address(escrow), opening);
        assertTrue(ok);

        bytes[] memory calls = everyCall(id);
        for (uint256 i = 0; i < calls.length; ++i) {
            // forge-lint: disable-next-line(unsafe-typecast)
            bytes memory trigger = abi.encodeCall(escrow.settleCapture, (id, 1000, uint128(i + 1), sign(id, 1000)));
            weird.setHook(address(wallet), abi.encodeCall(Wallet.call, (address(escrow), calls[i])));
            (ok,) = wallet.call(address(escrow), trigger);
            assertTrue(ok, "the outer call failed");
            (bool entered, bytes memory answer) = abi.decode(weird.hookAnswer(), (bool, bytes));
            assertFalse(entered, string.concat("re-entered by call ", vm.toString(i)));
            assertEq(bytes4(answer), IChannelEscrow.Reentered.selector);
        }
    }

    function everyCall(bytes32 id) private view returns (bytes[] memory calls) {
        IChannelEscrow.Row[] memory rows = new IChannelEscrow.Row[](1);
        rows[0] = row(id, 5000, 5000);
        bytes memory signature = sign(id, 5000);
        calls = new bytes[](13);
        calls[0] = abi.encodeCall(escrow.open, (payee, address(weird), 1, "re", signer));
        calls[1] = abi.encodeCall(escrow.openWithCap, (payee, address(weird), 1, "re", signer, 1));
        calls[2] = abi.encodeWithSignature("topUp(bytes32,uint128)", id, 1);
        calls[3] = abi.encodeWithSignature("topUp(bytes32,uint256)", id, 1);
        calls[4] = abi.encodeCall(escrow.requestClose, (id));
        calls[5] = abi.encodeCall(escrow.lowerMaxDeposit, (id, DEPOSIT));
        calls[6] = abi.encodeCall(escrow.settle, (id, 5000, signature));
        calls[7] = abi.encodeCall(escrow.settleCapture, (id, 5000, 5000, signature));
        calls[8] = abi.encodeCall(escrow.close, (id, 5000, signature));
        calls[9] = abi.encodeCall(escrow.closeCapture, (id, 5000, 5000, signature));
        calls[10] = abi.encodeCall(escrow.settleMany, (address(weird), rows));
        calls[11] = abi.encodeCall(escrow.closeMany, (address(weird), rows));
        calls[12] = abi.encodeCall(escrow.withdraw, (id));
    }

    /// @dev What needs signatures of others, and what the payee grants: here the lock must be the first to answer.
    function test_E3_reentryIsRefusedOnEveryRelayedFunction() public {
        bytes32 id = openWeird();
        IChannelEscrow.Row[] memory rows = new IChannelEscrow.Row[](0);
        bytes[] memory calls = new bytes[](14);
        calls[0] =
            abi.encodeCall(escrow.openWithAuthorization, (payee, address(weird), 1, "re", signer, payer, 0, 0, 0, ""));
        calls[1] = abi.encodeCall(escrow.topUpWithAuthorization, (id, 1, payer, "re", 0, 0, 0, ""));
        calls[2] = abi.encodeCall(escrow.openWithPermit2, (payee, address(weird), 1, "re", signer, payer, 0, 0, ""));
        calls[3] = abi.encodeCall(escrow.topUpWithPermit2, (id, 1, payer, 0, 0, ""));
        calls[4] = abi.encodeCall(escrow.settleWithAuthorization, (id, 1, 0, 0, "", ""));
        calls[5] = abi.encodeCall(escrow.closeWithAuthorization, (id, 1, 0, 0, "", ""));
        calls[6] = abi.encodeCall(escrow.settleManyWithAuthorization, (payee, address(weird), rows, 0, 0, ""));
        calls[7] = abi.encodeCall(escrow.closeManyWithAuthorization, (payee, address(weird), rows, 0, 0, ""));
        calls[8] = abi.encodeCall(escrow.settleManyFor, (payee, address(weird), rows));
        calls[9] = abi.encodeCall(escrow.closeManyFor, (payee, address(weird), rows));
        calls[10] = abi.encodeCall(escrow.setOperator, (payer, IChannelEscrow.OperatorRights.Settle));
        calls[11] = abi.encodeCall(escrow.cancelAuthorization, (id, 5));
        calls[12] = abi.encodeCall(escrow.withdrawRefund, (address(weird), payer));
        calls[13] = abi.encodeCall(escrow.recoverBlocked, (new bytes(320), payer));
        for (uint256 i = 0; i < calls.length; ++i) {
            weird.setHook(address(escrow), calls[i]);
            // forge-lint: disable-next-line(unsafe-typecast)
            settle(id, uint128(i + 1));
            assertFalse(weird.hookSucceeded(), string.concat("re-entered by call ", vm.toString(i)));
            assertEq(bytes4(weird.hookAnswer()), IChannelEscrow.Reentered.selector);
        }
    }

    function test_E3_aPayerThatReentersFromItsRefundCannotDouble() public {
        bytes32 id = openWeird();
        requestClose(id);
        waitForGrace();
        weird.setHook(address(escrow), abi.encodeCall(escrow.withdraw, (id)));
        withdraw(id);
        assertFalse(weird.hookSucceeded());
        assertEq(weird.balanceOf(payer), CAP);
        assertEq(escrow.refundCredit(address(weird), payer), 0);
    }
}
