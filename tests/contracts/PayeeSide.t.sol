// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {EscrowTest} from "./EscrowTest.sol";

contract SettleTest is EscrowTest {
    bytes32 internal id;

    function setUp() public override {
        super.setUp();
        id = openChannel();
    }

    function settleCapture(uint128 cumulative, uint128 capture) private {
        bytes memory signature = sign(id, cumulative);
        vm.prank(payee);
        escrow.settleCapture(id, cumulative, capture, signature);
    }

    function test_settle_RevertWhen_ChannelIsUnknown() public {
        expectRefusal(IChannelEscrow.ChannelNotFound.selector, SALT);
        vm.prank(payee);
        escrow.settle(SALT, 1, "");
    }

    function test_ESC_4_settle_RevertWhen_CallerIsNotThePayee() public {
        bytes memory signature = sign(id, 5);
        address[3] memory others = [payer, signer, stranger];
        for (uint256 i = 0; i < others.length; ++i) {
            vm.startPrank(others[i]);
            vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.NotPayee.selector, id, others[i]));
            escrow.settle(id, 5, signature);
            vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.NotPayee.selector, id, others[i]));
            escrow.settleCapture(id, 5, 5, signature);
            vm.stopPrank();
        }
    }

    function test_C1_settleAroundTheSettledBoundary() public {
        settle(id, 10);
        for (uint128 amount = 9; amount <= 10; ++amount) {
            bytes memory signature = sign(id, amount);
            vm.expectRevert(
                abi.encodeWithSelector(IChannelEscrow.AmountNotIncreasing.selector, id, amount, uint128(10))
            );
            vm.prank(payee);
            escrow.settle(id, amount, signature);
        }
        settle(id, 11);
        assertEq(settledOf(id), 11);
        assertEq(token.balanceOf(payee), 11);
    }

    function test_settle_RevertWhen_ZeroOnAFreshChannel() public {
        bytes memory signature = sign(id, 0);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.AmountNotIncreasing.selector, id, 0, 0));
        vm.prank(payee);
        escrow.settle(id, 0, signature);
    }

    function test_ESC_2_settle_RevertWhen_AboveTheDeposit() public {
        bytes memory signature = sign(id, DEPOSIT + 1);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.AmountExceedsDeposit.selector, id, DEPOSIT + 1, DEPOSIT));
        vm.prank(payee);
        escrow.settle(id, DEPOSIT + 1, signature);
    }

    function test_settle_PaysTheDifferenceAndReports() public {
        settle(id, 10);
        vm.expectEmit();
        emit IChannelEscrow.Settled(id, payer, payee, DEPOSIT, DEPOSIT - 10, DEPOSIT);
        settle(id, DEPOSIT);
        assertEq(token.balanceOf(payee), DEPOSIT);
        assertFalse(escrow.getChannel(id).finalized);
    }

    function test_V2_aVoucherOfAnotherChannelAmountOrEscrowIsRefused() public {
        bytes32 other = openChannel("other");
        bytes memory ofOther = sign(other, 5);
        bytes memory ofOtherAmount = sign(id, 6);
        bytes memory good = sign(id, 5);
        address elsewhere = address(newEscrow(address(token), CAP));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(signerKey, IChannelEscrow(elsewhere).getVoucherDigest(id, 5));
        bytes[3] memory bad = [ofOther, ofOtherAmount, abi.encodePacked(r, s, v)];
        vm.startPrank(payee);
        for (uint256 i = 0; i < bad.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidSignature.selector, id, signer));
            escrow.settle(id, 5, bad[i]);
        }
        escrow.settle(id, 5, good);
    }

    function test_V2_aVoucherSignedByThePayerIsRefusedWhereAnotherSigns() public {
        bytes memory signature = signWith(payerKey, id, 5);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidSignature.selector, id, signer));
        vm.prank(payee);
        escrow.settle(id, 5, signature);
    }

    function test_V2_aVoucherOfAnotherChainIsRefused() public {
        bytes memory here = sign(id, 5);
        vm.chainId(block.chainid + 1);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidSignature.selector, id, signer));
        vm.prank(payee);
        escrow.settle(id, 5, here);
        settle(id, 5);
    }

    // ----------------------------------------------------------------------------------------------- settleCapture

    function test_C2_settleCaptureTakesLessThanTheVoucher() public {
        vm.expectEmit();
        emit IChannelEscrow.Settled(id, payer, payee, 50, 20, 20);
        settleCapture(50, 20);
        settleCapture(50, 50);
        assertEq(token.balanceOf(payee), 50);
    }

    function test_settleCapture_TakesAVoucherAboveTheDeposit() public {
        settleCapture(type(uint128).max, DEPOSIT);
        assertEq(settledOf(id), DEPOSIT);
    }

    function test_ESC_2_settleCapture_RevertWhen_AboveTheDeposit() public {
        bytes memory signature = sign(id, DEPOSIT + 5);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.AmountExceedsDeposit.selector, id, DEPOSIT + 1, DEPOSIT));
        vm.prank(payee);
        escrow.settleCapture(id, DEPOSIT + 5, DEPOSIT + 1, signature);
    }

    function test_C2_settleCapture_RevertWhen_AboveTheVoucher() public {
        bytes memory signature = sign(id, 5);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.AmountExceedsCumulative.selector, id, 6, 5));
        vm.prank(payee);
        escrow.settleCapture(id, 5, 6, signature);
    }

    function test_ESC_3_settleCapture_RevertWhen_NotAboveSettled() public {
        settleCapture(50, 20);
        bytes memory signature = sign(id, 60);
        for (uint128 capture = 19; capture <= 20; ++capture) {
            vm.expectRevert(
                abi.encodeWithSelector(IChannelEscrow.AmountNotIncreasing.selector, id, capture, uint128(20))
            );
            vm.prank(payee);
            escrow.settleCapture(id, 60, capture, signature);
        }
    }

    function test_settleCapture_RevertWhen_SignedForTheCaptureInstead() public {
        bytes memory signature = sign(id, 20);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidSignature.selector, id, signer));
        vm.prank(payee);
        escrow.settleCapture(id, 50, 20, signature);
    }
}

contract CloseTest is EscrowTest {
    bytes32 internal id;

    function setUp() public override {
        super.setUp();
        id = openChannel();
    }

    function closeCapture(uint128 cumulative, uint128 capture) private {
        bytes memory signature = sign(id, cumulative);
        vm.prank(payee);
        escrow.closeCapture(id, cumulative, capture, signature);
    }

    function test_close_RevertWhen_ChannelIsUnknown() public {
        expectRefusal(IChannelEscrow.ChannelNotFound.selector, SALT);
        vm.prank(payee);
        escrow.close(SALT, 1, "");
    }

    function test_F2_close_RevertWhen_CallerIsNotThePayee() public {
        bytes memory signature = sign(id, 5);
        address[3] memory others = [payer, signer, stranger];
        for (uint256 i = 0; i < others.length; ++i) {
            vm.startPrank(others[i]);
            vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.NotPayee.selector, id, others[i]));
            escrow.close(id, 5, signature);
            vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.NotPayee.selector, id, others[i]));
            escrow.closeCapture(id, 0, 0, "");
            vm.stopPrank();
        }
    }

    function test_close_RevertWhen_DoneAlready() public {
        close(id, 5);
        bytes memory signature = sign(id, 6);
        expectRefusal(IChannelEscrow.ChannelFinalized.selector, id);
        vm.prank(payee);
        escrow.close(id, 6, signature);
    }

    function test_close_PaysRefundsAndReports() public {
        settle(id, 10);
        uint256 before = token.balanceOf(payer);
        vm.expectEmit();
        emit IChannelEscrow.ChannelClosed(id, payer, payee, 40, DEPOSIT - 40);
        close(id, 40);
        assertEq(token.balanceOf(payee), 40);
        assertEq(token.balanceOf(payer) - before, DEPOSIT - 40);
        assertFinalized(id, 40);
    }

    function test_close_OfTheWholeDepositRefundsNothing() public {
        close(id, DEPOSIT);
        assertEq(token.balanceOf(payee), DEPOSIT);
        assertEq(token.balanceOf(address(escrow)), 0);
    }

    function test_C1_closeAroundTheSettledBoundary() public {
        settle(id, 10);
        uint256 start = vm.snapshotState();
        for (uint128 amount = 9; amount <= 10; ++amount) {
            vm.prank(payee);
            escrow.close(id, amount, "");
            assertFinalized(id, 10);
            vm.revertToState(start);
        }
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidSignature.selector, id, signer));
        vm.prank(payee);
        escrow.close(id, 11, "");
        close(id, 11);
        assertFinalized(id, 11);
    }

    function test_ESC_2_close_RevertWhen_AboveTheDeposit() public {
        bytes memory signature = sign(id, DEPOSIT + 1);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.AmountExceedsDeposit.selector, id, DEPOSIT + 1, DEPOSIT));
        vm.prank(payee);
        escrow.close(id, DEPOSIT + 1, signature);
    }

    function test_close_InTheGraceAndAfterIt() public {
        uint256 start = vm.snapshotState();
        for (uint256 wait = 0; wait <= 30 minutes; wait += 15 minutes) {
            requestClose(id);
            vm.warp(block.timestamp + wait);
            close(id, 25);
            assertFinalized(id, 25);
            vm.revertToState(start);
        }
    }

    // ------------------------------------------------------------------------------------------------ closeCapture

    function test_C2_closeCaptureTakesLessThanTheVoucher() public {
        uint256 before = token.balanceOf(payer);
        closeCapture(DEPOSIT * 3, 20);
        assertEq(token.balanceOf(payee), 20);
        assertEq(token.balanceOf(payer) - before, DEPOSIT - 20);
        assertFinalized(id, 20);
    }

    function test_closeCapture_AtSettledNeedsNoSignature() public {
        settle(id, 10);
        vm.prank(payee);
        escrow.closeCapture(id, 0, 10, "");
        assertFinalized(id, 10);
    }

    function test_ESC_3_closeCapture_RevertWhen_BelowSettled() public {
        settle(id, 10);
        bytes memory signature = sign(id, 50);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.AmountNotIncreasing.selector, id, 9, 10));
        vm.prank(payee);
        escrow.closeCapture(id, 50, 9, signature);
    }

    function test_C2_closeCapture_RevertWhen_AboveTheVoucher() public {
        bytes memory signature = sign(id, 5);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.AmountExceedsCumulative.selector, id, 6, 5));
        vm.prank(payee);
        escrow.closeCapture(id, 5, 6, signature);
    }

    function test_closeCapture_RevertWhen_UnsignedAboveSettled() public {
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidSignature.selector, id, signer));
        vm.prank(payee);
        escrow.closeCapture(id, 5, 5, "");
    }
}
