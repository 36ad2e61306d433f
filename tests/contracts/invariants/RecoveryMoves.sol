// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IBlockedFunds} from "../../../contracts/src/interfaces/IBlockedFunds.sol";
import {IChannelEscrow} from "../../../contracts/src/interfaces/IChannelEscrow.sol";
import {GUARD, PolicyToken, ReceivePolicyGuard} from "../mocks/ReceivePolicies.sol";
import {WeirdToken} from "../mocks/WeirdTokens.sol";
import {RelayedMoves} from "./RelayedMoves.sol";

/// @dev What those do who turned away what they were paid.
abstract contract RecoveryMoves is RelayedMoves {
    /// @dev Mostly the recipient, for what was not claimed yet. Before it somebody may change its mind about the escrow.
    function recoverBlocked(uint256 seed) external played(seed) {
        if (oneIn(2)) choose(oneIn(2) ? payers[roll(PEOPLE)] : payees[roll(PEOPLE)], oneIn(2));
        if (blockedFunds.length == 0) return;
        uint256 i = roll(blockedFunds.length);
        for (uint256 tries = 0; tries < 4 && blockedFunds[i].amount == 0; ++tries) {
            i = roll(blockedFunds.length);
        }
        address caller = mostly(blockedFunds[i].recipient);
        address to = oneIn(2) ? caller : payees[roll(PEOPLE)];
        if (oneIn(12)) to = oneIn(2) ? address(0) : address(escrow);
        recoverAs(caller, i, to, oneIn(8));
    }

    function choose(address receiver, bool away) internal {
        vm.prank(receiver);
        PolicyToken(address(tokens[HUGE])).setReceivePolicy(address(escrow), away, address(0));
    }

    function recoverAs(address caller, uint256 i, address to, bool spoilt) internal {
        Blocked storage b = blockedFunds[i];
        bytes memory receipt = b.receipt;
        if (spoilt) receipt = oneIn(2) ? bytes.concat(receipt, hex"00") : abi.encode(2, receipt);
        bytes4 no = foretellRecovery(caller, b, to);
        bool useful = no != IChannelEscrow.InvalidRecipient.selector;
        if (spoilt && useful) no = IBlockedFunds.UnsupportedReceipt.selector;
        (bool ok,) = act("recoverBlocked", caller, abi.encodeCall(escrow.recoverBlocked, (receipt, to)), no);
        if (!ok) return;
        balanceInBooks[HUGE][GUARD] -= b.amount;
        balanceInBooks[HUGE][to] += b.amount;
        b.amount = 0;
    }

    function foretellRecovery(address caller, Blocked storage b, address to) private view returns (bytes4) {
        if (to == address(0) || to == address(escrow)) return IChannelEscrow.InvalidRecipient.selector;
        if (caller != b.recipient) return IBlockedFunds.NotRecipient.selector;
        if (b.amount == 0) return ReceivePolicyGuard.InvalidReceipt.selector;
        if (tokens[HUGE].paused()) return WeirdToken.Paused.selector;
        if (tokens[HUGE].blocked(to)) return WeirdToken.Blocked.selector;
        return turnsAway(to, address(escrow)) ? PolicyToken.PolicyForbids.selector : bytes4(0);
    }
}
