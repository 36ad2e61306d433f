// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {EscrowTest, IDraftTopUp} from "./EscrowTest.sol";

contract TopUpTest is EscrowTest {
    function test_topUp_RevertWhen_ChannelIsUnknown() public {
        expectRefusal(IChannelEscrow.ChannelNotFound.selector, SALT);
        topUp(SALT, 1);
    }

    function test_topUp_RevertWhen_ChannelIsFinalized() public {
        bytes32 id = openChannel();
        close(id, 1);
        expectRefusal(IChannelEscrow.ChannelFinalized.selector, id);
        topUp(id, 1);
    }

    function test_E1_onlyThePayerTopsUpAndCancelsACloseRequest() public {
        bytes32 id = openChannel();
        requestClose(id);
        uint64 before = escrow.getChannel(id).closeRequestedAt;
        address[3] memory others = [stranger, payee, signer];
        for (uint256 i = 0; i < others.length; ++i) {
            fund(others[i], 5);
            vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.NotPayer.selector, id, others[i]));
            vm.prank(others[i]);
            IDraftTopUp(address(escrow)).topUp(id, 1);
            vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.NotPayer.selector, id, others[i]));
            vm.prank(others[i]);
            escrow.topUp(id, uint256(1));
        }
        assertEq(escrow.getChannel(id).closeRequestedAt, before);
        assertEq(escrow.getChannel(id).deposit, DEPOSIT);
    }

    function test_E1_aStrayTransferToTheEscrowChangesNoChannel() public {
        bytes32 id = openChannel();
        requestClose(id);
        token.mint(address(escrow), 77);
        assertEq(escrow.getChannel(id).deposit, DEPOSIT);
        waitForGrace();
        withdraw(id);
        assertEq(token.balanceOf(address(escrow)), 77);
    }

    function test_topUp_RevertWhen_AmountIsZero() public {
        bytes32 id = openChannel();
        vm.expectRevert(IChannelEscrow.ZeroDeposit.selector);
        topUp(id, 0);
    }

    function test_topUp_RevertWhen_TheSumOverflows() public {
        escrow = newEscrow(address(token), type(uint96).max);
        fund(payer, 1);
        bytes32 id = openChannel();
        uint256 sum = uint256(type(uint128).max) + DEPOSIT;
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.DepositOverflow.selector, sum));
        topUp(id, type(uint128).max);
    }

    function test_topUp_RevertWhen_TheWideAmountOverflows() public {
        bytes32 id = openChannel();
        uint256[2] memory amounts = [uint256(type(uint128).max) + 1, type(uint256).max];
        for (uint256 i = 0; i < amounts.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.DepositOverflow.selector, amounts[i]));
            vm.prank(payer);
            escrow.topUp(id, amounts[i]);
        }
    }

    function test_ESC_2_topUp_RevertWhen_TheTokenCapIsPassed() public {
        bytes32 id = openChannel();
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.DepositExceedsCap.selector, CAP + 1, CAP));
        topUp(id, CAP + 1 - DEPOSIT);
        topUp(id, CAP - DEPOSIT);
        assertEq(escrow.getChannel(id).deposit, CAP);
    }

    function test_ESC_2_topUp_RevertWhen_ThePayersCapIsPassed() public {
        vm.prank(payer);
        bytes32 id = escrow.openWithCap(payee, address(token), DEPOSIT, SALT, signer, DEPOSIT + 5);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.DepositExceedsCap.selector, DEPOSIT + 6, DEPOSIT + 5));
        topUp(id, 6);
        topUp(id, 5);
    }

    function test_topUp_AddsAndReports() public {
        bytes32 id = openChannel();
        vm.expectEmit();
        emit IChannelEscrow.TopUp(id, payer, payee, 5, DEPOSIT + 5);
        topUp(id, 5);
        assertEq(escrow.getChannel(id).deposit, DEPOSIT + 5);
        assertEq(token.balanceOf(address(escrow)), DEPOSIT + 5);
    }

    function test_topUp_ByThePayerCancelsTheCloseRequest() public {
        bytes32 id = openChannel();
        requestClose(id);
        vm.expectEmit();
        emit IChannelEscrow.CloseRequestCancelled(id, payer, payee);
        vm.prank(payer);
        escrow.topUp(id, uint256(1));
        assertEq(escrow.getChannel(id).closeRequestedAt, 0);
        waitForGrace();
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.CloseNotReady.selector, id, 0));
        withdraw(id);
    }
}

contract LowerMaxDepositTest is EscrowTest {
    function lower(bytes32 id, uint128 cap) private {
        vm.prank(payer);
        escrow.lowerMaxDeposit(id, cap);
    }

    function test_lowerMaxDeposit_RevertWhen_CallerIsNotThePayer() public {
        bytes32 id = openChannel();
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.NotPayer.selector, id, payee));
        vm.prank(payee);
        escrow.lowerMaxDeposit(id, DEPOSIT);
    }

    function test_lowerMaxDeposit_RevertWhen_ChannelIsFinalized() public {
        bytes32 id = openChannel();
        close(id, 1);
        expectRefusal(IChannelEscrow.ChannelFinalized.selector, id);
        lower(id, DEPOSIT);
    }

    function test_ESC_2_lowerMaxDeposit_RevertWhen_BelowTheDeposit() public {
        bytes32 id = openChannel();
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.CapBelowDeposit.selector, DEPOSIT - 1, DEPOSIT));
        lower(id, DEPOSIT - 1);
    }

    function test_ESC_2_lowerMaxDeposit_NeverRises() public {
        bytes32 id = openChannel();
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.CapNotLower.selector, CAP + 1, CAP));
        lower(id, CAP + 1);
        lower(id, DEPOSIT + 9);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.CapNotLower.selector, DEPOSIT + 10, DEPOSIT + 9));
        lower(id, DEPOSIT + 10);
    }

    function test_lowerMaxDeposit_HoldsTopUpsDown() public {
        bytes32 id = openChannel();
        vm.expectEmit();
        emit IChannelEscrow.MaxDepositLowered(id, DEPOSIT);
        lower(id, DEPOSIT);
        assertEq(escrow.payerCapOf(id), DEPOSIT);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.DepositExceedsCap.selector, DEPOSIT + 1, DEPOSIT));
        topUp(id, 1);
    }
}

contract RequestCloseTest is EscrowTest {
    function test_requestClose_RevertWhen_ChannelIsUnknown() public {
        expectRefusal(IChannelEscrow.ChannelNotFound.selector, SALT);
        requestClose(SALT);
    }

    function test_requestClose_RevertWhen_ChannelIsFinalized() public {
        bytes32 id = openChannel();
        close(id, 0);
        expectRefusal(IChannelEscrow.ChannelFinalized.selector, id);
        requestClose(id);
    }

    function test_requestClose_RevertWhen_CallerIsNotThePayer() public {
        bytes32 id = openChannel();
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.NotPayer.selector, id, signer));
        vm.prank(signer);
        escrow.requestClose(id);
    }

    function test_requestClose_StartsTheGrace() public {
        bytes32 id = openChannel();
        vm.expectEmit();
        emit IChannelEscrow.CloseRequested(id, payer, payee, block.timestamp + 15 minutes);
        requestClose(id);
        assertEq(escrow.getChannel(id).closeRequestedAt, block.timestamp);
    }

    function test_requestClose_AgainKeepsTheFirstTime() public {
        bytes32 id = openChannel();
        requestClose(id);
        uint256 first = block.timestamp;
        vm.warp(first + 10 minutes);
        vm.recordLogs();
        requestClose(id);
        assertEq(vm.getRecordedLogs().length, 0);
        assertEq(escrow.getChannel(id).closeRequestedAt, first);
        vm.warp(first + 15 minutes);
        withdraw(id);
    }
}

contract WithdrawTest is EscrowTest {
    function test_withdraw_RevertWhen_ChannelIsUnknown() public {
        expectRefusal(IChannelEscrow.ChannelNotFound.selector, SALT);
        withdraw(SALT);
    }

    function test_withdraw_RevertWhen_CallerIsNotThePayer() public {
        bytes32 id = openChannel();
        requestClose(id);
        waitForGrace();
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.NotPayer.selector, id, payee));
        vm.prank(payee);
        escrow.withdraw(id);
    }

    function test_withdraw_RevertWhen_NoCloseWasRequested() public {
        bytes32 id = openChannel();
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.CloseNotReady.selector, id, 0));
        withdraw(id);
    }

    function test_withdraw_RevertWhen_TheGraceHasNotPassed() public {
        bytes32 id = openChannel();
        requestClose(id);
        uint256 readyAt = block.timestamp + 15 minutes;
        vm.warp(readyAt - 1);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.CloseNotReady.selector, id, readyAt));
        withdraw(id);
    }

    function test_withdraw_RevertWhen_DoneAlready() public {
        bytes32 id = openChannel();
        requestClose(id);
        waitForGrace();
        withdraw(id);
        expectRefusal(IChannelEscrow.ChannelFinalized.selector, id);
        withdraw(id);
    }

    function test_ESC_5_withdrawRefundsWhatIsNotSettled() public {
        bytes32 id = openChannel();
        settle(id, 30e6);
        requestClose(id);
        waitForGrace();
        uint256 before = token.balanceOf(payer);
        vm.expectEmit();
        emit IChannelEscrow.ChannelExpired(id, payer, payee);
        vm.expectEmit();
        emit IChannelEscrow.ChannelClosed(id, payer, payee, 30e6, 70e6);
        withdraw(id);
        assertEq(token.balanceOf(payer) - before, 70e6);
        assertFinalized(id, 30e6);
        assertEq(token.balanceOf(address(escrow)), 0);
    }

    function test_ESC_5_settlingInTheGraceDoesNotDelayTheWithdrawal() public {
        bytes32 id = openChannel();
        requestClose(id);
        vm.warp(block.timestamp + 15 minutes - 1);
        settle(id, 1);
        vm.warp(block.timestamp + 1);
        withdraw(id);
        assertFinalized(id, 1);
    }

    function test_withdraw_OfAnExhaustedChannelMovesNothing() public {
        bytes32 id = openChannel();
        settle(id, DEPOSIT);
        requestClose(id);
        waitForGrace();
        withdraw(id);
        assertFinalized(id, DEPOSIT);
        assertEq(escrow.refundCredit(address(token), payer), 0);
    }

    function test_C5_nothingIsCollectedAfterAWithdrawal() public {
        bytes32 id = openChannel();
        bytes memory signature = sign(id, 5);
        requestClose(id);
        waitForGrace();
        withdraw(id);
        vm.startPrank(payee);
        expectRefusal(IChannelEscrow.ChannelFinalized.selector, id);
        escrow.settle(id, 5, signature);
        expectRefusal(IChannelEscrow.ChannelFinalized.selector, id);
        escrow.close(id, 5, signature);
        expectRefusal(IChannelEscrow.ChannelFinalized.selector, id);
        escrow.settleCapture(id, 5, 4, signature);
        expectRefusal(IChannelEscrow.ChannelFinalized.selector, id);
        escrow.closeCapture(id, 5, 0, signature);
    }
}
