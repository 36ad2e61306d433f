// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {DevToken} from "../../contracts/src/dev/DevToken.sol";
import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {EscrowTest} from "./EscrowTest.sol";

/// @dev The first token is kept otherwise than the further ones (ADR 0012), and neither may be taken for the other.
contract TokensTest is EscrowTest {
    DevToken[3] internal tokens;
    bytes32[3] internal ids;

    function setUp() public override {
        super.setUp();
        IChannelEscrow.TokenCap[] memory caps = new IChannelEscrow.TokenCap[](3);
        for (uint128 i = 0; i < 3; ++i) {
            tokens[i] = new DevToken();
            caps[i] = IChannelEscrow.TokenCap(address(tokens[i]), cap(i));
        }
        escrow = deployEscrow("EVM Payment Channel", caps, address(0));
        for (uint256 i = 0; i < 3; ++i) {
            token = tokens[i];
            fund(payer, CAP);
            ids[i] = openChannel();
        }
    }

    function cap(uint256 i) private pure returns (uint128) {
        return uint128((i + 2) * DEPOSIT);
    }

    function assertBalances(uint256 at, address account, uint256 amount) private view {
        for (uint256 i = 0; i < 3; ++i) {
            assertEq(tokens[i].balanceOf(account), i == at ? amount : 0);
        }
    }

    function test_ESC_2_everyTokenHasItsOwnCap() public {
        for (uint256 i = 0; i < 3; ++i) {
            assertEq(escrow.maxDepositOf(address(tokens[i])), cap(i));
            vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.DepositExceedsCap.selector, cap(i) + 1, cap(i)));
            topUp(ids[i], cap(i) + 1 - DEPOSIT);
            topUp(ids[i], cap(i) - DEPOSIT);
            assertEq(tokens[i].balanceOf(address(escrow)), cap(i));
            vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.CapNotLower.selector, cap(i) + 1, cap(i)));
            vm.prank(payer);
            escrow.lowerMaxDeposit(ids[i], cap(i) + 1);
        }
    }

    function test_ESC_1_everyChannelPaysInItsOwnToken() public {
        for (uint256 i = 0; i < 3; ++i) {
            uint256 snapshot = vm.snapshotState();
            assertEq(escrow.getChannel(ids[i]).token, address(tokens[i]));
            settle(ids[i], 7);
            assertBalances(i, payee, 7);
            close(ids[i], 11);
            assertBalances(i, payee, 11);
            assertEq(tokens[i].balanceOf(payer), CAP - 11);
            vm.revertToState(snapshot);

            requestClose(ids[i]);
            waitForGrace();
            withdraw(ids[i]);
            assertEq(tokens[i].balanceOf(payer), CAP);
            assertEq(tokens[i].balanceOf(address(escrow)), 0);
            vm.revertToState(snapshot);
        }
    }
}
