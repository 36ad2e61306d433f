// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {DevToken} from "../../contracts/src/dev/DevToken.sol";
import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {EscrowTest} from "./EscrowTest.sol";
import {Wallet} from "./mocks/Signers.sol";
import {WeirdToken} from "./mocks/WeirdTokens.sol";

/// @dev Indices of tokens: the first one is in the code, and the others' have two bytes.
contract ManyTokensTest is EscrowTest {
    uint160 internal constant AT = 0x7000;
    uint256 internal constant TOKENS = 258;

    function setUp() public override {
        super.setUp();
        IChannelEscrow.TokenCap[] memory caps = new IChannelEscrow.TokenCap[](TOKENS);
        bytes memory code = address(token).code;
        for (uint160 i = 0; i < TOKENS; ++i) {
            vm.etch(address(AT + i), code);
            caps[i] = IChannelEscrow.TokenCap(address(AT + i), cap(i));
        }
        escrow = deployEscrow("EVM Payment Channel", caps, address(0));
    }

    function cap(uint256 index) private pure returns (uint128) {
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint128(DEPOSIT + 1 + index);
    }

    function openIn(uint160 index) private returns (bytes32) {
        token = DevToken(address(AT + index));
        fund(payer, CAP);
        return openChannel();
    }

    /// @dev An index over one byte, so that one which was cut or taken as signed pays a channel in the first token's money.
    function test_ESC_1_the257thTokenIsNotTheFirst() public {
        uint160[4] memory indices = [uint160(0), 1, 256, 257];
        bytes32[4] memory ids;
        for (uint256 i = 0; i < indices.length; ++i) {
            ids[i] = openIn(indices[i]);
        }
        assertEq(escrow.listedTokens().length, TOKENS);
        for (uint256 i = 0; i < indices.length; ++i) {
            token = DevToken(address(AT + indices[i]));
            assertEq(escrow.getChannel(ids[i]).token, address(token));
            assertEq(escrow.listedTokens()[indices[i]], address(token));
            uint128 most = cap(indices[i]);
            topUp(ids[i], most - DEPOSIT);
            vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.DepositExceedsCap.selector, most + 1, most));
            topUp(ids[i], 1);
            IChannelEscrow.Row[] memory rows = new IChannelEscrow.Row[](ids.length);
            for (uint256 r = 0; r < ids.length; ++r) {
                rows[r] = row(ids[r], 30, 30);
            }
            vm.prank(payee);
            (uint256 paid,) = escrow.settleMany(address(token), rows);
            assertEq(paid, 30);
            assertEq(token.balanceOf(payee), 30);
            close(ids[i], 40);
            assertEq(token.balanceOf(payee), 40);
            assertEq(token.balanceOf(payer), CAP - 40);
            assertEq(token.balanceOf(address(escrow)), 0);
        }
    }

    /// @dev A payer's own cap of a channel in one token lies between the caps of two, and is the one that holds.
    function test_ESC_2_anOwnCapIsMeasuredByItsOwnToken() public {
        token = DevToken(address(AT + 257));
        fund(payer, CAP);
        vm.startPrank(payer);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.CapNotLower.selector, cap(257) + 1, cap(257)));
        escrow.openWithCap(payee, address(token), DEPOSIT, SALT, signer, cap(257) + 1);
        bytes32 id = escrow.openWithCap(payee, address(token), DEPOSIT, SALT, signer, cap(100));
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.CapNotLower.selector, cap(101), cap(100)));
        escrow.lowerMaxDeposit(id, cap(101));
        vm.stopPrank();
        topUp(id, cap(100) - DEPOSIT);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.DepositExceedsCap.selector, cap(100) + 1, cap(100)));
        topUp(id, 1);
    }
}

/// @dev Tokens in which the escrow is led astray about whose money moved.
contract TokenAttacksTest is EscrowTest {
    WeirdToken internal weird;
    IChannelEscrow.Row[] internal rows;

    function stage(WeirdToken listed, uint128 cap) private {
        weird = listed;
        IChannelEscrow.TokenCap[] memory caps = new IChannelEscrow.TokenCap[](2);
        caps[0] = IChannelEscrow.TokenCap(address(token), CAP);
        caps[1] = IChannelEscrow.TokenCap(address(weird), cap);
        escrow = deployEscrow("EVM Payment Channel", caps, address(0));
        weird.mint(payer, type(uint128).max);
        vm.startPrank(payer);
        token.approve(address(escrow), CAP);
        weird.approve(address(escrow), type(uint256).max);
        vm.stopPrank();
    }

    function openWeird(uint128 deposit, bytes32 salt) private returns (bytes32) {
        vm.prank(payer);
        return escrow.open(payee, address(weird), deposit, salt, signer);
    }

    /// @dev A refund that one token refused is asked for in another, where the escrow holds the deposits of others.
    function test_ESC_1_aCreditIsPaidInItsOwnTokenAlone() public {
        stage(new WeirdToken(), CAP);
        bytes32 others = openChannel();
        bytes32 id = openWeird(DEPOSIT, SALT);
        weird.setBlocked(payer, true);
        rows.push(row(id, 10, 10));
        vm.prank(payee);
        escrow.closeMany(address(weird), rows);
        assertEq(escrow.refundCredit(address(weird), payer), DEPOSIT - 10);
        assertEq(escrow.refundCredit(address(token), payer), 0);
        vm.startPrank(payer);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.NoRefund.selector, payer, address(token)));
        escrow.withdrawRefund(address(token), payer);
        assertEq(escrow.withdrawRefund(address(weird), stranger), DEPOSIT - 10);
        vm.stopPrank();
        assertEq(weird.balanceOf(stranger), DEPOSIT - 10);
        assertEq(token.balanceOf(address(escrow)), escrow.getChannel(others).deposit);
    }

    /// @dev One channel holds 96 bits, what a batch pays and what is owed to one payer may be more.
    function test_V7_whatManyChannelsPayIsNotCutToTheWidthOfOne() public {
        uint128 widest = type(uint96).max;
        stage(new WeirdToken(), widest);
        for (uint256 i = 0; i < 6; ++i) {
            bytes32 id = openWeird(widest, bytes32(i));
            rows.push(row(id, type(uint128).max, i < 3 ? widest : 1));
        }
        uint256 start = vm.snapshotState();
        vm.prank(payee);
        (uint256 paid,) = escrow.settleMany(address(weird), rows);
        assertEq(paid, 3 * uint256(widest) + 3);
        assertEq(weird.balanceOf(payee), paid);

        vm.revertToState(start);
        weird.setBlocked(payer, true);
        vm.prank(payee);
        escrow.closeMany(address(weird), rows);
        assertEq(weird.balanceOf(payee), paid);
        uint256 owed = 3 * uint256(widest - 1);
        assertEq(escrow.refundCredit(address(weird), payer), owed);
        assertEq(weird.balanceOf(address(escrow)), owed);
        vm.prank(payer);
        escrow.withdrawRefund(address(weird), stranger);
        assertEq(weird.balanceOf(address(escrow)), 0);
    }

    /// @dev Woken in the middle of a pull that brings too little, a helper throws the missing rest in, or more than that: the
    /// balance fits only if the money is there, and a channel is never worth more than came.
    function test_E3_moneyThrownInDuringAPullIsCounted() public {
        stage(new WeirdToken(), CAP);
        openWeird(DEPOSIT, "of others");
        Wallet helper = new Wallet();
        weird.mint(address(helper), 5);
        bytes memory gift = abi.encodeCall(weird.transfer, (address(escrow), 5));
        weird.setHook(address(helper), abi.encodeCall(Wallet.call, (address(weird), gift)));
        uint256 held = weird.balanceOf(address(escrow));
        vm.expectRevert(
            abi.encodeWithSelector(
                IChannelEscrow.UnexpectedDelta.selector, address(weird), DEPOSIT, held, held + DEPOSIT + 5
            )
        );
        openWeird(DEPOSIT, SALT);
        assertEq(weird.balanceOf(address(helper)), 5);
    }
}
