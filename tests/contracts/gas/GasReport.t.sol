// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {DevToken} from "../../../contracts/src/dev/DevToken.sol";
import {IChannelEscrow} from "../../../contracts/src/interfaces/IChannelEscrow.sol";
import {EscrowTest} from "../EscrowTest.sol";
import {ReferenceEscrow} from "./ReferenceEscrow.sol";
import {ERC20} from "solmate/tokens/ERC20.sol";

/// @dev A plain token, so that what is measured is the escrow's share.
contract PlainToken is ERC20("Plain", "PLN", 6) {
    function mint(address to, uint256 value) external {
        _mint(to, value);
    }
}

/// @dev What the calls cost as transactions of their own, calldata and the 21,000 included, less what is refunded: with
/// isolation every call from here is one. Channels are signed by their payer; all balances are nonzero unless it is said.
/// script/gas writes the figures to contracts/gas.json and compares them; here they are held under their gates.
/// forge-config: default.isolate = true
contract GasReportTest is EscrowTest {
    uint128 internal constant VOUCHER = 12_345_678;

    ReferenceEscrow internal plain;

    function setUp() public override {
        super.setUp();
        token = DevToken(address(new PlainToken()));
        escrow = newEscrow(address(token), CAP);
        fund(payer, 10 * CAP);
        (signer, signerKey) = (payer, payerKey);
        plain = new ReferenceEscrow();
        token.mint(payee, 1);
        token.mint(address(escrow), 1);
        token.mint(address(plain), 1);
        vm.prank(payer);
        token.approve(address(plain), type(uint256).max);
    }

    function open(bytes32 salt) private returns (bytes32) {
        vm.prank(payer);
        return escrow.open(payee, address(token), DEPOSIT, salt, address(0));
    }

    function used() private view returns (uint256) {
        return vm.lastCallGas().gasTotalUsed;
    }

    function report(string memory what, uint256 gas, uint256 gate) private {
        assertGt(gas, 21_000, "not isolated");
        hold(what, gas, gate);
    }

    function hold(string memory what, uint256 gas, uint256 gate) private {
        emit log_named_uint(what, gas);
        assertLe(gas, gate, what);
    }

    function test_gas_open() public {
        open("first");
        report("openFirst", used(), 170_000);
        open("second");
        report("open", used(), 100_000);
    }

    function test_gas_topUp() public {
        bytes32 id = open(SALT);
        topUp(id, DEPOSIT);
        report("topUp", used(), 57_000);
    }

    function test_gas_settle() public {
        bytes32 id = open(SALT);
        bytes memory signature = sign(id, VOUCHER);
        vm.prank(payee);
        escrow.settle(id, VOUCHER, signature);
        report("settle", used(), 60_000);
    }

    function test_gas_close() public {
        bytes32 id = open(SALT);
        bytes memory signature = sign(id, VOUCHER);
        uint256 start = vm.snapshotState();
        vm.prank(payee);
        escrow.close(id, VOUCHER, signature);
        report("close", used(), 69_000);
        vm.revertToState(start);
        emptyPayer();
        vm.prank(payee);
        escrow.close(id, VOUCHER, signature);
        report("closeToEmptyPayer", used(), 86_000);
    }

    /// @dev A token that is not the first listed costs one read of storage more.
    function test_gas_secondToken() public {
        IChannelEscrow.TokenCap[] memory caps = new IChannelEscrow.TokenCap[](2);
        caps[0] = IChannelEscrow.TokenCap(address(new PlainToken()), CAP);
        caps[1] = IChannelEscrow.TokenCap(address(token), CAP);
        escrow = deployEscrow("EVM Payment Channel", caps, address(0));
        fund(payer, CAP);
        token.mint(address(escrow), 1);

        bytes32 id = open(SALT);
        topUp(id, DEPOSIT);
        report("secondToken.topUp", used(), 59_000);
        bytes memory signature = sign(id, VOUCHER);
        vm.prank(payee);
        escrow.settle(id, VOUCHER, signature);
        report("secondToken.settle", used(), 60_000);
    }

    function emptyPayer() private {
        uint256 all = token.balanceOf(payer);
        vm.prank(payer);
        token.transfer(stranger, all);
    }

    function test_gas_withdraw() public {
        bytes32 id = open(SALT);
        requestClose(id);
        report("requestClose", used(), 38_000);
        waitForGrace();
        withdraw(id);
        report("withdraw", used(), 62_000);
    }

    function test_gas_settleMany() public {
        uint256[4] memory gates = [uint256(61_000), 22_500, 18_500, 18_200];
        batches("settleMany", gates, false);
    }

    function test_gas_closeMany() public {
        uint256[4] memory gates = [uint256(72_000), 32_000, 28_000, 28_000];
        batches("closeMany", gates, true);
    }

    function batches(string memory what, uint256[4] memory gates, bool closing) private {
        uint256[4] memory sizes = [uint256(1), 10, 100, 300];
        for (uint256 at = 0; at < sizes.length; ++at) {
            uint256 size = sizes[at];
            IChannelEscrow.Row[] memory rows = new IChannelEscrow.Row[](size);
            for (uint256 i = 0; i < size; ++i) {
                bytes32 id = open(keccak256(abi.encode(what, size, i)));
                rows[i] = IChannelEscrow.Row(id, VOUCHER, VOUCHER, sign(id, VOUCHER));
            }
            vm.prank(payee);
            uint256 paid;
            if (closing) (paid,) = escrow.closeMany(address(token), rows);
            else (paid,) = escrow.settleMany(address(token), rows);
            uint256 gas = used();
            assertEq(paid, VOUCHER * size);
            assertGt(gas, 21_000 + size * 10_000, "not isolated");
            hold(string.concat(what, ".", vm.toString(size)), gas / size, gates[at]);
        }
    }

    // ------------------------------------------------------------------------------------ the draft, written plainly

    function openPlain(bytes32 salt) private returns (bytes32) {
        vm.prank(payer);
        return plain.open(payee, address(token), DEPOSIT, salt, address(0));
    }

    function signPlain(bytes32 id) private view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(payerKey, plain.getVoucherDigest(id, VOUCHER));
        return abi.encodePacked(r, s, v);
    }

    function test_gas_reference() public {
        bytes32 id = openPlain(SALT);
        report("reference.open", used(), type(uint256).max);
        vm.prank(payer);
        plain.topUp(id, DEPOSIT);
        report("reference.topUp", used(), type(uint256).max);
        bytes memory signature = signPlain(id);
        uint256 start = vm.snapshotState();
        vm.prank(payee);
        plain.settle(id, VOUCHER, signature);
        report("reference.settle", used(), type(uint256).max);
        vm.revertToState(start);
        vm.prank(payee);
        plain.close(id, VOUCHER, signature);
        report("reference.close", used(), type(uint256).max);
        vm.revertToState(start);
        emptyPayer();
        vm.prank(payee);
        plain.close(id, VOUCHER, signature);
        report("reference.closeToEmptyPayer", used(), type(uint256).max);
    }
}
