// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {IRelayedEscrow} from "../../contracts/src/interfaces/IRelayedEscrow.sol";
import {IPermit2} from "../../contracts/src/libraries/Permit2Lib.sol";
import {RelayedTest} from "./RelayedTest.sol";
import {ContractSigner, OwnedWallet} from "./mocks/Signers.sol";
import {SwallowingToken} from "./mocks/WeirdTokens.sol";

/// @dev Thefts and blockades that were tried through the funding of channels. Each is named after what it is for.
contract FundingAttacksTest is RelayedTest {
    /// @dev What was signed for an opening is played as a top-up, and the other way round, by either kind of signature.
    function test_E2_aSignatureForAnOpeningTopsNothingUp() public {
        bytes32 id = openChannel("open");
        Terms memory t = terms();
        bytes memory opening = signReceive(payerKey, payer, DEPOSIT, openNonce(t));
        bytes32 nonce = keccak256(abi.encode(id, DEPOSIT, payer, SALT));
        uint256 end = type(uint256).max;
        bytes4 failed = IChannelEscrow.TransferFailed.selector;
        bytes memory sent =
            abi.encodeCall(escrow.topUpWithAuthorization, (id, DEPOSIT, payer, SALT, 0, end, nonce, opening));
        assertEq(sendRefused(sent), failed);
        sent = abi.encodeCall(escrow.topUpWithPermit2, (id, DEPOSIT, payer, 7, end, signOpenPermit(t, 7)));
        assertEq(sendRefused(sent), failed);
        bytes memory adding = signTopUpPermit(id, DEPOSIT, 7);
        sent = abi.encodeCall(
            escrow.openWithPermit2, (payee, address(token), DEPOSIT, SALT, signer, payer, 7, end, adding)
        );
        assertEq(sendRefused(sent), failed);
        assertEq(token.balanceOf(address(escrow)), DEPOSIT);
    }

    /// @dev A signature seen in the pool is sent past the escrow: to take the money, or to strand it in the escrow
    /// without a channel, or to burn its nonce.
    function test_E2_aSignatureFromThePoolIsWorthNothingOutsideTheEscrow() public {
        Terms memory t = terms();
        bytes memory signature = signReceive(payerKey, payer, DEPOSIT, openNonce(t));
        bytes memory permit = signOpenPermit(t, 7);
        vm.startPrank(stranger);
        vm.expectRevert();
        token.receiveWithAuthorization(payer, address(escrow), DEPOSIT, 0, type(uint256).max, openNonce(t), signature);
        vm.expectRevert();
        token.transferWithAuthorization(payer, address(escrow), DEPOSIT, 0, type(uint256).max, openNonce(t), signature);
        bytes32 witness = keccak256(
            abi.encode(
                keccak256("ChannelOpenWitness(address payee,bytes32 salt,address authorizedSigner)"),
                payee,
                SALT,
                signer
            )
        );
        IPermit2.PermitTransferFrom memory permitted =
            IPermit2.PermitTransferFrom(IPermit2.TokenPermissions(address(token), DEPOSIT), 7, type(uint256).max);
        vm.expectRevert();
        permit2.permitWitnessTransferFrom(
            permitted,
            IPermit2.SignatureTransferDetails(stranger, DEPOSIT),
            payer,
            witness,
            "ChannelOpenWitness witness)ChannelOpenWitness(address payee,bytes32 salt,address authorizedSigner)TokenPermissions(address token,uint256 amount)",
            permit
        );
        vm.stopPrank();
        assertEq(token.balanceOf(address(escrow)) + token.balanceOf(stranger), 0);
        uint256 start = vm.snapshotState();
        send(callOpen3009(t, t));
        vm.revertToState(start);
        send(callOpenPermit(t, t));
    }

    /// @dev A token without EIP-3009 that answers every unknown call with a yes: money would be booked that never came.
    function test_E3_aFallbackThatSwallowsTheCallBooksNothing() public {
        SwallowingToken swallower = new SwallowingToken();
        escrow = newEscrow(address(swallower), CAP);
        swallower.mint(address(escrow), DEPOSIT);
        Terms memory t = terms();
        t.token = address(swallower);
        assertEq(sendRefused(callOpen3009(t, t)), IChannelEscrow.UnexpectedDelta.selector);
    }

    /// @dev A stranger fills the channel to its cap while the payer leaves: the exit stays as it was, the gift is lost.
    function test_E1_fillingTheCapHoldsNobody() public {
        bytes32 id = openChannel();
        requestClose(id);
        (address giver, uint256 giverKey) = makeAddrAndKey("giver");
        uint128 gift = CAP - DEPOSIT;
        token.mint(giver, gift);
        bytes32 nonce = keccak256(abi.encode(id, gift, giver, SALT));
        bytes memory signature = signReceive(giverKey, giver, gift, nonce);
        waitForGrace();
        escrow.topUpWithAuthorization(id, gift, giver, SALT, 0, type(uint256).max, nonce, signature);
        uint256 before = token.balanceOf(payer);
        withdraw(id);
        assertEq(token.balanceOf(payer) - before, CAP);
    }

    /// @dev The widest amounts and addresses, so that a field that spills changes its neighbour.
    function test_V7_noPackedFieldSpillsIntoItsNeighbour() public {
        uint128 widest = type(uint96).max;
        escrow = newEscrow(address(token), widest);
        fund(payer, widest);
        payee = address(type(uint160).max);
        bytes32 id = openChannel();
        topUp(id, widest - DEPOSIT);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.DepositExceedsCap.selector, uint256(widest) + 1, widest));
        topUp(id, 1);
        vm.warp(type(uint40).max - 15 minutes);
        settle(id, widest - 1);
        requestClose(id);
        waitForGrace();
        settle(id, widest);
        IChannelEscrow.Channel memory c = escrow.getChannel(id);
        assertEq(abi.encode(c.payer, c.payee, c.authorizedSigner), abi.encode(payer, payee, signer));
        assertEq(abi.encode(c.deposit, c.settled, c.finalized), abi.encode(widest, widest, false));
        assertEq(c.closeRequestedAt, type(uint40).max - 15 minutes);
        assertEq(escrow.payerCapOf(id), 0);
        withdraw(id);
        assertFinalized(id, widest);
        assertEq(token.balanceOf(address(escrow)), 0);
    }
}

/// @dev Thefts and blockades that were tried through collecting.
contract CollectingAttacksTest is RelayedTest {
    IChannelEscrow.Row[] internal rows;
    uint256 internal deadline;

    function setUp() public override {
        super.setUp();
        deadline = block.timestamp + 60;
    }

    function callBatch(address who, bool closing) private view returns (bytes memory) {
        bytes memory leave =
            signBatch(closing ? "CloseManyAuthorization" : "SettleManyAuthorization", rows, 1, deadline);
        return closing
            ? abi.encodeCall(escrow.closeManyWithAuthorization, (who, address(token), rows, 1, deadline, leave))
            : abi.encodeCall(escrow.settleManyWithAuthorization, (who, address(token), rows, 1, deadline, leave));
    }

    /// @dev A payer makes its row be skipped, uses the channel on, and plays the old close later to save the rest. What
    /// stops it is what the manual says: take the nonce back before taking more vouchers.
    function test_E7_aSkippedCloseKeptBackDiesWithItsNonce() public {
        ContractSigner fickle = new ContractSigner();
        signer = address(fickle);
        bytes32 id = openChannel();
        rows.push(IChannelEscrow.Row(id, 10, 10, ""));
        bytes memory close = callBatch(payee, true);
        send(close);
        assertFalse(escrow.isNonceUsed(payee, 0, 1));
        fickle.set(ContractSigner.Answer.Accept, escrow.getVoucherDigest(id, 10));

        uint256 start = vm.snapshotState();
        send(close);
        assertFinalized(id, 10);
        vm.revertToState(start);

        vm.prank(payee);
        escrow.cancelAuthorization(0, 1);
        assertEq(sendRefused(close), IRelayedEscrow.NonceAlreadyUsed.selector);
        assertFalse(escrow.getChannel(id).finalized);
    }

    /// @dev A partly landed close is replayed, also after its skipped row was settled to the very capture, where a close
    /// needs no voucher: nothing is paid or refunded twice.
    function test_ESC_1_aReplayedCloseMovesNothingTwice() public {
        bytes32 landing = openChannel("landing");
        bytes32 skipped = openChannel("skipped");
        rows.push(row(landing, 30, 30));
        rows.push(row(skipped, DEPOSIT + 5, DEPOSIT + 5));
        bytes memory close = callBatch(payee, true);
        uint256 before = token.balanceOf(payer);
        send(close);
        send(close);
        assertEq(token.balanceOf(payee), 30);
        topUp(skipped, 9);
        settle(skipped, DEPOSIT + 5);
        for (uint256 i = 0; i < 2; ++i) {
            send(close);
        }
        assertFalse(escrow.isNonceUsed(payee, 0, 1));
        assertFinalized(skipped, DEPOSIT + 5);
        assertEq(token.balanceOf(payee), 30 + DEPOSIT + 5);
        assertEq(token.balanceOf(payer) - before, DEPOSIT - 30 - 9 + 4);
        assertEq(token.balanceOf(address(escrow)), 0);
    }

    function test_ESC_3_aRowNamedTwiceIsPaidAndRefundedOnce() public {
        bytes32 id = openChannel();
        openChannel("the money of another");
        rows.push(row(id, 30, 20));
        rows.push(row(id, 30, 20));
        rows.push(row(id, 30, 30));
        send(callBatch(payee, true));
        assertFinalized(id, 20);
        assertEq(token.balanceOf(payee), 20);
        assertEq(token.balanceOf(address(escrow)), DEPOSIT);
    }

    /// @dev Two wallets accept the signatures of one owner, and a batch does not name its payee: sent for the wrong one, it
    /// gives that one no row of the other.
    function test_E2_walletsOfOneOwnerGetTheirOwnRowsOnly() public {
        address[2] memory wallets = [address(new OwnedWallet(payee, 0)), address(new OwnedWallet(payee, 0))];
        for (uint128 i = 0; i < 2; ++i) {
            payee = wallets[i];
            rows.push(row(openChannel(), 10 + i, 10 + i));
        }
        for (uint256 i = 0; i < 2; ++i) {
            send(callBatch(wallets[i], false));
            assertFalse(escrow.isNonceUsed(wallets[i], 0, 1));
        }
        assertEq(token.balanceOf(wallets[0]), 10);
        assertEq(token.balanceOf(wallets[1]), 11);
    }

    /// @dev An operator that may settle tries every door to a close, with its own signature where the payee's is asked.
    function test_ESC_4_anOperatorThatMaySettleFindsNoWayToClose() public {
        bytes32 id = openChannel();
        rows.push(row(id, 30, 30));
        bytes[7] memory tries = closings(id);
        vm.prank(payee);
        escrow.setOperator(relayer, IChannelEscrow.OperatorRights.Settle);
        for (uint256 i = 0; i < tries.length; ++i) {
            vm.prank(relayer);
            (bool ok,) = address(escrow).call(tries[i]);
            // Its own batch is nobody's business, and lands nothing.
            assertEq(ok, i > 4, vm.toString(i));
        }
        assertFalse(escrow.getChannel(id).finalized);
        assertEq(settledOf(id) + token.balanceOf(relayer), 0);
    }

    function closings(bytes32 id) private returns (bytes[7] memory tries) {
        bytes memory voucher = sign(id, 30);
        (relayer, payeeKey) = makeAddrAndKey("greedy");
        bytes memory leave = signLeave("CloseAuthorization", id, 30, 1, deadline);
        tries[0] = abi.encodeCall(escrow.close, (id, 30, voucher));
        tries[1] = abi.encodeCall(escrow.closeCapture, (id, 30, 30, voucher));
        tries[2] = abi.encodeCall(escrow.closeManyFor, (payee, address(token), rows));
        tries[3] = abi.encodeCall(escrow.closeWithAuthorization, (id, 30, 1, deadline, leave, voucher));
        tries[4] = callBatch(payee, true);
        tries[5] = callBatch(relayer, true);
        tries[6] = abi.encodeCall(escrow.closeMany, (address(token), rows));
    }

    /// @dev Whoever relays chooses the gas: a batch over contract wallets is judged in full or not at all.
    function testFuzz_E8_aStarvedRelaySkipsNothing(uint256 gasLimit) public {
        OwnedWallet wallet = new OwnedWallet(signer, 400_000);
        payee = address(new OwnedWallet(payee, 0));
        signer = address(wallet);
        bytes32 id = openChannel();
        rows.push(row(id, 30, 30));
        bytes memory batch = callBatch(payee, gasLimit % 2 == 0);
        gasLimit = bound(gasLimit, 30_000, 1_600_000);
        (bool ok,) = address(escrow).call{gas: gasLimit}(batch);
        assertEq(settledOf(id), ok ? 30 : 0);
        assertEq(escrow.isNonceUsed(payee, 0, 1), ok);
        assertEq(escrow.refundCredit(address(token), payer), 0);
    }

    /// @dev After a fork of the chain the payee's old leave is played where the old channel lives on too.
    function test_V2_leavesOfTheOldChainDieAtAFork() public {
        bytes32 id = openChannel();
        rows.push(row(id, 30, 30));
        bytes[2] memory batches = [callBatch(payee, false), callBatch(payee, true)];
        vm.chainId(block.chainid + 1);
        for (uint256 i = 0; i < batches.length; ++i) {
            assertEq(sendRefused(batches[i]), IChannelEscrow.InvalidSignature.selector);
        }
    }

    /// @dev Bits above an amount's width, which a hash and an arithmetic might read differently.
    function test_V7_dirtyBitsAboveAnAmountAreRefused() public {
        bytes32 id = openChannel();
        bytes memory call = abi.encodeCall(escrow.settle, (id, 30, sign(id, 30)));
        call[4 + 32] = 0x01;
        vm.prank(payee);
        (bool ok,) = address(escrow).call(call);
        assertFalse(ok);
        rows.push(row(id, 30, 30));
        call = abi.encodeCall(escrow.settleMany, (address(token), rows));
        // Selector, token, offset of rows, length, offset of the row, its channel; then its cumulative amount.
        call[4 + 5 * 32] = 0x01;
        vm.prank(payee);
        (ok,) = address(escrow).call(call);
        assertFalse(ok);
        assertEq(settledOf(id), 0);
    }
}
