// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IBlockedFunds} from "../../contracts/src/interfaces/IBlockedFunds.sol";
import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {EscrowTest} from "./EscrowTest.sol";
import {GUARD, PolicyToken, ReceivePolicyGuard} from "./mocks/ReceivePolicies.sol";

/// @dev Tempo from T6 on (TIP-1028): who is to be paid may turn the escrow away, and the token answers true all the same.
contract ReceivePoliciesTest is EscrowTest {
    PolicyToken internal tip20;
    ReceivePolicyGuard internal guard = ReceivePolicyGuard(GUARD);
    address internal elsewhere = makeAddr("elsewhere");
    bytes32 internal id;

    function setUp() public override {
        super.setUp();
        vm.etch(GUARD, address(new ReceivePolicyGuard()).code);
        tip20 = new PolicyToken();
        escrow = newEscrow(address(tip20), CAP);
        tip20.mint(payer, CAP);
        vm.prank(payer);
        tip20.approve(address(escrow), CAP);
        id = openTip20(SALT);
        openTip20("of others");
    }

    function openTip20(bytes32 salt) private returns (bytes32) {
        vm.prank(payer);
        return escrow.open(payee, address(tip20), DEPOSIT, salt, signer);
    }

    function turnAway(address receiver, address authority) private {
        vm.prank(receiver);
        tip20.setReceivePolicy(address(escrow), true, authority);
    }

    function lastReceipt() private view returns (bytes memory) {
        return guard.receipts(guard.lastNonce() - 1);
    }

    function leave() private {
        requestClose(id);
        waitForGrace();
        withdraw(id);
    }

    function refundTurnedAway(address authority) private returns (bytes memory) {
        turnAway(payer, authority);
        leave();
        return lastReceipt();
    }

    function recoverAs(address caller, bytes memory receipt, address to) private {
        vm.prank(caller);
        escrow.recoverBlocked(receipt, to);
    }

    /// @dev Nobody but the recipient gets `amount`, it gets it once, and the escrow stays as it is.
    function assertOnlyFor(address recipient, uint256 amount) private {
        bytes memory receipt = lastReceipt();
        assertEq(guard.balanceOf(receipt), amount, "not turned away");
        address[4] memory others = [payer, payee, elsewhere, stranger];
        for (uint256 i = 0; i < others.length; ++i) {
            if (others[i] == recipient) continue;
            bytes32 named = bytes32(uint256(uint160(recipient)));
            vm.expectRevert(abi.encodeWithSelector(IBlockedFunds.NotRecipient.selector, others[i], named));
            recoverAs(others[i], receipt, others[i]);
        }
        vm.expectRevert(ReceivePolicyGuard.UnauthorizedClaimer.selector);
        vm.prank(recipient);
        guard.claim(recipient, receipt);

        uint256 held = tip20.balanceOf(address(escrow));
        bytes memory channel = abi.encode(escrow.getChannel(id));
        address to = makeAddr("another address of the recipient");
        uint256 before = tip20.balanceOf(to);
        recoverAs(recipient, receipt, to);
        assertEq(tip20.balanceOf(to), before + amount, "recovered");
        assertEq(tip20.balanceOf(address(escrow)), held, "of the escrow's");
        assertEq(tip20.balanceOf(GUARD), 0);
        assertEq(abi.encode(escrow.getChannel(id)), channel);
        vm.expectRevert(ReceivePolicyGuard.InvalidReceipt.selector);
        recoverAs(recipient, receipt, to);
    }

    function test_E9_aRefundThatWasTurnedAwayIsThePayersAlone() public {
        uint256 before = tip20.balanceOf(payer);
        refundTurnedAway(address(0));
        assertEq(tip20.balanceOf(payer), before, "nothing came");
        assertEq(escrow.refundCredit(address(tip20), payer), 0, "the escrow believes that it paid");
        assertOnlyFor(payer, DEPOSIT);
    }

    /// @dev One that the payer makes up, with all that is right but the number.
    function test_E9_aReceiptThatNeverWasIsWorthNothing() public {
        bytes memory receipt = refundTurnedAway(address(0));
        receipt[223] ^= 0x02;
        vm.expectRevert(ReceivePolicyGuard.InvalidReceipt.selector);
        recoverAs(payer, receipt, payer);
    }

    function test_E9_whatIsCollectedAndTurnedAwayIsThePayeesAlone() public {
        turnAway(payee, address(0));
        settle(id, 40);
        assertEq(settledOf(id), 40);
        assertEq(tip20.balanceOf(payee), 0);
        assertOnlyFor(payee, 40);
        IChannelEscrow.Row[] memory rows = new IChannelEscrow.Row[](1);
        rows[0] = row(id, 70, 70);
        vm.prank(payee);
        escrow.closeMany(address(tip20), rows);
        assertOnlyFor(payee, 30);
    }

    /// @dev A credit may be sent to any address; what that one turns away is its own, and no more the payer's.
    function test_E9_aCreditThatWasTurnedAwayIsItsReceivers() public {
        tip20.setBlocked(payer, true);
        leave();
        tip20.setBlocked(payer, false);
        turnAway(elsewhere, address(0));
        vm.prank(payer);
        escrow.withdrawRefund(address(tip20), elsewhere);
        assertOnlyFor(elsewhere, DEPOSIT);
    }

    /// @dev The guard takes more forms of a receipt than the one that it emitted. In none of them can it read another recipient
    /// than the escrow does.
    function test_E9_aReceiptCanBeReadInOneWayOnly() public {
        bytes memory receipt = refundTurnedAway(address(0));
        vm.startPrank(payer);
        vm.expectRevert(IBlockedFunds.UnsupportedReceipt.selector);
        escrow.recoverBlocked("", payer);
        vm.expectRevert(IBlockedFunds.UnsupportedReceipt.selector);
        escrow.recoverBlocked(bytes.concat(receipt, hex"00"), payer);
        vm.expectRevert(IBlockedFunds.UnsupportedReceipt.selector);
        escrow.recoverBlocked(bytes.concat(receipt, bytes32(0)), payer);
        vm.expectRevert(IBlockedFunds.UnsupportedReceipt.selector);
        escrow.recoverBlocked(cut(receipt, 319), payer);
        vm.expectRevert(IBlockedFunds.UnsupportedReceipt.selector);
        escrow.recoverBlocked(cut(receipt, 160), payer);
        vm.expectRevert(IBlockedFunds.UnsupportedReceipt.selector);
        escrow.recoverBlocked(flip(receipt, 31, 0x03), payer);
        vm.expectRevert(IBlockedFunds.UnsupportedReceipt.selector);
        escrow.recoverBlocked(flip(receipt, 0, 0x80), payer);
        for (uint256 i = 128; i < 160; ++i) {
            bytes memory other = flip(receipt, i, 0x01);
            bytes32 named = bytes32(uint256(uint160(payer)) ^ (1 << (8 * (159 - i))));
            vm.expectRevert(abi.encodeWithSelector(IBlockedFunds.NotRecipient.selector, payer, named));
            escrow.recoverBlocked(other, payer);
        }
        vm.stopPrank();
        assertEq(guard.balanceOf(flip(receipt, 128, 0x80)), DEPOSIT, "the guard is content with dirty bits");
        assertEq(guard.balanceOf(bytes.concat(receipt, hex"00")), DEPOSIT, "and with bytes at the end");
        recoverAs(payer, receipt, elsewhere);
    }

    function flip(bytes memory receipt, uint256 at, uint8 bits) private pure returns (bytes memory other) {
        other = bytes.concat(receipt);
        other[at] ^= bytes1(bits);
    }

    function cut(bytes memory receipt, uint256 length) private pure returns (bytes memory other) {
        other = bytes.concat(receipt);
        assembly ("memory-safe") {
            mstore(other, length)
        }
    }

    /// @dev A claim never turns into the next receipt: it reverts, until the policy or the destination is another.
    function test_E9_theDestinationMustLetTheEscrowThrough() public {
        bytes memory receipt = refundTurnedAway(address(0));
        vm.expectRevert(PolicyToken.PolicyForbids.selector);
        recoverAs(payer, receipt, payer);
        assertEq(guard.balanceOf(receipt), DEPOSIT);
        vm.prank(payer);
        tip20.setReceivePolicy(address(escrow), false, address(0));
        uint256 before = tip20.balanceOf(payer);
        recoverAs(payer, receipt, payer);
        assertEq(tip20.balanceOf(payer), before + DEPOSIT);
    }

    function test_recoverBlocked_RevertWhen_TheDestinationIsUseless() public {
        bytes memory receipt = refundTurnedAway(address(0));
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidRecipient.selector, address(0)));
        recoverAs(payer, receipt, address(0));
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidRecipient.selector, address(escrow)));
        recoverAs(payer, receipt, address(escrow));
        vm.expectRevert(ReceivePolicyGuard.InvalidClaimAddress.selector);
        recoverAs(payer, receipt, GUARD);
        assertEq(guard.balanceOf(receipt), DEPOSIT);
    }

    function test_E9_aRecoveryAuthorityStaysTheOnlyOne() public {
        bytes memory receipt = refundTurnedAway(stranger);
        vm.expectRevert(ReceivePolicyGuard.UnauthorizedClaimer.selector);
        recoverAs(payer, receipt, elsewhere);
        vm.prank(stranger);
        guard.claim(elsewhere, receipt);
        assertEq(tip20.balanceOf(elsewhere), DEPOSIT);
    }

    /// @dev Anybody may name the escrow, for whatever anybody sends, and mints. What it may claim is still the recipient's.
    function test_E9_whoNamesTheEscrowAsRecoveryGetsItsOwnAlone() public {
        uint8[2] memory kinds = [0, 1];
        for (uint8 i = 0; i < kinds.length; ++i) {
            tip20.mint(GUARD, 5);
            vm.prank(address(tip20));
            guard.storeBlocked(address(escrow), makeAddr("any sender"), elsewhere, 5, kinds[i]);
            uint256 held = tip20.balanceOf(elsewhere);
            bytes memory receipt = lastReceipt();
            bytes32 named = bytes32(uint256(uint160(elsewhere)));
            vm.expectRevert(abi.encodeWithSelector(IBlockedFunds.NotRecipient.selector, stranger, named));
            recoverAs(stranger, receipt, stranger);
            recoverAs(elsewhere, receipt, elsewhere);
            assertEq(tip20.balanceOf(elsewhere), held + 5);
        }
        assertEq(tip20.balanceOf(address(escrow)), 2 * DEPOSIT);
    }

    function test_recoverBlocked_RevertWhen_ThereIsNoGuard() public {
        bytes memory receipt = refundTurnedAway(address(0));
        vm.etch(GUARD, "");
        vm.expectRevert(IBlockedFunds.NoReceivePolicyGuard.selector);
        recoverAs(payer, receipt, elsewhere);
    }

    /// @dev The chain's own has a single byte, which marks it as built in.
    function test_recoverBlocked_asksAGuardOfOneByte() public {
        bytes memory receipt = refundTurnedAway(address(0));
        vm.etch(GUARD, hex"00");
        vm.expectCall(GUARD, abi.encodeCall(ReceivePolicyGuard.claim, (elsewhere, receipt)));
        recoverAs(payer, receipt, elsewhere);
    }

    function test_E9_aReleaseThatReentersFindsTheLock() public {
        bytes memory receipt = refundTurnedAway(address(0));
        tip20.setHook(address(escrow), abi.encodeCall(escrow.recoverBlocked, (receipt, elsewhere)));
        recoverAs(payer, receipt, elsewhere);
        assertFalse(tip20.hookSucceeded());
        assertEq(bytes4(tip20.hookAnswer()), IChannelEscrow.Reentered.selector);
        assertEq(tip20.balanceOf(elsewhere), DEPOSIT);
    }
}
