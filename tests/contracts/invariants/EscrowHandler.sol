// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {ChannelEscrow} from "../../../contracts/src/ChannelEscrow.sol";
import {IChannelEscrow} from "../../../contracts/src/interfaces/IChannelEscrow.sol";
import {EscrowDeployer} from "../EscrowDeployer.sol";
import {IDraftTopUp} from "../EscrowTest.sol";
import {WeirdToken} from "../mocks/WeirdTokens.sol";

/// @dev Plays payers, payees and an attacker against one escrow, and keeps books of its own beside it (the ghosts).
/// What must hold at every step, and not only at the end of one, is checked here and counted as a breach.
contract EscrowHandler is EscrowDeployer {
    uint128 public constant CAP = 1_000_000;
    uint256 public constant FUNDS = 1e12;
    uint256 internal constant SIGNER_KEY = 0x5167;

    ChannelEscrow public escrow;
    WeirdToken public token;
    address[] public payers;
    address[] public payees;
    address public attacker = makeAddr("attacker");

    bytes32[] public ids;
    mapping(bytes32 id => uint128) public signedMost;
    mapping(bytes32 id => uint128) public settledSeen;
    mapping(bytes32 id => uint128) public capSeen;
    mapping(bytes32 id => bytes32) public finalRecord;
    mapping(bytes32 id => Opening) internal openings;

    struct Opening {
        address payer;
        address payee;
        uint128 deposit;
        bytes32 salt;
        address signer;
    }

    uint256 public settledFell;
    uint256 public finalizedChanged;
    uint256 public reopened;
    uint256 public attackerActed;
    uint256 public withdrawRefused;
    uint256 public capRose;
    uint256 public goodRowsStopped;
    uint256 public badRowsLanded;
    mapping(string action => uint256) public calls;

    constructor() {
        vm.warp(1_700_000_000);
        token = new WeirdToken();
        IChannelEscrow.TokenCap[] memory caps = new IChannelEscrow.TokenCap[](1);
        caps[0] = IChannelEscrow.TokenCap(address(token), CAP);
        escrow = deployEscrow("EVM Payment Channel", caps, address(0));
        for (uint256 i = 0; i < 3; ++i) {
            payers.push(makeAddr(string.concat("payer", vm.toString(i))));
            payees.push(makeAddr(string.concat("payee", vm.toString(i))));
            token.mint(payers[i], FUNDS);
            vm.prank(payers[i]);
            token.approve(address(escrow), type(uint256).max);
        }
    }

    /// @dev After every action, all channels are looked at: what was once true must still be.
    modifier observed(string memory action) {
        _;
        calls[action] += 1;
        for (uint256 i = 0; i < ids.length; ++i) {
            observe(ids[i]);
        }
    }

    function observe(bytes32 id) private {
        IChannelEscrow.Channel memory channel = escrow.getChannel(id);
        if (channel.settled < settledSeen[id]) settledFell += 1;
        settledSeen[id] = channel.settled;

        uint128 cap = escrow.payerCapOf(id) == 0 ? CAP : escrow.payerCapOf(id);
        if (capSeen[id] != 0 && cap > capSeen[id]) capRose += 1;
        capSeen[id] = cap;

        bytes32 record = keccak256(abi.encode(channel, escrow.payerCapOf(id)));
        if (finalRecord[id] != 0 && finalRecord[id] != record) finalizedChanged += 1;
        if (channel.finalized) finalRecord[id] = record;
    }

    // ----------------------------------------------------------------------------------------------- payer's moves

    function open(uint256 who, uint128 deposit, uint128 ownCap, uint8 signerKind) external observed("open") {
        if (ids.length >= 12) return;
        deposit = uint128(bound(deposit, 1, CAP));
        address payer = payers[who % 3];
        address payee = payees[(who / 3) % 3];
        address signer = vm.addr(SIGNER_KEY);
        bytes32 salt = bytes32(ids.length);
        bytes32 id;
        vm.startPrank(payer);
        if (token.blocked(payer) || token.paused()) {
            vm.expectRevert();
            escrow.open(payee, address(token), deposit, salt, signer);
            vm.stopPrank();
            return;
        }
        if (signerKind % 2 == 0) {
            id = escrow.open(payee, address(token), deposit, salt, signer);
        } else {
            ownCap = uint128(bound(ownCap, deposit, CAP));
            id = escrow.openWithCap(payee, address(token), deposit, salt, signer, ownCap);
        }
        vm.stopPrank();
        ids.push(id);
        openings[id] = Opening(payer, payee, deposit, salt, signer);
    }

    function topUp(uint256 which, uint128 amount) external observed("topUp") {
        (bytes32 id, IChannelEscrow.Channel memory channel) = pickLive(which);
        uint128 room = id == 0 ? 0 : capSeen[id] - channel.deposit;
        if (room == 0 || token.blocked(channel.payer) || token.paused()) return;
        vm.prank(channel.payer);
        IDraftTopUp(address(escrow)).topUp(id, uint128(bound(amount, 1, room)));
    }

    function lowerMaxDeposit(uint256 which, uint128 cap) external observed("lowerMaxDeposit") {
        (bytes32 id, IChannelEscrow.Channel memory channel) = pickLive(which);
        if (id == 0) return;
        vm.prank(channel.payer);
        try escrow.lowerMaxDeposit(id, cap) {} catch {}
    }

    function requestClose(uint256 which) external observed("requestClose") {
        (bytes32 id, IChannelEscrow.Channel memory channel) = pickLive(which);
        if (id == 0) return;
        vm.prank(channel.payer);
        escrow.requestClose(id);
    }

    /// @dev The promise is that this never fails once it is due, whatever the token thinks of the payer.
    function withdraw(uint256 which) external observed("withdraw") {
        (bytes32 id, IChannelEscrow.Channel memory channel) = pickLive(which);
        if (id == 0) return;
        bool due =
            channel.closeRequestedAt != 0 && block.timestamp >= channel.closeRequestedAt + escrow.CLOSE_GRACE_PERIOD();
        uint256 owed = escrow.refundCredit(address(token), channel.payer) + token.balanceOf(channel.payer);
        vm.prank(channel.payer);
        try escrow.withdraw(id) {
            uint256 got = escrow.refundCredit(address(token), channel.payer) + token.balanceOf(channel.payer) - owed;
            if (!due || got != channel.deposit - channel.settled) withdrawRefused += 1;
        } catch {
            if (due) withdrawRefused += 1;
        }
    }

    function withdrawRefund(uint256 who) external observed("withdrawRefund") {
        address payer = payers[who % 3];
        if (escrow.refundCredit(address(token), payer) == 0 || token.blocked(payer) || token.paused()) return;
        vm.prank(payer);
        escrow.withdrawRefund(address(token), payer);
    }

    // ----------------------------------------------------------------------------------------------- payee's moves

    function settle(uint256 which, uint128 cumulative, uint128 capture) external observed("settle") {
        (bytes32 id, IChannelEscrow.Channel memory channel) = pickLive(which);
        if (id == 0 || channel.settled == channel.deposit || token.paused()) return;
        capture = uint128(bound(capture, channel.settled + 1, channel.deposit));
        cumulative = uint128(bound(cumulative, capture, 2 * CAP));
        bytes memory signature = sign(id, cumulative);
        vm.prank(channel.payee);
        escrow.settleCapture(id, cumulative, capture, signature);
    }

    function close(uint256 which, uint128 cumulative) external observed("close") {
        (bytes32 id, IChannelEscrow.Channel memory channel) = pickLive(which);
        if (id == 0 || which % 4 != 0) return;
        cumulative = uint128(bound(cumulative, 0, channel.deposit));
        if (token.paused() && cumulative > channel.settled) return;
        bytes memory signature = sign(id, cumulative);
        vm.prank(channel.payee);
        escrow.close(id, cumulative, signature);
    }

    /// @dev A batch over all channels of one payee, with a bad row between each two good ones.
    function batch(uint256 who, uint128 capture, bool closing) external observed(closing ? "closeMany" : "settleMany") {
        if (token.paused() || (closing && who % 4 != 0)) return;
        address payee = payees[who % 3];
        IChannelEscrow.Row[] memory rows = new IChannelEscrow.Row[](ids.length * 2);
        bool[] memory good = new bool[](rows.length);
        for (uint256 i = 0; i < ids.length; ++i) {
            (rows[2 * i], good[2 * i]) = goodRow(ids[i], payee, capture, closing);
            rows[2 * i + 1] = IChannelEscrow.Row(ids[i], CAP, CAP, new bytes(65));
        }
        vm.prank(payee);
        (, IChannelEscrow.Verdict[] memory verdicts) =
            closing ? escrow.closeMany(address(token), rows) : escrow.settleMany(address(token), rows);
        for (uint256 i = 0; i < rows.length; ++i) {
            bool landed = verdicts[i] == IChannelEscrow.Verdict.Landed;
            if (good[i] && !landed) goodRowsStopped += 1;
            bool exhausted = closing && escrow.getChannel(rows[i].channelId).settled == CAP;
            if (!good[i] && landed && !exhausted) badRowsLanded += 1;
        }
    }

    function goodRow(bytes32 id, address payee, uint128 capture, bool closing)
        private
        returns (IChannelEscrow.Row memory row, bool good)
    {
        IChannelEscrow.Channel memory channel = escrow.getChannel(id);
        good = channel.payee == payee && !channel.finalized && (closing || channel.settled < channel.deposit);
        if (!good) return (IChannelEscrow.Row(id, 1, 1, ""), false);
        capture = uint128(bound(capture, closing ? channel.settled : channel.settled + 1, channel.deposit));
        row = IChannelEscrow.Row(id, capture, capture, sign(id, capture));
    }

    // ------------------------------------------------------------------------------------ the world and the attacker

    function warp(uint256 step) external observed("warp") {
        vm.warp(block.timestamp + bound(step, 1, 20 minutes));
    }

    function setBlocked(uint256 who, bool value) external observed("setBlocked") {
        token.setBlocked(payers[who % 3], value);
    }

    function setPaused(uint256 dice) external observed("setPaused") {
        token.setPaused(dice % 5 == 0);
    }

    function reopen(uint256 which) external observed("reopen") {
        if (ids.length == 0) return;
        Opening memory o = openings[ids[which % ids.length]];
        vm.prank(o.payer);
        try escrow.open(o.payee, address(token), o.deposit, o.salt, o.signer) {
            reopened += 1;
        } catch {}
    }

    /// @dev A stranger with every voucher ever signed, on every function that could move money.
    function attack(uint256 which, uint128 amount) external observed("attack") {
        (bytes32 id, IChannelEscrow.Channel memory channel) = pickLive(which);
        if (id == 0) return;
        amount = uint128(bound(amount, 0, channel.deposit));
        bytes memory signature = sign(id, amount);
        bytes[] memory tries = new bytes[](8);
        tries[0] = abi.encodeCall(escrow.settle, (id, amount, signature));
        tries[1] = abi.encodeCall(escrow.settleCapture, (id, amount, amount, signature));
        tries[2] = abi.encodeCall(escrow.close, (id, amount, signature));
        tries[3] = abi.encodeCall(escrow.closeCapture, (id, amount, channel.settled, ""));
        tries[4] = abi.encodeCall(escrow.requestClose, (id));
        tries[5] = abi.encodeCall(escrow.withdraw, (id));
        tries[6] = abi.encodeCall(escrow.withdrawRefund, (address(token), attacker));
        tries[7] = abi.encodeCall(escrow.lowerMaxDeposit, (id, channel.deposit));
        for (uint256 i = 0; i < tries.length; ++i) {
            vm.prank(attacker);
            (bool ok,) = address(escrow).call(tries[i]);
            if (ok) attackerActed += 1;
        }
    }

    // --------------------------------------------------------------------------------------------------- internals

    function sign(bytes32 id, uint128 cumulative) private returns (bytes memory) {
        if (cumulative > signedMost[id]) signedMost[id] = cumulative;
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SIGNER_KEY, escrow.getVoucherDigest(id, cumulative));
        return abi.encodePacked(r, s, v);
    }

    /// @dev An open channel, or nothing if the drawn one is closed.
    function pickLive(uint256 which) private view returns (bytes32 id, IChannelEscrow.Channel memory channel) {
        if (ids.length == 0) return (0, channel);
        id = ids[which % ids.length];
        channel = escrow.getChannel(id);
        if (channel.finalized) id = 0;
    }

    function idCount() external view returns (uint256) {
        return ids.length;
    }
}
