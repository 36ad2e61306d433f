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

    /// The escrow's constructor, which an interface cannot hold.
    struct EscrowCap {
        address token;
        uint128 maxDeposit;
    }
    function constructEscrow(string memory name, EscrowCap[] memory caps, address permit2);
}
