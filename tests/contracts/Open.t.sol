// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {EscrowTest} from "./EscrowTest.sol";

contract OpenTest is EscrowTest {
    function test_open_RevertWhen_PayeeIsZero() public {
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidPayee.selector, address(0)));
        vm.prank(payer);
        escrow.open(address(0), address(token), DEPOSIT, SALT, signer);
    }

    function test_open_RevertWhen_PayeeIsTheEscrow() public {
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidPayee.selector, address(escrow)));
        vm.prank(payer);
        escrow.open(address(escrow), address(token), DEPOSIT, SALT, signer);
    }

    function test_open_RevertWhen_TokenIsNotListed() public {
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.TokenNotListed.selector, address(0xbeef)));
        vm.prank(payer);
        escrow.open(payee, address(0xbeef), DEPOSIT, SALT, signer);
    }

    function test_open_RevertWhen_DepositIsZero() public {
        vm.expectRevert(IChannelEscrow.ZeroDeposit.selector);
        vm.prank(payer);
        escrow.open(payee, address(token), 0, SALT, signer);
    }

    function test_ESC_2_open_RevertWhen_DepositExceedsTokenCap() public {
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.DepositExceedsCap.selector, CAP + 1, CAP));
        vm.prank(payer);
        escrow.open(payee, address(token), CAP + 1, SALT, signer);
    }

    function test_open_TakesADepositAtTheCap() public {
        vm.prank(payer);
        bytes32 id = escrow.open(payee, address(token), CAP, SALT, signer);
        assertEq(escrow.getChannel(id).deposit, CAP);
    }

    function test_open_RevertWhen_TheSameInputsAreOpen() public {
        bytes32 id = openChannel();
        expectRefusal(IChannelEscrow.ChannelAlreadyExists.selector, id);
        openChannel();
    }

    function test_E4_reopenOfFinalizedIdIsRefused() public {
        bytes32 id = openChannel();
        close(id, 1);
        expectRefusal(IChannelEscrow.ChannelAlreadyExists.selector, id);
        openChannel();
        assertFinalized(id, 1);
    }

    function test_E4_reopenAfterWithdrawIsRefused() public {
        bytes32 id = openChannel();
        requestClose(id);
        waitForGrace();
        withdraw(id);
        expectRefusal(IChannelEscrow.ChannelAlreadyExists.selector, id);
        openChannel();
    }

    function test_open_StoresPullsAndReports() public {
        bytes32 id = escrow.computeChannelId(payer, payee, address(token), SALT, signer);
        vm.expectEmit();
        emit IChannelEscrow.ChannelOpened(id, payer, payee, address(token), signer, SALT, DEPOSIT);
        assertEq(openChannel(), id);

        assertEq(token.balanceOf(address(escrow)), DEPOSIT);
        assertChannel(id, signer);
        assertEq(escrow.payerCapOf(id), 0);
    }

    function test_open_KeepsTheSignerAsGiven() public {
        address[3] memory signers = [address(0), payer, signer];
        for (uint256 i = 0; i < signers.length; ++i) {
            vm.prank(payer);
            bytes32 id = escrow.open(payee, address(token), DEPOSIT, bytes32(i), signers[i]);
            assertChannel(id, signers[i]);
        }
    }

    function test_open_ZeroSignerMeansThePayer() public {
        vm.prank(payer);
        bytes32 id = escrow.open(payee, address(token), DEPOSIT, SALT, address(0));
        bytes memory signature = signWith(payerKey, id, 7);
        vm.prank(payee);
        escrow.settle(id, 7, signature);
        assertEq(settledOf(id), 7);
    }

    function test_open_RevertWhen_NotApproved() public {
        vm.startPrank(payer);
        token.approve(address(escrow), DEPOSIT - 1);
        vm.expectRevert(
            abi.encodeWithSelector(IChannelEscrow.TransferFailed.selector, address(token), payer, uint256(DEPOSIT))
        );
        escrow.open(payee, address(token), DEPOSIT, SALT, signer);
    }

    // ------------------------------------------------------------------------------------------------- openWithCap

    function test_openWithCap_RevertWhen_CapIsZero() public {
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.DepositExceedsCap.selector, DEPOSIT, 0));
        vm.prank(payer);
        escrow.openWithCap(payee, address(token), DEPOSIT, SALT, signer, 0);
    }

    function test_openWithCap_RevertWhen_CapIsAboveTheTokens() public {
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.CapNotLower.selector, CAP + 1, CAP));
        vm.prank(payer);
        escrow.openWithCap(payee, address(token), DEPOSIT, SALT, signer, CAP + 1);
    }

    function test_ESC_2_openWithCap_RevertWhen_DepositExceedsOwnCap() public {
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.DepositExceedsCap.selector, DEPOSIT, DEPOSIT - 1));
        vm.prank(payer);
        escrow.openWithCap(payee, address(token), DEPOSIT, SALT, signer, DEPOSIT - 1);
    }

    function test_openWithCap_HoldsTheCapAndTheSameId() public {
        bytes32 id = escrow.computeChannelId(payer, payee, address(token), SALT, signer);
        vm.expectEmit();
        emit IChannelEscrow.MaxDepositLowered(id, DEPOSIT + 1);
        vm.prank(payer);
        assertEq(escrow.openWithCap(payee, address(token), DEPOSIT, SALT, signer, DEPOSIT + 1), id);
        assertEq(token.balanceOf(address(escrow)), DEPOSIT);
        assertEq(escrow.payerCapOf(id), DEPOSIT + 1);
        assertChannel(id, signer);
    }

    // -------------------------------------------------------------------------------------------------- constructor

    function test_constructor_RevertWhen_CapIsZero() public {
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidTokenCap.selector, address(token), 0));
        newEscrow(address(token), 0);
    }

    function test_ESC_2_constructor_RevertWhen_CapIsTooWide() public {
        uint128 widest = type(uint96).max;
        vm.expectRevert(
            abi.encodeWithSelector(IChannelEscrow.InvalidTokenCap.selector, address(token), uint256(widest) + 1)
        );
        newEscrow(address(token), widest + 1);
        vm.expectRevert(
            abi.encodeWithSelector(IChannelEscrow.InvalidTokenCap.selector, address(token), type(uint128).max)
        );
        newEscrow(address(token), type(uint128).max);
        assertEq(newEscrow(address(token), widest).maxDepositOf(address(token)), widest);
    }

    function test_constructor_RevertWhen_TokenHasNoCode() public {
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidTokenCap.selector, address(0xbeef), 5));
        newEscrow(address(0xbeef), 5);
    }

    function test_constructor_RevertWhen_TokenIsListedTwice() public {
        IChannelEscrow.TokenCap[] memory caps = new IChannelEscrow.TokenCap[](2);
        caps[0] = IChannelEscrow.TokenCap(address(token), 5);
        caps[1] = IChannelEscrow.TokenCap(address(token), 6);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidTokenCap.selector, address(token), 6));
        deployEscrow("EVM Payment Channel", caps, address(0));
    }

    function test_constructor_ListsTokensAndCaps() public view {
        assertEq(escrow.maxDepositOf(address(token)), CAP);
        assertEq(escrow.maxDepositOf(address(0xbeef)), 0);
        assertEq(escrow.listedTokens().length, 1);
        assertEq(escrow.listedTokens()[0], address(token));
    }

    function assertChannel(bytes32 id, address authorizedSigner) private view {
        IChannelEscrow.Channel memory channel = escrow.getChannel(id);
        assertEq(channel.payer, payer);
        assertEq(channel.payee, payee);
        assertEq(channel.token, address(token));
        assertEq(channel.authorizedSigner, authorizedSigner);
        assertEq(channel.deposit, DEPOSIT);
        assertEq(channel.settled, 0);
        assertEq(channel.closeRequestedAt, 0);
        assertFalse(channel.finalized);
    }
}
