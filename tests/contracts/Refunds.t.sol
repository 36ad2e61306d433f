// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {EscrowTest} from "./EscrowTest.sol";
import {WeirdToken} from "./mocks/WeirdTokens.sol";

/// @dev Refunds that the token refuses, in every way that a token can refuse.
contract RefundsTest is EscrowTest {
    WeirdToken internal weird;

    function setUp() public override {
        super.setUp();
        weird = new WeirdToken();
        escrow = newEscrow(address(weird), CAP);
        weird.mint(payer, CAP);
        vm.prank(payer);
        weird.approve(address(escrow), CAP);
    }

    function openWeird(bytes32 salt) private returns (bytes32) {
        vm.prank(payer);
        return escrow.open(payee, address(weird), DEPOSIT, salt, signer);
    }

    function assertCredited(uint256 amount) private view {
        assertEq(escrow.refundCredit(address(weird), payer), amount);
        assertGe(weird.balanceOf(address(escrow)), amount);
    }

    function collect(uint256 amount) private {
        weird.setMood(WeirdToken.Mood.Plain);
        weird.setBlocked(payer, false);
        weird.setPaused(false);
        vm.expectEmit();
        emit IChannelEscrow.RefundWithdrawn(payer, address(weird), payer, amount);
        vm.prank(payer);
        assertEq(escrow.withdrawRefund(address(weird), payer), amount);
        assertEq(escrow.refundCredit(address(weird), payer), 0);
    }

    function test_ESC_5_everyKindOfRefusedPushBecomesACredit() public {
        bytes32 id = openWeird(SALT);
        requestClose(id);
        waitForGrace();
        WeirdToken.Mood[5] memory moods = [
            WeirdToken.Mood.ReturnsFalse,
            WeirdToken.Mood.ReturnsTwo,
            WeirdToken.Mood.Reverts,
            WeirdToken.Mood.Bombs,
            WeirdToken.Mood.BurnsGas
        ];
        uint256 start = vm.snapshotState();
        for (uint256 i = 0; i < moods.length; ++i) {
            weird.setMood(moods[i]);
            vm.expectEmit();
            emit IChannelEscrow.RefundCredited(id, payer, address(weird), DEPOSIT);
            vm.prank(payer);
            escrow.withdraw{gas: 3_000_000}(id);
            assertFinalized(id, 0);
            // A token that answers 2 has moved the money all the same: no escrow can serve one that lies like that.
            if (moods[i] != WeirdToken.Mood.ReturnsTwo) {
                assertCredited(DEPOSIT);
                collect(DEPOSIT);
            }
            vm.revertToState(start);
        }
    }

    function test_ESC_5_aPausedTokenOnlyDefersTheRefund() public {
        bytes32 id = openWeird(SALT);
        requestClose(id);
        waitForGrace();
        weird.setPaused(true);
        withdraw(id);
        assertCredited(DEPOSIT);
        collect(DEPOSIT);
    }

    function test_ESC_6_aBlockedPayerStopsNeitherTheCloseNorTheBatch() public {
        bytes32 first = openWeird("first");
        bytes32 second = openWeird("second");
        IChannelEscrow.Row[] memory rows = new IChannelEscrow.Row[](2);
        rows[0] = row(first, 10, 10);
        rows[1] = row(second, 20, 20);
        weird.setBlocked(payer, true);
        vm.prank(payee);
        (uint256 paid,) = escrow.closeMany(address(weird), rows);
        assertEq(paid, 30);
        assertEq(weird.balanceOf(payee), 30);
        assertCredited(2 * DEPOSIT - 30);
        collect(2 * DEPOSIT - 30);
        assertEq(weird.balanceOf(address(escrow)), 0);
    }

    function test_withdrawRefund_ToAnotherAddressForABlockedPayer() public {
        bytes32 id = openWeird(SALT);
        weird.setBlocked(payer, true);
        close(id, 10);
        vm.prank(payer);
        escrow.withdrawRefund(address(weird), stranger);
        assertEq(weird.balanceOf(stranger), DEPOSIT - 10);
    }

    function test_withdrawRefund_RevertWhen_NothingIsOwed() public {
        bytes32 id = openWeird(SALT);
        weird.setBlocked(payer, true);
        close(id, 10);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.NoRefund.selector, payee, address(weird)));
        vm.prank(payee);
        escrow.withdrawRefund(address(weird), payee);
    }

    function test_withdrawRefund_RevertWhen_TheRecipientIsUseless() public {
        bytes32 id = openWeird(SALT);
        weird.setBlocked(payer, true);
        close(id, 10);
        address[2] memory useless = [address(0), address(escrow)];
        for (uint256 i = 0; i < useless.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidRecipient.selector, useless[i]));
            vm.prank(payer);
            escrow.withdrawRefund(address(weird), useless[i]);
        }
    }

    function test_withdrawRefund_RevertWhen_TheTokenRefusesAndKeepsTheCredit() public {
        bytes32 id = openWeird(SALT);
        weird.setBlocked(payer, true);
        close(id, 10);
        vm.expectRevert(
            abi.encodeWithSelector(IChannelEscrow.TransferFailed.selector, address(weird), payer, DEPOSIT - 10)
        );
        vm.prank(payer);
        escrow.withdrawRefund(address(weird), payer);
        assertCredited(DEPOSIT - 10);
    }

    /// @dev Whatever gas a payee sends, a close either reverts or gives the push its full bound: it never credits a
    /// token that would have taken the push.
    function testFuzz_E8_noGasLimitForcesACredit(uint256 gasLimit) public {
        gasLimit = bound(gasLimit, 30_000, 1_400_000);
        bytes32 id = openWeird(SALT);
        bytes memory data = abi.encodeCall(escrow.close, (id, 10, sign(id, 10)));
        vm.prank(payee);
        (bool ok,) = address(escrow).call{gas: gasLimit}(data);
        assertEq(escrow.refundCredit(address(weird), payer), 0);
        if (ok) assertGe(weird.gasSeen(), 990_000);
        else assertFalse(escrow.getChannel(id).finalized);
    }

    function test_ESC_6_aPushNeverGetsMoreThanItsBound() public {
        bytes32 id = openWeird(SALT);
        bytes memory signature = sign(id, 10);
        vm.prank(payee);
        escrow.close{gas: 20_000_000}(id, 10, signature);
        assertLe(weird.gasSeen(), 1_000_000);
        assertGe(weird.gasSeen(), 990_000);
    }

    function test_E8_aStarvedCloseSaysHowMuchGasItNeeds() public {
        bytes32 id = openWeird(SALT);
        bytes memory data = abi.encodeCall(escrow.close, (id, 10, sign(id, 10)));
        vm.prank(payee);
        (bool ok, bytes memory answer) = address(escrow).call{gas: 600_000}(data);
        assertFalse(ok);
        assertEq(bytes4(answer), IChannelEscrow.NotEnoughGas.selector);
    }

    function test_close_RevertWhen_TheTokenRefusesThePayee() public {
        bytes32 id = openWeird(SALT);
        weird.setBlocked(payee, true);
        bytes memory signature = sign(id, 10);
        vm.expectRevert(
            abi.encodeWithSelector(IChannelEscrow.TransferFailed.selector, address(weird), payee, uint256(10))
        );
        vm.prank(payee);
        escrow.close(id, 10, signature);
        requestClose(id);
        waitForGrace();
        withdraw(id);
        assertFinalized(id, 0);
    }
}
