// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {ChannelEscrow} from "../../contracts/src/ChannelEscrow.sol";
import {DevToken} from "../../contracts/src/dev/DevToken.sol";
import {IChannelEscrow} from "../../contracts/src/interfaces/IChannelEscrow.sol";
import {EscrowDeployer} from "./EscrowDeployer.sol";
import {stdJson} from "forge-std/StdJson.sol";

/// @dev The contract against contracts/vectors/vouchers.json, the same file that the Rust tests read.
contract VectorsTest is EscrowDeployer {
    using stdJson for string;

    struct Vector {
        address escrow;
        address payer;
        address payee;
        address token;
        bytes32 salt;
        address signer;
        bytes32 channelId;
        uint128 amount;
        bytes signature;
        bool accepted;
        string why;
    }

    string internal json;

    function setUp() public {
        json = vm.readFile("contracts/vectors/vouchers.json");
    }

    function test_V5_everyVectorIsJudgedAsWritten() public {
        uint256 count = json.readUint(".count");
        assertGe(count, 28);
        uint256 accepted;
        uint256 start = vm.snapshotState();
        for (uint256 i = 0; i < count; ++i) {
            string memory at = string.concat(".vectors[", vm.toString(i), "]");
            Vector memory vector = load(at);
            check(at, vector);
            if (vector.accepted) ++accepted;
            vm.revertToState(start);
        }
        assertGe(accepted, 6);
        assertGe(count - accepted, 20);
    }

    function check(string memory at, Vector memory vector) private {
        ChannelEscrow escrow = stage(at, vector);
        assertEq(escrow.domainSeparator(), json.readBytes32(string.concat(at, ".domainSeparator")), vector.why);
        assertEq(
            escrow.getVoucherDigest(vector.channelId, vector.amount),
            json.readBytes32(string.concat(at, ".digest")),
            vector.why
        );

        vm.prank(vector.payee);
        try escrow.settleCapture(vector.channelId, vector.amount, 1, vector.signature) {
            assertTrue(vector.accepted, string.concat("accepted: ", vector.why));
        } catch (bytes memory reason) {
            assertFalse(vector.accepted, string.concat("refused: ", vector.why));
            assertEq(bytes4(reason), IChannelEscrow.InvalidSignature.selector, vector.why);
        }
    }

    /// @dev Puts the escrow and the token where the vector says, on its chain, and opens the channel.
    function stage(string memory at, Vector memory vector) private returns (ChannelEscrow escrow) {
        vm.chainId(json.readUint(string.concat(at, ".chainId")));
        vm.etch(vector.token, address(new DevToken()).code);
        IChannelEscrow.TokenCap[] memory caps = new IChannelEscrow.TokenCap[](1);
        caps[0] = IChannelEscrow.TokenCap(vector.token, 1000);
        string memory name = json.readString(string.concat(at, ".domainName"));
        escrow = ChannelEscrow(vector.escrow);
        // The constructor must run at the vector's address, because the domain is fixed there.
        vm.etch(vector.escrow, bytes.concat(escrowCode(), abi.encode(name, caps, address(0))));
        (bool ok, bytes memory runtime) = vector.escrow.call("");
        assertTrue(ok);
        vm.etch(vector.escrow, runtime);

        DevToken(vector.token).mint(vector.payer, 1000);
        vm.startPrank(vector.payer);
        DevToken(vector.token).approve(vector.escrow, 1000);
        bytes32 id = escrow.open(vector.payee, vector.token, 1000, vector.salt, vector.signer);
        vm.stopPrank();
        assertEq(id, vector.channelId, vector.why);
    }

    function load(string memory at) private view returns (Vector memory vector) {
        vector.escrow = json.readAddress(string.concat(at, ".escrow"));
        vector.payer = json.readAddress(string.concat(at, ".payer"));
        vector.payee = json.readAddress(string.concat(at, ".payee"));
        vector.token = json.readAddress(string.concat(at, ".token"));
        vector.salt = json.readBytes32(string.concat(at, ".salt"));
        vector.signer = json.readAddress(string.concat(at, ".authorizedSigner"));
        vector.channelId = json.readBytes32(string.concat(at, ".channelId"));
        // forge-lint: disable-next-line(unsafe-typecast)
        vector.amount = uint128(json.readUint(string.concat(at, ".cumulativeAmount")));
        vector.signature = json.readBytes(string.concat(at, ".signature"));
        vector.accepted = keccak256(bytes(json.readString(string.concat(at, ".verdict")))) == keccak256("accept");
        vector.why = json.readString(string.concat(at, ".why"));
    }
}
