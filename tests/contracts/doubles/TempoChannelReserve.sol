// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

interface ITransfers {
    function transfer(address to, uint256 amount) external returns (bool);
    function transferFrom(address from, address to, uint256 amount) external returns (bool);
}

/// @dev A stand-in for Tempo's native channel reserve, for chains that do not have it. Written from TIP-1034: the same
/// ABI, ids, voucher digests, order of states and refusals. It is otherwise than the reserve in this:
/// - It needs an approval, where the reserve moves TIP-20 tokens by itself, and any token with code will do.
/// - A contract does not see what was signed: `expiringNonceHash` is what somebody wrote into `_announced` for the
///   transaction's origin before it came, as a node between clients and chain may, and else a number per transaction,
///   which clients take from `ChannelOpened`.
/// - Vouchers are signed with secp256k1 alone: TIP-1020 also takes P-256 and WebAuthn. Transfer policies (TIP-403) are
///   not asked.
/// Ids and digests name this contract's own address: put its code at RESERVE to have the reserve's.
contract TempoChannelReserve {
    struct ChannelDescriptor {
        address payer;
        address payee;
        address operator;
        address token;
        bytes32 salt;
        address authorizedSigner;
        bytes32 expiringNonceHash;
    }

    /// @dev One slot, with `settled` in the lowest bits.
    struct ChannelState {
        uint96 settled;
        uint96 deposit;
        uint32 closeRequestedAt;
    }

    struct Channel {
        ChannelDescriptor descriptor;
        ChannelState state;
    }

    /// @dev Where Tempo has the reserve.
    address public constant RESERVE = 0x4d50500000000000000000000000000000000000;
    uint64 public constant CLOSE_GRACE_PERIOD = 15 minutes;
    bytes32 public constant VOUCHER_TYPEHASH = keccak256("Voucher(bytes32 channelId,uint96 cumulativeAmount)");
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    uint256 private constant S_MAX = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    mapping(bytes32 channelId => ChannelState) private _states;
    uint256 private _transactions;
    bytes32 private transient _contextHash;
    mapping(bytes32 channelId => uint256 transaction) private _openedIn;
    /// @dev In slot 3. Each is used once.
    mapping(address origin => bytes32 contextHash) private _announced;

    event ChannelOpened(
        bytes32 indexed channelId,
        address indexed payer,
        address indexed payee,
        address operator,
        address token,
        address authorizedSigner,
        bytes32 salt,
        bytes32 expiringNonceHash,
        uint96 deposit
    );
    event Settled(
        bytes32 indexed channelId,
        address indexed payer,
        address indexed payee,
        uint96 cumulativeAmount,
        uint96 deltaPaid,
        uint96 newSettled
    );
    event TopUp(
        bytes32 indexed channelId,
        address indexed payer,
        address indexed payee,
        uint96 additionalDeposit,
        uint96 newDeposit
    );
    event CloseRequested(
        bytes32 indexed channelId, address indexed payer, address indexed payee, uint256 closeGraceEnd
    );
    event CloseRequestCancelled(bytes32 indexed channelId, address indexed payer, address indexed payee);
    event ChannelClosed(
        bytes32 indexed channelId,
        address indexed payer,
        address indexed payee,
        uint96 settledToPayee,
        uint96 refundedToPayer
    );

    error ChannelAlreadyExists();
    error ChannelNotFound();
    error NotPayer();
    error NotPayeeOrOperator();
    error InvalidPayee();
    error InvalidToken();
    error ZeroDeposit();
    error InvalidSignature();
    error AmountExceedsDeposit();
    error AmountNotIncreasing();
    error CaptureAmountInvalid();
    error CloseNotReady();
    error DepositOverflow();
    error TransferFailed();

    // ------------------------------------------------------------------------------------------------------- payer

    function open(
        address payee,
        address operator,
        address token,
        uint96 deposit,
        bytes32 salt,
        address authorizedSigner
    ) external returns (bytes32 channelId) {
        if (payee == address(0)) revert InvalidPayee();
        if (token.code.length == 0) revert InvalidToken();
        if (deposit == 0) revert ZeroDeposit();
        ChannelDescriptor memory d =
            ChannelDescriptor(msg.sender, payee, operator, token, salt, authorizedSigner, _context());
        channelId = _idOf(d);
        // A closed channel leaves no state, so what this transaction opened is remembered apart.
        if (_openedIn[channelId] == _transactions) revert ChannelAlreadyExists();
        _openedIn[channelId] = _transactions;
        _states[channelId].deposit = deposit;
        emit ChannelOpened(
            channelId, msg.sender, payee, operator, token, authorizedSigner, salt, d.expiringNonceHash, deposit
        );
        _pull(token, deposit);
    }

    function topUp(ChannelDescriptor calldata d, uint96 additionalDeposit) external {
        (bytes32 channelId, ChannelState storage state) = _ofPayer(d);
        bool asked = state.closeRequestedAt != 0;
        if (additionalDeposit == 0 && !asked) return;
        if (additionalDeposit > type(uint96).max - state.deposit) revert DepositOverflow();
        state.deposit += additionalDeposit;
        if (asked) {
            state.closeRequestedAt = 0;
            emit CloseRequestCancelled(channelId, d.payer, d.payee);
        }
        emit TopUp(channelId, d.payer, d.payee, additionalDeposit, state.deposit);
        if (additionalDeposit != 0) _pull(d.token, additionalDeposit);
    }

    function requestClose(ChannelDescriptor calldata d) external {
        (bytes32 channelId, ChannelState storage state) = _ofPayer(d);
        if (state.closeRequestedAt != 0) return;
        state.closeRequestedAt = uint32(block.timestamp);
        emit CloseRequested(channelId, d.payer, d.payee, block.timestamp + CLOSE_GRACE_PERIOD);
    }

    function withdraw(ChannelDescriptor calldata d) external {
        (bytes32 channelId, ChannelState storage state) = _ofPayer(d);
        uint256 asked = state.closeRequestedAt;
        if (asked == 0 || block.timestamp < asked + CLOSE_GRACE_PERIOD) revert CloseNotReady();
        (uint96 settled, uint96 refund) = (state.settled, state.deposit - state.settled);
        delete _states[channelId];
        emit ChannelClosed(channelId, d.payer, d.payee, settled, refund);
        _push(d.token, d.payer, refund);
    }

    // ------------------------------------------------------------------------------------- payee, or its operator

    function settle(ChannelDescriptor calldata d, uint96 cumulativeAmount, bytes calldata signature) external {
        (bytes32 channelId, ChannelState storage state) = _ofCollector(d);
        uint96 settled = state.settled;
        if (cumulativeAmount > state.deposit) revert AmountExceedsDeposit();
        if (cumulativeAmount <= settled) revert AmountNotIncreasing();
        _demandSigned(d, channelId, cumulativeAmount, signature);
        state.settled = cumulativeAmount;
        uint96 delta = cumulativeAmount - settled;
        emit Settled(channelId, d.payer, d.payee, cumulativeAmount, delta, cumulativeAmount);
        _push(d.token, d.payee, delta);
    }

    function close(
        ChannelDescriptor calldata d,
        uint96 cumulativeAmount,
        uint96 captureAmount,
        bytes calldata signature
    ) external {
        (bytes32 channelId, ChannelState storage state) = _ofCollector(d);
        (uint96 settled, uint96 deposit) = (state.settled, state.deposit);
        if (captureAmount < settled || captureAmount > cumulativeAmount) revert CaptureAmountInvalid();
        if (captureAmount > deposit) revert AmountExceedsDeposit();
        if (captureAmount > settled) _demandSigned(d, channelId, cumulativeAmount, signature);
        delete _states[channelId];
        emit ChannelClosed(channelId, d.payer, d.payee, captureAmount, deposit - captureAmount);
        _push(d.token, d.payee, captureAmount - settled);
        _push(d.token, d.payer, deposit - captureAmount);
    }

    // ------------------------------------------------------------------------------------------------------- views

    function getChannel(ChannelDescriptor calldata d) external view returns (Channel memory) {
        return Channel(d, _states[_idOf(d)]);
    }

    function getChannelState(bytes32 channelId) external view returns (ChannelState memory) {
        return _states[channelId];
    }

    function getChannelStatesBatch(bytes32[] calldata channelIds) external view returns (ChannelState[] memory states) {
        states = new ChannelState[](channelIds.length);
        for (uint256 i = 0; i < channelIds.length; ++i) {
            states[i] = _states[channelIds[i]];
        }
    }

    function computeChannelId(
        address payer,
        address payee,
        address operator,
        address token,
        bytes32 salt,
        address authorizedSigner,
        bytes32 expiringNonceHash
    ) external view returns (bytes32) {
        return _idOf(ChannelDescriptor(payer, payee, operator, token, salt, authorizedSigner, expiringNonceHash));
    }

    function getVoucherDigest(bytes32 channelId, uint96 cumulativeAmount) public view returns (bytes32) {
        bytes32 structHash = keccak256(abi.encode(VOUCHER_TYPEHASH, channelId, cumulativeAmount));
        return keccak256(abi.encodePacked(hex"1901", domainSeparator(), structHash));
    }

    function domainSeparator() public view returns (bytes32) {
        bytes32 name = keccak256("TIP20 Channel Reserve");
        return keccak256(abi.encode(DOMAIN_TYPEHASH, name, keccak256("1"), block.chainid, address(this)));
    }

    // --------------------------------------------------------------------------------------------------- internals

    /// @dev One value per transaction, and never the same in two.
    function _context() private returns (bytes32) {
        if (_contextHash == 0) {
            bytes32 announced = _announced[tx.origin];
            delete _announced[tx.origin];
            ++_transactions;
            _contextHash = announced != 0 ? announced : keccak256(abi.encode(tx.origin, _transactions));
        }
        return _contextHash;
    }

    function _idOf(ChannelDescriptor memory d) private view returns (bytes32) {
        return keccak256(abi.encode(d, address(this), block.chainid));
    }

    function _live(ChannelDescriptor calldata d) private view returns (bytes32 channelId, ChannelState storage state) {
        channelId = _idOf(d);
        state = _states[channelId];
        if (state.deposit == 0) revert ChannelNotFound();
    }

    function _ofPayer(ChannelDescriptor calldata d) private view returns (bytes32, ChannelState storage) {
        (bytes32 channelId, ChannelState storage state) = _live(d);
        if (msg.sender != d.payer) revert NotPayer();
        return (channelId, state);
    }

    function _ofCollector(ChannelDescriptor calldata d) private view returns (bytes32, ChannelState storage) {
        (bytes32 channelId, ChannelState storage state) = _live(d);
        bool operates = d.operator != address(0) && msg.sender == d.operator;
        if (msg.sender != d.payee && !operates) revert NotPayeeOrOperator();
        return (channelId, state);
    }

    /// @dev 65 bytes, a low s, and v as Ethereum or as raw recovery writes it (TIP-1020).
    function _demandSigned(ChannelDescriptor calldata d, bytes32 channelId, uint96 amount, bytes calldata signature)
        private
        view
    {
        if (signature.length != 65 || uint256(bytes32(signature[32:64])) > S_MAX) revert InvalidSignature();
        uint8 v = uint8(signature[64]);
        address signer = ecrecover(
            getVoucherDigest(channelId, amount), v < 27 ? v + 27 : v, bytes32(signature[:32]), bytes32(signature[32:64])
        );
        address expected = d.authorizedSigner == address(0) ? d.payer : d.authorizedSigner;
        if (signer == address(0) || signer != expected) revert InvalidSignature();
    }

    function _pull(address token, uint256 amount) private {
        if (!ITransfers(token).transferFrom(msg.sender, address(this), amount)) revert TransferFailed();
    }

    function _push(address token, address to, uint256 amount) private {
        if (amount != 0 && !ITransfers(token).transfer(to, amount)) revert TransferFailed();
    }
}
