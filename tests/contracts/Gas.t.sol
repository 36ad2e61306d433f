// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {EscrowTest} from "./EscrowTest.sol";

/// @dev A cheat code that is younger than the pinned forge-std.
interface ICool {
    function cool(address target) external;
}

/// @dev Ceilings on what the usual calls cost to execute, cold, without the 21,000 of a transaction and its calldata. A
/// ceiling that must be raised is a decision; run with -vv for the numbers.
contract GasTest is EscrowTest {
    uint256 internal constant BATCH_ROWS = 50;

    function setUp() public override {
        super.setUp();
        // The payee has been paid before: a fresh balance would cost as much again as a settlement, once.
        token.mint(payee, 1);
        signer = payer;
        signerKey = payerKey;
    }

    function cool() private {
        ICool(address(vm)).cool(address(escrow));
        ICool(address(vm)).cool(address(token));
    }

    function check(string memory what, uint256 used, uint256 ceiling) private {
        emit log_named_uint(what, used);
        assertLe(used, ceiling, what);
    }

    function callAs(address who, bytes memory data) private returns (uint256 used) {
        cool();
        vm.prank(who);
        uint256 before = gasleft();
        (bool ok,) = address(escrow).call(data);
        used = before - gasleft();
        assertTrue(ok);
    }

    function test_gas_open() public {
        openChannel("first");
        bytes memory data = abi.encodeCall(escrow.open, (payee, address(token), DEPOSIT, SALT, payer));
        check("open, signed by the payer", callAs(payer, data), 100_000);
        data = abi.encodeCall(escrow.open, (payee, address(token), DEPOSIT, SALT, stranger));
        check("open, another signer", callAs(payer, data), 125_000);
    }

    function test_gas_settleAndClose() public {
        bytes32 id = openChannel();
        check("settle, first", callAs(payee, abi.encodeCall(escrow.settle, (id, 10, sign(id, 10)))), 42_000);
        check("settle, later", callAs(payee, abi.encodeCall(escrow.settle, (id, 20, sign(id, 20)))), 42_000);
        check("close", callAs(payee, abi.encodeCall(escrow.close, (id, 30, sign(id, 30)))), 56_000);
    }

    function test_gas_withdraw() public {
        bytes32 id = openChannel();
        check("requestClose", callAs(payer, abi.encodeCall(escrow.requestClose, (id))), 15_000);
        waitForGrace();
        check("withdraw", callAs(payer, abi.encodeCall(escrow.withdraw, (id))), 38_000);
    }

    function test_gas_batches() public {
        IChannelEscrow.Row[] memory rows = new IChannelEscrow.Row[](BATCH_ROWS);
        for (uint256 i = 0; i < BATCH_ROWS; ++i) {
            rows[i] = row(openChannel(bytes32(i)), 10, 10);
        }
        uint256 used = callAs(payee, abi.encodeCall(escrow.settleMany, (address(token), rows)));
        check("settleMany, per row of 50", used / BATCH_ROWS, 22_000);
        for (uint256 i = 0; i < BATCH_ROWS; ++i) {
            rows[i] = row(rows[i].channelId, 20, 20);
        }
        used = callAs(payee, abi.encodeCall(escrow.closeMany, (address(token), rows)));
        check("closeMany, per row of 50", used / BATCH_ROWS, 30_000);
    }
}
