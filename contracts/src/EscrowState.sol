// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IChannelEscrow} from "./interfaces/IChannelEscrow.sol";
import {ChannelIdLib} from "./libraries/ChannelIdLib.sol";
import {VoucherLib} from "./libraries/VoucherLib.sol";

/// @title EscrowState
/// @notice The escrow's storage, its constructor and everything that only reads. ChannelEscrow is what changes it.
abstract contract EscrowState is IChannelEscrow {
    // ------------------------------------------------------------------------------------------------------ storage

    /// @dev Most channels are signed by their payer; then the signer needs no slot of its own.
    enum SignerKind {
        Zero,
        Payer,
        Other
    }

    /// @dev Three slots for a usual channel. `otherSigner` and `payerCap` are written only where they are used.
    struct Record {
        address payer;
        uint64 closeRequestedAt;
        // ---- slot
        address payee;
        uint16 tokenIndex;
        bool finalized;
        SignerKind signerKind;
        // ---- slot
        uint128 deposit;
        uint128 settled;
        // ---- slots of their own
        address otherSigner;
        uint128 payerCap;
    }

    struct Listing {
        uint128 maxDeposit;
        uint16 index;
    }

    uint64 public constant CLOSE_GRACE_PERIOD = 15 minutes;
    bytes32 public constant VOUCHER_TYPEHASH = VoucherLib.VOUCHER_TYPEHASH;

    bytes32 internal immutable _NAME_HASH;
    uint256 internal immutable _DEPLOYED_CHAIN_ID;
    bytes32 internal immutable _DEPLOYED_SEPARATOR;

    string internal _domainName;
    address[] internal _tokens;
    mapping(address token => Listing) internal _listings;
    mapping(bytes32 channelId => Record) internal _records;
    mapping(address token => mapping(address payer => uint256)) internal _credits;

    /// @param name The EIP-712 domain's name: "EVM Payment Channel", or "Tempo Stream Channel" for Tempo v1 clients.
    /// @param caps The tokens served and the most that one channel may hold of each. Fixed for good.
    constructor(string memory name, TokenCap[] memory caps) {
        _domainName = name;
        _NAME_HASH = keccak256(bytes(name));
        _DEPLOYED_CHAIN_ID = block.chainid;
        _DEPLOYED_SEPARATOR = VoucherLib.domainSeparator(keccak256(bytes(name)));
        for (uint256 i = 0; i < caps.length; ++i) {
            TokenCap memory cap = caps[i];
            bool usable = cap.maxDeposit != 0 && cap.token.code.length != 0;
            bool fresh = _listings[cap.token].maxDeposit == 0 && i <= type(uint16).max;
            if (!usable || !fresh) revert InvalidTokenCap(cap.token, cap.maxDeposit);
            // forge-lint: disable-next-line(unsafe-typecast)
            _listings[cap.token] = Listing({maxDeposit: cap.maxDeposit, index: uint16(i)});
            _tokens.push(cap.token);
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
        return VoucherLib.digest(domainSeparator(), channelId, cumulativeAmount);
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
        return _listings[token].maxDeposit;
    }

    /// @inheritdoc IChannelEscrow
    function listedTokens() external view returns (address[] memory) {
        return _tokens;
    }

    /// @inheritdoc IChannelEscrow
    function payerCapOf(bytes32 channelId) external view returns (uint128) {
        return _records[channelId].payerCap;
    }

    /// @inheritdoc IChannelEscrow
    function refundCredit(address token, address payer) external view returns (uint256) {
        return _credits[token][payer];
    }

    // ---------------------------------------------------------------------------------------------------- internals

    function _channel(bytes32 channelId) internal view returns (Channel memory channel) {
        Record storage record = _records[channelId];
        if (record.payee == address(0)) return channel;
        channel.finalized = record.finalized;
        channel.closeRequestedAt = record.closeRequestedAt;
        channel.payer = record.payer;
        channel.payee = record.payee;
        channel.token = _tokens[record.tokenIndex];
        if (record.signerKind != SignerKind.Zero) channel.authorizedSigner = _signerOf(record);
        channel.deposit = record.deposit;
        channel.settled = record.settled;
    }

    function _signerOf(Record storage record) internal view returns (address) {
        return record.signerKind == SignerKind.Other ? record.otherSigner : record.payer;
    }

    /// @dev The payer's own cap where it set one, else the token's.
    function _capOf(Record storage record) internal view returns (uint128) {
        uint128 own = record.payerCap;
        return own != 0 ? own : _listings[_tokens[record.tokenIndex]].maxDeposit;
    }

    /// @dev The record of a channel that is open, for its payer alone.
    function _liveRecordOfPayer(bytes32 channelId) internal view returns (Record storage record) {
        record = _records[channelId];
        if (record.payee == address(0)) revert ChannelNotFound(channelId);
        if (record.finalized) revert ChannelFinalized(channelId);
        if (record.payer != msg.sender) revert NotPayer(channelId, msg.sender);
    }

    /// @dev Whether the caller may collect from the channel at all.
    function _judgeStanding(Record storage record) internal view returns (Verdict) {
        address payee = record.payee;
        if (payee == address(0)) return Verdict.ChannelUnknown;
        if (record.finalized) return Verdict.ChannelIsFinalized;
        if (payee != msg.sender) return Verdict.OtherPayee;
        return Verdict.Landed;
    }

    /// @dev Whether the voucher carries the capture. Every way of collecting passes here: this is ESC-2, ESC-3 and ESC-4.
    function _judgeCapture(
        bytes32 channelId,
        uint128 cumulativeAmount,
        uint128 captureAmount,
        bytes calldata signature,
        bool closing
    ) internal view returns (Verdict) {
        Record storage record = _records[channelId];
        uint128 settled = record.settled;
        if (closing && captureAmount == settled) return Verdict.Landed;
        if (captureAmount <= settled) return Verdict.NotIncreasing;
        if (captureAmount > record.deposit) return Verdict.ExceedsDeposit;
        if (captureAmount > cumulativeAmount) return Verdict.ExceedsCumulative;
        bytes32 digest = VoucherLib.digest(domainSeparator(), channelId, cumulativeAmount);
        if (!VoucherLib.isSignedBy(_signerOf(record), digest, signature)) return Verdict.BadSignature;
        return Verdict.Landed;
    }

    /// @dev Says with an error and its values what a batch says with a verdict.
    function _refuse(Verdict verdict, bytes32 channelId, uint128 cumulativeAmount, uint128 captureAmount)
        internal
        view
    {
        Record storage record = _records[channelId];
        if (verdict == Verdict.ChannelUnknown) revert ChannelNotFound(channelId);
        if (verdict == Verdict.ChannelIsFinalized) revert ChannelFinalized(channelId);
        if (verdict == Verdict.OtherPayee) revert NotPayee(channelId, msg.sender);
        if (verdict == Verdict.NotIncreasing) revert AmountNotIncreasing(channelId, captureAmount, record.settled);
        if (verdict == Verdict.ExceedsDeposit) revert AmountExceedsDeposit(channelId, captureAmount, record.deposit);
        if (verdict == Verdict.ExceedsCumulative) {
            revert AmountExceedsCumulative(channelId, captureAmount, cumulativeAmount);
        }
        revert InvalidSignature(channelId, _signerOf(record));
    }
}
