// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {ChannelEscrow} from "../../contracts/src/ChannelEscrow.sol";
import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {EscrowTest} from "./EscrowTest.sol";

contract ViewsTest is EscrowTest {
    /// @dev The signatures that the EVM session draft and the Tempo v1 clients call, letter by letter.
    function test_selectorsAreTheDraftsAndTempos() public pure {
        assertEq(IChannelEscrow.open.selector, bytes4(keccak256("open(address,address,uint128,bytes32,address)")));
        assertEq(IChannelEscrow.settle.selector, bytes4(keccak256("settle(bytes32,uint128,bytes)")));
        assertEq(IChannelEscrow.close.selector, bytes4(keccak256("close(bytes32,uint128,bytes)")));
        assertEq(IChannelEscrow.requestClose.selector, bytes4(keccak256("requestClose(bytes32)")));
        assertEq(IChannelEscrow.withdraw.selector, bytes4(keccak256("withdraw(bytes32)")));
        assertEq(IChannelEscrow.getChannel.selector, bytes4(keccak256("getChannel(bytes32)")));
        assertEq(IChannelEscrow.getChannelsBatch.selector, bytes4(keccak256("getChannelsBatch(bytes32[])")));
    }

    function test_grace() public view {
        assertEq(escrow.CLOSE_GRACE_PERIOD(), 900);
    }

    function test_anUnknownChannelIsAllZeros() public view {
        IChannelEscrow.Channel memory none;
        assertEq(keccak256(abi.encode(escrow.getChannel(SALT))), keccak256(abi.encode(none)));
    }

    function test_theThreeWaysToReadAChannelAgree() public {
        bytes32 id = openChannel();
        settle(id, 7);
        requestClose(id);
        bytes32[] memory ids = new bytes32[](3);
        (ids[0], ids[1], ids[2]) = (id, SALT, id);
        IChannelEscrow.Channel[] memory all = escrow.getChannelsBatch(ids);
        assertEq(all[1].payer, address(0));
        bytes memory wanted = abi.encode(escrow.getChannel(id));
        assertEq(abi.encode(all[0]), wanted);
        assertEq(abi.encode(all[2]), wanted);
        (, bytes memory flat) = address(escrow).staticcall(abi.encodeCall(escrow.channels, (id)));
        assertEq(flat, wanted);
    }

    function test_channelIdIsTheDraftsFormula() public view {
        bytes32 wanted =
            keccak256(abi.encode(payer, payee, address(token), SALT, signer, address(escrow), block.chainid));
        assertEq(escrow.computeChannelId(payer, payee, address(token), SALT, signer), wanted);
    }

    function test_digestIsEip712() public {
        bytes32 separator = separatorOf("EVM Payment Channel", address(escrow), block.chainid);
        assertEq(escrow.domainSeparator(), separator);
        bytes32 typeHash = keccak256("Voucher(bytes32 channelId,uint128 cumulativeAmount)");
        assertEq(escrow.VOUCHER_TYPEHASH(), typeHash);
        bytes32 wanted =
            keccak256(abi.encodePacked(hex"1901", separator, keccak256(abi.encode(typeHash, SALT, uint128(9)))));
        assertEq(escrow.getVoucherDigest(SALT, 9), wanted);

        ChannelEscrow tempo = deployEscrow("Tempo Stream Channel", oneCap(address(token), CAP), address(0));
        assertEq(tempo.domainSeparator(), separatorOf("Tempo Stream Channel", address(tempo), block.chainid));
        assertEq(tempo.domainName(), "Tempo Stream Channel");
    }

    function test_V2_afterAForkTheSeparatorFollowsTheChain() public {
        uint256 forked = block.chainid + 1;
        vm.chainId(forked);
        assertEq(escrow.domainSeparator(), separatorOf("EVM Payment Channel", address(escrow), forked));
    }

    function test_eip712Domain() public view {
        (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chainId,
            address at,
            bytes32 salt,
            uint256[] memory extensions
        ) = escrow.eip712Domain();
        assertEq(extensions.length, 0);
        assertEq(fields, hex"0f");
        assertEq(name, "EVM Payment Channel");
        assertEq(version, "1");
        assertEq(chainId, block.chainid);
        assertEq(at, address(escrow));
        assertEq(salt, 0);
    }

    function separatorOf(string memory name, address at, uint256 chainId) private pure returns (bytes32) {
        bytes32 typeHash =
            keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
        return keccak256(abi.encode(typeHash, keccak256(bytes(name)), keccak256("1"), chainId, at));
    }
}
