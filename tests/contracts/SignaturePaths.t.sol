// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {RelayedTest} from "./RelayedTest.sol";
import {ContractSigner} from "./mocks/Signers.sol";
import {Spoil} from "./mocks/Spoil.sol";

/// @dev Every place where the escrow takes a signature, and everything that can be wrong with one there. A bad signature
/// must leave the world as it was; whether the call reverts or skips a row is the business of other tests.
contract SignaturePathsTest is RelayedTest {
    using Spoil for bytes;

    /// @dev First the vouchers, then the payee's leaves, then what the payer signs for tokens and Permit2.
    enum Path {
        Settle,
        SettleCapture,
        SettleMany,
        SettleManyFor,
        SettleRelayed,
        SettleManyRelayed,
        Close,
        CloseCapture,
        CloseMany,
        CloseManyFor,
        CloseRelayed,
        CloseManyRelayed,
        LeaveToSettle,
        LeaveToClose,
        LeaveToSettleMany,
        LeaveToCloseMany,
        OpenByAuthorization,
        TopUpByAuthorization,
        OpenByPermit,
        TopUpByPermit
    }

    /// @dev What of the signed words is wrong, each in a way of its own.
    enum Fault {
        None,
        Name,
        Version,
        Chain,
        Contract,
        Type,
        Words,
        NoPrefix,
        PersonalPrefix
    }

    uint256 internal constant FOREVER = type(uint256).max;
    uint128 internal constant AMOUNT = 30;
    bytes internal constant LEAVE_FIELDS =
        "(bytes32 channelId,uint128 cumulativeAmount,uint256 nonce,uint256 deadline)";
    bytes internal constant BATCH_FIELDS = "(address token,Row[] rows,uint256 nonce,uint256 deadline)";
    bytes internal constant PERMITTED_TYPE = "TokenPermissions(address token,uint256 amount)";

    bytes32 internal id;

    function setUp() public override {
        super.setUp();
        id = openChannel("open");
    }

    // --------------------------------------------------------------------------------------------------- the tests

    /// @dev The control of all others: the right bytes do pass, on every path.
    function test_everyPathTakesItsOwnSignature() public {
        uint256 start = vm.snapshotState();
        for (uint256 i = 0; i <= uint256(type(Path).max); ++i) {
            bytes32 before = world();
            play(Path(i), signFor(Path(i), Fault.None));
            assertNotEq(world(), before, vm.toString(i));
            vm.revertToState(start);
        }
    }

    /// @dev Permit2 takes other encodings of a signature, too. It lets only one of them pass, by its nonce.
    function testFuzz_V5_noMutatedBytesPassOnAnyPath(uint256 path, uint256 kind, uint256 dice) public {
        Path p = drawPath(path, Path.TopUpByPermit);
        kind = bound(kind, 0, (p >= Path.OpenByPermit ? Spoil.CURVE_KINDS : Spoil.KINDS) - 1);
        assertRefused(p, signFor(p, Fault.None).spoil(kind, dice));
    }

    function testFuzz_V1_noOtherBytesPassOnAnyPath(uint256 path, bytes calldata junk) public {
        Path p = drawPath(path, Path.TopUpByPermit);
        vm.assume(keccak256(junk) != keccak256(signFor(p, Fault.None)));
        assertRefused(p, junk);
    }

    function testFuzz_V2_noOtherWordsPassOnAnyPath(uint256 path, uint256 fault) public {
        Path p = drawPath(path, Path.TopUpByPermit);
        assertRefused(p, signFor(p, drawFault(fault)));
    }

    function testFuzz_V2_noOtherKeyPassesOnAnyPath(uint256 path, uint256 key) public {
        Path p = drawPath(path, Path.TopUpByPermit);
        key = bound(key, 1, Spoil.ORDER - 1);
        vm.assume(key != keyOf(p));
        assertRefused(p, pack(key, digestOf(p, Fault.None)));
    }

    /// @dev The rest of each call is signed anew on the new chain, so that nothing but the old signature can be its fault.
    function testFuzz_V2_noSignatureOutlivesAForkOnAnyPath(uint256 path, uint64 chainId) public {
        Path p = drawPath(path, Path.TopUpByPermit);
        vm.assume(chainId != block.chainid && chainId != 0);
        bytes memory old = signFor(p, Fault.None);
        vm.chainId(chainId);
        assertRefused(p, old);
    }

    /// @dev A contract as signer or payee is asked about the right words and no others (ERC-1271).
    function testFuzz_V2_walletsAreAskedAboutTheRightWordsOnAnyPath(uint256 path, uint256 fault) public {
        Path p = drawPath(path, Path.LeaveToCloseMany);
        ContractSigner wallet = new ContractSigner();
        if (p < Path.LeaveToSettle) signer = address(wallet);
        else payee = address(wallet);
        id = openChannel("of a wallet");
        wallet.set(ContractSigner.Answer.Accept, digestOf(p, drawFault(fault)));
        assertRefused(p, new bytes(65));
        wallet.set(ContractSigner.Answer.Accept, digestOf(p, Fault.None));
        bytes32 before = world();
        play(p, new bytes(65));
        assertNotEq(world(), before, "the wallet's yes was not heard");
    }

    function assertRefused(Path p, bytes memory signature) private {
        bytes32 before = world();
        play(p, signature);
        assertEq(world(), before, string.concat("a bad signature moved something on path ", vm.toString(uint256(p))));
    }

    function drawPath(uint256 dice, Path last) private pure returns (Path) {
        return Path(bound(dice, 0, uint256(last)));
    }

    function drawFault(uint256 dice) private pure returns (Fault) {
        return Fault(bound(dice, 1, uint256(type(Fault).max)));
    }

    /// @dev All that a signature could move or use up.
    function world() private view returns (bytes32) {
        bytes32 opened = escrow.computeChannelId(payer, payee, address(token), SALT, signer);
        return keccak256(
            abi.encode(
                escrow.getChannel(id),
                escrow.getChannel(opened),
                token.balanceOf(address(escrow)),
                token.balanceOf(payee),
                token.balanceOf(payer),
                escrow.isNonceUsed(payee, id, 1),
                escrow.isNonceUsed(payee, 0, 1)
            )
        );
    }

    // --------------------------------------------------------------------------------------------------- the calls

    /// @dev Sends the path's call with this signature in its place; what else the call needs is signed well.
    function play(Path p, bytes memory signature) private {
        bytes memory data;
        if (p <= Path.CloseManyRelayed) data = collecting(p, signature);
        else if (p <= Path.LeaveToCloseMany) data = leaving(p, signature);
        else data = funding(p, signature);
        vm.prank(payee);
        (bool ok,) = address(escrow).call(data);
        ok;
    }

    function collecting(Path p, bytes memory voucher) private view returns (bytes memory) {
        if (p == Path.Settle) return abi.encodeCall(escrow.settle, (id, AMOUNT, voucher));
        if (p == Path.Close) return abi.encodeCall(escrow.close, (id, AMOUNT, voucher));
        if (p == Path.SettleCapture) return abi.encodeCall(escrow.settleCapture, (id, AMOUNT, AMOUNT - 1, voucher));
        if (p == Path.CloseCapture) return abi.encodeCall(escrow.closeCapture, (id, AMOUNT, AMOUNT - 1, voucher));
        if (p == Path.SettleRelayed || p == Path.CloseRelayed) {
            Path leave = p == Path.SettleRelayed ? Path.LeaveToSettle : Path.LeaveToClose;
            return relayed(leave, signFor(leave, Fault.None), voucher);
        }
        IChannelEscrow.Row[] memory rows = rowsWith(voucher);
        if (p == Path.SettleMany) return abi.encodeCall(escrow.settleMany, (address(token), rows));
        if (p == Path.CloseMany) return abi.encodeCall(escrow.closeMany, (address(token), rows));
        if (p == Path.SettleManyFor) return abi.encodeCall(escrow.settleManyFor, (payee, address(token), rows));
        if (p == Path.CloseManyFor) return abi.encodeCall(escrow.closeManyFor, (payee, address(token), rows));
        bool closing = p == Path.CloseManyRelayed;
        string memory verb = closing ? "CloseManyAuthorization" : "SettleManyAuthorization";
        return relayedMany(closing, rows, signBatch(verb, rows, 1, FOREVER));
    }

    function leaving(Path p, bytes memory leave) private view returns (bytes memory) {
        if (p == Path.LeaveToSettle || p == Path.LeaveToClose) return relayed(p, leave, sign(id, AMOUNT));
        return relayedMany(p == Path.LeaveToCloseMany, rowsWith(sign(id, AMOUNT)), leave);
    }

    function relayed(Path leave, bytes memory signature, bytes memory voucher) private view returns (bytes memory) {
        return leave == Path.LeaveToSettle
            ? abi.encodeCall(escrow.settleWithAuthorization, (id, AMOUNT, 1, FOREVER, signature, voucher))
            : abi.encodeCall(escrow.closeWithAuthorization, (id, AMOUNT, 1, FOREVER, signature, voucher));
    }

    function relayedMany(bool closing, IChannelEscrow.Row[] memory rows, bytes memory leave)
        private
        view
        returns (bytes memory)
    {
        return closing
            ? abi.encodeCall(escrow.closeManyWithAuthorization, (payee, address(token), rows, 1, FOREVER, leave))
            : abi.encodeCall(escrow.settleManyWithAuthorization, (payee, address(token), rows, 1, FOREVER, leave));
    }

    function rowsWith(bytes memory voucher) private view returns (IChannelEscrow.Row[] memory rows) {
        rows = new IChannelEscrow.Row[](1);
        rows[0] = IChannelEscrow.Row(id, AMOUNT, AMOUNT - 1, voucher);
    }

    function funding(Path p, bytes memory signature) private view returns (bytes memory) {
        if (p == Path.OpenByPermit) {
            return abi.encodeCall(
                escrow.openWithPermit2, (payee, address(token), DEPOSIT, SALT, signer, payer, 7, FOREVER, signature)
            );
        }
        if (p == Path.TopUpByPermit) {
            return abi.encodeCall(escrow.topUpWithPermit2, (id, AMOUNT, payer, 7, FOREVER, signature));
        }
        if (p == Path.TopUpByAuthorization) {
            bytes32 nonce = keccak256(abi.encode(id, AMOUNT, payer, SALT));
            return
                abi.encodeCall(escrow.topUpWithAuthorization, (id, AMOUNT, payer, SALT, 0, FOREVER, nonce, signature));
        }
        return abi.encodeCall(
            escrow.openWithAuthorization,
            (payee, address(token), DEPOSIT, SALT, signer, payer, 0, FOREVER, openNonce(terms()), signature)
        );
    }

    // ------------------------------------------------------------------------------------------- what is signed

    function keyOf(Path p) private view returns (uint256) {
        if (p <= Path.CloseManyRelayed) return signerKey;
        return p <= Path.LeaveToCloseMany ? payeeKey : payerKey;
    }

    function signFor(Path p, Fault fault) private view returns (bytes memory) {
        return pack(keyOf(p), digestOf(p, fault));
    }

    function digestOf(Path p, Fault fault) private view returns (bytes32) {
        bytes32 typeTwist = fault == Fault.Type ? bytes32(uint256(1)) : bytes32(0);
        bytes32 hash = structOf(p, typeTwist);
        if (fault == Fault.Words) hash = ~hash;
        if (fault == Fault.NoPrefix) return hash;
        bytes32 separator = separatorOf(p, fault);
        if (fault == Fault.PersonalPrefix) {
            bytes32 digest = keccak256(abi.encodePacked(hex"1901", separator, hash));
            return keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", digest));
        }
        return keccak256(abi.encodePacked(hex"1901", separator, hash));
    }

    function separatorOf(Path p, Fault fault) private view returns (bytes32) {
        (string memory name, address where) = ("EVM Payment Channel", address(escrow));
        if (p >= Path.OpenByAuthorization) (name, where) = ("Weir Dev USD", address(token));
        if (p >= Path.OpenByPermit) (name, where) = ("Permit2", address(permit2));
        if (fault == Fault.Name) name = "Tempo Stream Channel";
        if (fault == Fault.Contract) where = stranger;
        uint256 chain = fault == Fault.Chain ? block.chainid + 1 : block.chainid;
        // Permit2's domain has no version.
        if (p >= Path.OpenByPermit && fault != Fault.Version) {
            bytes32 bare = keccak256("EIP712Domain(string name,uint256 chainId,address verifyingContract)");
            return keccak256(abi.encode(bare, keccak256(bytes(name)), chain, where));
        }
        bytes32 version = keccak256(fault == Fault.Version ? bytes("2") : bytes("1"));
        bytes32 full = keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
        return keccak256(abi.encode(full, keccak256(bytes(name)), version, chain, where));
    }

    function structOf(Path p, bytes32 twist) private view returns (bytes32) {
        if (p <= Path.CloseManyRelayed) {
            bytes32 typeHash = keccak256("Voucher(bytes32 channelId,uint128 cumulativeAmount)");
            return keccak256(abi.encode(typeHash ^ twist, id, AMOUNT));
        }
        if (p == Path.LeaveToSettle) return leaveOf("SettleAuthorization", twist);
        if (p == Path.LeaveToClose) return leaveOf("CloseAuthorization", twist);
        if (p == Path.LeaveToSettleMany) return batchOf("SettleManyAuthorization", twist);
        if (p == Path.LeaveToCloseMany) return batchOf("CloseManyAuthorization", twist);
        if (p == Path.OpenByAuthorization) return receiveOf(DEPOSIT, openNonce(terms()), twist);
        if (p == Path.TopUpByAuthorization) {
            return receiveOf(AMOUNT, keccak256(abi.encode(id, AMOUNT, payer, SALT)), twist);
        }
        if (p == Path.OpenByPermit) {
            bytes memory witness = "ChannelOpenWitness(address payee,bytes32 salt,address authorizedSigner)";
            bytes32 opened = keccak256(abi.encode(keccak256(witness), payee, SALT, signer));
            return permitOf(bytes.concat("ChannelOpenWitness witness)", witness), opened, DEPOSIT, twist);
        }
        bytes32 topped = keccak256(abi.encode(keccak256("ChannelTopUpWitness(bytes32 channelId)"), id));
        return permitOf("ChannelTopUpWitness witness)ChannelTopUpWitness(bytes32 channelId)", topped, AMOUNT, twist);
    }

    function leaveOf(bytes memory verb, bytes32 twist) private view returns (bytes32) {
        bytes32 typeHash = keccak256(bytes.concat(verb, LEAVE_FIELDS)) ^ twist;
        return keccak256(abi.encode(typeHash, id, AMOUNT, 1, FOREVER));
    }

    function batchOf(bytes memory verb, bytes32 twist) private view returns (bytes32) {
        bytes32 typeHash = keccak256(bytes.concat(verb, BATCH_FIELDS, ROW_TYPE)) ^ twist;
        bytes32 voucher = keccak256(sign(id, AMOUNT));
        bytes32 row = keccak256(abi.encode(keccak256(ROW_TYPE), id, AMOUNT, AMOUNT - 1, voucher));
        return keccak256(abi.encode(typeHash, address(token), keccak256(abi.encodePacked(row)), 1, FOREVER));
    }

    function receiveOf(uint256 value, bytes32 nonce, bytes32 twist) private view returns (bytes32) {
        bytes32 typeHash = token.RECEIVE_WITH_AUTHORIZATION_TYPEHASH() ^ twist;
        return keccak256(abi.encode(typeHash, payer, address(escrow), value, 0, FOREVER, nonce));
    }

    function permitOf(bytes memory witnessType, bytes32 witness, uint256 amount, bytes32 twist)
        private
        view
        returns (bytes32)
    {
        bytes memory stub =
            "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,";
        bytes32 typeHash = keccak256(bytes.concat(stub, witnessType, PERMITTED_TYPE)) ^ twist;
        bytes32 permitted = keccak256(abi.encode(keccak256(PERMITTED_TYPE), address(token), amount));
        return keccak256(abi.encode(typeHash, permitted, address(escrow), 7, FOREVER, witness));
    }
}
