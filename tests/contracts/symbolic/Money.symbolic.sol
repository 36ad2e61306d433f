// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IChannelEscrow} from "../../../contracts/src/interfaces/IChannelEscrow.sol";
import {SymbolicStage} from "./Stage.sol";

/// @dev What Halmos proves for every amount, signature, caller and time (script/halmos). Each check is about one call on
/// a channel in any state that an open and a settlement reach. To Halmos `ecrecover` is a function of which nothing is
/// known but that equal arguments give equal results; so "signed" here means that it gave the signer.
contract MoneySymbolic is SymbolicStage {
    // ------------------------------------------------------------------------------------------------- ESC-3, ESC-4

    /// @dev Of any two settlements the second pays the difference, only upwards, only to the payee, only when signed.
    function check_ESC_4_settlePaysOnlyWhatIsSigned(
        uint128 deposit,
        uint128 settled,
        Signature calldata first,
        address caller,
        uint128 cumulative,
        Signature calldata second
    ) public {
        bytes32 id = settledChannel(deposit, settled, first);
        Balances memory before = balances();
        bytes memory data = abi.encodeCall(escrow.settle, (id, cumulative, packed(second)));
        vm.assume(send(caller, data));

        assert(caller == PAYEE);
        assert(isSigned(id, cumulative, second));
        assert(settled < cumulative && cumulative <= deposit);
        assert(escrow.getChannel(id).settled == cumulative);
        assertMoved(before, cumulative - settled, 0);
    }

    function check_ESC_4_settleCapturePaysOnlyWhatIsSigned(
        uint128 deposit,
        address caller,
        uint128 cumulative,
        uint128 capture,
        Signature calldata signature
    ) public {
        bytes32 id = openOf(deposit);
        Balances memory before = balances();
        bytes memory data = abi.encodeCall(escrow.settleCapture, (id, cumulative, capture, packed(signature)));
        vm.assume(send(caller, data));

        assert(caller == PAYEE);
        assert(isSigned(id, cumulative, signature));
        assert(0 < capture && capture <= cumulative && capture <= deposit);
        assert(escrow.getChannel(id).settled == capture);
        assertMoved(before, capture, 0);
    }

    function check_ESC_4_closeCapturePaysOnlyWhatIsSigned(
        uint128 deposit,
        address caller,
        uint128 cumulative,
        uint128 capture,
        Signature calldata signature
    ) public {
        bytes32 id = openOf(deposit);
        Balances memory before = balances();
        bytes memory data = abi.encodeCall(escrow.closeCapture, (id, cumulative, capture, packed(signature)));
        vm.assume(send(caller, data));

        assert(caller == PAYEE);
        assert(capture == 0 || (capture <= cumulative && isSigned(id, cumulative, signature)));
        assertClosed(id, deposit, capture);
        assertMoved(before, capture, deposit - capture);
    }

    function check_ESC_4_aRowPaysOnlyWhatIsSigned(
        uint128 deposit,
        address caller,
        uint128 cumulative,
        uint128 capture,
        Signature calldata signature
    ) public {
        bytes32 id = openOf(deposit);
        Balances memory before = balances();
        IChannelEscrow.Row[] memory rows = new IChannelEscrow.Row[](1);
        rows[0] = IChannelEscrow.Row(id, cumulative, capture, packed(signature));
        vm.prank(caller);
        (uint256 paid,) = escrow.settleMany(address(token), rows);

        assert(escrow.getChannel(id).settled == paid);
        assertMoved(before, paid, 0);
        if (paid == 0) return;
        assert(caller == PAYEE);
        assert(paid == capture && capture <= cumulative && capture <= deposit);
        assert(isSigned(id, cumulative, signature));
    }

    // --------------------------------------------------------------------------------------------------------- ESC-3

    /// @dev Once closed, no call of anybody succeeds, and nothing is as if it had.
    function check_ESC_3_finalizedIsForGood(
        uint128 deposit,
        uint8 which,
        address caller,
        uint128 a,
        uint128 b,
        Signature calldata signature
    ) public {
        bytes32 id = openOf(deposit);
        vm.prank(PAYEE);
        escrow.closeCapture(id, 0, 0, "");
        Balances memory before = balances();
        vm.assume(which < 9);
        bytes memory data;
        if (which == 0) data = abi.encodeCall(escrow.settle, (id, a, packed(signature)));
        if (which == 1) data = abi.encodeCall(escrow.settleCapture, (id, a, b, packed(signature)));
        if (which == 2) data = abi.encodeCall(escrow.close, (id, a, packed(signature)));
        if (which == 3) data = abi.encodeCall(escrow.closeCapture, (id, a, b, packed(signature)));
        if (which == 4) data = abi.encodeWithSignature("topUp(bytes32,uint128)", id, a);
        if (which == 5) data = abi.encodeCall(escrow.lowerMaxDeposit, (id, a));
        if (which == 6) data = abi.encodeCall(escrow.requestClose, (id));
        if (which == 7) data = abi.encodeCall(escrow.withdraw, (id));
        if (which == 8) {
            (data, caller) = (abi.encodeCall(escrow.open, (PAYEE, address(token), a, "salt", SIGNER)), PAYER);
        }
        assert(!send(caller, data));
        assertClosed(id, deposit, 0);
        assertMoved(before, 0, 0);
    }

    // --------------------------------------------------------------------------------------------------------- ESC-2

    function check_ESC_2_aCapOnlyFalls(uint128 deposit, address caller, uint128 lower, uint128 again) public {
        bytes32 id = openOf(deposit);
        vm.assume(send(caller, abi.encodeCall(escrow.lowerMaxDeposit, (id, lower))));
        assert(caller == PAYER);
        assert(deposit <= lower && lower <= CAP);
        vm.assume(send(caller, abi.encodeCall(escrow.lowerMaxDeposit, (id, again))));
        assert(deposit <= again && again <= lower);
    }

    // --------------------------------------------------------------------------------------------------------- ESC-5

    /// @dev Whenever a grace period has passed since the request the payer gets the rest, and nobody does before. That the
    /// gas suffices is assumed: what it costs Halmos does not know.
    function check_ESC_5_theRestIsThePayersAfterTheGrace(
        uint128 deposit,
        uint128 settled,
        Signature calldata signature,
        uint64 asked,
        uint64 sent,
        address caller
    ) public {
        bytes32 id = settledChannel(deposit, settled, signature);
        vm.assume(0 < asked && asked <= sent && sent < 2 ** 40);
        vm.warp(asked);
        vm.prank(PAYER);
        escrow.requestClose(id);
        vm.warp(sent);
        Balances memory before = balances();
        vm.prank(caller);
        (bool ok, bytes memory answer) = address(escrow).call(abi.encodeCall(escrow.withdraw, (id)));
        if (ok) {
            assert(caller == PAYER && sent - asked >= 15 minutes);
            assertClosed(id, deposit, settled);
            assertMoved(before, 0, deposit - settled);
        } else if (bytes4(answer) != IChannelEscrow.NotEnoughGas.selector) {
            assert(caller != PAYER || sent - asked < 15 minutes);
        }
    }
}
