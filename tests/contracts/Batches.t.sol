// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {DevToken} from "../../contracts/src/dev/DevToken.sol";
import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {EscrowTest} from "./EscrowTest.sol";
import {ContractSigner} from "./mocks/Signers.sol";
import {Vm} from "forge-std/Vm.sol";

abstract contract BatchTest is EscrowTest {
    IChannelEscrow.Row[] internal rows;
    IChannelEscrow.Verdict[] internal expected;
    DevToken internal otherToken;

    function setUp() public override {
        super.setUp();
        otherToken = new DevToken();
        IChannelEscrow.TokenCap[] memory caps = new IChannelEscrow.TokenCap[](2);
        caps[0] = IChannelEscrow.TokenCap(address(token), CAP);
        caps[1] = IChannelEscrow.TokenCap(address(otherToken), CAP);
        escrow = deployEscrow("EVM Payment Channel", caps, address(0));
        fund(payer, CAP);
        otherToken.mint(payer, CAP);
        vm.prank(payer);
        otherToken.approve(address(escrow), CAP);
    }

    function push(IChannelEscrow.Row memory r, IChannelEscrow.Verdict verdict) internal {
        rows.push(r);
        expected.push(verdict);
    }

    /// @dev One row of every bad kind. All are refused by both batches.
    function pushBadRows() internal {
        push(row("unknown", 5, 5), IChannelEscrow.Verdict.ChannelUnknown);

        bytes32 id = openChannel("finalized");
        close(id, 1);
        push(row(id, 5, 5), IChannelEscrow.Verdict.ChannelIsFinalized);

        vm.startPrank(payer);
        id = escrow.open(stranger, address(token), DEPOSIT, "payee", signer);
        push(row(id, 5, 5), IChannelEscrow.Verdict.OtherPayee);
        id = escrow.open(payee, address(otherToken), DEPOSIT, "token", signer);
        push(row(id, 5, 5), IChannelEscrow.Verdict.OtherToken);
        vm.stopPrank();

        id = openChannel("stale");
        settle(id, 10);
        push(row(id, 20, 9), IChannelEscrow.Verdict.NotIncreasing);

        id = openChannel("over");
        push(row(id, DEPOSIT * 2, DEPOSIT + 1), IChannelEscrow.Verdict.ExceedsDeposit);
        push(row(id, 5, 6), IChannelEscrow.Verdict.ExceedsCumulative);

        IChannelEscrow.Row memory bad = row(id, 5, 5);
        bad.signature[40] ^= 0x01;
        push(bad, IChannelEscrow.Verdict.BadSignature);
        bad = row(id, 5, 5);
        bad.signature = "";
        push(bad, IChannelEscrow.Verdict.BadSignature);
    }

    function assertVerdicts(IChannelEscrow.Verdict[] memory verdicts) internal view {
        assertEq(verdicts.length, expected.length);
        for (uint256 i = 0; i < expected.length; ++i) {
            assertEq(uint256(verdicts[i]), uint256(expected[i]), string.concat("row ", vm.toString(i)));
        }
    }

    /// @dev How many ERC-20 transfers of `token` to the payee the recorded logs hold.
    function transfersToPayee() internal returns (uint256 count) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        bytes32 topic = keccak256("Transfer(address,address,uint256)");
        for (uint256 i = 0; i < logs.length; ++i) {
            bool toPayee = logs[i].topics.length == 3 && logs[i].topics[2] == bytes32(uint256(uint160(payee)));
            if (logs[i].topics[0] == topic && toPayee) ++count;
        }
    }
}

contract SettleManyTest is BatchTest {
    function test_settleMany_RevertWhen_TokenIsNotListed() public {
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.TokenNotListed.selector, address(0xbeef)));
        vm.prank(payee);
        escrow.settleMany(address(0xbeef), rows);
    }

    function test_settleMany_OfNothingMovesNothing() public {
        vm.prank(payee);
        (uint256 paid, IChannelEscrow.Verdict[] memory verdicts) = escrow.settleMany(address(token), rows);
        assertEq(paid, 0);
        assertEq(verdicts.length, 0);
    }

    function test_B1_badRowsAreSkippedAndTheRestLands() public {
        bytes32 first = openChannel("first");
        bytes32 last = openChannel("last");
        push(row(first, 50, 30), IChannelEscrow.Verdict.Landed);
        pushBadRows();
        push(row(last, 7, 7), IChannelEscrow.Verdict.Landed);
        uint256 before = token.balanceOf(payee);

        vm.expectEmit();
        emit IChannelEscrow.RowSettled(first, payee, 30, 30);
        for (uint256 i = 1; i < rows.length - 1; ++i) {
            vm.expectEmit();
            emit IChannelEscrow.RowSkipped(rows[i].channelId, payee, expected[i]);
        }
        vm.expectEmit();
        emit IChannelEscrow.RowSettled(last, payee, 7, 7);
        vm.prank(payee);
        (uint256 paid, IChannelEscrow.Verdict[] memory verdicts) = escrow.settleMany(address(token), rows);

        assertVerdicts(verdicts);
        assertEq(paid, 37);
        assertEq(token.balanceOf(payee) - before, 37);
        assertEq(settledOf(first), 30);
        assertEq(settledOf(last), 7);
    }

    function test_ESC_6_aBatchOfBadRowsOnlyMovesNothing() public {
        pushBadRows();
        uint256 before = token.balanceOf(payee);
        vm.prank(payee);
        (uint256 paid, IChannelEscrow.Verdict[] memory verdicts) = escrow.settleMany(address(token), rows);
        assertVerdicts(verdicts);
        assertEq(paid, 0);
        assertEq(token.balanceOf(payee), before);
    }

    function test_settleMany_EqualToSettledIsStale() public {
        bytes32 id = openChannel();
        settle(id, 10);
        push(row(id, 10, 10), IChannelEscrow.Verdict.NotIncreasing);
        vm.prank(payee);
        (, IChannelEscrow.Verdict[] memory verdicts) = escrow.settleMany(address(token), rows);
        assertVerdicts(verdicts);
    }

    function test_settleMany_ADuplicateSeesTheRowBeforeIt() public {
        bytes32 id = openChannel();
        push(row(id, 10, 10), IChannelEscrow.Verdict.Landed);
        push(row(id, 10, 10), IChannelEscrow.Verdict.NotIncreasing);
        push(row(id, 30, 25), IChannelEscrow.Verdict.Landed);
        vm.recordLogs();
        vm.prank(payee);
        (uint256 paid, IChannelEscrow.Verdict[] memory verdicts) = escrow.settleMany(address(token), rows);
        assertVerdicts(verdicts);
        assertEq(paid, 25);
        assertEq(transfersToPayee(), 1);
    }

    function test_ESC_4_aStrangersBatchCollectsNothing() public {
        bytes32 id = openChannel();
        push(row(id, 10, 10), IChannelEscrow.Verdict.OtherPayee);
        vm.prank(stranger);
        (uint256 paid, IChannelEscrow.Verdict[] memory verdicts) = escrow.settleMany(address(token), rows);
        assertVerdicts(verdicts);
        assertEq(paid, 0);
        assertEq(token.balanceOf(stranger), 0);
    }

    function test_E8_starvedContractSignerRevertsTheBatchInsteadOfSkipping() public {
        ContractSigner wallet = new ContractSigner();
        vm.prank(payer);
        bytes32 id = escrow.open(payee, address(token), DEPOSIT, SALT, address(wallet));
        wallet.set(ContractSigner.Answer.Accept, escrow.getVoucherDigest(id, 10));
        push(row(id, 10, 10), IChannelEscrow.Verdict.Landed);

        uint256 start = vm.snapshotState();
        for (uint256 gasLimit = 60_000; gasLimit < 800_000; gasLimit += 20_000) {
            vm.prank(payee);
            (bool ok, bytes memory answer) =
                address(escrow).call{gas: gasLimit}(abi.encodeCall(escrow.settleMany, (address(token), rows)));
            if (ok) {
                (uint256 paid,) = abi.decode(answer, (uint256, IChannelEscrow.Verdict[]));
                assertEq(paid, 10, "a lack of gas was taken for a bad row");
            }
            vm.revertToState(start);
        }
    }

    function test_ESC_6_aSignerThatBurnsItsGasIsOneSkippedRow() public {
        ContractSigner wallet = new ContractSigner();
        vm.prank(payer);
        bytes32 id = escrow.open(payee, address(token), DEPOSIT, SALT, address(wallet));
        wallet.set(ContractSigner.Answer.BurnGas, 0);
        push(row(id, 10, 10), IChannelEscrow.Verdict.BadSignature);
        push(row(openChannel("good"), 10, 10), IChannelEscrow.Verdict.Landed);
        vm.prank(payee);
        (, IChannelEscrow.Verdict[] memory verdicts) = escrow.settleMany{gas: 2_000_000}(address(token), rows);
        assertVerdicts(verdicts);
    }
}

contract CloseManyTest is BatchTest {
    function test_closeMany_RevertWhen_TokenIsNotListed() public {
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.TokenNotListed.selector, address(0xbeef)));
        vm.prank(payee);
        escrow.closeMany(address(0xbeef), rows);
    }

    function test_B1_badRowsAreSkippedAndTheRestCloses() public {
        bytes32 first = openChannel("first");
        bytes32 last = openChannel("last");
        push(row(first, 50, 30), IChannelEscrow.Verdict.Landed);
        pushBadRows();
        push(row(last, 7, 7), IChannelEscrow.Verdict.Landed);
        uint256 payeeBefore = token.balanceOf(payee);
        uint256 payerBefore = token.balanceOf(payer);

        vm.expectEmit();
        emit IChannelEscrow.ChannelClosed(first, payer, payee, 30, DEPOSIT - 30);
        for (uint256 i = 1; i < rows.length - 1; ++i) {
            vm.expectEmit();
            emit IChannelEscrow.RowSkipped(rows[i].channelId, payee, expected[i]);
        }
        vm.prank(payee);
        (uint256 paid, IChannelEscrow.Verdict[] memory verdicts) = escrow.closeMany(address(token), rows);

        assertVerdicts(verdicts);
        assertEq(paid, 37);
        assertEq(token.balanceOf(payee) - payeeBefore, 37);
        assertEq(token.balanceOf(payer) - payerBefore, 2 * DEPOSIT - 37);
        assertFinalized(first, 30);
        assertFinalized(last, 7);
    }

    function test_closeMany_AtSettledNeedsNoSignature() public {
        bytes32 id = openChannel();
        settle(id, 10);
        push(IChannelEscrow.Row(id, 0, 10, ""), IChannelEscrow.Verdict.Landed);
        vm.prank(payee);
        (uint256 paid, IChannelEscrow.Verdict[] memory verdicts) = escrow.closeMany(address(token), rows);
        assertVerdicts(verdicts);
        assertEq(paid, 0);
        assertFinalized(id, 10);
    }

    function test_closeMany_ADuplicateSeesTheRowBeforeIt() public {
        bytes32 id = openChannel();
        push(row(id, 10, 10), IChannelEscrow.Verdict.Landed);
        push(row(id, 10, 10), IChannelEscrow.Verdict.ChannelIsFinalized);
        push(row(openChannel("second"), 5, 5), IChannelEscrow.Verdict.Landed);
        vm.recordLogs();
        vm.prank(payee);
        (uint256 paid, IChannelEscrow.Verdict[] memory verdicts) = escrow.closeMany(address(token), rows);
        assertVerdicts(verdicts);
        assertEq(paid, 15);
        assertEq(transfersToPayee(), 1);
        assertEq(token.balanceOf(address(escrow)), 0);
    }

    function test_ESC_4_aStrangersBatchClosesNothing() public {
        bytes32 id = openChannel();
        push(IChannelEscrow.Row(id, 0, 0, ""), IChannelEscrow.Verdict.OtherPayee);
        vm.prank(stranger);
        (, IChannelEscrow.Verdict[] memory verdicts) = escrow.closeMany(address(token), rows);
        assertVerdicts(verdicts);
        assertFalse(escrow.getChannel(id).finalized);
    }
}
