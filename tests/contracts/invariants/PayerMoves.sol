// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IChannelEscrow} from "../../../contracts/src/interfaces/IChannelEscrow.sol";
import {IDraftTopUp} from "../EscrowTest.sol";
import {Reenterer} from "../mocks/Reenterer.sol";
import {World} from "./World.sol";

/// @dev What payers send themselves.
abstract contract PayerMoves is World {
    struct Opening {
        address payee;
        address token;
        uint128 deposit;
        bytes32 salt;
        address signer;
        address payer;
        uint128 ownCap;
    }

    function open(uint256 seed) external played(seed) {
        for (uint256 i = 1 + roll(4); i != 0; --i) {
            Opening memory o = drawOpening();
            bytes memory data = abi.encodeCall(escrow.open, (o.payee, o.token, o.deposit, o.salt, o.signer));
            bytes4 no = foretellOpen(o);
            if (no == 0) no = foretellPull(tokenIndex(o.token), o.payer, o.deposit);
            (bool ok,) = act("open", o.payer, data, no);
            if (ok) bookOpen(o);
        }
    }

    function openWithCap(uint256 seed) external played(seed) {
        Opening memory o = drawOpening();
        uint128 limit = capOf(o.token);
        o.ownCap = oneIn(8) ? limit + 1 : between(oneIn(8) ? 0 : o.deposit, o.deposit > limit ? o.deposit : limit);
        bytes memory data =
            abi.encodeCall(escrow.openWithCap, (o.payee, o.token, o.deposit, o.salt, o.signer, o.ownCap));
        bytes4 no = o.ownCap == 0 ? IChannelEscrow.DepositExceedsCap.selector : foretellOpen(o);
        if (no == 0) no = foretellPull(tokenIndex(o.token), o.payer, o.deposit);
        (bool ok,) = act("openWithCap", o.payer, data, no);
        if (ok) bookOpen(o);
    }

    function topUp(uint256 seed) external played(seed) {
        bytes32 id = pick();
        address caller = mostly(books[id].channel.payer);
        uint256 amount = drawTopUp(id);
        if (oneIn(8)) amount += 1 << 128;
        bool narrow = amount <= type(uint128).max && oneIn(2);
        // forge-lint: disable-next-line(unsafe-typecast)
        bytes memory data = narrow
            ? abi.encodeCall(IDraftTopUp.topUp, (id, uint128(amount)))
            : abi.encodeWithSignature("topUp(bytes32,uint256)", id, amount);
        bytes4 no = foretellPayer(id, caller);
        if (no == 0) no = foretellCredit(id, amount);
        if (no == 0) no = foretellPull(books[id].token, caller, amount);
        (bool ok,) = act("topUp", caller, data, no);
        if (!ok) return;
        books[id].channel.closeRequestedAt = 0;
        bookCredit(id, caller, amount);
    }

    function lowerMaxDeposit(uint256 seed) external played(seed) {
        bytes32 id = pick();
        Book storage b = books[id];
        address caller = mostly(b.channel.payer);
        uint128 cap = oneIn(4) ? between(0, 2 * b.cap) : between(b.channel.deposit, b.cap);
        if (oneIn(8) && b.channel.deposit != 0) cap = b.channel.deposit - 1;
        bytes4 no = foretellPayer(id, caller);
        if (no == 0 && cap > b.cap) no = IChannelEscrow.CapNotLower.selector;
        if (no == 0 && cap < b.channel.deposit) no = IChannelEscrow.CapBelowDeposit.selector;
        (bool ok,) = act("lowerMaxDeposit", caller, abi.encodeCall(escrow.lowerMaxDeposit, (id, cap)), no);
        if (ok) (b.cap, b.ownCap) = (cap, cap);
    }

    function requestClose(uint256 seed) external played(seed) {
        bytes32 id = pick();
        address caller = mostly(books[id].channel.payer);
        (bool ok,) = act("requestClose", caller, abi.encodeCall(escrow.requestClose, (id)), foretellPayer(id, caller));
        IChannelEscrow.Channel storage channel = books[id].channel;
        if (ok && channel.closeRequestedAt == 0) channel.closeRequestedAt = uint64(block.timestamp);
    }

    /// @dev ESC-5: once it is due nothing may stop this, whatever the token thinks of the payer.
    function withdraw(uint256 seed) external played(seed) {
        bytes32 id = pick();
        for (uint256 i = 0; i < 4 && books[id].channel.closeRequestedAt == 0; ++i) {
            id = pick();
        }
        if (oneIn(2)) vm.warp(block.timestamp + GRACE_SECONDS);
        withdrawAs(mostly(books[id].channel.payer), id);
    }

    function withdrawAs(address caller, bytes32 id) internal {
        Book storage b = books[id];
        bytes4 no = foretellPayer(id, caller);
        uint64 requested = b.channel.closeRequestedAt;
        bool due = requested != 0 && block.timestamp >= requested + GRACE_SECONDS;
        if (no == 0 && !due) no = IChannelEscrow.CloseNotReady.selector;
        (bool ok,) = act("withdraw", caller, abi.encodeCall(escrow.withdraw, (id)), no);
        if (!ok) return;
        b.channel.finalized = true;
        bookRefund(b.token, caller, b.channel.deposit - b.channel.settled);
    }

    function withdrawRefund(uint256 seed) external played(seed) {
        uint256 t = roll(TOKENS);
        address caller = mostly(payers[roll(PEOPLE)]);
        for (uint256 i = 0; i < 8 && creditInBooks[t][caller] == 0; ++i) {
            (t, caller) = (roll(TOKENS), payers[roll(PEOPLE)]);
        }
        address to = oneIn(3) ? payees[roll(PEOPLE)] : caller;
        if (oneIn(5)) to = oneIn(2) ? address(0) : address(escrow);
        withdrawRefundAs(caller, t, to);
    }

    function withdrawRefundAs(address caller, uint256 t, address to) internal {
        uint256 credit = creditInBooks[t][caller];
        bytes4 no;
        if (credit == 0) no = IChannelEscrow.NoRefund.selector;
        else if (to == address(0) || to == address(escrow)) no = IChannelEscrow.InvalidRecipient.selector;
        else if (refuses(t, address(escrow), to, credit)) no = IChannelEscrow.TransferFailed.selector;
        bytes memory data = abi.encodeCall(escrow.withdrawRefund, (address(tokens[t]), to));
        (bool ok, bytes memory answer) = act("withdrawRefund", caller, data, no);
        if (!ok) return;
        assertEq(abi.decode(answer, (uint256)), credit, "withdrawRefund: another amount");
        creditInBooks[t][caller] = 0;
        bookMove(t, address(escrow), to, credit);
    }

    // --------------------------------------------------------------------------------------------------- openings

    /// @dev New terms, or now and then those of an opening that was.
    function drawOpening() internal returns (Opening memory o) {
        if (ids.length != 0 && oneIn(8)) {
            bytes32 id = ids[roll(ids.length)];
            Book storage b = books[id];
            IChannelEscrow.Channel storage c = b.channel;
            return Opening(c.payee, c.token, 1, b.salt, c.authorizedSigner, c.payer, 0);
        }
        uint256 t = roll(TOKENS);
        o.token = oneIn(24) ? attacker : address(tokens[t]);
        o.payee = oneIn(24) ? (oneIn(2) ? address(0) : address(escrow)) : payees[roll(PEOPLE)];
        o.payer = payers[roll(PEOPLE)];
        o.salt = bytes32(ids.length);
        o.deposit = oneIn(12) ? caps[t] + 1 : between(oneIn(12) ? 0 : 1, oneIn(6) ? caps[t] : caps[t] / 2);
        uint256 kind = roll(SIGNERS);
        o.signer = kind == 1 ? o.payer : signers[kind];
    }

    function tokenIndex(address token) internal view returns (uint256 t) {
        while (address(tokens[t]) != token) ++t;
    }

    function capOf(address token) internal view returns (uint128) {
        return token == attacker ? 0 : caps[tokenIndex(token)];
    }

    function idOf(Opening memory o) internal view returns (bytes32) {
        return keccak256(abi.encode(o.payer, o.payee, o.token, o.salt, o.signer, address(escrow), block.chainid));
    }

    function foretellOpen(Opening memory o) internal view returns (bytes4) {
        if (o.payee == address(0) || o.payee == address(escrow)) return IChannelEscrow.InvalidPayee.selector;
        uint128 limit = capOf(o.token);
        if (limit == 0) return IChannelEscrow.TokenNotListed.selector;
        if (o.ownCap > limit) return IChannelEscrow.CapNotLower.selector;
        if (o.ownCap != 0) limit = o.ownCap;
        if (o.deposit == 0) return IChannelEscrow.ZeroDeposit.selector;
        if (o.deposit > limit) return IChannelEscrow.DepositExceedsCap.selector;
        bool known = books[idOf(o)].channel.payer != address(0);
        return known ? IChannelEscrow.ChannelAlreadyExists.selector : bytes4(0);
    }

    function bookOpen(Opening memory o) internal {
        bytes32 id = idOf(o);
        Book storage b = books[id];
        ids.push(id);
        b.token = tokenIndex(o.token);
        b.salt = o.salt;
        b.signer = o.signer == address(0) ? o.payer : o.signer;
        b.ownCap = o.ownCap;
        b.cap = o.ownCap == 0 ? caps[b.token] : o.ownCap;
        b.channel = IChannelEscrow.Channel(false, 0, o.payer, o.payee, o.token, o.signer, o.deposit, 0);
        bookMove(b.token, o.payer, address(escrow), o.deposit);
        if (o.payer == address(reenterer)) teach(id, o);
    }

    /// @dev What the reenterer could do with its new channel, were it let in.
    function teach(bytes32 id, Opening memory o) private {
        reenterer.learn(abi.encodeCall(escrow.withdraw, (id)));
        reenterer.learn(abi.encodeCall(escrow.withdrawRefund, (o.token, o.payer)));
        reenterer.learn(abi.encodeCall(escrow.requestClose, (id)));
        reenterer.learn(abi.encodeCall(escrow.closeCapture, (id, 0, 0, "")));
        reenterer.learn(abi.encodeCall(escrow.open, (o.payee, o.token, 1, bytes32(uint256(id) ^ 1), o.signer)));
    }

    // ---------------------------------------------------------------------------------------------------- top-ups

    function drawTopUp(bytes32 id) internal returns (uint256) {
        uint256 room = books[id].cap - books[id].channel.deposit;
        if (oneIn(10)) return 0;
        if (oneIn(8) || room == 0) return room + 1;
        return between(1, oneIn(6) ? room : room / 4 + 1);
    }

    function foretellCredit(bytes32 id, uint256 amount) internal view returns (bytes4) {
        if (amount == 0) return IChannelEscrow.ZeroDeposit.selector;
        uint256 deposit = amount + books[id].channel.deposit;
        if (deposit > type(uint128).max) return IChannelEscrow.DepositOverflow.selector;
        return deposit > books[id].cap ? IChannelEscrow.DepositExceedsCap.selector : bytes4(0);
    }

    function bookCredit(bytes32 id, address from, uint256 amount) internal {
        // forge-lint: disable-next-line(unsafe-typecast) -- foretold to fit under the cap.
        books[id].channel.deposit += uint128(amount);
        bookMove(books[id].token, from, address(escrow), amount);
    }
}
