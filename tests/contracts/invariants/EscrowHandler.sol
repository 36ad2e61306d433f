// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {WeirdToken} from "../mocks/WeirdTokens.sol";
import {PayeeMoves} from "./PayeeMoves.sol";
import {PayerMoves} from "./PayerMoves.sol";
import {RecoveryMoves} from "./RecoveryMoves.sol";
import {RelayedMoves} from "./RelayedMoves.sol";

/// @dev All moves of everybody, the world's and the thief's among them, and the end of every life.
contract EscrowHandler is RecoveryMoves {
    /// @notice The moves that a campaign draws from.
    function moves() external pure returns (bytes4[] memory list) {
        bytes4[28] memory all = [
            PayerMoves.open.selector,
            PayerMoves.openWithCap.selector,
            PayerMoves.topUp.selector,
            PayerMoves.lowerMaxDeposit.selector,
            PayerMoves.requestClose.selector,
            PayerMoves.withdraw.selector,
            PayerMoves.withdrawRefund.selector,
            PayeeMoves.settle.selector,
            PayeeMoves.close.selector,
            PayeeMoves.settleCapture.selector,
            PayeeMoves.closeCapture.selector,
            PayeeMoves.settleMany.selector,
            PayeeMoves.closeMany.selector,
            PayeeMoves.settleManyFor.selector,
            PayeeMoves.closeManyFor.selector,
            PayeeMoves.setOperator.selector,
            RelayedMoves.openWithAuthorization.selector,
            RelayedMoves.openWithPermit2.selector,
            RelayedMoves.topUpWithAuthorization.selector,
            RelayedMoves.topUpWithPermit2.selector,
            RelayedMoves.settleWithAuthorization.selector,
            RelayedMoves.closeWithAuthorization.selector,
            RelayedMoves.settleManyWithAuthorization.selector,
            RelayedMoves.closeManyWithAuthorization.selector,
            RelayedMoves.cancelAuthorization.selector,
            RecoveryMoves.recoverBlocked.selector,
            this.turnOfTheWorld.selector,
            this.replay.selector
        ];
        list = new bytes4[](all.length);
        for (uint256 i = 0; i < all.length; ++i) {
            list[i] = all[i];
        }
    }

    // ---------------------------------------------------------------------------------------- the world, the thief

    /// @dev Time passes, a token changes its mood, an issuer blocks somebody, or money falls from the sky.
    function turnOfTheWorld(uint256 seed) external played(seed) {
        if (oneIn(2)) vm.warp(block.timestamp + between(1, oneIn(4) ? 1 days : 10 minutes));
        uint256 what = roll(8);
        if (what == 0) tokens[MOODY].setMood(drawMood());
        if (what == 1) tokens[MOODY].setMood(WeirdToken.Mood.Plain);
        if (what <= 2) tokens[MOODY].setFee(roll(3), oneIn(2) ? roll(3) : 0);
        if (what == 3) comeToItsSenses(tokens[1 + roll(TOKENS - 1)]);
        if (what == 4) tokens[1 + roll(TOKENS - 1)].setBlocked(payers[roll(PEOPLE)], true);
        if (what == 5) tokens[1 + roll(TOKENS - 1)].setBlocked(payees[roll(PEOPLE)], oneIn(3));
        if (what == 6) tokens[1 + roll(TOKENS - 1)].setPaused(oneIn(4));
        if (what == 7) donate(roll(TOKENS));
    }

    /// @dev All moods but a yes that is not `true`: a token that lies about what it moved is promised nothing.
    function drawMood() private returns (WeirdToken.Mood mood) {
        mood = WeirdToken.Mood(roll(7));
        if (mood == WeirdToken.Mood.ReturnsTwo) mood = WeirdToken.Mood.ReturnsFalse;
    }

    function donate(uint256 t) private {
        uint256 gift = t == HUGE ? 1 << 130 : 5;
        tokens[t].mint(address(escrow), gift);
        donated[t] += gift;
        balanceInBooks[t][address(escrow)] += gift;
    }

    /// @dev The thief plays any call again that ever landed. The books do not change: nor may the escrow.
    function replay(uint256 seed) external played(seed) {
        if (landedCalls.length == 0) return;
        vm.prank(attacker);
        (bool ok,) = address(escrow).call{gas: CALL_GAS}(landedCalls[roll(landedCalls.length)]);
        assertFalse(ok, "ESC-4: a landed call landed again");
        ++landed["replay"];
    }

    // ---------------------------------------------------------------------------------------------- the end of all

    /// @notice Every payer leaves, whatever the tokens are like by then; then the tokens come to their senses, and who has
    /// a credit, or turned money away, collects it. ESC-5 and ESC-1 say that nothing but gifts is left after that.
    function everybodyLeaves() external {
        for (uint256 i = 0; i < ids.length; ++i) {
            Book storage b = books[ids[i]];
            if (b.channel.finalized) continue;
            vm.prank(b.channel.payer);
            escrow.requestClose(ids[i]);
            if (b.channel.closeRequestedAt == 0) b.channel.closeRequestedAt = uint64(block.timestamp);
        }
        vm.warp(block.timestamp + GRACE_SECONDS);
        for (uint256 i = 0; i < ids.length; ++i) {
            while (!books[ids[i]].channel.finalized) withdrawAs(books[ids[i]].channel.payer, ids[i]);
        }
        for (uint256 t = 0; t < TOKENS; ++t) {
            if (t != PLAIN) comeToItsSenses(tokens[t]);
            for (uint256 p = 0; p < PEOPLE; ++p) {
                choose(payers[p], false);
                choose(payees[p], false);
                while (creditInBooks[t][payers[p]] != 0) withdrawRefundAs(payers[p], t, payers[p]);
            }
        }
        for (uint256 i = 0; i < blockedFunds.length; ++i) {
            Blocked storage b = blockedFunds[i];
            while (b.amount != 0) recoverAs(b.recipient, i, b.recipient, false);
        }
    }

    function comeToItsSenses(WeirdToken token) private {
        token.setMood(token == tokens[HUGE] ? WeirdToken.Mood.ReturnsNothing : WeirdToken.Mood.Plain);
        token.setFee(0, 0);
        token.setPaused(false);
        for (uint256 p = 0; p < PEOPLE; ++p) {
            token.setBlocked(payers[p], false);
            token.setBlocked(payees[p], false);
        }
    }
}
