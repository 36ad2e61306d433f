// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {ChannelEscrow} from "../../contracts/src/ChannelEscrow.sol";
import {DevToken} from "../../contracts/src/dev/DevToken.sol";
import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {IRelayedEscrow} from "../../contracts/src/interfaces/IRelayedEscrow.sol";
import {EscrowTest} from "./EscrowTest.sol";
import {RelayedTest} from "./RelayedTest.sol";
import {ContractSigner} from "./mocks/Signers.sol";
import {ExactToken} from "./mocks/WeirdTokens.sol";
import {Vm} from "forge-std/Vm.sol";

/// @dev What a call does beside what it is for, which is nothing; and bounds to the last unit.
contract ExactlyTest is EscrowTest {
    IChannelEscrow.Row[] internal rows;

    /// @dev The first topics of what the escrow itself emitted.
    function emitted() private returns (bytes32[] memory topics) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        topics = new bytes32[](logs.length);
        uint256 count;
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].emitter == address(escrow)) topics[count++] = logs[i].topics[0];
        }
        assembly ("memory-safe") {
            mstore(topics, count)
        }
    }

    function expectNoTransferOf(uint256 amount, address to) private {
        vm.expectCall(address(token), abi.encodeCall(token.transfer, (to, amount)), 0);
    }

    /// @dev How many slots `account` had written since the recording began.
    function slotsWritten(address account) private returns (uint256 count) {
        (, bytes32[] memory writes) = vm.accesses(account);
        for (uint256 i = 0; i < writes.length; ++i) {
            bool seen = false;
            for (uint256 j = 0; j < i; ++j) {
                seen = seen || writes[j] == writes[i];
            }
            if (!seen) ++count;
        }
    }

    // ------------------------------------------------------------------------------------------------------ events

    function test_topUp_WithoutARequestCancelsNothing() public {
        bytes32 id = openChannel();
        vm.recordLogs();
        topUp(id, 1);
        bytes32[] memory topics = emitted();
        assertEq(topics.length, 1);
        assertEq(topics[0], IChannelEscrow.TopUp.selector);
    }

    function test_settleMany_ReportsALandedRowAsLandedOnly() public {
        rows.push(row(openChannel("first"), 10, 10));
        rows.push(row(openChannel("second"), 20, 20));
        uint256 start = vm.snapshotState();
        vm.recordLogs();
        vm.prank(payee);
        escrow.settleMany(address(token), rows);
        bytes32[] memory topics = emitted();
        assertEq(topics.length, 2);
        assertEq(topics[0], IChannelEscrow.RowSettled.selector);
        assertEq(topics[1], IChannelEscrow.RowSettled.selector);
        vm.revertToState(start);
        vm.prank(payee);
        escrow.closeMany(address(token), rows);
        topics = emitted();
        assertEq(topics.length, 2);
        assertEq(topics[0], IChannelEscrow.ChannelClosed.selector);
        assertEq(topics[1], IChannelEscrow.ChannelClosed.selector);
    }

    // ------------------------------------------------------------------------------------------------- one and none

    function test_nothingIsPaidByNoCall() public {
        bytes32 id = openChannel();
        rows.push(IChannelEscrow.Row(id, 5, 5, ""));
        bytes32 whole = openChannel("whole");
        close(whole, DEPOSIT - 1);
        expectNoTransferOf(0, payee);
        expectNoTransferOf(0, payer);
        vm.prank(payee);
        escrow.settleMany(address(token), rows);
        rows[0] = IChannelEscrow.Row(id, 0, 0, "");
        vm.prank(payee);
        escrow.closeMany(address(token), rows);
        close(openChannel("forfeit"), 0);
        close(openChannel("all"), DEPOSIT);
    }

    function test_oneUnitIsPaidLikeAnyOtherAmount() public {
        bytes32 id = openChannel("many");
        rows.push(row(id, 1, 1));
        vm.prank(payee);
        escrow.settleMany(address(token), rows);
        assertEq(token.balanceOf(payee), 1);
        rows[0] = row(openChannel("closed"), 1, 1);
        vm.prank(payee);
        escrow.closeMany(address(token), rows);
        assertEq(token.balanceOf(payee), 2);
        close(openChannel("one"), 1);
        assertEq(token.balanceOf(payee), 3);
        uint256 before = token.balanceOf(payer);
        close(id, DEPOSIT - 1);
        assertEq(token.balanceOf(payer), before + 1);
        assertEq(token.balanceOf(address(escrow)), 0);
    }

    // -------------------------------------------------------------------------------------------------------- gas

    function gasDemanded(address caller, bytes memory data, uint256 gasLimit) private returns (uint256, uint256) {
        vm.prank(caller);
        (bool ok, bytes memory answer) = address(escrow).call{gas: gasLimit}(data);
        assertFalse(ok, "too little gas sufficed");
        assertEq(bytes4(answer), IChannelEscrow.NotEnoughGas.selector);
        bytes memory values = new bytes(64);
        for (uint256 i = 0; i < 64; ++i) {
            values[i] = answer[4 + i];
        }
        return abi.decode(values, (uint256, uint256));
    }

    /// @dev The bound, its 63rd part and what the call itself costs; with that the call lands, with a unit less it does not.
    function assertDemands(address caller, bytes memory data, uint256 required) private {
        uint256 gasLimit = 400_000;
        (uint256 demanded, uint256 available) = gasDemanded(caller, data, gasLimit);
        assertEq(demanded, required);
        gasLimit += required - available;
        (, available) = gasDemanded(caller, data, gasLimit - 1);
        assertEq(available, required - 1);
        vm.prank(caller);
        (bool ok,) = address(escrow).call{gas: gasLimit}(data);
        assertTrue(ok, "the gas demanded did not suffice");
    }

    function test_E8_theGasForARefundIsDemandedToTheLastUnit() public {
        bytes32 id = openChannel();
        assertDemands(payee, abi.encodeCall(escrow.close, (id, 10, sign(id, 10))), 1_000_000 + 15_873 + 20_000);
    }

    function test_E8_theGasForAWalletsAnswerIsDemandedToTheLastUnit() public {
        ContractSigner wallet = new ContractSigner();
        signer = address(wallet);
        bytes32 id = openChannel();
        wallet.set(ContractSigner.Answer.Accept, escrow.getVoucherDigest(id, 5));
        bytes memory data = abi.encodeCall(escrow.settle, (id, 5, new bytes(65)));
        assertDemands(payee, data, 500_000 + 7_936 + 20_000);
    }

    function test_E8_noGasIsDemandedToAskAKey() public {
        bytes32 id = openChannel();
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidSignature.selector, id, signer));
        vm.prank(payee);
        escrow.settle{gas: 200_000}(id, 5, "");
    }

    // ----------------------------------------------------------------------------------------------------- storage

    function test_open_AUsualChannelTakesTwoSlots() public {
        openChannel();
        address[3] memory signers = [address(0), payer, signer];
        uint8[3] memory slots = [2, 2, 3];
        for (uint256 i = 0; i < signers.length; ++i) {
            vm.record();
            vm.prank(payer);
            escrow.open(payee, address(token), DEPOSIT, bytes32(i), signers[i]);
            assertEq(slotsWritten(address(escrow)), slots[i]);
        }
        vm.record();
        vm.prank(payer);
        escrow.openWithCap(payee, address(token), DEPOSIT, "capped", payer, CAP);
        assertEq(slotsWritten(address(escrow)), 3);
    }

    /// @dev Beside the domain's name.
    function test_constructor_TheFirstTokenTakesOneSlotAndEachOtherTwo() public {
        IChannelEscrow.TokenCap[] memory caps = new IChannelEscrow.TokenCap[](2);
        caps[0] = IChannelEscrow.TokenCap(address(token), CAP);
        caps[1] = IChannelEscrow.TokenCap(address(new DevToken()), CAP);
        vm.record();
        assertEq(slotsWritten(address(newEscrow(address(token), CAP))), 1 + 1);
        assertEq(slotsWritten(address(deployEscrow("EVM Payment Channel", caps, address(0)))), 1 + 1 + 2);
    }

    function test_constructor_WithoutTokensServesNone() public {
        escrow = deployEscrow("EVM Payment Channel", new IChannelEscrow.TokenCap[](0), address(0));
        assertEq(escrow.listedTokens().length, 0);
        assertEq(escrow.maxDepositOf(address(token)), 0);
        assertEq(escrow.maxDepositOf(address(0)), 0);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.TokenNotListed.selector, address(token)));
        openChannel();
    }

    /// @dev The separator is hashed once, at the deployment, and again only on a chain that forked off.
    function test_domainSeparator_IsMadeAnewOnlyAfterAFork() public {
        escrow.domainSeparator();
        uint256 home = gasOfSeparator();
        vm.chainId(block.chainid + 1);
        assertLt(home, gasOfSeparator());
    }

    function gasOfSeparator() private view returns (uint256 used) {
        used = gasleft();
        escrow.domainSeparator();
        used -= gasleft();
    }

    // ------------------------------------------------------------------------------------------------------- bounds

    function test_ESC_2_topUp_RevertWhen_TheSumIsTheGreatestOf128Bits() public {
        bytes32 id = openChannel();
        uint128 most = type(uint128).max;
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.DepositExceedsCap.selector, most, CAP));
        topUp(id, most - DEPOSIT);
    }

    function test_ESC_2_theTokensCapCanBeThePayersToo() public {
        vm.startPrank(payer);
        bytes32 id = escrow.openWithCap(payee, address(token), DEPOSIT, SALT, signer, CAP);
        assertEq(escrow.payerCapOf(id), CAP);
        escrow.lowerMaxDeposit(id, CAP);
        assertEq(escrow.payerCapOf(id), CAP);
    }

    /// @dev What no key made is nobody's signature, and not that of the account with the lowest address either.
    function test_V1_malformedBytesAreOfNoAccount() public {
        signer = address(1);
        bytes32 id = openChannel();
        bytes[3] memory malformed = [bytes(""), new bytes(65), abi.encodePacked(SALT, type(uint256).max, uint8(27))];
        for (uint256 i = 0; i < malformed.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidSignature.selector, id, signer));
            vm.prank(payee);
            escrow.settle(id, 5, malformed[i]);
        }
    }

    // ----------------------------------------------------------------------------------------------------- the wire

    /// @dev Calls of tokens are as long as their ABI has it, and answers may be longer than a word.
    function test_E3_aTokenThatCountsEveryByteIsServed() public {
        ExactToken exact = new ExactToken(payer, CAP);
        escrow = newEscrow(address(exact), CAP);
        vm.prank(payer);
        bytes32 id = escrow.open(payee, address(exact), DEPOSIT, SALT, signer);
        settle(id, 10);
        close(id, 30);
        assertEq(exact.held(payee), 30);
        assertEq(exact.held(payer), CAP - 30);
    }

    function test_ESC_4_aWalletMayAnswerAtLength() public {
        ContractSigner wallet = new ContractSigner();
        signer = address(wallet);
        bytes32 id = openChannel();
        wallet.set(ContractSigner.Answer.AcceptAtLength, 0);
        vm.prank(payee);
        escrow.settle(id, 5, "");
        assertEq(settledOf(id), 5);
    }

    function test_ESC_5_aCreditNamesTheChannelThatItIsOf() public {
        ExactToken exact = new ExactToken(payer, CAP);
        escrow = newEscrow(address(exact), CAP);
        vm.prank(payer);
        bytes32 id = escrow.open(payee, address(exact), DEPOSIT, SALT, signer);
        exact.refuse(payer);
        vm.expectEmit();
        emit IChannelEscrow.RefundCredited(id, payer, address(exact), DEPOSIT - 10);
        close(id, 10);
    }
}

/// @dev The same of what is signed and relayed.
contract ExactlyRelayedTest is RelayedTest {
    uint256 internal constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
    /// @dev A coordinate of the curve: that of its generator.
    uint256 internal constant R = 0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798;

    IChannelEscrow.Row[] internal rows;

    /// @dev Any s signs for somebody, whom recovery tells; of two that do for the same digest the lower one counts, and half
    /// the order, rounded down, is the last of the lower ones.
    function test_V5_theGreatestSIsHalfTheOrder() public {
        bytes32 typeHash = keccak256(
            "SettleManyAuthorization(address token,Row[] rows,uint256 nonce,uint256 deadline)Row(bytes32 channelId,uint128 cumulativeAmount,uint128 captureAmount,bytes signature)"
        );
        bytes32 structHash =
            keccak256(abi.encode(typeHash, address(token), keccak256(""), uint256(7), type(uint256).max));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", escrow.domainSeparator(), structHash));
        for (uint256 above = 0; above < 2; ++above) {
            bytes32 s = bytes32(ORDER / 2 + above);
            address owner = ecrecover(digest, 27, bytes32(R), s);
            assertNotEq(owner, address(0));
            if (above == 1) {
                vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidSignature.selector, 0, owner));
            }
            escrow.settleManyWithAuthorization(
                owner, address(token), rows, 7, type(uint256).max, abi.encodePacked(bytes32(R), s, uint8(27))
            );
            assertEq(escrow.isNonceUsed(owner, 0, 7), above == 0);
        }
    }

    /// @dev Wherever in a batch the skipped row is, its nonce stays good.
    function test_E7_anySkippedRowKeepsTheNonce() public {
        for (uint256 skipped = 0; skipped < 3; ++skipped) {
            delete rows;
            for (uint256 i = 0; i < 3; ++i) {
                rows.push(row(openChannel(bytes32(10 * skipped + i)), 5, 5));
            }
            rows[skipped].captureAmount = 6;
            bytes memory leave = signBatch("SettleManyAuthorization", rows, skipped, type(uint256).max);
            (uint256 paid,) =
                escrow.settleManyWithAuthorization(payee, address(token), rows, skipped, type(uint256).max, leave);
            assertEq(paid, 10);
            assertFalse(escrow.isNonceUsed(payee, 0, skipped));
        }
    }
}
