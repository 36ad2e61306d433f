// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IChannelEscrow} from "./interfaces/IChannelEscrow.sol";
import {IRelayedEscrow} from "./interfaces/IRelayedEscrow.sol";
import {ChannelIdLib} from "./libraries/ChannelIdLib.sol";
import {SignatureLib} from "./libraries/SignatureLib.sol";
import {VoucherLib} from "./libraries/VoucherLib.sol";

/// @title EscrowState
/// @notice The escrow's storage, its constructor and everything that only reads. EscrowMoves is what changes it.
abstract contract EscrowState is IChannelEscrow, IRelayedEscrow {
    // ------------------------------------------------------------------------------------------------------ storage

    /// @dev How the signer was given at the open. Most channels are signed by their payer, who then needs no slot.
    enum SignerKind {
        Zero,
        Payer,
        Other
    }

    /// @dev Two slots for a usual channel: who signs and who is paid in the first, the money in the second, so that a row
    /// of a batch reads two slots and writes one. `otherPayer` and `ownCap` are written only where they are used.
    struct Record {
        /// @dev Who signs the vouchers; the payer itself unless `signerKind` is Other.
        address signer;
        /// @dev The (payee, token) by its number; 0 only if the channel was never opened.
        uint40 route;
        uint16 tokenIndex;
        uint40 closeRequestedAt;
        // ---- slot
        uint96 deposit;
        uint96 settled;
        SignerKind signerKind;
        bool finalized;
        bool capped;
        // ---- slots of their own
        address otherPayer;
        uint128 ownCap;
    }

    /// @dev A token served, as it is found by its index: after the open everything of it costs one read, or none.
    struct Listing {
        address token;
        uint96 maxDeposit;
    }

    /// @dev The same as it is found by the token's address, at the open.
    struct ListingIndex {
        uint16 index;
        uint96 maxDeposit;
    }

    uint64 public constant CLOSE_GRACE_PERIOD = 15 minutes;
    bytes32 public constant VOUCHER_TYPEHASH = VoucherLib.VOUCHER_TYPEHASH;

    /// @dev The widest deposit that a record can hold; a wider cap is refused at deployment.
    uint128 internal constant DEPOSIT_MAX = type(uint96).max;

    /// @inheritdoc IRelayedEscrow
    // forge-lint: disable-next-line(screaming-snake-case-immutable)
    address public immutable PERMIT2;
    bytes32 internal immutable _NAME_HASH;
    uint256 internal immutable _DEPLOYED_CHAIN_ID;
    bytes32 internal immutable _DEPLOYED_SEPARATOR;
    uint256 internal immutable _TOKEN_COUNT;
    /// @dev The token at index 0. Most escrows serve one token, and what is in the code costs no read of storage.
    address internal immutable _FIRST_TOKEN;
    uint96 internal immutable _FIRST_MAX_DEPOSIT;

    string internal _domainName;
    uint40 internal _routeCount;
    /// @dev From index 1 on.
    mapping(uint256 index => Listing) internal _furtherListings;
    mapping(address token => ListingIndex) internal _listingOf;
    mapping(bytes32 channelId => Record) internal _records;
    /// @dev Channels of one payee in one token share a route, whose payee is stored once.
    mapping(uint256 route => address) internal _payeeOf;
    mapping(address payee => mapping(address token => uint40)) internal _routeOf;
    mapping(address token => mapping(address payer => uint256)) internal _credits;
    mapping(address payee => mapping(address operator => OperatorRights)) internal _operators;
    mapping(address payee => mapping(bytes32 scope => mapping(uint256 nonce => bool))) internal _usedNonces;

    /// @param name The EIP-712 domain's name: "EVM Payment Channel", or "Tempo Stream Channel" for Tempo v1 clients.
    /// @param caps The tokens served and the most that one channel may hold of each. Fixed for good.
    /// @param permit2 The chain's Permit2, or zero for an escrow without the Permit2 functions.
    constructor(string memory name, TokenCap[] memory caps, address permit2) {
        if (permit2 != address(0) && permit2.code.length == 0) revert InvalidPermit2(permit2);
        PERMIT2 = permit2;
        _domainName = name;
        _NAME_HASH = keccak256(bytes(name));
        _DEPLOYED_CHAIN_ID = block.chainid;
        _DEPLOYED_SEPARATOR = VoucherLib.domainSeparator(keccak256(bytes(name)));
        _TOKEN_COUNT = caps.length;
        for (uint256 i = 0; i < caps.length; ++i) {
            TokenCap memory cap = caps[i];
            bool usable = cap.maxDeposit != 0 && cap.maxDeposit <= DEPOSIT_MAX && cap.token.code.length != 0;
            bool fresh = _listingOf[cap.token].maxDeposit == 0 && i <= type(uint16).max;
            if (!usable || !fresh) revert InvalidTokenCap(cap.token, cap.maxDeposit);
            // forge-lint: disable-next-line(unsafe-typecast) -- judged to fit above.
            uint96 maxDeposit = uint96(cap.maxDeposit);
            if (i != 0) _furtherListings[i] = Listing({token: cap.token, maxDeposit: maxDeposit});
            // forge-lint: disable-next-line(unsafe-typecast)
            _listingOf[cap.token] = ListingIndex({index: uint16(i), maxDeposit: maxDeposit});
        }
        if (caps.length != 0) {
            _FIRST_TOKEN = caps[0].token;
            // forge-lint: disable-next-line(unsafe-typecast)
            _FIRST_MAX_DEPOSIT = uint96(caps[0].maxDeposit);
        }
    }

    // ------------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IChannelEscrow
    function getChannel(bytes32 channelId) external view returns (Channel memory) {
        return _channel(channelId);
    }

    /// @inheritdoc IChannelEscrow
    function getChannelsBatch(bytes32[] calldata channelIds) external view returns (Channel[] memory channelStates) {
        channelStates = new Channel[](channelIds.length);
        for (uint256 i = 0; i < channelIds.length; ++i) {
            channelStates[i] = _channel(channelIds[i]);
        }
    }

    /// @inheritdoc IChannelEscrow
    function channels(bytes32 channelId)
        external
        view
        returns (
            bool finalized,
            uint64 closeRequestedAt,
            address payer,
            address payee,
            address token,
            address authorizedSigner,
            uint128 deposit,
            uint128 settled
        )
    {
        Channel memory c = _channel(channelId);
        return (c.finalized, c.closeRequestedAt, c.payer, c.payee, c.token, c.authorizedSigner, c.deposit, c.settled);
    }

    /// @inheritdoc IChannelEscrow
    function computeChannelId(address payer, address payee, address token, bytes32 salt, address authorizedSigner)
        external
        view
        returns (bytes32)
    {
        return ChannelIdLib.compute(payer, payee, token, salt, authorizedSigner);
    }

    /// @inheritdoc IChannelEscrow
    function getVoucherDigest(bytes32 channelId, uint128 cumulativeAmount) external view returns (bytes32) {
        return _digest(VoucherLib.hash(channelId, cumulativeAmount));
    }

    /// @inheritdoc IChannelEscrow
    function domainSeparator() public view returns (bytes32) {
        return block.chainid == _DEPLOYED_CHAIN_ID ? _DEPLOYED_SEPARATOR : VoucherLib.domainSeparator(_NAME_HASH);
    }

    /// @inheritdoc IChannelEscrow
    function domainName() external view returns (string memory) {
        return _domainName;
    }

    /// @inheritdoc IChannelEscrow
    function eip712Domain()
        external
        view
        returns (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chainId,
            address verifyingContract,
            bytes32 salt,
            uint256[] memory extensions
        )
    {
        return (hex"0f", _domainName, "1", block.chainid, address(this), bytes32(0), new uint256[](0));
    }

    /// @inheritdoc IChannelEscrow
    function maxDepositOf(address token) external view returns (uint128) {
        return _listingOf[token].maxDeposit;
    }

    /// @inheritdoc IChannelEscrow
    function listedTokens() external view returns (address[] memory tokens) {
        tokens = new address[](_TOKEN_COUNT);
        for (uint256 i = 0; i < tokens.length; ++i) {
            (tokens[i],) = _listing(i);
        }
    }

    /// @inheritdoc IChannelEscrow
    function payerCapOf(bytes32 channelId) external view returns (uint128) {
        return _records[channelId].ownCap;
    }

    /// @inheritdoc IChannelEscrow
    function refundCredit(address token, address payer) external view returns (uint256) {
        return _credits[token][payer];
    }

    /// @inheritdoc IChannelEscrow
    function operatorRights(address payee, address operator) external view returns (OperatorRights) {
        return _operators[payee][operator];
    }

    /// @inheritdoc IRelayedEscrow
    function isNonceUsed(address payee, bytes32 channelId, uint256 nonce) external view returns (bool) {
        return _usedNonces[payee][channelId][nonce];
    }

    /// @inheritdoc IRelayedEscrow
    function relayedPaths() external view returns (bool withAuthorization, bool withPermit2, bool byPayee) {
        return (true, PERMIT2 != address(0), true);
    }

    // ---------------------------------------------------------------------------------------------------- internals

    function _channel(bytes32 channelId) internal view returns (Channel memory channel) {
        Record storage record = _records[channelId];
        if (record.route == 0) return channel;
        channel.finalized = record.finalized;
        channel.closeRequestedAt = record.closeRequestedAt;
        channel.payer = _payerOf(record);
        channel.payee = _payeeOf[record.route];
        channel.token = _tokenOf(record);
        if (record.signerKind != SignerKind.Zero) channel.authorizedSigner = record.signer;
        channel.deposit = record.deposit;
        channel.settled = record.settled;
    }

    function _payerOf(Record storage record) internal view returns (address) {
        (address signer, SignerKind kind) = (record.signer, record.signerKind);
        return kind == SignerKind.Other ? record.otherPayer : signer;
    }

    function _listing(uint256 index) internal view returns (address token, uint128 maxDeposit) {
        if (index == 0) return (_FIRST_TOKEN, _FIRST_MAX_DEPOSIT);
        Listing storage listing = _furtherListings[index];
        return (listing.token, listing.maxDeposit);
    }

    /// @dev The channel's token, and the most that the channel may hold: the payer's own cap where it set one.
    function _tokenAndCapOf(Record storage record) internal view returns (address token, uint128 cap) {
        (token, cap) = _listing(record.tokenIndex);
        if (record.capped) cap = record.ownCap;
    }

    function _tokenOf(Record storage record) internal view returns (address token) {
        (token,) = _listing(record.tokenIndex);
    }

    function _digest(bytes32 structHash) internal view returns (bytes32) {
        return SignatureLib.digest(domainSeparator(), structHash);
    }

    /// @dev A channel that is open, and whom it pays.
    function _live(bytes32 channelId) internal view returns (Record storage record, address payee) {
        record = _records[channelId];
        uint256 route = record.route;
        if (route == 0) revert ChannelNotFound(channelId);
        if (record.finalized) revert ChannelFinalized(channelId);
        payee = _payeeOf[route];
    }

    /// @dev A channel that is open, for its payer alone.
    function _liveOfPayer(bytes32 channelId) internal view returns (Record storage record, address payee) {
        (record, payee) = _live(channelId);
        if (_payerOf(record) != msg.sender) revert NotPayer(channelId, msg.sender);
    }

    /// @dev A channel that is open, for its payee alone.
    function _liveOfPayee(bytes32 channelId) internal view returns (Record storage record, address payee) {
        (record, payee) = _live(channelId);
        if (payee != msg.sender) revert NotPayee(channelId, msg.sender);
    }

    /// @dev A channel that is open, for its payee and those operators of it who have the right.
    function _liveOfCollector(bytes32 channelId, OperatorRights needed)
        internal
        view
        returns (Record storage record, address payee)
    {
        (record, payee) = _live(channelId);
        if (!_mayCollect(payee, needed)) revert NotPayee(channelId, msg.sender);
    }

    function _mayCollect(address payee, OperatorRights needed) internal view returns (bool) {
        return msg.sender == payee || _operators[payee][msg.sender] >= needed;
    }

    /// @dev Whether the voucher carries the capture. Every way of collecting passes here: this is ESC-2, ESC-3 and ESC-4.
    function _judgeCapture(
        Record storage record,
        bytes32 channelId,
        uint128 cumulativeAmount,
        uint128 captureAmount,
        bytes calldata signature,
        bool closing
    ) internal view returns (Verdict) {
        uint128 settled = record.settled;
        if (closing && captureAmount == settled) return Verdict.Landed;
        if (captureAmount <= settled) return Verdict.NotIncreasing;
        if (captureAmount > record.deposit) return Verdict.ExceedsDeposit;
        if (captureAmount > cumulativeAmount) return Verdict.ExceedsCumulative;
        bytes32 digest = _digest(VoucherLib.hash(channelId, cumulativeAmount));
        if (!SignatureLib.isSignedBy(record.signer, digest, signature)) return Verdict.BadSignature;
        return Verdict.Landed;
    }

    /// @dev Says with an error and its values what a batch says with a verdict.
    function _refuse(Verdict verdict, bytes32 channelId, uint128 cumulativeAmount, uint128 captureAmount)
        internal
        view
    {
        Record storage record = _records[channelId];
        if (verdict == Verdict.NotIncreasing) revert AmountNotIncreasing(channelId, captureAmount, record.settled);
        if (verdict == Verdict.ExceedsDeposit) revert AmountExceedsDeposit(channelId, captureAmount, record.deposit);
        if (verdict == Verdict.ExceedsCumulative) {
            revert AmountExceedsCumulative(channelId, captureAmount, cumulativeAmount);
        }
        revert InvalidSignature(channelId, record.signer);
    }
}
