// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IChannelEscrow} from "../../../contracts/src/interfaces/IChannelEscrow.sol";
import {IRelayedEscrow} from "../../../contracts/src/interfaces/IRelayedEscrow.sol";
import {PayeeMoves} from "./PayeeMoves.sol";

interface IDomain {
    // forge-lint: disable-next-line(mixed-case-function)
    function DOMAIN_SEPARATOR() external view returns (bytes32);
}

/// @dev What payers and payees sign and others send for them. The types are spelled out as the drafts write them.
abstract contract RelayedMoves is PayeeMoves {
    bytes32 private constant RECEIVE_TYPEHASH = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 private constant OPEN_WITNESS_TYPEHASH =
        keccak256("ChannelOpenWitness(address payee,bytes32 salt,address authorizedSigner)");
    bytes32 private constant TOP_UP_WITNESS_TYPEHASH = keccak256("ChannelTopUpWitness(bytes32 channelId)");
    bytes private constant PERMITTED_TYPE = "TokenPermissions(address token,uint256 amount)";
    bytes private constant PERMIT_STUB =
        "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,";
    bytes private constant OPEN_WITNESS =
        "ChannelOpenWitness witness)ChannelOpenWitness(address payee,bytes32 salt,address authorizedSigner)";
    bytes private constant TOP_UP_WITNESS = "ChannelTopUpWitness witness)ChannelTopUpWitness(bytes32 channelId)";
    bytes private constant LEAVE_FIELDS = "(bytes32 channelId,uint128 cumulativeAmount,uint256 nonce,uint256 deadline)";
    bytes private constant BATCH_FIELDS = "(address token,Row[] rows,uint256 nonce,uint256 deadline)";
    bytes private constant ROW_TYPE =
        "Row(bytes32 channelId,uint128 cumulativeAmount,uint128 captureAmount,bytes signature)";
    uint256 private constant FOREVER = type(uint256).max;

    struct Leave {
        address payee;
        bytes32 scope;
        uint256 nonce;
        uint256 deadline;
        bytes signature;
        bool good;
    }

    /// @dev A relayed top-up. Anybody with a key may pay for anybody's channel.
    struct Gift {
        bytes32 id;
        address from;
        uint128 amount;
        bool good;
    }

    /// @dev `fresh` says that neither the nonce nor the deadline has passed.
    struct Permit {
        address token;
        uint256 amount;
        uint256 nonce;
        uint256 deadline;
        bool fresh;
    }

    mapping(address owner => uint256) private permitNonce;

    // ------------------------------------------------------------------------------------------ funded by the payer

    function openWithAuthorization(uint256 seed) external played(seed) {
        (Opening memory signed, Opening memory o, bool good) = drawRelayedOpening();
        bytes32 nonce = openNonce(o);
        if (!good && oneIn(2)) nonce = openNonce(signed);
        bytes memory signature = signReceive(signed.payer, signed.token, signed.deposit, openNonce(signed));
        bytes memory data = abi.encodeCall(
            escrow.openWithAuthorization,
            (o.payee, o.token, o.deposit, o.salt, o.signer, o.payer, 0, FOREVER, nonce, signature)
        );
        bytes4 no = nonce != openNonce(o) ? IRelayedEscrow.NonceMismatch.selector : foretellOpen(o);
        good = good && o.token == address(tokens[PLAIN]);
        sendFunding("openWithAuthorization", o, data, no, good);
    }

    function openWithPermit2(uint256 seed) external played(seed) {
        (Opening memory signed, Opening memory o, bool good) = drawRelayedOpening();
        Permit memory p = drawPermit(o.payer, signed.token, signed.deposit);
        bytes32 witness = keccak256(abi.encode(OPEN_WITNESS_TYPEHASH, signed.payee, signed.salt, signed.signer));
        bytes memory signature = signDigest(signed.payer, permitHash(p, OPEN_WITNESS, witness));
        bytes memory data = abi.encodeCall(
            escrow.openWithPermit2,
            (o.payee, o.token, o.deposit, o.salt, o.signer, o.payer, p.nonce, p.deadline, signature)
        );
        if (sendFunding("openWithPermit2", o, data, foretellOpen(o), good && p.fresh)) ++permitNonce[o.payer];
    }

    function topUpWithAuthorization(uint256 seed) external played(seed) {
        Gift memory g = drawGift();
        bytes32 salt = bytes32(steps);
        bytes32 nonce = keccak256(abi.encode(g.id, g.amount, g.from, salt));
        bytes32 signed = g.good ? nonce : ~nonce;
        bytes memory signature = signReceive(g.from, books[g.id].channel.token, g.amount, signed);
        if (!g.good && oneIn(2)) nonce = signed;
        bytes memory data =
            abi.encodeCall(escrow.topUpWithAuthorization, (g.id, g.amount, g.from, salt, 0, FOREVER, nonce, signature));
        bytes4 no = nonce == signed && !g.good ? IRelayedEscrow.NonceMismatch.selector : bytes4(0);
        if (books[g.id].token != PLAIN) g.good = false;
        sendGift("topUpWithAuthorization", g, data, no);
    }

    function topUpWithPermit2(uint256 seed) external played(seed) {
        Gift memory g = drawGift();
        Permit memory p = drawPermit(g.from, books[g.id].channel.token, g.amount);
        bytes32 witness = keccak256(abi.encode(TOP_UP_WITNESS_TYPEHASH, g.good ? g.id : ~g.id));
        bytes memory signature = signDigest(g.from, permitHash(p, TOP_UP_WITNESS, witness));
        bytes memory data =
            abi.encodeCall(escrow.topUpWithPermit2, (g.id, g.amount, g.from, p.nonce, p.deadline, signature));
        if (!p.fresh) g.good = false;
        if (sendGift("topUpWithPermit2", g, data, 0)) ++permitNonce[g.from];
    }

    /// @dev What was signed, and what is sent: mostly the same, else with one term of the attacker's choice.
    function drawRelayedOpening() private returns (Opening memory signed, Opening memory o, bool good) {
        o = drawOpening();
        if (o.payer == address(reenterer)) o.payer = payers[0];
        if (oneIn(3) && o.token != attacker) o.token = address(tokens[PLAIN]);
        if (o.deposit > 1e6 && o.token == address(tokens[PLAIN])) o.deposit = 1e6;
        o.ownCap = 0;
        signed = Opening(o.payee, o.token, o.deposit, o.salt, o.signer, o.payer, 0);
        good = !oneIn(6);
        if (good) return (signed, o, good);
        uint256 term = roll(4);
        if (term == 0) signed.payee = payees[0] == o.payee ? payees[1] : payees[0];
        if (term == 1) signed.salt = ~o.salt;
        if (term == 2) signed.signer = o.signer == attacker ? clerk : attacker;
        if (term == 3) signed.payer = o.payer == payers[0] ? payers[1] : payers[0];
    }

    function drawGift() private returns (Gift memory) {
        bytes32 id = pick();
        // forge-lint: disable-next-line(unsafe-typecast) -- room is under the cap.
        return Gift(id, payers[roll(2)], uint128(drawTopUp(id)), !oneIn(6));
    }

    function drawPermit(address owner, address token, uint256 amount) private returns (Permit memory p) {
        p = Permit(token, amount, permitNonce[owner], block.timestamp + roll(100), true);
        if (p.nonce != 0 && oneIn(10)) (p.nonce, p.fresh) = (roll(p.nonce), false);
        if (oneIn(12)) (p.deadline, p.fresh) = (block.timestamp - 1, false);
    }

    function sendFunding(bytes32 move, Opening memory o, bytes memory data, bytes4 no, bool good)
        private
        returns (bool ok)
    {
        if (no == 0 && !good) no = IChannelEscrow.TransferFailed.selector;
        if (no == 0) no = foretellPull(tokenIndex(o.token), o.payer, o.deposit);
        (ok,) = act(move, mostly(clerk), data, no);
        if (!ok) return false;
        remember(data);
        bookOpen(o);
    }

    /// @dev E1: whoever pays, a close request stays as it is.
    function sendGift(bytes32 move, Gift memory g, bytes memory data, bytes4 no) private returns (bool ok) {
        if (no == 0) no = foretellLive(g.id);
        if (no == 0) no = foretellCredit(g.id, g.amount);
        if (no == 0 && !g.good) no = IChannelEscrow.TransferFailed.selector;
        if (no == 0) no = foretellPull(books[g.id].token, g.from, g.amount);
        (ok,) = act(move, mostly(clerk), data, no);
        if (!ok) return false;
        remember(data);
        bookCredit(g.id, g.from, g.amount);
    }

    function openNonce(Opening memory o) private pure returns (bytes32) {
        return keccak256(abi.encode(o.payer, o.payee, o.token, o.salt, o.signer));
    }

    function signReceive(address from, address token, uint256 value, bytes32 nonce)
        private
        view
        returns (bytes memory)
    {
        bytes32 hash = keccak256(abi.encode(RECEIVE_TYPEHASH, from, address(escrow), value, 0, FOREVER, nonce));
        bytes32 separator = token == address(tokens[PLAIN]) ? IDomain(token).DOMAIN_SEPARATOR() : bytes32(0);
        return signDigest(from, keccak256(abi.encodePacked(hex"1901", separator, hash)));
    }

    function permitHash(Permit memory p, bytes memory witnessType, bytes32 witness) private view returns (bytes32) {
        bytes32 typeHash = keccak256(bytes.concat(PERMIT_STUB, witnessType, PERMITTED_TYPE));
        bytes32 permitted = keccak256(abi.encode(keccak256(PERMITTED_TYPE), p.token, p.amount));
        bytes32 hash = keccak256(abi.encode(typeHash, permitted, address(escrow), p.nonce, p.deadline, witness));
        return keccak256(abi.encodePacked(hex"1901", permit2.DOMAIN_SEPARATOR(), hash));
    }

    // -------------------------------------------------------------------------------------- authorised by the payee

    function settleWithAuthorization(uint256 seed) external played(seed) {
        Claim memory c = drawClaim(pick(), true, false);
        Leave memory leave = drawChannelLeave("SettleAuthorization", c);
        bytes memory data = abi.encodeCall(
            escrow.settleWithAuthorization,
            (c.id, c.cumulative, leave.nonce, leave.deadline, leave.signature, c.signature)
        );
        sendLeave("settleWithAuthorization", c, leave, false, data);
    }

    function closeWithAuthorization(uint256 seed) external played(seed) {
        Claim memory c = drawClaim(pick(), true, true);
        Leave memory leave = drawChannelLeave("CloseAuthorization", c);
        bytes memory data = abi.encodeCall(
            escrow.closeWithAuthorization,
            (c.id, c.cumulative, leave.nonce, leave.deadline, leave.signature, c.signature)
        );
        uint128 settled = books[c.id].channel.settled;
        if (c.capture < settled) c.capture = settled;
        sendLeave("closeWithAuthorization", c, leave, true, data);
    }

    function settleManyWithAuthorization(uint256 seed) external played(seed) {
        Batch memory b = drawBatch(payees[roll(PEOPLE)], false);
        Leave memory leave = drawBatchLeave("SettleManyAuthorization", b);
        bytes memory data = abi.encodeCall(
            escrow.settleManyWithAuthorization,
            (b.payee, address(tokens[b.token]), b.rows, leave.nonce, leave.deadline, leave.signature)
        );
        sendBatchLeave("settleManyWithAuthorization", b, leave, data);
    }

    function closeManyWithAuthorization(uint256 seed) external played(seed) {
        Batch memory b = drawBatch(payees[roll(PEOPLE)], true);
        Leave memory leave = drawBatchLeave("CloseManyAuthorization", b);
        bytes memory data = abi.encodeCall(
            escrow.closeManyWithAuthorization,
            (b.payee, address(tokens[b.token]), b.rows, leave.nonce, leave.deadline, leave.signature)
        );
        sendBatchLeave("closeManyWithAuthorization", b, leave, data);
    }

    function cancelAuthorization(uint256 seed) external played(seed) {
        bytes32 scope = oneIn(2) ? bytes32(0) : pick();
        address caller = oneIn(8) ? attacker : payees[roll(PEOPLE)];
        uint256 nonce = roll(24);
        bytes4 no = usedNonce[caller][scope][nonce] ? IRelayedEscrow.NonceAlreadyUsed.selector : bytes4(0);
        (bool ok,) = act("cancelAuthorization", caller, abi.encodeCall(escrow.cancelAuthorization, (scope, nonce)), no);
        if (ok) usedNonce[caller][scope][nonce] = true;
        assertEq(escrow.isNonceUsed(caller, scope, nonce), usedNonce[caller][scope][nonce], "cancelAuthorization");
    }

    function sendLeave(bytes32 move, Claim memory c, Leave memory leave, bool closing, bytes memory data) private {
        bytes4 no = foretellLive(c.id);
        if (no == 0) no = foretellLeave(leave);
        if (no == 0) no = foretellCollect(c, closing);
        (bool ok,) = act(move, mostly(attacker), data, no);
        if (!ok) return;
        remember(data);
        usedNonce[leave.payee][leave.scope][leave.nonce] = true;
        bookCollect(c, closing);
    }

    function sendBatchLeave(bytes32 move, Batch memory b, Leave memory leave, bytes memory data) private {
        if (!sendBatch(move, mostly(attacker), b, data, foretellLeave(leave))) return;
        bool used = escrow.isNonceUsed(leave.payee, leave.scope, leave.nonce);
        assertEq(used, b.allLand, "E7: a batch uses its nonce up when all of its rows landed, and only then");
        if (!used) return;
        usedNonce[leave.payee][leave.scope][leave.nonce] = true;
        remember(data);
    }

    function foretellLeave(Leave memory leave) private view returns (bytes4) {
        if (block.timestamp > leave.deadline) return IRelayedEscrow.AuthorizationExpired.selector;
        bool used = usedNonce[leave.payee][leave.scope][leave.nonce];
        if (used) return IRelayedEscrow.NonceAlreadyUsed.selector;
        return leave.good ? bytes4(0) : IChannelEscrow.InvalidSignature.selector;
    }

    function drawChannelLeave(bytes memory verb, Claim memory c) private returns (Leave memory leave) {
        leave = drawLeave(books[c.id].channel.payee, c.id, 12);
        bytes32 typeHash = keccak256(bytes.concat(verb, LEAVE_FIELDS));
        sign(leave, keccak256(abi.encode(typeHash, c.id, c.cumulative, leave.nonce, leave.deadline)));
    }

    function drawBatchLeave(bytes memory verb, Batch memory b) private returns (Leave memory leave) {
        leave = drawLeave(b.payee, 0, 60);
        bytes32[] memory hashes = new bytes32[](b.rows.length);
        for (uint256 i = 0; i < hashes.length; ++i) {
            IChannelEscrow.Row memory r = b.rows[i];
            hashes[i] = keccak256(
                abi.encode(
                    keccak256(ROW_TYPE), r.channelId, r.cumulativeAmount, r.captureAmount, keccak256(r.signature)
                )
            );
        }
        bytes32 rows = keccak256(abi.encodePacked(hashes));
        bytes32 typeHash = keccak256(bytes.concat(verb, BATCH_FIELDS, ROW_TYPE));
        sign(leave, keccak256(abi.encode(typeHash, address(tokens[b.token]), rows, leave.nonce, leave.deadline)));
    }

    function drawLeave(address payee, bytes32 scope, uint256 nonces) private returns (Leave memory leave) {
        leave.good = keyOf[payee] != 0 && !oneIn(8);
        (leave.payee, leave.scope, leave.nonce) = (payee, scope, roll(nonces));
        leave.deadline = oneIn(12) ? block.timestamp - 1 : block.timestamp + roll(100);
    }

    /// @dev By the payee; else by another, for another nonce, or spoiled.
    function sign(Leave memory leave, bytes32 hash) private {
        uint256 fault = leave.good ? 3 : roll(3);
        leave.signature = signTyped(fault == 0 ? attacker : leave.payee, fault == 1 ? ~hash : hash);
        if (fault == 2) leave.signature = spoiled(leave.payee, leave.signature);
    }
}
