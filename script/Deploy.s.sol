// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {ChannelEscrow} from "../contracts/src/ChannelEscrow.sol";
import {DevToken} from "../contracts/src/dev/DevToken.sol";
import {IChannelEscrow} from "../contracts/src/interfaces/IChannelEscrow.sol";
import {Script, console} from "forge-std/Script.sol";

/// @title Deploy
/// @notice Deploys a ChannelEscrow.
/// @dev What it is deployed with is for good, so it is all in the environment and nothing is assumed but the name:
///   WEIR_DOMAIN_NAME  the EIP-712 domain's name; default "EVM Payment Channel" ("Tempo Stream Channel" for Tempo v1)
///   WEIR_TOKENS       token addresses, comma separated; empty deploys a DevToken and lists it (local chains only)
///   WEIR_PERMIT2      the chain's Permit2; default the canonical one if it is there, else none
///   WEIR_TOKEN_CAPS   the most that one channel may hold of each, in base units, in the same order
/// The sender and the chain come from forge: --rpc-url, --private-key or --account, --broadcast.
/// On Tempo add --skip-simulation, because forge reckons gas by Ethereum's prices and state costs more there: about 60M
/// in all, so a local `anvil --network tempo --hardfork T4 --chain-id 1337` also needs --gas-limit 500000000.
contract Deploy is Script {
    uint128 internal constant DEV_TOKEN_CAP = 1_000_000e6;

    /// @dev The same on most chains: https://github.com/Uniswap/permit2
    address internal constant CANONICAL_PERMIT2 = 0x000000000022D473030F116dDEE9F6B43aC78BA3;

    error TokensAndCapsDiffer(uint256 tokens, uint256 caps);
    error CapTooLarge(uint256 cap);
    error DevTokenOnAPublicChain(uint256 chainId);

    function run() external returns (ChannelEscrow escrow) {
        string memory name = vm.envOr("WEIR_DOMAIN_NAME", string("EVM Payment Channel"));
        address[] memory tokens = vm.envOr("WEIR_TOKENS", ",", new address[](0));
        uint256[] memory limits = vm.envOr("WEIR_TOKEN_CAPS", ",", new uint256[](0));

        address canonical = CANONICAL_PERMIT2.code.length == 0 ? address(0) : CANONICAL_PERMIT2;
        address permit2 = vm.envOr("WEIR_PERMIT2", canonical);

        vm.startBroadcast();
        if (tokens.length == 0) (tokens, limits) = devToken();
        escrow = new ChannelEscrow(name, capsOf(tokens, limits), permit2);
        vm.stopBroadcast();

        console.log("escrow", address(escrow));
        console.log("domain", name);
        console.log("permit2", permit2);
        for (uint256 i = 0; i < tokens.length; ++i) {
            console.log("token", tokens[i], limits[i]);
        }
    }

    /// @dev A token that anybody can mint must not be listed where the deposits are meant to be worth something.
    function devToken() private returns (address[] memory tokens, uint256[] memory limits) {
        if (block.chainid != 31337 && block.chainid != 1337) revert DevTokenOnAPublicChain(block.chainid);
        tokens = new address[](1);
        limits = new uint256[](1);
        (tokens[0], limits[0]) = (address(new DevToken()), DEV_TOKEN_CAP);
    }

    function capsOf(address[] memory tokens, uint256[] memory limits)
        private
        pure
        returns (IChannelEscrow.TokenCap[] memory caps)
    {
        if (tokens.length != limits.length) revert TokensAndCapsDiffer(tokens.length, limits.length);
        caps = new IChannelEscrow.TokenCap[](tokens.length);
        for (uint256 i = 0; i < tokens.length; ++i) {
            if (limits[i] > type(uint128).max) revert CapTooLarge(limits[i]);
            // forge-lint: disable-next-line(unsafe-typecast)
            caps[i] = IChannelEscrow.TokenCap(tokens[i], uint128(limits[i]));
        }
    }
}
