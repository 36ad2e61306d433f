// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {DevToken} from "../../../contracts/src/dev/DevToken.sol";
import {TempoChannelReserve as Reserve} from "./TempoChannelReserve.sol";
import {Test} from "forge-std/Test.sol";
import {VmSafe} from "forge-std/Vm.sol";

/// @dev The life of a channel in our stand-in for Tempo's reserve, at the reserve's address.
contract TempoChannelReserveTest is Test {
    uint96 internal constant DEPOSIT = 100;
    Reserve internal constant RESERVE = Reserve(0x4d50500000000000000000000000000000000000);

    DevToken internal token = new DevToken();
    address internal payer;
    uint256 internal payerKey;
    address internal signer;
    uint256 internal signerKey;
    address internal payee = makeAddr("payee");
    address internal operator = makeAddr("operator");
    Reserve.ChannelDescriptor internal d;
    bytes32 internal id;

    function setUp() public {
        vm.warp(1_700_000_000);
        vm.etch(address(RESERVE), type(Reserve).runtimeCode);
        (payer, payerKey) = makeAddrAndKey("payer");
        (signer, signerKey) = makeAddrAndKey("signer");
        token.mint(payer, 1_000);
        vm.prank(payer);
        token.approve(address(RESERVE), type(uint256).max);
        (id, d) = open(signer, "salt");
    }

    /// @dev The descriptor is read from the event, as clients do.
    function open(address authorizedSigner, bytes32 salt)
        private
        returns (bytes32 channelId, Reserve.ChannelDescriptor memory descriptor)
    {
        vm.recordLogs();
        vm.prank(payer);
        channelId = RESERVE.open(payee, operator, address(token), DEPOSIT, salt, authorizedSigner);
        VmSafe.Log memory log = vm.getRecordedLogs()[0];
        assertEq(log.topics[0], Reserve.ChannelOpened.selector);
        assertEq(log.topics[1], channelId);
        (,,,, bytes32 context, uint96 deposit) =
            abi.decode(log.data, (address, address, address, bytes32, bytes32, uint96));
        assertEq(deposit, DEPOSIT);
        descriptor = Reserve.ChannelDescriptor(payer, payee, operator, address(token), salt, authorizedSigner, context);
    }

    function sign(uint256 key, uint96 amount) private view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, RESERVE.getVoucherDigest(id, amount));
        return abi.encodePacked(r, s, v);
    }

    function settle(uint96 amount) private {
        bytes memory signature = sign(signerKey, amount);
        vm.prank(payee);
        RESERVE.settle(d, amount, signature);
    }

    function assertState(uint96 settled, uint96 deposit, uint32 closeRequestedAt) private view {
        Reserve.ChannelState memory state = RESERVE.getChannelState(id);
        assertEq(state.settled, settled, "settled");
        assertEq(state.deposit, deposit, "deposit");
        assertEq(state.closeRequestedAt, closeRequestedAt, "closeRequestedAt");
    }

    function test_idAndDigestAreTheTips() public view {
        bytes32 expected = keccak256(
            abi.encode(
                payer,
                payee,
                operator,
                address(token),
                bytes32("salt"),
                signer,
                d.expiringNonceHash,
                0x4d50500000000000000000000000000000000000,
                block.chainid
            )
        );
        assertEq(id, expected);
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("TIP20 Channel Reserve"),
                keccak256("1"),
                block.chainid,
                0x4d50500000000000000000000000000000000000
            )
        );
        bytes32 voucher = keccak256(abi.encode(keccak256("Voucher(bytes32 channelId,uint96 cumulativeAmount)"), id, 7));
        assertEq(RESERVE.getVoucherDigest(id, 7), keccak256(abi.encodePacked(hex"1901", domain, voucher)));
    }

    function test_stateIsOneSlotAsTheTipPacksIt() public {
        settle(7);
        vm.prank(payer);
        RESERVE.requestClose(d);
        bytes32 slot = keccak256(abi.encode(id, uint256(0)));
        uint256 packed = uint256(7) | uint256(DEPOSIT) << 96 | block.timestamp << 192;
        assertEq(uint256(vm.load(address(RESERVE), slot)), packed);
    }

    function test_settlePaysTheDifference() public {
        settle(10);
        settle(25);
        assertEq(token.balanceOf(payee), 25);
        assertState(25, DEPOSIT, 0);
        bytes memory signature = sign(signerKey, 25);
        vm.startPrank(operator);
        vm.expectRevert(Reserve.AmountNotIncreasing.selector);
        RESERVE.settle(d, 25, signature);
        vm.expectRevert(Reserve.AmountExceedsDeposit.selector);
        RESERVE.settle(d, DEPOSIT + 1, signature);
        vm.expectRevert(Reserve.InvalidSignature.selector);
        RESERVE.settle(d, 26, signature);
        signature = sign(payerKey, 26);
        vm.expectRevert(Reserve.InvalidSignature.selector);
        RESERVE.settle(d, 26, signature);
        vm.stopPrank();
        vm.expectRevert(Reserve.NotPayeeOrOperator.selector);
        RESERVE.settle(d, 26, signature);
    }

    function test_zeroSignerIsThePayerAndZeroOperatorIsNobody() public {
        operator = address(0);
        (id, d) = open(address(0), "other");
        bytes memory signature = sign(payerKey, 5);
        vm.prank(address(0));
        vm.expectRevert(Reserve.NotPayeeOrOperator.selector);
        RESERVE.settle(d, 5, signature);
        vm.prank(payee);
        RESERVE.settle(d, 5, signature);
        assertEq(token.balanceOf(payee), 5);
    }

    function test_topUpAddsAndCancelsACloseRequest() public {
        vm.startPrank(payer);
        vm.recordLogs();
        RESERVE.topUp(d, 0);
        assertEq(vm.getRecordedLogs().length, 0);
        RESERVE.topUp(d, 11);
        assertState(0, DEPOSIT + 11, 0);
        RESERVE.requestClose(d);
        assertState(0, DEPOSIT + 11, uint32(block.timestamp));
        vm.expectEmit();
        emit Reserve.CloseRequestCancelled(id, payer, payee);
        RESERVE.topUp(d, 0);
        assertState(0, DEPOSIT + 11, 0);
        vm.expectRevert(Reserve.DepositOverflow.selector);
        RESERVE.topUp(d, type(uint96).max - DEPOSIT);
        vm.stopPrank();
        vm.expectRevert(Reserve.NotPayer.selector);
        RESERVE.topUp(d, 1);
    }

    function test_closeTakesACaptureOfAVoucherAboveTheDeposit() public {
        settle(10);
        bytes memory signature = sign(signerKey, DEPOSIT + 50);
        vm.startPrank(payee);
        vm.expectRevert(Reserve.AmountExceedsDeposit.selector);
        RESERVE.close(d, DEPOSIT + 50, DEPOSIT + 1, signature);
        vm.expectRevert(Reserve.CaptureAmountInvalid.selector);
        RESERVE.close(d, DEPOSIT + 50, 9, signature);
        vm.expectRevert(Reserve.CaptureAmountInvalid.selector);
        RESERVE.close(d, 20, 21, signature);
        vm.expectEmit();
        emit Reserve.ChannelClosed(id, payer, payee, 60, DEPOSIT - 60);
        RESERVE.close(d, DEPOSIT + 50, 60, signature);
        vm.expectRevert(Reserve.ChannelNotFound.selector);
        RESERVE.close(d, DEPOSIT + 50, 60, signature);
        vm.stopPrank();
        assertEq(token.balanceOf(payee), 60);
        assertEq(token.balanceOf(payer), 1_000 - 60);
        assertState(0, 0, 0);
    }

    function test_closeAtSettledNeedsNoSignature() public {
        settle(10);
        vm.prank(operator);
        RESERVE.close(d, 10, 10, "");
        assertEq(token.balanceOf(payee), 10);
        assertEq(token.balanceOf(payer), 990);
    }

    function test_withdrawAfterTheGrace() public {
        settle(40);
        vm.startPrank(payer);
        vm.expectRevert(Reserve.CloseNotReady.selector);
        RESERVE.withdraw(d);
        RESERVE.requestClose(d);
        uint256 asked = block.timestamp;
        vm.warp(asked + 15 minutes - 1);
        RESERVE.requestClose(d);
        assertState(40, DEPOSIT, uint32(asked));
        vm.expectRevert(Reserve.CloseNotReady.selector);
        RESERVE.withdraw(d);
        vm.warp(asked + 15 minutes);
        RESERVE.withdraw(d);
        vm.stopPrank();
        assertEq(token.balanceOf(payer), 960);
        assertEq(token.balanceOf(address(RESERVE)), 0);
        assertState(0, 0, 0);
    }

    /// @dev A closed channel leaves nothing behind, and yet cannot be opened again by the transaction that opened it.
    function test_aChannelIsOpenedOncePerTransaction() public {
        (, d) = open(signer, "twice");
        vm.prank(payee);
        RESERVE.close(d, 0, 0, "");
        vm.prank(payer);
        vm.expectRevert(Reserve.ChannelAlreadyExists.selector);
        RESERVE.open(payee, operator, address(token), DEPOSIT, "twice", signer);
    }

    /// @dev With isolation every call is a transaction of its own.
    /// forge-config: default.isolate = true
    function test_theSameTermsMakeAnotherChannelInAnotherTransaction() public {
        vm.prank(payee);
        RESERVE.close(d, 0, 0, "");
        (bytes32 again,) = open(signer, "salt");
        assertNotEq(again, id);
    }

    /// @dev Who stands between clients and chain knows what was signed, and says so before the transaction comes.
    /// forge-config: default.isolate = true
    function test_whatWasAnnouncedForTheOriginIsTheHashOfOneTransaction() public {
        // Which of the two is the origin of an isolated call is forge's affair.
        announce(payer, "announced");
        announce(tx.origin, "announced");
        (, Reserve.ChannelDescriptor memory announced) = open(signer, "salt");
        assertEq(announced.expiringNonceHash, "announced");
        announce(payer, 0);
        announce(tx.origin, 0);
        (, Reserve.ChannelDescriptor memory untold) = open(signer, "salt");
        assertNotEq(untold.expiringNonceHash, "announced");
        assertNotEq(untold.expiringNonceHash, d.expiringNonceHash);
    }

    function announce(address origin, bytes32 contextHash) private {
        vm.store(address(RESERVE), keccak256(abi.encode(origin, uint256(3))), contextHash);
    }

    function test_openRefusesWhatTheTipRefuses() public {
        vm.startPrank(payer);
        vm.expectRevert(Reserve.InvalidPayee.selector);
        RESERVE.open(address(0), operator, address(token), 1, "new", signer);
        vm.expectRevert(Reserve.InvalidToken.selector);
        RESERVE.open(payee, operator, payee, 1, "new", signer);
        vm.expectRevert(Reserve.ZeroDeposit.selector);
        RESERVE.open(payee, operator, address(token), 0, "new", signer);
    }

    function test_signatureShapes() public {
        bytes memory good = sign(signerKey, 5);
        bytes32 r = bytes32(this.part(good, 0));
        uint256 s = uint256(this.part(good, 32));
        uint8 v = uint8(good[64]);
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        bytes[3] memory bad = [abi.encodePacked(r, order - s, 55 - v), abi.encodePacked(r, s), bytes("")];
        vm.startPrank(payee);
        for (uint256 i = 0; i < bad.length; ++i) {
            vm.expectRevert(Reserve.InvalidSignature.selector);
            RESERVE.settle(d, 5, bad[i]);
        }
        RESERVE.settle(d, 5, abi.encodePacked(r, s, v - 27));
    }

    function part(bytes calldata data, uint256 from) external pure returns (bytes32) {
        return bytes32(data[from:from + 32]);
    }
}
