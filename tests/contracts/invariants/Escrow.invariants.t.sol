// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {ChannelEscrow} from "../../../contracts/src/ChannelEscrow.sol";
import {IChannelEscrow} from "../../../contracts/src/interfaces/IChannelEscrow.sol";
import {GUARD} from "../mocks/ReceivePolicies.sol";
import {EscrowHandler} from "./EscrowHandler.sol";
import {Expected} from "./Expected.sol";
import {World} from "./World.sol";
import {Test} from "forge-std/Test.sol";

/// @dev ESC-1 to ESC-6 over random lives of many payers, payees, operators, relayers and a thief, in tokens of every
/// temper. The handler foretells the fate of each call from books of its own, so that no refusal goes unexplained; here the
/// escrow is compared with the promises, and with the books. One function checks all, because forge plays a campaign of its
/// own for each.
contract EscrowInvariantTest is Test {
    EscrowHandler internal handler;
    ChannelEscrow internal escrow;

    function setUp() public {
        handler = new EscrowHandler();
        escrow = handler.escrow();
        targetContract(address(handler));
        targetSelector(FuzzSelector(address(handler), handler.moves()));
    }

    function invariant_ESC_1_to_ESC_6_holdOverRandomLives() public view {
        check();
    }

    function check() internal view {
        uint256[4] memory owed;
        for (uint256 i = 0; i < handler.idCount(); ++i) {
            bytes32 id = handler.ids(i);
            World.Book memory b = handler.book(id);
            IChannelEscrow.Channel memory channel = escrow.getChannel(id);
            checkChannel(id, channel, b);
            if (!channel.finalized) owed[b.token] += channel.deposit - channel.settled;
        }
        for (uint256 t = 0; t < handler.TOKENS(); ++t) {
            checkToken(t, owed[t]);
        }
        assertEq(handler.reenterer().entered(), 0, "E3: a token's hook got into the escrow");
    }

    function checkChannel(bytes32 id, IChannelEscrow.Channel memory channel, World.Book memory b) private view {
        assertLe(channel.settled, channel.deposit, "ESC-2: more settled than deposited");
        assertLe(channel.deposit, handler.caps(b.token), "ESC-2: the token's cap is passed");
        uint128 own = escrow.payerCapOf(id);
        if (own != 0) assertLe(channel.deposit, own, "ESC-2: the payer's cap is passed");
        assertEq(own, b.ownCap, "ESC-2: a cap moved by itself");
        assertGe(channel.settled, b.channel.settled, "ESC-3: settled fell");
        if (b.channel.finalized) {
            assertEq(abi.encode(channel), abi.encode(b.channel), "ESC-3: a finalized channel changed");
        }
        assertLe(channel.settled, b.signedMost, "ESC-4: more collected than was ever signed");
        assertEq(abi.encode(channel), abi.encode(b.channel), "a channel is not as its calls left it");
    }

    function checkToken(uint256 t, uint256 owed) private view {
        address token = address(handler.tokens(t));
        for (uint256 p = 0; p < handler.PEOPLE(); ++p) {
            owed += escrow.refundCredit(token, handler.payers(p));
        }
        uint256 held = handler.tokens(t).balanceOf(address(escrow));
        assertGe(held, owed, "ESC-1: the escrow holds less than it owes");
        assertEq(held, owed + handler.donated(t), "ESC-1: money is stuck in the escrow");
        checkBalance(t, handler.attacker(), "ESC-4: the thief's money");
        checkBalance(t, GUARD, "ESC-4: what was turned away");
        for (uint256 p = 0; p < handler.PEOPLE(); ++p) {
            address payer = handler.payers(p);
            checkBalance(t, handler.payees(p), "ESC-4: a payee's money");
            checkBalance(t, payer, "ESC-5: a payer's money");
            assertEq(escrow.refundCredit(token, payer), handler.creditInBooks(t, payer), "ESC-5: a payer's credit");
        }
    }

    function checkBalance(uint256 t, address account, string memory what) private view {
        assertEq(handler.tokens(t).balanceOf(account), handler.balanceInBooks(t, account), what);
    }

    /// @dev That the lives are worth living: over many moves, always the same ones, each kind of move lands often, and each
    /// refusal and each verdict that the handler foretells comes true.
    function test_everyMoveLandsAndEveryRefusalIsSeen() public {
        bytes4[] memory moves = handler.moves();
        for (uint256 i = 0; i < 2_500; ++i) {
            uint256 seed = uint256(keccak256(abi.encode(i)));
            play(abi.encodeWithSelector(moves[seed % moves.length], seed));
            if (i % 100 == 0) check();
        }
        bytes32[27] memory names = Expected.moves();
        for (uint256 i = 0; i < names.length; ++i) {
            assertGe(handler.landed(names[i]), 5, string(abi.encodePacked(names[i])));
        }
        bytes4[29] memory errors = Expected.refusals();
        for (uint256 i = 0; i < errors.length; ++i) {
            assertGe(handler.refused(errors[i]), 3, vm.toString(abi.encodePacked(errors[i])));
        }
        for (uint256 v = 0; v <= uint256(type(IChannelEscrow.Verdict).max); ++v) {
            assertGe(handler.verdictsSeen(IChannelEscrow.Verdict(v)), 5, string.concat("verdict ", vm.toString(v)));
        }
        assertGe(handler.starved(), 20, "calls that got too little gas");
        assertGe(handler.reenterer().woken(), 20, "moves in which a hook tried to get in");
    }

    function play(bytes memory move) private {
        (bool ok, bytes memory why) = address(handler).call(move);
        if (ok) return;
        assembly ("memory-safe") {
            revert(add(why, 0x20), mload(why))
        }
    }

    /// @dev At the end of every life all payers leave, with what is theirs, and the escrow is empty but for gifts.
    function afterInvariant() public {
        if (handler.steps() >= 200) {
            assertGt(handler.idCount(), 0, "a life without a channel");
            assertGt(handler.collections(), 0, "a life in which nothing was collected");
        }
        handler.everybodyLeaves();
        check();
        for (uint256 t = 0; t < handler.TOKENS(); ++t) {
            assertEq(
                handler.tokens(t).balanceOf(address(escrow)), handler.donated(t), "ESC-5: somebody's money is left"
            );
        }
    }
}
