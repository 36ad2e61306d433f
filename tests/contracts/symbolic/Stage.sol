// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {ChannelEscrow} from "../../../contracts/src/ChannelEscrow.sol";
import {IChannelEscrow} from "../../../contracts/src/interfaces/IChannelEscrow.sol";
import {Test} from "forge-std/Test.sol";

/// @dev The least that is a token: what Halmos reasons about is the escrow.
contract SymbolicToken {
    mapping(address account => uint256) public balanceOf;

    constructor(address holder) {
        balanceOf[holder] = type(uint128).max;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        balanceOf[msg.sender] -= amount;
        balanceOf[to] += amount;
        return true;
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
        return true;
    }
}

/// @dev Where the checks play: one payer, one payee, one signer, one token.
abstract contract SymbolicStage is Test {
    uint128 internal constant CAP = 1e24;
    address internal constant PAYER = address(0xA11CE);
    address internal constant PAYEE = address(0xB0B);
    address internal constant SIGNER = address(0x51631E);

    SymbolicToken internal token;
    ChannelEscrow internal escrow;

    struct Signature {
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    struct Balances {
        uint256 escrow;
        uint256 payer;
        uint256 payee;
    }

    function setUp() public virtual {
        token = new SymbolicToken(PAYER);
        IChannelEscrow.TokenCap[] memory caps = new IChannelEscrow.TokenCap[](1);
        caps[0] = IChannelEscrow.TokenCap(address(token), CAP);
        escrow = newEscrow(caps);
    }

    function newEscrow(IChannelEscrow.TokenCap[] memory caps) internal virtual returns (ChannelEscrow) {
        return new ChannelEscrow("EVM Payment Channel", caps, address(0));
    }

    // -------------------------------------------------------------------------------------------------------- stage

    function openOf(uint128 deposit) internal returns (bytes32) {
        vm.prank(PAYER);
        return escrow.open(PAYEE, address(token), deposit, "salt", SIGNER);
    }

    /// @dev A channel of any deposit, of which any part is settled.
    function settledChannel(uint128 deposit, uint128 settled, Signature memory signature)
        internal
        returns (bytes32 id)
    {
        id = openOf(deposit);
        vm.prank(PAYEE);
        escrow.settle(id, settled, packed(signature));
    }

    function packed(Signature memory signature) internal pure returns (bytes memory) {
        return abi.encodePacked(signature.r, signature.s, signature.v);
    }

    function isSigned(bytes32 id, uint128 amount, Signature memory signature) internal view returns (bool) {
        return ecrecover(escrow.getVoucherDigest(id, amount), signature.v, signature.r, signature.s) == SIGNER;
    }

    function balances() internal view returns (Balances memory) {
        return Balances(token.balanceOf(address(escrow)), token.balanceOf(PAYER), token.balanceOf(PAYEE));
    }

    function send(address caller, bytes memory data) internal returns (bool ok) {
        vm.prank(caller);
        (ok,) = address(escrow).call(data);
    }

    // -------------------------------------------------------------------------------------------------- assertions

    /// @dev What left the escrow is what arrived, at the payee and at the payer.
    function assertMoved(Balances memory before, uint256 toPayee, uint256 toPayer) internal view {
        Balances memory now_ = balances();
        assert(now_.payee - before.payee == toPayee);
        assert(now_.payer - before.payer == toPayer);
        assert(before.escrow - now_.escrow == toPayee + toPayer);
    }

    function assertClosed(bytes32 id, uint128 deposit, uint128 settled) internal view {
        IChannelEscrow.Channel memory channel = escrow.getChannel(id);
        assert(channel.finalized);
        assert(channel.deposit == deposit && channel.settled == settled && settled <= deposit);
    }
}
