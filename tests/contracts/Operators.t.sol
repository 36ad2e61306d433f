// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {EscrowTest} from "./EscrowTest.sol";

contract OperatorsTest is EscrowTest {
    address internal operator = makeAddr("operator");
    bytes32 internal id;
    IChannelEscrow.Row[] internal rows;

    function setUp() public override {
        super.setUp();
        id = openChannel();
        rows.push(row(id, 50, 20));
    }

    function grant(IChannelEscrow.OperatorRights rights) private {
        vm.prank(payee);
        escrow.setOperator(operator, rights);
    }

    /// @dev Every call that an operator may be granted, settling ones first.
    function calls() private view returns (bytes[4] memory) {
        return [
            abi.encodeCall(escrow.settleCapture, (id, 50, 20, sign(id, 50))),
            abi.encodeCall(escrow.settleManyFor, (payee, address(token), rows)),
            abi.encodeCall(escrow.closeCapture, (id, 50, 20, sign(id, 50))),
            abi.encodeCall(escrow.closeManyFor, (payee, address(token), rows))
        ];
    }

    /// @dev How many of the calls the operator can make, each from the same start.
    function allowed() private returns (uint256 count) {
        bytes[4] memory all = calls();
        uint256 start = vm.snapshotState();
        for (uint256 i = 0; i < all.length; ++i) {
            vm.prank(operator);
            (bool ok, bytes memory answer) = address(escrow).call(all[i]);
            if (ok) {
                ++count;
                assertEq(token.balanceOf(payee), 20, "the payee was not paid");
            } else {
                bytes memory why = i % 2 == 0
                    ? abi.encodeWithSelector(IChannelEscrow.NotPayee.selector, id, operator)
                    : abi.encodeWithSelector(IChannelEscrow.NotOperator.selector, payee, operator);
                assertEq(answer, why);
            }
            assertEq(token.balanceOf(operator), 0, "the operator was paid");
            vm.revertToState(start);
        }
    }

    function test_ESC_4_anOperatorMayDoWhatItWasGrantedAndIsNeverPaid() public {
        assertEq(allowed(), 0);
        grant(IChannelEscrow.OperatorRights.Settle);
        assertEq(allowed(), 2);
        grant(IChannelEscrow.OperatorRights.SettleAndClose);
        assertEq(allowed(), 4);
        grant(IChannelEscrow.OperatorRights.None);
        assertEq(allowed(), 0);
    }

    function test_setOperator_Reports() public {
        assertEq(uint256(escrow.operatorRights(payee, operator)), 0);
        vm.expectEmit();
        emit IChannelEscrow.OperatorSet(payee, operator, IChannelEscrow.OperatorRights.SettleAndClose);
        grant(IChannelEscrow.OperatorRights.SettleAndClose);
        assertEq(uint256(escrow.operatorRights(payee, operator)), 2);
        assertEq(uint256(escrow.operatorRights(operator, payee)), 0);
    }

    function test_ESC_4_theDraftsFunctionsAreThePayeesAlone() public {
        grant(IChannelEscrow.OperatorRights.SettleAndClose);
        bytes memory signature = sign(id, 5);
        vm.startPrank(operator);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.NotPayee.selector, id, operator));
        escrow.settle(id, 5, signature);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.NotPayee.selector, id, operator));
        escrow.close(id, 5, signature);
        vm.stopPrank();
    }

    function test_ESC_4_anOperatorOfOnePayeeIsNobodyToAnother() public {
        vm.prank(stranger);
        escrow.setOperator(operator, IChannelEscrow.OperatorRights.SettleAndClose);
        assertEq(allowed(), 0);
        vm.prank(operator);
        (uint256 paid, IChannelEscrow.Verdict[] memory verdicts) = escrow.settleManyFor(stranger, address(token), rows);
        assertEq(paid, 0);
        assertEq(uint256(verdicts[0]), uint256(IChannelEscrow.Verdict.OtherPayee));
    }

    function test_thePayeeNeedsNoGrantForItsOwnBatches() public {
        uint256 start = vm.snapshotState();
        vm.prank(payee);
        (uint256 paid,) = escrow.settleManyFor(payee, address(token), rows);
        assertEq(paid, 20);
        vm.revertToState(start);
        vm.prank(payee);
        (paid,) = escrow.closeManyFor(payee, address(token), rows);
        assertEq(paid, 20);
        assertFinalized(id, 20);
    }

    function test_aSkippedRowNamesTheOperator() public {
        grant(IChannelEscrow.OperatorRights.Settle);
        rows[0].captureAmount = 51;
        vm.expectEmit();
        emit IChannelEscrow.RowSkipped(id, operator, IChannelEscrow.Verdict.ExceedsCumulative);
        vm.prank(operator);
        escrow.settleManyFor(payee, address(token), rows);
    }
}
