// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

/// @dev A payer and payee of its own channels whom a token wakes in the middle of every move. It then tries the last few
/// calls that it was told, on the escrow that is still at work, and counts those that got in.
contract Reenterer {
    uint256 internal constant TRIES = 5;

    address internal escrow;
    bytes[TRIES] internal tries;
    uint256 internal next;
    uint256 public woken;
    uint256 public entered;

    function aimAt(address target) external {
        escrow = target;
    }

    function learn(bytes calldata call) external {
        tries[next++ % TRIES] = call;
    }

    function wake() external {
        ++woken;
        for (uint256 i = 0; i < TRIES; ++i) {
            if (tries[i].length == 0) continue;
            (bool ok,) = escrow.call(tries[i]);
            if (ok) ++entered;
        }
    }
}
