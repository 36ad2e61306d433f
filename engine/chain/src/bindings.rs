//! What the Solidity compiler and we agree on: the escrow's interfaces, read as they are, and the bits of ERC-20 we call.
#![allow(missing_docs, unreachable_pub, clippy::all)]

use alloy::sol;

sol!(
    #![sol(all_derives)]
    "../../contracts/src/interfaces/IChannelEscrow.sol"
);

sol!(
    #![sol(all_derives)]
    "../../contracts/src/interfaces/IRelayedEscrow.sol"
);

sol! {
    #![sol(all_derives)]

    /// Tempo's channel reserve, as far as it is used here (TIP-1034, ITIP20ChannelReserve).
    interface IChannelReserve {
        struct ChannelDescriptor {
            address payer;
            address payee;
            address operator;
            address token;
            bytes32 salt;
            address authorizedSigner;
            bytes32 expiringNonceHash;
        }
        struct ChannelState {
            uint96 settled;
            uint96 deposit;
            uint32 closeRequestedAt;
        }
        function open(address payee, address operator, address token, uint96 deposit, bytes32 salt, address authorizedSigner) external returns (bytes32 channelId);
        function topUp(ChannelDescriptor calldata descriptor, uint96 additionalDeposit) external;
        function settle(ChannelDescriptor calldata descriptor, uint96 cumulativeAmount, bytes calldata signature) external;
        function close(ChannelDescriptor calldata descriptor, uint96 cumulativeAmount, uint96 captureAmount, bytes calldata signature) external;
        function getChannelStatesBatch(bytes32[] calldata channelIds) external view returns (ChannelState[] memory);
        event ChannelOpened(bytes32 indexed channelId, address indexed payer, address indexed payee, address operator, address token, address authorizedSigner, bytes32 salt, bytes32 expiringNonceHash, uint96 deposit);
        event Settled(bytes32 indexed channelId, address indexed payer, address indexed payee, uint96 cumulativeAmount, uint96 deltaPaid, uint96 newSettled);
        event TopUp(bytes32 indexed channelId, address indexed payer, address indexed payee, uint96 additionalDeposit, uint96 newDeposit);
        event CloseRequested(bytes32 indexed channelId, address indexed payer, address indexed payee, uint256 closeGraceEnd);
        event ChannelClosed(bytes32 indexed channelId, address indexed payer, address indexed payee, uint96 settledToPayee, uint96 refundedToPayer);
        event CloseRequestCancelled(bytes32 indexed channelId, address indexed payer, address indexed payee);
        error ChannelAlreadyExists();
        error ChannelNotFound();
        error NotPayer();
        error NotPayeeOrOperator();
        error InvalidPayee();
        error InvalidToken();
        error ZeroDeposit();
        error ExpiringNonceHashNotSet();
        error InvalidSignature();
        error AmountExceedsDeposit();
        error AmountNotIncreasing();
        error CaptureAmountInvalid();
        error CloseNotReady();
        error DepositOverflow();
    }

    interface IToken {
        function approve(address spender, uint256 value) external returns (bool);
        function allowance(address owner, address spender) external view returns (uint256);
        function balanceOf(address account) external view returns (uint256);
        function transfer(address to, uint256 value) external returns (bool);
        function mint(address to, uint256 value) external;
        event Transfer(address indexed from, address indexed to, uint256 value);
    }

    /// What Tempo's tokens (TIP-20) have besides.
    interface IMemoToken {
        function transferWithMemo(address to, uint256 amount, bytes32 memo) external;
        event TransferWithMemo(address indexed from, address indexed to, uint256 amount, bytes32 indexed memo);
    }

    /// What an EIP-3009 token has for whoever sends it, and for the recipient that pulls (the latter in the form of USDC 2.2).
    interface IEip3009 {
        function receiveWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes signature) external;
        function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external;
        function authorizationState(address authorizer, bytes32 nonce) external view returns (bool);
        event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
        event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);
        function DOMAIN_SEPARATOR() external view returns (bytes32);
    }

    interface IPermit2 {
        struct TokenPermissions {
            address token;
            uint256 amount;
        }
        struct PermitTransferFrom {
            TokenPermissions permitted;
            uint256 nonce;
            uint256 deadline;
        }
        struct SignatureTransferDetails {
            address to;
            uint256 requestedAmount;
        }
        function permitWitnessTransferFrom(PermitTransferFrom memory permit, SignatureTransferDetails calldata transferDetails, address owner, bytes32 witness, string calldata witnessTypeString, bytes calldata signature) external;
        function nonceBitmap(address owner, uint256 word) external view returns (uint256);
    }

    /// The escrow's constructor, which an interface cannot hold.
    struct EscrowCap {
        address token;
        uint128 maxDeposit;
    }
    function constructEscrow(string memory name, EscrowCap[] memory caps, address permit2);
}
