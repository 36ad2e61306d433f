// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {ChannelEscrow} from "../../contracts/src/ChannelEscrow.sol";
import {DevToken} from "../../contracts/src/dev/DevToken.sol";
import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {EscrowDeployer} from "./EscrowDeployer.sol";

/// @dev Solidity cannot pick the draft's overload by itself, because a uint128 is also a uint256.
interface IDraftTopUp {
    function topUp(bytes32 channelId, uint128 additionalDeposit) external;
}

/// @dev The stage of every test: one escrow over one token, a payer with money and an approval, a payee, a signer key.
abstract contract EscrowTest is EscrowDeployer {
    uint128 internal constant CAP = 1_000_000e6;
    uint128 internal constant DEPOSIT = 100e6;
    bytes32 internal constant SALT = keccak256("salt");

    ChannelEscrow internal escrow;
    DevToken internal token;
    address internal payer;
    uint256 internal payerKey;
    address internal signer;
    uint256 internal signerKey;
    address internal payee = makeAddr("payee");
    address internal stranger = makeAddr("stranger");

    function setUp() public virtual {
        vm.warp(1_700_000_000);
        (payer, payerKey) = makeAddrAndKey("payer");
        (signer, signerKey) = makeAddrAndKey("signer");
        token = new DevToken();
        escrow = newEscrow(address(token), CAP);
        fund(payer, 10 * CAP);
    }

    function newEscrow(address listed, uint128 cap) internal returns (ChannelEscrow) {
        return deployEscrow("EVM Payment Channel", oneCap(listed, cap), address(0));
    }

    function oneCap(address listed, uint128 cap) internal pure returns (IChannelEscrow.TokenCap[] memory caps) {
        caps = new IChannelEscrow.TokenCap[](1);
        caps[0] = IChannelEscrow.TokenCap(listed, cap);
    }

    function fund(address account, uint256 amount) internal {
        token.mint(account, amount);
        vm.prank(account);
        token.approve(address(escrow), type(uint256).max);
    }

    /// @dev A channel of the payer, signed by the separate signer.
    function openChannel() internal returns (bytes32) {
        return openChannel(SALT);
    }

    function openChannel(bytes32 salt) internal returns (bytes32) {
        vm.prank(payer);
        return escrow.open(payee, address(token), DEPOSIT, salt, signer);
    }

    function sign(bytes32 channelId, uint128 cumulativeAmount) internal view returns (bytes memory) {
        return signWith(signerKey, channelId, cumulativeAmount);
    }

    function signWith(uint256 key, bytes32 channelId, uint128 cumulativeAmount) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, escrow.getVoucherDigest(channelId, cumulativeAmount));
        return abi.encodePacked(r, s, v);
    }

    function settle(bytes32 channelId, uint128 amount) internal {
        bytes memory signature = sign(channelId, amount);
        vm.prank(payee);
        escrow.settle(channelId, amount, signature);
    }

    function close(bytes32 channelId, uint128 amount) internal {
        bytes memory signature = sign(channelId, amount);
        vm.prank(payee);
        escrow.close(channelId, amount, signature);
    }

    function topUp(bytes32 channelId, uint128 amount) internal {
        vm.prank(payer);
        IDraftTopUp(address(escrow)).topUp(channelId, amount);
    }

    function requestClose(bytes32 channelId) internal {
        vm.prank(payer);
        escrow.requestClose(channelId);
    }

    function withdraw(bytes32 channelId) internal {
        vm.prank(payer);
        escrow.withdraw(channelId);
    }

    function waitForGrace() internal {
        vm.warp(block.timestamp + escrow.CLOSE_GRACE_PERIOD());
    }

    function row(bytes32 channelId, uint128 cumulative, uint128 capture)
        internal
        view
        returns (IChannelEscrow.Row memory)
    {
        return IChannelEscrow.Row(channelId, cumulative, capture, sign(channelId, cumulative));
    }

    function settledOf(bytes32 channelId) internal view returns (uint128) {
        return escrow.getChannel(channelId).settled;
    }

    function assertFinalized(bytes32 channelId, uint128 settled) internal view {
        IChannelEscrow.Channel memory channel = escrow.getChannel(channelId);
        assertTrue(channel.finalized, "not finalized");
        assertEq(channel.settled, settled, "settled");
    }

    function expectRefusal(bytes4 selector, bytes32 channelId) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, channelId));
    }
}
