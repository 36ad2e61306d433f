// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {ChannelEscrow} from "../../../contracts/src/ChannelEscrow.sol";
import {IChannelEscrow} from "../../../contracts/src/interfaces/IChannelEscrow.sol";
import {WeirdToken} from "../mocks/WeirdTokens.sol";
import {EscrowHandler} from "./EscrowHandler.sol";
import {Test} from "forge-std/Test.sol";

/// @dev ESC-1 to ESC-6 after any sequence of moves by payers, payees, an attacker and a moody token.
contract EscrowInvariantTest is Test {
    EscrowHandler internal handler;
    ChannelEscrow internal escrow;
    WeirdToken internal token;

    function setUp() public {
        handler = new EscrowHandler();
        escrow = handler.escrow();
        token = handler.token();
        targetContract(address(handler));
    }

    function invariant_ESC_1_theEscrowHoldsWhatItOwes() public view {
        uint256 owed;
        for (uint256 i = 0; i < handler.idCount(); ++i) {
            IChannelEscrow.Channel memory channel = escrow.getChannel(handler.ids(i));
            if (!channel.finalized) owed += channel.deposit - channel.settled;
        }
        for (uint256 i = 0; i < 3; ++i) {
            owed += escrow.refundCredit(address(token), handler.payers(i));
        }
        // The handler donates nothing, so the promised "at least" must come out as "exactly".
        assertEq(token.balanceOf(address(escrow)), owed);
    }

    function invariant_ESC_2_settledWithinDepositWithinCaps() public view {
        for (uint256 i = 0; i < handler.idCount(); ++i) {
            bytes32 id = handler.ids(i);
            IChannelEscrow.Channel memory channel = escrow.getChannel(id);
            assertLe(channel.settled, channel.deposit);
            assertLe(channel.deposit, handler.CAP());
            uint128 own = escrow.payerCapOf(id);
            if (own != 0) assertLe(channel.deposit, own);
        }
        assertEq(handler.capRose(), 0);
    }

    function invariant_ESC_3_settledNeverFallsAndFinalizedIsForGood() public view {
        assertEq(handler.settledFell(), 0);
        assertEq(handler.finalizedChanged(), 0);
        assertEq(handler.reopened(), 0);
    }

    function invariant_ESC_4_onlyTheSignersVouchersPayOnlyThePayee() public view {
        uint256[3] memory earned;
        for (uint256 i = 0; i < handler.idCount(); ++i) {
            bytes32 id = handler.ids(i);
            IChannelEscrow.Channel memory channel = escrow.getChannel(id);
            assertLe(channel.settled, handler.signedMost(id), "more collected than was ever signed");
            for (uint256 p = 0; p < 3; ++p) {
                if (channel.payee == handler.payees(p)) earned[p] += channel.settled;
            }
        }
        for (uint256 p = 0; p < 3; ++p) {
            assertEq(token.balanceOf(handler.payees(p)), earned[p]);
        }
        assertEq(handler.attackerActed(), 0);
        assertEq(token.balanceOf(handler.attacker()), 0);
    }

    function invariant_ESC_5_thePayerAlwaysGetsTheRest() public view {
        assertEq(handler.withdrawRefused(), 0);
        for (uint256 p = 0; p < 3; ++p) {
            address payer = handler.payers(p);
            uint256 accounted = token.balanceOf(payer) + escrow.refundCredit(address(token), payer);
            for (uint256 i = 0; i < handler.idCount(); ++i) {
                IChannelEscrow.Channel memory channel = escrow.getChannel(handler.ids(i));
                if (channel.payer == payer) accounted += channel.finalized ? channel.settled : channel.deposit;
            }
            assertEq(accounted, handler.FUNDS());
        }
    }

    function invariant_ESC_6_badRowsNeverStopGoodOnes() public view {
        assertEq(handler.goodRowsStopped(), 0);
        assertEq(handler.badRowsLanded(), 0);
    }
}
