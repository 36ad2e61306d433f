// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {DevToken} from "../../contracts/src/dev/DevToken.sol";
import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {IRelayedEscrow} from "../../contracts/src/interfaces/IRelayedEscrow.sol";
import {RelayedTest} from "./RelayedTest.sol";
import {OwnedWallet} from "./mocks/Signers.sol";
import {Spoil} from "./mocks/Spoil.sol";

/// @dev Further thefts and blockades that were tried through what others send.
contract RelayedAttacksTest is RelayedTest {
    uint256 internal constant FOREVER = type(uint256).max;
    IChannelEscrow.Row[] internal rows;

    /// @dev Whoever sends chooses the gas: a batch signed by keys, without a refund that asks for a bound, is judged in full or
    /// not at all, because a starved recovery is an error and no foreign signer.
    function testFuzz_E8_aStarvedRecoveryIsNoBadSignature(uint256 gasLimit) public {
        for (uint256 i = 0; i < 3; ++i) {
            rows.push(row(openChannel(bytes32(i)), DEPOSIT, DEPOSIT));
        }
        bool closing = gasLimit % 2 == 0;
        bytes memory leave = signBatch(closing ? "CloseManyAuthorization" : "SettleManyAuthorization", rows, 1, FOREVER);
        bytes memory sent = closing
            ? abi.encodeCall(escrow.closeManyWithAuthorization, (payee, address(token), rows, 1, FOREVER, leave))
            : abi.encodeCall(escrow.settleManyWithAuthorization, (payee, address(token), rows, 1, FOREVER, leave));
        (bool ok,) = address(escrow).call{gas: bound(gasLimit, 5_000, 300_000)}(sent);
        for (uint256 i = 0; i < rows.length; ++i) {
            assertEq(settledOf(rows[i].channelId), ok ? DEPOSIT : 0);
        }
        assertEq(escrow.isNonceUsed(payee, 0, 1), ok);
    }

    /// @dev A proxy runs the escrow's code, immutable values and the domain included, over a storage of its own: what was
    /// signed for the escrow must find no money there.
    function test_E2_aProxyOfTheEscrowTakesNoDeposit() public {
        bytes32 id = openChannel();
        address clone = makeAddr("clone");
        bytes memory code = hex"363d3d373d3d3d363d73";
        vm.etch(clone, bytes.concat(code, abi.encodePacked(address(escrow)), hex"5af43d82803e903d91602b57fd5bf3"));
        Terms memory t = terms();
        bytes[2] memory opens = [callOpen3009(t, t), callOpenPermit(t, t)];
        for (uint256 i = 0; i < opens.length; ++i) {
            (bool ok, bytes memory answer) = clone.call(opens[i]);
            assertFalse(ok);
            assertEq(bytes4(answer), IChannelEscrow.TokenNotListed.selector);
        }
        bytes memory voucher = sign(id, 10);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.ChannelNotFound.selector, id));
        vm.prank(payee);
        IChannelEscrow(clone).settle(id, 10, voucher);
    }

    /// @dev Nobody's address as payee: what does not recover is nobody's, and must not be that one's leave.
    function test_V1_nobodysAddressGivesNoLeave() public {
        bytes[3] memory junk = [bytes(""), new bytes(65), abi.encodePacked(bytes32("r"), bytes32("s"), uint8(27))];
        for (uint256 i = 0; i < junk.length; ++i) {
            bytes memory settling = abi.encodeCall(
                escrow.settleManyWithAuthorization, (address(0), address(token), rows, 1, FOREVER, junk[i])
            );
            assertEq(sendRefused(settling), IChannelEscrow.InvalidSignature.selector);
            bytes memory closing = abi.encodeCall(
                escrow.closeManyWithAuthorization, (address(0), address(token), rows, 1, FOREVER, junk[i])
            );
            assertEq(sendRefused(closing), IChannelEscrow.InvalidSignature.selector);
        }
        assertFalse(escrow.isNonceUsed(address(0), 0, 1));
    }

    /// @dev A batch that landed whole uses its nonce up for batches of both kinds, and for nothing that is of one channel.
    function test_E7_aBatchsNonceIsOfBatchesAlone() public {
        bytes32 id = openChannel();
        rows.push(row(id, 10, 10));
        bytes memory closing = abi.encodeCall(
            escrow.closeManyWithAuthorization,
            (payee, address(token), rows, 1, FOREVER, signBatch("CloseManyAuthorization", rows, 1, FOREVER))
        );
        send(
            abi.encodeCall(
                escrow.settleManyWithAuthorization,
                (payee, address(token), rows, 1, FOREVER, signBatch("SettleManyAuthorization", rows, 1, FOREVER))
            )
        );
        assertEq(sendRefused(closing), IRelayedEscrow.NonceAlreadyUsed.selector);
        bytes memory leave = signLeave("SettleAuthorization", id, 20, 1, FOREVER);
        send(abi.encodeCall(escrow.settleWithAuthorization, (id, 20, 1, FOREVER, leave, sign(id, 20))));
        assertEq(settledOf(id), 20);
    }

    /// @dev A relayer encodes a signed batch so that two rows are the same bytes of its calldata: it lands if two such rows were
    /// signed, and then once, and it is refused if one was.
    function test_E7_rowsThatShareTheirBytesAreStillTheRowsSigned() public {
        bytes32 id = openChannel();
        rows.push(row(id, 30, 30));
        bytes memory one = signBatch("SettleManyAuthorization", rows, 1, FOREVER);
        assertEq(sendRefused(sharing(id, one)), IChannelEscrow.InvalidSignature.selector);
        rows.push(rows[0]);
        send(sharing(id, signBatch("SettleManyAuthorization", rows, 1, FOREVER)));
        assertEq(settledOf(id), 30);
        assertEq(token.balanceOf(payee), 30);
        assertFalse(escrow.isNonceUsed(payee, 0, 1));
    }

    function sharing(bytes32 id, bytes memory leave) private view returns (bytes memory) {
        bytes memory row_ = abi.encode(id, uint256(30), uint256(30), uint256(0x80), uint256(65));
        bytes memory array =
            abi.encodePacked(abi.encode(uint256(2), uint256(0x40), uint256(0x40)), row_, sign(id, 30), new bytes(31));
        bytes memory head = abi.encode(payee, address(token), uint256(0xc0), uint256(1), FOREVER, 0xc0 + array.length);
        bytes memory tail = abi.encodePacked(abi.encode(uint256(65)), leave, new bytes(31));
        return abi.encodePacked(escrow.settleManyWithAuthorization.selector, head, array, tail);
    }

    /// @dev A channel that was closed is opened again by every other way in; none takes money or uses up what was signed.
    function test_E4_noWayInOpensAFinalizedId() public {
        bytes32 id = openChannel();
        close(id, 10);
        Terms memory t = terms();
        assertEq(sendRefused(callOpen3009(t, t)), IChannelEscrow.ChannelAlreadyExists.selector);
        assertEq(sendRefused(callOpenPermit(t, t)), IChannelEscrow.ChannelAlreadyExists.selector);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.ChannelAlreadyExists.selector, id));
        vm.prank(payer);
        escrow.openWithCap(payee, address(token), DEPOSIT, SALT, signer, DEPOSIT);
        assertFinalized(id, 10);
        assertFalse(token.authorizationState(payer, openNonce(t)));
        assertEq(permit2.nonceBitmap(payer, 0), 0);
    }

    /// @dev A right behind the last one would compare as more than all others.
    function test_V7_aRightThatThereIsNotIsRefused() public {
        uint256[2] memory rights = [uint256(3), FOREVER];
        for (uint256 i = 0; i < rights.length; ++i) {
            vm.prank(payee);
            (bool ok,) = address(escrow).call(abi.encodeWithSelector(escrow.setOperator.selector, relayer, rights[i]));
            assertFalse(ok);
        }
        assertEq(uint256(escrow.operatorRights(payee, relayer)), 0);
    }

    /// @dev Signers that answer everybody: precompiles, of which one answers what it was asked, and the contracts around.
    function test_ESC_4_noContractAroundSignsForAPayer() public {
        address[7] memory signers =
            [address(1), address(2), address(4), address(token), address(escrow), address(permit2), address(this)];
        for (uint256 i = 0; i < signers.length; ++i) {
            signer = signers[i];
            bytes32 id = openChannel();
            bytes memory echo = abi.encodePacked(bytes4(0x1626ba7e), new bytes(61));
            vm.startPrank(payee);
            vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidSignature.selector, id, signer));
            escrow.settle(id, 10, echo);
            vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidSignature.selector, id, signer));
            escrow.close(id, 10, "");
            vm.stopPrank();
            requestClose(id);
            waitForGrace();
            withdraw(id);
        }
        assertEq(token.balanceOf(address(escrow)) + token.balanceOf(payee), 0);
    }

    /// @dev The draft refuses high s (Signature Verification, 1). The twin with a high s is refused to a key, but an
    /// account that delegated its code is asked afterwards, and its wallet may take it. The total pays once all the same.
    function test_E6_aDelegatedWalletThatTakesHighSIsPaidOnce() public {
        vm.etch(signer, abi.encodePacked(hex"ef0100", address(new OwnedWallet(signer, 0))));
        bytes32 id = openChannel();
        bytes memory voucher = sign(id, 10);
        (bytes32 r, bytes32 s, uint8 v) = Spoil.split(voucher);
        bytes memory twin = abi.encodePacked(r, bytes32(Spoil.ORDER - uint256(s)), v ^ 7);
        vm.startPrank(payee);
        escrow.settle(id, 10, twin);
        vm.expectRevert(
            abi.encodeWithSelector(IChannelEscrow.AmountNotIncreasing.selector, id, uint128(10), uint128(10))
        );
        escrow.settle(id, 10, voucher);
        vm.stopPrank();
        assertEq(token.balanceOf(payee), 10);
    }

    /// @dev What was signed in one listed token is played on a channel, or as an opening, in another.
    function test_E2_aSignatureInOneTokenMovesNoOther() public {
        IChannelEscrow.TokenCap[] memory caps = new IChannelEscrow.TokenCap[](2);
        DevToken other = new DevToken();
        caps[0] = IChannelEscrow.TokenCap(address(token), CAP);
        caps[1] = IChannelEscrow.TokenCap(address(other), CAP);
        escrow = deployEscrow("EVM Payment Channel", caps, address(permit2));
        other.mint(payer, CAP);
        vm.startPrank(payer);
        other.approve(address(escrow), CAP);
        other.approve(address(permit2), CAP);
        bytes32 id = escrow.open(payee, address(other), DEPOSIT, SALT, signer);
        vm.stopPrank();
        // The helpers sign in the first token; the channel and the openings are in the other.
        bytes4 failed = IChannelEscrow.TransferFailed.selector;
        assertEq(sendRefused(callTopUp3009(id, 5, "salt")), failed);
        assertEq(sendRefused(callTopUpPermit(id, 5, 3)), failed);
        Terms memory signed = terms();
        Terms memory sent = terms();
        sent.token = address(other);
        sent.salt = "another";
        (signed.salt, signed.token) = (sent.salt, sent.token);
        assertEq(sendRefused(callOpen3009(signed, sent)), failed);
        assertEq(sendRefused(callOpenPermit(signed, sent)), failed);
        assertEq(token.balanceOf(address(escrow)), 0);
        assertEq(other.balanceOf(address(escrow)), DEPOSIT);
    }
}
