// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IChannelEscrow} from "../../../contracts/src/interfaces/IChannelEscrow.sol";
import {Spoil} from "../mocks/Spoil.sol";
import {PayerMoves} from "./PayerMoves.sol";

/// @dev What payees and their operators send, one channel at a time or in batches.
abstract contract PayeeMoves is PayerMoves {
    using Spoil for bytes;

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant NAME_HASH = keccak256("EVM Payment Channel");
    bytes32 private constant VERSION_HASH = keccak256("1");
    bytes32 private constant VOUCHER_TYPEHASH = keccak256("Voucher(bytes32 channelId,uint128 cumulativeAmount)");

    /// @dev One attempt to collect. `good` says whether the signature is the signer's, for these very words.
    struct Claim {
        bytes32 id;
        uint128 cumulative;
        uint128 capture;
        bytes signature;
        bool good;
    }

    /// @dev A batch, and what must become of each row.
    struct Batch {
        address payee;
        uint256 token;
        bool closing;
        IChannelEscrow.Row[] rows;
        IChannelEscrow.Verdict[] verdicts;
        uint128[] deltas;
        uint256 paid;
        bool allLand;
    }

    function settle(uint256 seed) external played(seed) {
        bytes32 id = pick();
        Claim memory c = drawClaim(id, true, false);
        collect("settle", c, false, false, abi.encodeCall(escrow.settle, (id, c.cumulative, c.signature)));
    }

    function close(uint256 seed) external played(seed) {
        bytes32 id = pick();
        Claim memory c = drawClaim(id, true, true);
        uint128 settled = books[id].channel.settled;
        if (c.capture < settled) c.capture = settled;
        collect("close", c, true, false, abi.encodeCall(escrow.close, (id, c.cumulative, c.signature)));
    }

    function settleCapture(uint256 seed) external played(seed) {
        Claim memory c = drawClaim(pick(), false, false);
        bytes memory data = abi.encodeCall(escrow.settleCapture, (c.id, c.cumulative, c.capture, c.signature));
        collect("settleCapture", c, false, true, data);
    }

    function closeCapture(uint256 seed) external played(seed) {
        Claim memory c = drawClaim(pick(), false, true);
        bytes memory data = abi.encodeCall(escrow.closeCapture, (c.id, c.cumulative, c.capture, c.signature));
        collect("closeCapture", c, true, true, data);
    }

    function settleMany(uint256 seed) external played(seed) {
        address caller = payees[roll(PEOPLE)];
        if (oneIn(8)) caller = attacker;
        Batch memory b = drawBatch(caller, false);
        bytes memory data = abi.encodeCall(escrow.settleMany, (address(tokens[b.token]), b.rows));
        sendBatch("settleMany", caller, b, data, 0);
    }

    function closeMany(uint256 seed) external played(seed) {
        address caller = payees[roll(PEOPLE)];
        if (oneIn(8)) caller = attacker;
        Batch memory b = drawBatch(caller, true);
        bytes memory data = abi.encodeCall(escrow.closeMany, (address(tokens[b.token]), b.rows));
        sendBatch("closeMany", caller, b, data, 0);
    }

    function settleManyFor(uint256 seed) external played(seed) {
        Batch memory b = drawBatch(payees[roll(PEOPLE)], false);
        address caller = oneIn(2) ? clerk : mostly(b.payee);
        bytes memory data = abi.encodeCall(escrow.settleManyFor, (b.payee, address(tokens[b.token]), b.rows));
        bytes4 no = mayCollect(b.payee, caller, false) ? bytes4(0) : IChannelEscrow.NotOperator.selector;
        sendBatch("settleManyFor", caller, b, data, no);
    }

    function closeManyFor(uint256 seed) external played(seed) {
        Batch memory b = drawBatch(payees[roll(PEOPLE)], true);
        address caller = oneIn(2) ? clerk : mostly(b.payee);
        bytes memory data = abi.encodeCall(escrow.closeManyFor, (b.payee, address(tokens[b.token]), b.rows));
        bytes4 no = mayCollect(b.payee, caller, true) ? bytes4(0) : IChannelEscrow.NotOperator.selector;
        sendBatch("closeManyFor", caller, b, data, no);
    }

    /// @dev The attacker is never given a right by a payee; it may give itself some over its own, which are none.
    function setOperator(uint256 seed) external played(seed) {
        address caller = mostly(payees[roll(PEOPLE)]);
        IChannelEscrow.OperatorRights granted = IChannelEscrow.OperatorRights(roll(3));
        (bool ok,) = act("setOperator", caller, abi.encodeCall(escrow.setOperator, (clerk, granted)), 0);
        if (ok) rights[caller][clerk] = granted;
        assertEq(uint256(escrow.operatorRights(caller, clerk)), uint256(rights[caller][clerk]), "setOperator: rights");
    }

    function mayCollect(address payee, address caller, bool closing) internal view returns (bool) {
        if (caller == payee) return true;
        IChannelEscrow.OperatorRights held = rights[payee][caller];
        if (held == IChannelEscrow.OperatorRights.SettleAndClose) return true;
        return held == IChannelEscrow.OperatorRights.Settle && !closing;
    }

    // ------------------------------------------------------------------------------------------------- one channel

    function collect(bytes32 move, Claim memory c, bool closing, bool byOperator, bytes memory data) private {
        address payee = books[c.id].channel.payee;
        address caller = byOperator && oneIn(3) ? clerk : mostly(payee);
        bool may = byOperator ? mayCollect(payee, caller, closing) : caller == payee;
        bytes4 no = foretellLive(c.id);
        if (no == 0 && !may) no = IChannelEscrow.NotPayee.selector;
        if (no == 0) no = foretellCollect(c, closing);
        (bool ok,) = act(move, caller, data, no);
        if (!ok) return;
        remember(data);
        bookCollect(c, closing);
    }

    function foretellCollect(Claim memory c, bool closing) internal view returns (bytes4) {
        Book storage b = books[c.id];
        IChannelEscrow.Verdict verdict = judge(c, b.channel.settled, b.channel.deposit, closing);
        if (verdict == IChannelEscrow.Verdict.NotIncreasing) return IChannelEscrow.AmountNotIncreasing.selector;
        if (verdict == IChannelEscrow.Verdict.ExceedsDeposit) return IChannelEscrow.AmountExceedsDeposit.selector;
        if (verdict == IChannelEscrow.Verdict.ExceedsCumulative) {
            return IChannelEscrow.AmountExceedsCumulative.selector;
        }
        if (verdict == IChannelEscrow.Verdict.BadSignature) return IChannelEscrow.InvalidSignature.selector;
        uint256 delta = c.capture - b.channel.settled;
        bool stuck = delta != 0 && refuses(b.token, address(escrow), b.channel.payee, delta);
        return stuck ? IChannelEscrow.TransferFailed.selector : bytes4(0);
    }

    function bookCollect(Claim memory c, bool closing) internal {
        Book storage b = books[c.id];
        uint256 delta = c.capture - b.channel.settled;
        if (delta != 0) bookMove(b.token, address(escrow), b.channel.payee, delta);
        b.channel.settled = c.capture;
        ++collections;
        if (!closing) return;
        b.channel.finalized = true;
        bookRefund(b.token, b.channel.payer, b.channel.deposit - c.capture);
    }

    /// @dev The rules of collecting in the promises' words: ESC-2, ESC-3, ESC-4.
    function judge(Claim memory c, uint128 settled, uint128 deposit, bool closing)
        internal
        pure
        returns (IChannelEscrow.Verdict)
    {
        if (closing && c.capture == settled) return IChannelEscrow.Verdict.Landed;
        if (c.capture <= settled) return IChannelEscrow.Verdict.NotIncreasing;
        if (c.capture > deposit) return IChannelEscrow.Verdict.ExceedsDeposit;
        if (c.capture > c.cumulative) return IChannelEscrow.Verdict.ExceedsCumulative;
        return c.good ? IChannelEscrow.Verdict.Landed : IChannelEscrow.Verdict.BadSignature;
    }

    function drawClaim(bytes32 id, bool whole, bool closing) internal returns (Claim memory c) {
        IChannelEscrow.Channel storage channel = books[id].channel;
        (uint128 settled, uint128 deposit) = (channel.settled, channel.deposit);
        c.id = id;
        if (oneIn(12)) c.capture = deposit + 1;
        else if (oneIn(12)) c.capture = deposit;
        else if (oneIn(8)) c.capture = settled == 0 ? 0 : settled - (oneIn(2) ? 1 : 0);
        else if (closing || settled == deposit) c.capture = between(settled, deposit);
        else c.capture = between(settled + 1, settled + 1 + (deposit - settled - 1) / 3);
        c.cumulative = c.capture;
        if (!whole && !oneIn(3)) c.cumulative = between(c.capture, 2 * uint256(deposit) + 2);
        if (!whole && oneIn(12) && c.capture != 0) c.cumulative = c.capture - 1;
        (c.signature, c.good) = drawVoucher(id, c.cumulative);
    }

    /// @dev Mostly the signer's voucher for these words; else one by another, for other words, or spoiled.
    function drawVoucher(bytes32 id, uint128 cumulative) internal returns (bytes memory, bool good) {
        Book storage b = books[id];
        good = keyOf[b.signer] != 0 && !oneIn(6);
        uint256 fault = good ? 4 : roll(4);
        if (fault == 1) id = ~id;
        if (fault == 2) ++cumulative;
        if ((good || fault == 2) && cumulative > b.signedMost) b.signedMost = cumulative;
        bytes32 hash = keccak256(abi.encode(VOUCHER_TYPEHASH, id, cumulative));
        bytes memory signature = signTyped(fault == 0 ? attacker : b.signer, hash);
        if (fault == 3) signature = spoiled(b.signer, signature);
        return (signature, good);
    }

    function signTyped(address account, bytes32 structHash) internal view returns (bytes memory) {
        bytes32 separator =
            keccak256(abi.encode(DOMAIN_TYPEHASH, NAME_HASH, VERSION_HASH, block.chainid, address(escrow)));
        return signDigest(account, keccak256(abi.encodePacked(hex"1901", separator, structHash)));
    }

    function signDigest(address account, bytes32 digest) internal view returns (bytes memory) {
        uint256 key = keyOf[account] == 0 ? 0xbad : keyOf[account];
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// @dev A wallet makes rules of its own: those of the tests know no rule but the curve's.
    function spoiled(address account, bytes memory signature) internal returns (bytes memory) {
        bool wallet = account == signers[3] || account == payees[1];
        return signature.spoil(roll(wallet ? Spoil.CURVE_KINDS : Spoil.KINDS), roll(1 << 64));
    }

    // ----------------------------------------------------------------------------------------------------- batches

    function drawBatch(address payee, bool closing) internal returns (Batch memory b) {
        uint256 size = roll(6);
        (b.payee, b.token, b.closing, b.allLand) = (payee, roll(TOKENS), closing, true);
        b.rows = new IChannelEscrow.Row[](size);
        b.verdicts = new IChannelEscrow.Verdict[](size);
        b.deltas = new uint128[](size);
        for (uint256 i = 0; i < size; ++i) {
            Claim memory c = drawClaim(pickFor(payee, b.token), false, closing);
            b.rows[i] = IChannelEscrow.Row(c.id, c.cumulative, c.capture, c.signature);
            foretellRow(b, c, i);
        }
    }

    function pickFor(address payee, uint256 t) private returns (bytes32 id) {
        id = pick();
        for (uint256 i = 0; i < 6 && (books[id].channel.payee != payee || books[id].token != t); ++i) {
            id = pick();
        }
    }

    /// @dev Each row sees those before it.
    function foretellRow(Batch memory b, Claim memory c, uint256 i) private view {
        IChannelEscrow.Channel storage channel = books[c.id].channel;
        uint128 settled = channel.settled;
        bool finalized = channel.finalized;
        for (uint256 j = 0; j < i; ++j) {
            bool before = b.rows[j].channelId == c.id && b.verdicts[j] == IChannelEscrow.Verdict.Landed;
            if (before) (settled, finalized) = (b.rows[j].captureAmount, b.closing);
        }
        IChannelEscrow.Verdict verdict;
        if (channel.payer == address(0)) verdict = IChannelEscrow.Verdict.ChannelUnknown;
        else if (finalized) verdict = IChannelEscrow.Verdict.ChannelIsFinalized;
        else if (channel.payee != b.payee) verdict = IChannelEscrow.Verdict.OtherPayee;
        else if (books[c.id].token != b.token) verdict = IChannelEscrow.Verdict.OtherToken;
        else verdict = judge(c, settled, channel.deposit, b.closing);
        b.verdicts[i] = verdict;
        if (verdict != IChannelEscrow.Verdict.Landed) b.allLand = false;
        else b.deltas[i] = c.capture - settled;
        b.paid += b.deltas[i];
    }

    /// @dev `no` is why the whole batch must be refused before its rows are looked at.
    function sendBatch(bytes32 move, address caller, Batch memory b, bytes memory data, bytes4 no)
        internal
        returns (bool ok)
    {
        bool stuck = b.paid != 0 && refuses(b.token, address(escrow), b.payee, b.paid);
        if (no == 0 && stuck) no = IChannelEscrow.TransferFailed.selector;
        bytes memory answer;
        (ok, answer) = act(move, caller, data, no);
        if (!ok) return false;
        (uint256 paid, IChannelEscrow.Verdict[] memory verdicts) =
            abi.decode(answer, (uint256, IChannelEscrow.Verdict[]));
        assertEq(paid, b.paid, "ESC-6: a batch paid another sum than its good rows carry");
        assertEq(verdicts.length, b.rows.length, "ESC-6: verdicts");
        for (uint256 i = 0; i < verdicts.length; ++i) {
            assertEq(uint256(verdicts[i]), uint256(b.verdicts[i]), "ESC-6: a row's verdict");
            ++verdictsSeen[verdicts[i]];
        }
        bookBatch(b);
    }

    function bookBatch(Batch memory b) private {
        if (b.paid != 0) {
            bookMove(b.token, address(escrow), b.payee, b.paid);
            ++collections;
        }
        for (uint256 i = 0; i < b.rows.length; ++i) {
            if (b.verdicts[i] != IChannelEscrow.Verdict.Landed) continue;
            IChannelEscrow.Channel storage channel = books[b.rows[i].channelId].channel;
            channel.settled = b.rows[i].captureAmount;
            if (!b.closing) continue;
            channel.finalized = true;
            bookRefund(b.token, channel.payer, channel.deposit - channel.settled);
        }
    }
}
