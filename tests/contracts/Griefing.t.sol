// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {RelayedTest} from "./RelayedTest.sol";
import {WeirdToken} from "./mocks/WeirdTokens.sol";
import {stdError} from "forge-std/StdError.sol";

/// @dev Ways to freeze, strand or crowd out what is somebody else's that were tried. Each is named after what it is for.
contract GriefingTest is RelayedTest {
    uint256 internal constant FOREVER = type(uint256).max;
    /// @dev Where the escrow counts its routes; the test says so itself if that moves.
    bytes32 internal constant ROUTE_COUNT_SLOT = bytes32(uint256(1));

    /// @dev Somebody opens channels to new payees until the numbers of routes run out, at 2^40 opens. Then there are no new
    /// routes; the number does not start again at another payee's, and those who have one go on.
    function test_ESC_4_routesThatRunOutFreezeNobodysChannel() public {
        bytes32 id = openChannel("before");
        assertEq(uint256(vm.load(address(escrow), ROUTE_COUNT_SLOT)), 1, "the routes are counted elsewhere");
        vm.store(address(escrow), ROUTE_COUNT_SLOT, bytes32(uint256(type(uint40).max)));
        vm.expectRevert(stdError.arithmeticError);
        vm.prank(payer);
        escrow.open(stranger, address(token), DEPOSIT, SALT, signer);
        settle(id, 10);
        close(openChannel("after"), 20);
        assertEq(token.balanceOf(payee), 30);
        requestClose(id);
        waitForGrace();
        withdraw(id);
        assertEq(token.balanceOf(address(escrow)), 0);
    }

    /// @dev A thief sees an open in the pool and takes its id first: to break the payer's open, or to be its signer's payer.
    function test_E2_nobodyElseCanTakeAnId() public {
        fund(stranger, CAP);
        bytes32 wanted = escrow.computeChannelId(payer, payee, address(token), SALT, signer);
        vm.startPrank(stranger);
        assertNotEq(escrow.open(payee, address(token), 1, SALT, signer), wanted);
        assertNotEq(escrow.open(payee, address(token), 1, SALT, payer), wanted);
        vm.stopPrank();
        Terms memory t = terms();
        bytes memory relayed = callOpen3009(t, t);
        assertEq(openChannel(), wanted);
        // The payer's own open came first: its signature for the same terms is refused and stays unused.
        assertEq(sendRefused(relayed), IChannelEscrow.ChannelAlreadyExists.selector);
        assertFalse(token.authorizationState(payer, openNonce(t)));
    }

    /// @dev A payer lowers its cap while top-ups that it signed are on their way: those that pass the cap are refused, whoever
    /// sends them, and what was signed is not used up.
    function test_ESC_2_aLoweredCapStopsTopUpsOnTheirWay() public {
        bytes32 id = openChannel();
        bytes[2] memory underway = [callTopUp3009(id, 6, "signed before"), callTopUpPermit(id, 6, 3)];
        vm.prank(payer);
        escrow.lowerMaxDeposit(id, DEPOSIT + 5);
        for (uint256 i = 0; i < underway.length; ++i) {
            assertEq(sendRefused(underway[i]), IChannelEscrow.DepositExceedsCap.selector);
        }
        assertFalse(token.authorizationState(payer, keccak256(abi.encode(id, uint128(6), payer, "signed before"))));
        assertEq(permit2.nonceBitmap(payer, 0), 0);
        send(callTopUp3009(id, 5, "within"));
        assertEq(escrow.getChannel(id).deposit, DEPOSIT + 5);
    }

    /// @dev The deposits of others as the money of a new channel: the escrow itself is named as who pays.
    function test_ESC_1_theEscrowsOwnMoneyOpensNothing() public {
        bytes32 id = openChannel();
        Terms memory t = terms();
        (t.from, t.payee) = (address(escrow), stranger);
        assertEq(sendRefused(callOpen3009(t, t)), IChannelEscrow.TransferFailed.selector);
        assertEq(sendRefused(callOpenPermit(t, t)), IChannelEscrow.TransferFailed.selector);
        bytes32 nonce = keccak256(abi.encode(id, uint128(5), address(escrow), SALT));
        bytes memory signature = signReceive(payerKey, address(escrow), 5, nonce);
        bytes memory data =
            abi.encodeCall(escrow.topUpWithAuthorization, (id, 5, address(escrow), SALT, 0, FOREVER, nonce, signature));
        assertEq(sendRefused(data), IChannelEscrow.TransferFailed.selector);
        assertEq(escrow.getChannel(id).deposit, DEPOSIT);
    }

    /// @dev Two escrows of the same name on one chain: what payer and payee signed for the one is played on the other.
    function test_E2_whatIsSignedForOneEscrowIsWorthNothingInAnother() public {
        Terms memory t = terms();
        bytes[2] memory opens = [callOpen3009(t, t), callOpenPermit(t, t)];
        bytes32 here = openChannel("here");
        bytes memory leave = signLeave("CloseAuthorization", here, 10, 1, FOREVER);
        IChannelEscrow.Row[] memory rows = new IChannelEscrow.Row[](1);
        rows[0] = row(here, 10, 10);
        bytes memory batch = signBatch("SettleManyAuthorization", rows, 1, FOREVER);

        escrow = deployEscrow("EVM Payment Channel", oneCap(address(token), CAP), address(permit2));
        vm.prank(payer);
        token.approve(address(escrow), CAP);
        bytes32 there = openChannel("here");
        assertNotEq(there, here);
        for (uint256 i = 0; i < opens.length; ++i) {
            assertEq(sendRefused(opens[i]), IChannelEscrow.TransferFailed.selector);
        }
        bytes memory voucher = sign(there, 10);
        bytes memory close = abi.encodeCall(escrow.closeWithAuthorization, (there, 10, 1, FOREVER, leave, voucher));
        assertEq(sendRefused(close), IChannelEscrow.InvalidSignature.selector);
        bytes memory settle =
            abi.encodeCall(escrow.settleManyWithAuthorization, (payee, address(token), rows, 1, FOREVER, batch));
        assertEq(sendRefused(settle), IChannelEscrow.InvalidSignature.selector);
    }

    /// @dev An operator of one payee names it as the payee of a batch over another's channels.
    function test_ESC_4_anOperatorOfOnePayeeReachesNoOther() public {
        bytes32 id = openChannel();
        IChannelEscrow.Row[] memory rows = new IChannelEscrow.Row[](1);
        rows[0] = row(id, 10, 10);
        vm.prank(stranger);
        escrow.setOperator(relayer, IChannelEscrow.OperatorRights.SettleAndClose);
        vm.startPrank(relayer);
        (uint256 paid, IChannelEscrow.Verdict[] memory verdicts) = escrow.closeManyFor(stranger, address(token), rows);
        assertEq(paid, 0);
        assertEq(uint256(verdicts[0]), uint256(IChannelEscrow.Verdict.OtherPayee));
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.NotOperator.selector, payee, relayer));
        escrow.closeManyFor(payee, address(token), rows);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.NotPayee.selector, id, relayer));
        escrow.closeCapture(id, 10, 10, rows[0].signature);
        vm.stopPrank();
        assertFalse(escrow.getChannel(id).finalized);
    }

    /// @dev Payers of a token with hooks burn all the gas of their refunds, to make a batch too dear: it costs the bound for
    /// each and no more, it lands, and every refund is kept for its payer.
    function test_ESC_6_refundsThatBurnTheirGasCostTheirBoundAndNoMore() public {
        WeirdToken weird = new WeirdToken();
        escrow = newEscrow(address(weird), CAP);
        weird.mint(payer, CAP);
        vm.prank(payer);
        weird.approve(address(escrow), CAP);
        IChannelEscrow.Row[] memory rows = new IChannelEscrow.Row[](5);
        for (uint256 i = 0; i < rows.length; ++i) {
            vm.prank(payer);
            bytes32 id = escrow.open(payee, address(weird), DEPOSIT, bytes32(i), signer);
            rows[i] = row(id, 10, 0);
        }
        weird.setMood(WeirdToken.Mood.BurnsGas);
        uint256 start = gasleft();
        vm.prank(payee);
        escrow.closeMany{gas: 7_000_000}(address(weird), rows);
        assertLt(start - gasleft(), 5 * 1_100_000);
        assertEq(escrow.refundCredit(address(weird), payer), 5 * DEPOSIT);
        weird.setMood(WeirdToken.Mood.Plain);
        vm.prank(payer);
        escrow.withdrawRefund(address(weird), payer);
        assertEq(weird.balanceOf(payer), CAP);
    }

    /// @dev A payee that will not let go settles dust in every block of the grace, and a friend adds to the deposit: the
    /// payer leaves in the very second that it was promised, with all that it did not sign away and the gifts.
    function test_ESC_5_noDustHoldsAPayerBack() public {
        bytes32 id = openChannel();
        bytes memory gift = callTopUp3009(id, 5, "withheld");
        requestClose(id);
        uint256 ready = block.timestamp + escrow.CLOSE_GRACE_PERIOD();
        for (uint128 i = 1; i <= 10; ++i) {
            vm.warp(block.timestamp + 12);
            settle(id, i);
        }
        send(gift);
        vm.warp(ready - 1);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.CloseNotReady.selector, id, ready));
        withdraw(id);
        vm.warp(ready);
        uint256 before = token.balanceOf(payer);
        withdraw(id);
        assertEq(token.balanceOf(payer) - before, DEPOSIT + 5 - 10);
    }
}
