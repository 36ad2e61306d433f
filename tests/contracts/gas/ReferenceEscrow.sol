// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

interface IToken {
    function transfer(address to, uint256 amount) external returns (bool);
    function transferFrom(address from, address to, uint256 amount) external returns (bool);
}

/// @dev The draft's mandatory core, written down as a reader of the draft would: the channel's fields in the draft's
/// order of use, one transfer per call, nothing added. What our escrow's gas is measured beside; never deployed.
contract ReferenceEscrow {
    struct Channel {
        address payer;
        uint64 closeRequestedAt;
        bool finalized;
        address payee;
        address token;
        address authorizedSigner;
        uint128 deposit;
        uint128 settled;
    }

    uint64 public constant CLOSE_GRACE_PERIOD = 15 minutes;
    bytes32 private constant VOUCHER_TYPEHASH = keccak256("Voucher(bytes32 channelId,uint128 cumulativeAmount)");
    uint256 private constant S_MAX = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    bytes32 public immutable SEPARATOR;
    mapping(bytes32 channelId => Channel) public channels;

    event ChannelOpened(
        bytes32 indexed channelId,
        address indexed payer,
        address indexed payee,
        address token,
        address authorizedSigner,
        bytes32 salt,
        uint256 deposit
    );
    event TopUp(bytes32 indexed channelId, address indexed payer, address indexed payee, uint256 amount, uint256 total);
    event Settled(
        bytes32 indexed channelId,
        address indexed payer,
        address indexed payee,
        uint256 cumulativeAmount,
        uint256 delta,
        uint256 settled
    );
    event CloseRequested(bytes32 indexed channelId, address indexed payer, address indexed payee, uint256 graceEnd);
    event ChannelClosed(
        bytes32 indexed channelId, address indexed payer, address indexed payee, uint256 settled, uint256 refunded
    );

    error ChannelAlreadyExists();
    error ChannelNotFound();
    error ChannelFinalized();
    error NotPayer();
    error NotPayee();
    error AmountNotIncreasing();
    error AmountExceedsDeposit();
    error InvalidSignature();
    error CloseNotReady();
    error ZeroDeposit();
    error TransferFailed();

    constructor() {
        SEPARATOR = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("EVM Payment Channel"),
                keccak256("1"),
                block.chainid,
                address(this)
            )
        );
    }

    function open(address payee, address token, uint128 deposit, bytes32 salt, address authorizedSigner)
        external
        returns (bytes32 channelId)
    {
        if (deposit == 0) revert ZeroDeposit();
        channelId =
            keccak256(abi.encode(msg.sender, payee, token, salt, authorizedSigner, address(this), block.chainid));
        Channel storage channel = channels[channelId];
        if (channel.payer != address(0)) revert ChannelAlreadyExists();
        channel.payer = msg.sender;
        channel.payee = payee;
        channel.token = token;
        channel.authorizedSigner = authorizedSigner;
        channel.deposit = deposit;
        if (!IToken(token).transferFrom(msg.sender, address(this), deposit)) revert TransferFailed();
        emit ChannelOpened(channelId, msg.sender, payee, token, authorizedSigner, salt, deposit);
    }

    function topUp(bytes32 channelId, uint128 amount) external {
        Channel storage channel = live(channelId);
        if (msg.sender != channel.payer) revert NotPayer();
        if (amount == 0) revert ZeroDeposit();
        channel.deposit += amount;
        if (channel.closeRequestedAt != 0) channel.closeRequestedAt = 0;
        if (!IToken(channel.token).transferFrom(msg.sender, address(this), amount)) revert TransferFailed();
        emit TopUp(channelId, channel.payer, channel.payee, amount, channel.deposit);
    }

    function settle(bytes32 channelId, uint128 cumulativeAmount, bytes calldata signature) external {
        Channel storage channel = live(channelId);
        if (msg.sender != channel.payee) revert NotPayee();
        if (cumulativeAmount <= channel.settled) revert AmountNotIncreasing();
        uint128 delta = collect(channel, channelId, cumulativeAmount, signature);
        if (!IToken(channel.token).transfer(channel.payee, delta)) revert TransferFailed();
        emit Settled(channelId, channel.payer, channel.payee, cumulativeAmount, delta, channel.settled);
    }

    function close(bytes32 channelId, uint128 cumulativeAmount, bytes calldata signature) external {
        Channel storage channel = live(channelId);
        if (msg.sender != channel.payee) revert NotPayee();
        uint128 delta;
        if (cumulativeAmount > channel.settled) delta = collect(channel, channelId, cumulativeAmount, signature);
        channel.finalized = true;
        uint128 refund = channel.deposit - channel.settled;
        if (delta != 0 && !IToken(channel.token).transfer(channel.payee, delta)) revert TransferFailed();
        if (refund != 0 && !IToken(channel.token).transfer(channel.payer, refund)) revert TransferFailed();
        emit ChannelClosed(channelId, channel.payer, channel.payee, channel.settled, refund);
    }

    function requestClose(bytes32 channelId) external {
        Channel storage channel = live(channelId);
        if (msg.sender != channel.payer) revert NotPayer();
        channel.closeRequestedAt = uint64(block.timestamp);
        emit CloseRequested(channelId, channel.payer, channel.payee, block.timestamp + CLOSE_GRACE_PERIOD);
    }

    function withdraw(bytes32 channelId) external {
        Channel storage channel = live(channelId);
        if (msg.sender != channel.payer) revert NotPayer();
        uint256 requestedAt = channel.closeRequestedAt;
        if (requestedAt == 0 || block.timestamp < requestedAt + CLOSE_GRACE_PERIOD) revert CloseNotReady();
        channel.finalized = true;
        uint128 refund = channel.deposit - channel.settled;
        if (!IToken(channel.token).transfer(channel.payer, refund)) revert TransferFailed();
        emit ChannelClosed(channelId, channel.payer, channel.payee, channel.settled, refund);
    }

    function getVoucherDigest(bytes32 channelId, uint128 cumulativeAmount) public view returns (bytes32) {
        bytes32 structHash = keccak256(abi.encode(VOUCHER_TYPEHASH, channelId, cumulativeAmount));
        return keccak256(abi.encodePacked(hex"1901", SEPARATOR, structHash));
    }

    function live(bytes32 channelId) private view returns (Channel storage channel) {
        channel = channels[channelId];
        if (channel.payer == address(0)) revert ChannelNotFound();
        if (channel.finalized) revert ChannelFinalized();
    }

    function collect(Channel storage channel, bytes32 channelId, uint128 cumulativeAmount, bytes calldata signature)
        private
        returns (uint128 delta)
    {
        if (cumulativeAmount > channel.deposit) revert AmountExceedsDeposit();
        address signer = channel.authorizedSigner == address(0) ? channel.payer : channel.authorizedSigner;
        if (recover(getVoucherDigest(channelId, cumulativeAmount), signature) != signer) revert InvalidSignature();
        delta = cumulativeAmount - channel.settled;
        channel.settled = cumulativeAmount;
    }

    function recover(bytes32 digest, bytes calldata signature) private pure returns (address recovered) {
        if (signature.length != 65) revert InvalidSignature();
        bytes32 s = bytes32(signature[32:64]);
        if (uint256(s) > S_MAX) revert InvalidSignature();
        recovered = ecrecover(digest, uint8(signature[64]), bytes32(signature[0:32]), s);
        if (recovered == address(0)) revert InvalidSignature();
    }
}
