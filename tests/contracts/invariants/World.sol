// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {ChannelEscrow} from "../../../contracts/src/ChannelEscrow.sol";
import {DevToken} from "../../../contracts/src/dev/DevToken.sol";
import {IChannelEscrow} from "../../../contracts/src/interfaces/IChannelEscrow.sol";
import {EscrowDeployer} from "../EscrowDeployer.sol";
import {Permit2} from "../mocks/Permit2.sol";
import {GUARD, PolicyToken, ReceivePolicyGuard} from "../mocks/ReceivePolicies.sol";
import {Reenterer} from "../mocks/Reenterer.sol";
import {ContractSigner, OwnedWallet} from "../mocks/Signers.sol";
import {WeirdToken} from "../mocks/WeirdTokens.sol";

/// @dev Who lives around the escrow under test, and the books that are kept beside it: what every channel, balance, credit
/// and nonce must be. The books are never read off the escrow; each call's fate is foretold from them, before its outcome
/// may change them.
abstract contract World is EscrowDeployer {
    /// @dev A token with EIP-3009 and without moods; one with every mood; one with balances over 128 bits that answers
    /// nothing, and whose receivers may turn money away (TIP-1028); one that wakes the reenterer in every move.
    uint256 public constant TOKENS = 4;
    uint256 internal constant PLAIN = 0;
    uint256 internal constant MOODY = 1;
    uint256 internal constant HUGE = 2;
    uint256 internal constant HOOKED = 3;
    uint256 public constant PEOPLE = 3;
    uint256 internal constant REENTERER = 2;
    uint256 internal constant SIGNERS = 5;
    /// @dev More than the most greedy good call needs: a batch of five whose refunds burn all they are given.
    uint256 internal constant CALL_GAS = 8_000_000;
    uint64 internal constant GRACE_SECONDS = 15 minutes;

    /// @dev What the escrow must say of a channel, and what it does not say.
    struct Book {
        IChannelEscrow.Channel channel;
        uint256 token;
        bytes32 salt;
        address signer;
        uint128 cap;
        uint128 ownCap;
        uint128 signedMost;
    }

    /// @dev What somebody turned away, and may claim.
    struct Blocked {
        bytes receipt;
        address recipient;
        uint256 amount;
    }

    ChannelEscrow public escrow;
    Permit2 internal permit2;
    ReceivePolicyGuard internal guard = ReceivePolicyGuard(GUARD);
    Reenterer public reenterer = new Reenterer();
    WeirdToken[TOKENS] public tokens;
    uint128[TOKENS] public caps = [uint128(1e6), 1e6, type(uint96).max, 1e6];
    address[PEOPLE] public payers;
    address[PEOPLE] public payees;
    address[SIGNERS] internal signers;
    address public attacker = makeAddr("attacker");
    address internal clerk = makeAddr("clerk");
    /// @dev By whose key an account's signatures are made; 0 for accounts that cannot sign.
    mapping(address account => uint256) internal keyOf;

    bytes32[] public ids;
    mapping(bytes32 id => Book) internal books;
    mapping(uint256 token => mapping(address account => uint256)) public balanceInBooks;
    mapping(uint256 token => mapping(address payer => uint256)) public creditInBooks;
    mapping(uint256 token => uint256) public donated;
    mapping(address payee => mapping(address operator => IChannelEscrow.OperatorRights)) internal rights;
    mapping(address payee => mapping(bytes32 scope => mapping(uint256 nonce => bool))) internal usedNonce;
    Blocked[] internal blockedFunds;
    bytes[] internal landedCalls;

    uint256 private dice;
    bytes32 private touched;
    uint256 public steps;
    uint256 public starved;
    uint256 public collections;
    mapping(bytes32 move => uint256) public landed;
    mapping(bytes4 why => uint256) public refused;
    mapping(IChannelEscrow.Verdict => uint256) public verdictsSeen;

    /// @dev All choices of a move follow from its seed. The channel it was about is looked at at once, all of them less often.
    modifier played(uint256 seed) {
        dice = seed;
        ++steps;
        _;
        assertEq(
            abi.encode(escrow.getChannel(touched)),
            abi.encode(books[touched].channel),
            "a channel is not as a call left it"
        );
    }

    constructor() {
        vm.warp(1_700_000_000);
        permit2 = new Permit2();
        vm.etch(GUARD, address(new ReceivePolicyGuard()).code);
        tokens[PLAIN] = WeirdToken(address(new DevToken()));
        IChannelEscrow.TokenCap[] memory listed = new IChannelEscrow.TokenCap[](TOKENS);
        for (uint256 t = 0; t < TOKENS; ++t) {
            if (t != PLAIN) tokens[t] = t == HUGE ? new PolicyToken() : new WeirdToken();
            listed[t] = IChannelEscrow.TokenCap(address(tokens[t]), caps[t]);
        }
        escrow = deployEscrow("EVM Payment Channel", listed, address(permit2));
        tokens[HUGE].setMood(WeirdToken.Mood.ReturnsNothing);
        tokens[HOOKED].setHook(address(reenterer), abi.encodeCall(Reenterer.wake, ()));
        reenterer.aimAt(address(escrow));
        settleIn();
    }

    function settleIn() private {
        payers = [withKey("payer 0"), withKey("payer 1"), address(reenterer)];
        address owner = withKey("owner of a payee's wallet");
        payees = [withKey("payee 0"), address(new OwnedWallet(owner, 0)), address(reenterer)];
        keyOf[payees[1]] = keyOf[owner];
        owner = withKey("owner of a signer's wallet");
        address delegated = withKey("signer with delegated code");
        signers = [address(0), address(0), withKey("signer"), address(new OwnedWallet(owner, 0)), delegated];
        keyOf[signers[3]] = keyOf[owner];
        vm.etch(delegated, abi.encodePacked(hex"ef0100", address(new ContractSigner())));
        for (uint256 p = 0; p < PEOPLE; ++p) {
            for (uint256 t = 0; t < TOKENS; ++t) {
                uint256 funds = t == HUGE ? 1 << 200 : 1e18;
                tokens[t].mint(payers[p], funds);
                balanceInBooks[t][payers[p]] = funds;
                vm.startPrank(payers[p]);
                tokens[t].approve(address(escrow), type(uint256).max);
                tokens[t].approve(address(permit2), type(uint256).max);
                vm.stopPrank();
            }
        }
    }

    function withKey(string memory name) private returns (address account) {
        uint256 key;
        (account, key) = makeAddrAndKey(name);
        keyOf[account] = key;
    }

    function idCount() external view returns (uint256) {
        return ids.length;
    }

    function book(bytes32 id) external view returns (Book memory) {
        return books[id];
    }

    // --------------------------------------------------------------------------------------------------- the dice

    function roll(uint256 sides) internal returns (uint256) {
        dice = uint256(keccak256(abi.encode(dice)));
        return dice % sides;
    }

    function oneIn(uint256 sides) internal returns (bool) {
        return roll(sides) == 0;
    }

    function between(uint256 low, uint256 high) internal returns (uint128) {
        // forge-lint: disable-next-line(unsafe-typecast) -- callers stay within 128 bits.
        return uint128(low + roll(high - low + 1));
    }

    /// @dev Mostly an open channel; now and then a closed one, or one that never was.
    function pick() internal returns (bytes32 id) {
        if (ids.length == 0 || oneIn(24)) return bytes32(roll(1 << 200));
        id = ids[roll(ids.length)];
        for (uint256 i = 0; i < 4 && books[id].channel.finalized; ++i) {
            id = ids[roll(ids.length)];
        }
        touched = id;
    }

    /// @dev Mostly the one who may; else anybody.
    function mostly(address rightful) internal returns (address) {
        if (!oneIn(10)) return rightful == address(0) ? attacker : rightful;
        address[5] memory others = [attacker, clerk, payers[roll(PEOPLE)], payees[roll(PEOPLE)], signers[2]];
        return others[roll(others.length)];
    }

    // --------------------------------------------------------------------------------------------------- the fate

    /// @dev Sends a call, and holds its fate against what was foretold; `foretold` is zero for success. Now and then the
    /// caller gives too little gas: then the call may fail, but not land as anything else than what was foretold.
    function act(bytes32 move, address caller, bytes memory data, bytes4 foretold)
        internal
        returns (bool ok, bytes memory answer)
    {
        bool stingy = oneIn(16);
        uint256 gasLimit = stingy ? between(30_000, 1_700_000) : CALL_GAS;
        vm.prank(caller);
        (ok, answer) = address(escrow).call{gas: gasLimit}(data);
        if (stingy && !ok) {
            ++starved;
            return (ok, answer);
        }
        bytes4 got = ok ? bytes4(0) : bytes4(answer);
        assertEq(bytes32(got), bytes32(foretold), string.concat(spell(move), ": another fate"));
        if (ok) ++landed[move];
        else ++refused[foretold];
    }

    function spell(bytes32 move) private pure returns (string memory text) {
        uint256 length;
        while (length < 32 && move[length] != 0) ++length;
        text = string(abi.encodePacked(move));
        assembly ("memory-safe") {
            mstore(text, length)
        }
    }

    function remember(bytes memory data) internal {
        if (landedCalls.length < 64) landedCalls.push(data);
        else landedCalls[roll(64)] = data;
    }

    // -------------------------------------------------------------------------------------------------- the tokens

    /// @dev Whether the token will refuse this move.
    function refuses(uint256 t, address from, address to, uint256 value) internal view returns (bool) {
        if (t == PLAIN) return false;
        WeirdToken token = tokens[t];
        if (token.paused() || token.blocked(from) || token.blocked(to)) return true;
        WeirdToken.Mood mood = token.mood();
        if (mood != WeirdToken.Mood.Plain && mood != WeirdToken.Mood.ReturnsNothing) return true;
        return value < token.feeOnTransfer();
    }

    function foretellPull(uint256 t, address from, uint256 value) internal view returns (bytes4) {
        if (refuses(t, from, address(escrow), value)) return IChannelEscrow.TransferFailed.selector;
        bool exact = t == PLAIN || tokens[t].feeOnTransfer() == tokens[t].rebateOnTransfer();
        return exact ? bytes4(0) : IChannelEscrow.UnexpectedDelta.selector;
    }

    function turnsAway(address receiver, address sender) internal view returns (bool) {
        return PolicyToken(address(tokens[HUGE])).turnsAway(receiver, sender);
    }

    function bookMove(uint256 t, address from, address to, uint256 value) internal {
        balanceInBooks[t][from] -= value;
        if (t == HUGE && turnsAway(to, from)) {
            blockedFunds.push(Blocked(guard.receipts(blockedFunds.length), to, value));
            to = GUARD;
        }
        balanceInBooks[t][to] += value;
        if (t != PLAIN) balanceInBooks[t][to] += tokens[t].rebateOnTransfer();
        if (t != PLAIN) balanceInBooks[t][to] -= tokens[t].feeOnTransfer();
    }

    function bookRefund(uint256 t, address payer, uint256 amount) internal {
        if (amount == 0) return;
        if (refuses(t, address(escrow), payer, amount)) creditInBooks[t][payer] += amount;
        else bookMove(t, address(escrow), payer, amount);
    }

    // ------------------------------------------------------------------------------------------------ the channels

    function foretellLive(bytes32 id) internal view returns (bytes4) {
        IChannelEscrow.Channel storage channel = books[id].channel;
        if (channel.payer == address(0)) return IChannelEscrow.ChannelNotFound.selector;
        return channel.finalized ? IChannelEscrow.ChannelFinalized.selector : bytes4(0);
    }

    function foretellPayer(bytes32 id, address caller) internal view returns (bytes4 no) {
        no = foretellLive(id);
        if (no == 0 && caller != books[id].channel.payer) no = IChannelEscrow.NotPayer.selector;
    }
}
