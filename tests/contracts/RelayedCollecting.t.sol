// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {IRelayedEscrow} from "../../contracts/src/interfaces/IRelayedEscrow.sol";
import {RelayedTest} from "./RelayedTest.sol";
import {ContractSigner} from "./mocks/Signers.sol";

/// @dev Settlements and closes that a payee signed for and anybody sends.
contract RelayedCollectingTest is RelayedTest {
    bytes32 internal id;
    uint256 internal deadline;

    function setUp() public override {
        super.setUp();
        id = openChannel();
        deadline = block.timestamp + 60;
    }

    function callSettle(uint128 amount, uint256 nonce) private view returns (bytes memory) {
        bytes memory leave = signLeave("SettleAuthorization", id, amount, nonce, deadline);
        return abi.encodeCall(escrow.settleWithAuthorization, (id, amount, nonce, deadline, leave, sign(id, amount)));
    }

    function callClose(uint128 amount, uint256 nonce) private view returns (bytes memory) {
        bytes memory leave = signLeave("CloseAuthorization", id, amount, nonce, deadline);
        return abi.encodeCall(escrow.closeWithAuthorization, (id, amount, nonce, deadline, leave, sign(id, amount)));
    }

    function test_settleWithAuthorization_PaysThePayeeAndReports() public {
        bytes memory data = callSettle(10, 1);
        vm.expectEmit();
        emit IRelayedEscrow.AuthorizationUsed(payee, id, 1);
        vm.expectEmit();
        emit IChannelEscrow.Settled(id, payer, payee, 10, 10, 10);
        send(data);
        assertEq(token.balanceOf(payee), 10);
        assertEq(token.balanceOf(relayer), 0);
        assertTrue(escrow.isNonceUsed(payee, id, 1));
        assertFalse(escrow.isNonceUsed(payee, id, 2));
    }

    function test_closeWithAuthorization_PaysRefundsAndReports() public {
        uint256 before = token.balanceOf(payer);
        bytes memory data = callClose(10, 1);
        vm.expectEmit();
        emit IChannelEscrow.ChannelClosed(id, payer, payee, 10, DEPOSIT - 10);
        send(data);
        assertEq(token.balanceOf(payee), 10);
        assertEq(token.balanceOf(payer) - before, DEPOSIT - 10);
        assertFinalized(id, 10);
    }

    function test_C1_closeWithAuthorizationAroundTheSettledBoundary() public {
        settle(id, 10);
        uint256 start = vm.snapshotState();
        for (uint128 amount = 9; amount <= 10; ++amount) {
            bytes memory forfeit = signLeave("CloseAuthorization", id, amount, 1, deadline);
            escrow.closeWithAuthorization(id, amount, 1, deadline, forfeit, "");
            assertFinalized(id, 10);
            vm.revertToState(start);
        }
        bytes memory leave = signLeave("CloseAuthorization", id, 11, 1, deadline);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidSignature.selector, id, signer));
        escrow.closeWithAuthorization(id, 11, 1, deadline, leave, "");
        send(callClose(11, 1));
        assertFinalized(id, 11);
    }

    function test_C1_settleWithAuthorizationAroundTheSettledBoundary() public {
        settle(id, 10);
        for (uint128 amount = 9; amount <= 10; ++amount) {
            assertEq(sendRefused(callSettle(amount, 1)), IChannelEscrow.AmountNotIncreasing.selector);
        }
        send(callSettle(11, 1));
        assertEq(sendRefused(callSettle(DEPOSIT + 1, 2)), IChannelEscrow.AmountExceedsDeposit.selector);
    }

    /// @dev A refused call uses up nothing.
    function test_E7_aRefusedRelayBurnsNoNonce() public {
        assertEq(sendRefused(callSettle(DEPOSIT + 1, 1)), IChannelEscrow.AmountExceedsDeposit.selector);
        assertFalse(escrow.isNonceUsed(payee, id, 1));
        topUp(id, 1);
        send(callSettle(DEPOSIT + 1, 1));
    }

    function test_aNonceWorksOnceInEitherFunction() public {
        send(callSettle(10, 1));
        bytes memory again = callSettle(20, 1);
        vm.expectRevert(abi.encodeWithSelector(IRelayedEscrow.NonceAlreadyUsed.selector, payee, id, 1));
        send(again);
        assertEq(sendRefused(callClose(20, 1)), IRelayedEscrow.NonceAlreadyUsed.selector);
        send(callSettle(20, 0));
        send(callClose(20, type(uint256).max));
    }

    function test_aNonceIsOfOnePayeeAndChannel() public {
        send(callSettle(10, 1));
        id = openChannel("other");
        send(callSettle(10, 1));
    }

    function test_RevertWhen_TheDeadlineHasPassed() public {
        bytes memory data = callSettle(10, 1);
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(IRelayedEscrow.AuthorizationExpired.selector, deadline));
        send(data);
        vm.warp(deadline);
        send(data);
    }

    function test_cancelAuthorization_UsesUpTheNonce() public {
        vm.expectEmit();
        emit IRelayedEscrow.AuthorizationUsed(payee, id, 1);
        vm.startPrank(payee);
        escrow.cancelAuthorization(id, 1);
        vm.expectRevert(abi.encodeWithSelector(IRelayedEscrow.NonceAlreadyUsed.selector, payee, id, 1));
        escrow.cancelAuthorization(id, 1);
        vm.stopPrank();
        assertEq(sendRefused(callSettle(10, 1)), IRelayedEscrow.NonceAlreadyUsed.selector);
        vm.prank(stranger);
        escrow.cancelAuthorization(id, 2);
        send(callSettle(10, 2));
    }

    function test_RevertWhen_TheChannelIsUnknownOrFinalized() public {
        bytes memory late = callSettle(20, 2);
        send(callClose(10, 1));
        assertEq(sendRefused(late), IChannelEscrow.ChannelFinalized.selector);
        assertEq(sendRefused(callClose(20, 3)), IChannelEscrow.ChannelFinalized.selector);
        id = "unknown";
        assertEq(sendRefused(callSettle(20, 2)), IChannelEscrow.ChannelNotFound.selector);
        assertEq(sendRefused(callClose(20, 2)), IChannelEscrow.ChannelNotFound.selector);
    }

    /// @dev E2: leave for one call is no leave for another verb, channel, amount, nonce or deadline.
    function test_E2_noWordOfTheLeaveCanBeChanged() public {
        bytes memory leave = signLeave("SettleAuthorization", id, 10, 1, deadline);
        bytes memory voucher = sign(id, 10);
        bytes32 other = openChannel("other");
        bytes[] memory tries = new bytes[](5);
        tries[0] = abi.encodeCall(escrow.closeWithAuthorization, (id, 10, 1, deadline, leave, voucher));
        tries[1] = abi.encodeCall(escrow.settleWithAuthorization, (other, 10, 1, deadline, leave, sign(other, 10)));
        tries[2] = abi.encodeCall(escrow.settleWithAuthorization, (id, 11, 1, deadline, leave, sign(id, 11)));
        tries[3] = abi.encodeCall(escrow.settleWithAuthorization, (id, 10, 2, deadline, leave, voucher));
        tries[4] = abi.encodeCall(escrow.settleWithAuthorization, (id, 10, 1, deadline + 1, leave, voucher));
        for (uint256 i = 0; i < tries.length; ++i) {
            assertEq(sendRefused(tries[i]), IChannelEscrow.InvalidSignature.selector);
        }
        vm.chainId(block.chainid + 1);
        bytes memory same = abi.encodeCall(escrow.settleWithAuthorization, (id, 10, 1, deadline, leave, sign(id, 10)));
        assertEq(sendRefused(same), IChannelEscrow.InvalidSignature.selector);
    }

    function testFuzz_V5_noOtherBytesAreThePayees(uint256 bit) public {
        bytes memory leave = signLeave("SettleAuthorization", id, 10, 1, deadline);
        bit = bound(bit, 0, 65 * 8 - 1);
        // forge-lint: disable-next-line(unsafe-typecast)
        leave[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        bytes memory voucher = sign(id, 10);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidSignature.selector, id, payee));
        escrow.settleWithAuthorization(id, 10, 1, deadline, leave, voucher);
    }

    /// @dev ESC-4: the payee's leave alone moves nothing; and the voucher alone gives a stranger nothing.
    function test_ESC_4_bothSignaturesAreNeeded() public {
        bytes memory leave = signLeave("SettleAuthorization", id, 10, 1, deadline);
        bytes memory voucher = sign(id, 10);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidSignature.selector, id, signer));
        escrow.settleWithAuthorization(id, 10, 1, deadline, leave, leave);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidSignature.selector, id, payee));
        escrow.settleWithAuthorization(id, 10, 1, deadline, voucher, voucher);
    }

    function test_aContractMayBeThePayee() public {
        ContractSigner wallet = new ContractSigner();
        payee = address(wallet);
        id = openChannel();
        bytes32 typeHash =
            keccak256("SettleAuthorization(bytes32 channelId,uint128 cumulativeAmount,uint256 nonce,uint256 deadline)");
        bytes32 structHash = keccak256(abi.encode(typeHash, id, uint128(10), 1, deadline));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", escrow.domainSeparator(), structHash));
        bytes memory voucher = sign(id, 10);
        wallet.set(ContractSigner.Answer.Refuse, digest);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidSignature.selector, id, payee));
        escrow.settleWithAuthorization(id, 10, 1, deadline, "any", voucher);
        wallet.set(ContractSigner.Answer.Accept, digest);
        escrow.settleWithAuthorization(id, 10, 1, deadline, "any", voucher);
        assertEq(token.balanceOf(payee), 10);
    }
}

/// @dev Batches that a payee signed for and anybody sends.
contract RelayedBatchesTest is RelayedTest {
    bytes32 internal first;
    bytes32 internal second;
    uint256 internal deadline;
    IChannelEscrow.Row[] internal rows;

    function setUp() public override {
        super.setUp();
        first = openChannel("first");
        second = openChannel("second");
        deadline = block.timestamp + 60;
        rows.push(row(first, 50, 30));
        rows.push(row(second, 7, 7));
    }

    function callBatch(bool closing, uint256 nonce) private view returns (bytes memory) {
        string memory verb = closing ? "CloseManyAuthorization" : "SettleManyAuthorization";
        bytes memory leave = signBatch(verb, rows, nonce, deadline);
        return encode(closing, payee, rows, nonce, leave);
    }

    function encode(bool closing, address who, IChannelEscrow.Row[] memory sent, uint256 nonce, bytes memory leave)
        private
        view
        returns (bytes memory)
    {
        return closing
            ? abi.encodeCall(escrow.closeManyWithAuthorization, (who, address(token), sent, nonce, deadline, leave))
            : abi.encodeCall(escrow.settleManyWithAuthorization, (who, address(token), sent, nonce, deadline, leave));
    }

    function test_settleManyWithAuthorization_PaysThePayeeOnce() public {
        bytes memory data = callBatch(false, 1);
        vm.expectEmit();
        emit IChannelEscrow.RowSettled(first, payee, 30, 30);
        vm.expectEmit();
        emit IChannelEscrow.RowSettled(second, payee, 7, 7);
        vm.expectEmit();
        emit IRelayedEscrow.AuthorizationUsed(payee, 0, 1);
        send(data);
        assertEq(token.balanceOf(payee), 37);
        assertEq(settledOf(first), 30);
        assertTrue(escrow.isNonceUsed(payee, 0, 1));
        assertEq(sendRefused(data), IRelayedEscrow.NonceAlreadyUsed.selector);
    }

    function test_closeManyWithAuthorization_PaysAndRefunds() public {
        uint256 before = token.balanceOf(payer);
        bytes memory data = callBatch(true, 1);
        send(data);
        assertEq(token.balanceOf(payee), 37);
        assertEq(token.balanceOf(payer) - before, 2 * DEPOSIT - 37);
        assertFinalized(first, 30);
        assertFinalized(second, 7);
        assertEq(sendRefused(data), IRelayedEscrow.NonceAlreadyUsed.selector);
    }

    /// @dev E7: sent too early, so that a row is skipped, the batch keeps its nonce; what landed cannot land again.
    function test_E7_anEarlyBatchBurnsNothing() public {
        rows.push(row(openChannel("short"), DEPOSIT + 5, DEPOSIT + 5));
        for (uint256 i = 0; i < 2; ++i) {
            bool closing = i == 1;
            uint256 start = vm.snapshotState();
            bytes memory data = callBatch(closing, 1);
            send(data);
            assertFalse(escrow.isNonceUsed(payee, 0, 1));
            assertEq(token.balanceOf(payee), 37);
            topUp(rows[2].channelId, 5);
            send(data);
            assertEq(token.balanceOf(payee), 37 + DEPOSIT + 5);
            send(data);
            assertEq(token.balanceOf(payee), 37 + DEPOSIT + 5, "landed twice");
            vm.revertToState(start);
        }
    }

    /// @dev E7: the relayer can neither pick the capture nor touch, drop, add or reorder rows or their signatures.
    function test_E7_noRowCanBeChanged() public {
        for (uint256 i = 0; i < 2; ++i) {
            bool closing = i == 1;
            bytes memory leave =
                signBatch(closing ? "CloseManyAuthorization" : "SettleManyAuthorization", rows, 1, deadline);
            IChannelEscrow.Row[] memory sent = rows;
            sent[0].captureAmount = 31;
            refuse(closing, sent, leave);
            sent = rows;
            sent[0].cumulativeAmount = 51;
            refuse(closing, sent, leave);
            sent = rows;
            sent[1].channelId = first;
            refuse(closing, sent, leave);
            sent = rows;
            sent[1].signature[3] ^= 0x01;
            refuse(closing, sent, leave);
            sent = rows;
            (sent[0], sent[1]) = (sent[1], sent[0]);
            refuse(closing, sent, leave);
            sent = new IChannelEscrow.Row[](1);
            sent[0] = rows[0];
            refuse(closing, sent, leave);
            refuse(!closing, rows, leave);
        }
        assertEq(token.balanceOf(payee), 0);
    }

    function refuse(bool closing, IChannelEscrow.Row[] memory sent, bytes memory leave) private {
        assertEq(sendRefused(encode(closing, payee, sent, 1, leave)), IChannelEscrow.InvalidSignature.selector);
    }

    /// @dev E2: the leave names nobody but its signer, who is paid; with another payee it is worth nothing.
    function test_E2_aBatchPaysItsSignerAlone() public {
        bytes memory leave = signBatch("SettleManyAuthorization", rows, 1, deadline);
        bytes memory data = encode(false, relayer, rows, 1, leave);
        assertEq(sendRefused(data), IChannelEscrow.InvalidSignature.selector);
        // A relayer that signs the rows itself lands none of them, because it is not their payee.
        (relayer, payeeKey) = makeAddrAndKey("greedy");
        data = encode(false, relayer, rows, 1, signBatch("SettleManyAuthorization", rows, 1, deadline));
        send(data);
        assertEq(token.balanceOf(relayer), 0);
        assertEq(settledOf(first), 0);
    }

    function test_RevertWhen_ExpiredOrCancelled() public {
        bytes memory settling = callBatch(false, 1);
        bytes memory closing = callBatch(true, 1);
        vm.prank(payee);
        escrow.cancelAuthorization(0, 1);
        assertEq(sendRefused(settling), IRelayedEscrow.NonceAlreadyUsed.selector);
        assertEq(sendRefused(closing), IRelayedEscrow.NonceAlreadyUsed.selector);
        settling = callBatch(false, 2);
        closing = callBatch(true, 2);
        vm.warp(deadline + 1);
        assertEq(sendRefused(settling), IRelayedEscrow.AuthorizationExpired.selector);
        assertEq(sendRefused(closing), IRelayedEscrow.AuthorizationExpired.selector);
    }
}
