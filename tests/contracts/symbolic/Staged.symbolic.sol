// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {ChannelEscrow} from "../../../contracts/src/ChannelEscrow.sol";
import {IChannelEscrow} from "../../../contracts/src/interfaces/IChannelEscrow.sol";
import {IReceivePolicyGuard, ReceivePolicyLib} from "../../../contracts/src/libraries/ReceivePolicyLib.sol";
import {SymbolicStage} from "./Stage.sol";

/// @dev The escrow, with a door through which a channel gets into a state without the calls that lead there.
contract StagedEscrow is ChannelEscrow {
    constructor(TokenCap[] memory caps) ChannelEscrow("EVM Payment Channel", caps, address(0)) {}

    function stage(bytes32 channelId, uint96 settled, uint128 ownCap) external {
        Record storage record = _records[channelId];
        record.settled = settled;
        record.capped = ownCap != 0;
        record.ownCap = ownCap;
    }
}

/// @dev Tells what it was asked, and gives nothing.
contract AskedGuard is IReceivePolicyGuard {
    address public to;
    bytes32 public receiptHash;

    function claim(address destination, bytes calldata receipt) external {
        (to, receiptHash) = (destination, keccak256(receipt));
    }
}

/// @dev What Halmos finds no answer to while it has to reason about how a channel came into its state as well.
contract StagedSymbolic is SymbolicStage {
    function newEscrow(IChannelEscrow.TokenCap[] memory caps) internal override returns (ChannelEscrow) {
        return new StagedEscrow(caps);
    }

    /// @dev Any deposit, of which any part is settled, and any cap over it, or none.
    function staged(uint128 deposit, uint96 settled, uint128 ownCap) private returns (bytes32 id) {
        id = openOf(deposit);
        vm.assume(settled <= deposit);
        vm.assume(ownCap == 0 || (deposit <= ownCap && ownCap <= CAP));
        StagedEscrow(address(escrow)).stage(id, settled, ownCap);
        vm.prank(address(escrow));
        token.transfer(PAYEE, settled);
    }

    function closeAs(address caller, bytes32 id, uint128 cumulative, Signature calldata signature)
        private
        returns (bool)
    {
        return send(caller, abi.encodeCall(escrow.close, (id, cumulative, packed(signature))));
    }

    function check_ESC_4_aCloseAboveSettledPaysOnlyWhatIsSigned(
        uint128 deposit,
        uint96 settled,
        address caller,
        uint128 cumulative,
        Signature calldata signature
    ) public {
        bytes32 id = staged(deposit, settled, 0);
        vm.assume(cumulative > settled);
        Balances memory before = balances();
        vm.assume(closeAs(caller, id, cumulative, signature));

        assert(caller == PAYEE);
        assert(cumulative <= deposit && isSigned(id, cumulative, signature));
        assertClosed(id, deposit, cumulative);
        assertMoved(before, cumulative - settled, deposit - cumulative);
    }

    /// @dev The payee forfeits what it has vouchers for, and the payer gets all that was not settled before.
    function check_ESC_4_aCloseAtSettledPaysThePayeeNothing(
        uint128 deposit,
        uint96 settled,
        address caller,
        uint128 cumulative,
        Signature calldata signature
    ) public {
        bytes32 id = staged(deposit, settled, 0);
        vm.assume(cumulative <= settled);
        Balances memory before = balances();
        vm.assume(closeAs(caller, id, cumulative, signature));

        assert(caller == PAYEE);
        assertClosed(id, deposit, settled);
        assertMoved(before, 0, deposit - settled);
    }

    function check_ESC_2_noTopUpPassesACap(uint128 deposit, uint128 ownCap, address caller, uint256 amount) public {
        bytes32 id = staged(deposit, 0, ownCap);
        Balances memory before = balances();
        vm.assume(send(caller, abi.encodeWithSignature("topUp(bytes32,uint256)", id, amount)));

        assert(caller == PAYER);
        uint256 sum = uint256(deposit) + amount;
        assert(amount != 0 && sum <= CAP && (ownCap == 0 || sum <= ownCap));
        assert(escrow.getChannel(id).deposit == sum);
        assert(token.balanceOf(address(escrow)) - before.escrow == amount);
        assert(before.payer - token.balanceOf(PAYER) == amount);
    }

    /// @dev Whatever 320 bytes are given: the guard is asked for the one who stands in them as recipient, and the escrow's
    /// money and channels stay as they are.
    function check_E9_theGuardIsAskedForTheRecipientAlone(
        uint128 deposit,
        bytes32[10] calldata words,
        address caller,
        address to
    ) public {
        bytes32 id = openOf(deposit);
        address guard = address(ReceivePolicyLib.GUARD);
        vm.etch(guard, address(new AskedGuard()).code);
        Balances memory before = balances();
        bytes memory receipt = abi.encode(words);
        vm.assume(send(caller, abi.encodeCall(StagedEscrow(address(escrow)).recoverBlocked, (receipt, to))));

        assert(words[0] == bytes32(uint256(1)));
        assert(words[4] == bytes32(uint256(uint160(caller))));
        assert(to != address(0) && to != address(escrow));
        assert(AskedGuard(guard).to() == to);
        assert(AskedGuard(guard).receiptHash() == keccak256(receipt));
        assertMoved(before, 0, 0);
        IChannelEscrow.Channel memory channel = escrow.getChannel(id);
        assert(!channel.finalized && channel.deposit == deposit && channel.settled == 0);
    }
}
