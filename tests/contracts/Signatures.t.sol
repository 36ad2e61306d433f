// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {EscrowTest} from "./EscrowTest.sol";
import {ContractSigner} from "./mocks/Signers.sol";

contract SignaturesTest is EscrowTest {
    uint256 internal constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    bytes32 internal id;

    function setUp() public override {
        super.setUp();
        id = openChannel();
    }

    function expectBadSignature(bytes memory signature) private {
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidSignature.selector, id, signer));
        vm.prank(payee);
        escrow.settle(id, 5, signature);
    }

    function parts() private view returns (uint8 v, bytes32 r, bytes32 s) {
        return vm.sign(signerKey, escrow.getVoucherDigest(id, 5));
    }

    function test_V5_theHighTwinOfASignatureIsRefused() public {
        (uint8 v, bytes32 r, bytes32 s) = parts();
        expectBadSignature(abi.encodePacked(r, bytes32(ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27)));
    }

    function test_V5_onlyV27And28AreTaken() public {
        (uint8 v, bytes32 r, bytes32 s) = parts();
        for (uint256 i = 0; i < 256; ++i) {
            // forge-lint: disable-next-line(unsafe-typecast)
            if (i != v) expectBadSignature(abi.encodePacked(r, s, uint8(i)));
        }
        vm.prank(payee);
        escrow.settle(id, 5, abi.encodePacked(r, s, v));
    }

    function test_V5_onlySixtyFiveBytesAreTaken() public {
        (uint8 v, bytes32 r, bytes32 s) = parts();
        expectBadSignature("");
        expectBadSignature(abi.encodePacked(r, s));
        bytes32 compact = bytes32(uint256(s) | (uint256(v - 27) << 255));
        expectBadSignature(abi.encodePacked(r, compact));
        expectBadSignature(abi.encodePacked(r, s, v, uint8(0)));
        expectBadSignature(abi.encodePacked(r, s, v, new bytes(1000)));
    }

    function test_V1_zeroAndGarbageSignaturesAreRefused() public {
        expectBadSignature(new bytes(65));
        expectBadSignature(abi.encodePacked(bytes32(0), bytes32(0), uint8(27)));
        expectBadSignature(abi.encodePacked(bytes32(ORDER), bytes32(uint256(1)), uint8(27)));
        expectBadSignature(abi.encodePacked(bytes32(uint256(1)), bytes32(uint256(1)), uint8(28)));
    }

    function testFuzz_ESC_4_noBytesButTheSignersPay(bytes calldata signature) public {
        (uint8 v, bytes32 r, bytes32 s) = parts();
        vm.assume(keccak256(signature) != keccak256(abi.encodePacked(r, s, v)));
        expectBadSignature(signature);
    }

    function testFuzz_V5_anyFlippedBitIsRefused(uint256 bit) public {
        bit = bound(bit, 0, 65 * 8 - 1);
        bytes memory signature = sign(id, 5);
        // forge-lint: disable-next-line(unsafe-typecast)
        signature[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        expectBadSignature(signature);
    }

    function testFuzz_ESC_4_anotherKeyIsRefused(uint256 key, uint128 amount) public {
        key = bound(key, 1, ORDER - 1);
        amount = uint128(bound(amount, 1, DEPOSIT));
        vm.assume(vm.addr(key) != signer);
        bytes memory signature = signWith(key, id, amount);
        vm.expectRevert(abi.encodeWithSelector(IChannelEscrow.InvalidSignature.selector, id, signer));
        vm.prank(payee);
        escrow.settle(id, amount, signature);
    }

    // ------------------------------------------------------------------------------------------- contract signers

    function openFor(address authorizedSigner) private returns (bytes32) {
        vm.prank(payer);
        return escrow.open(payee, address(token), DEPOSIT, "contract", authorizedSigner);
    }

    function test_E6_recoveryWinsWhateverCodeTheSignerHas() public {
        bytes memory signature = sign(id, 5);
        // The signer delegates its code after signing (EIP-7702), to a wallet that repudiates everything.
        ContractSigner repudiator = new ContractSigner();
        vm.etch(signer, address(repudiator).code);
        ContractSigner(signer).set(ContractSigner.Answer.Refuse, 0);
        vm.prank(payee);
        escrow.settle(id, 5, signature);
        assertEq(settledOf(id), 5);
    }

    function test_E6_aRealDelegationCannotDisownAVoucher() public {
        bytes memory signature = sign(id, 5);
        ContractSigner repudiator = new ContractSigner();
        vm.etch(signer, abi.encodePacked(hex"ef0100", address(repudiator)));
        vm.prank(payee);
        escrow.settle(id, 5, signature);
        assertEq(settledOf(id), 5);
    }

    function test_ESC_4_aContractSignerAcceptsWithAnyBytes() public {
        ContractSigner wallet = new ContractSigner();
        id = openFor(address(wallet));
        wallet.set(ContractSigner.Answer.Accept, escrow.getVoucherDigest(id, 5));
        vm.prank(payee);
        escrow.settle(id, 5, new bytes(300));
        assertEq(settledOf(id), 5);
    }

    function test_E5_aContractSignerMayRevokeUntilTheVoucherIsSettled() public {
        ContractSigner wallet = new ContractSigner();
        signer = address(wallet);
        id = openFor(signer);
        wallet.set(ContractSigner.Answer.Accept, escrow.getVoucherDigest(id, 5));
        wallet.set(ContractSigner.Answer.Refuse, 0);
        expectBadSignature(new bytes(65));
    }

    function test_ESC_4_everyOtherAnswerOfAContractSignerIsANo() public {
        ContractSigner wallet = new ContractSigner();
        signer = address(wallet);
        id = openFor(signer);
        bytes32 digest = escrow.getVoucherDigest(id, 5);
        for (uint256 a = uint256(ContractSigner.Answer.Refuse); a <= uint256(type(ContractSigner.Answer).max); ++a) {
            wallet.set(ContractSigner.Answer(a), digest);
            expectBadSignature(new bytes(65));
        }
        wallet.set(ContractSigner.Answer.Accept, escrow.getVoucherDigest(id, 6));
        expectBadSignature(new bytes(65));
    }

    function test_E8_aStarvedContractSignerIsAskedForMoreGasNotRefused() public {
        ContractSigner wallet = new ContractSigner();
        id = openFor(address(wallet));
        wallet.set(ContractSigner.Answer.Accept, escrow.getVoucherDigest(id, 5));
        bytes memory data = abi.encodeCall(escrow.settle, (id, 5, new bytes(65)));
        vm.prank(payee);
        (bool ok, bytes memory answer) = address(escrow).call{gas: 400_000}(data);
        assertFalse(ok);
        assertEq(bytes4(answer), IChannelEscrow.NotEnoughGas.selector);
    }
}
