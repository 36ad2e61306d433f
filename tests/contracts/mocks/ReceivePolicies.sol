// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {WeirdToken} from "./WeirdTokens.sol";

address constant GUARD = 0xB10C000000000000000000000000000000000000;

/// @dev What Tempo's ReceivePolicyGuard does from T6 on, as TIP-1028 tells it: whoever may claim, and from what it reads.
/// Like the chain's own it takes dirty bits and bytes at the end of a receipt, and knows the receipt by what is left.
contract ReceivePolicyGuard {
    struct Receipt {
        uint8 version;
        address token;
        address recoveryAuthority;
        address originator;
        address recipient;
        uint64 blockedAt;
        uint64 blockedNonce;
        uint8 blockedReason;
        uint8 kind;
        bytes32 memo;
    }

    uint8 internal constant RECEIVE_POLICY = 2;

    uint64 public lastNonce;
    mapping(bytes32 receiptKey => uint256) internal amounts;
    /// @dev For tests: all receipts that ever were, in the order of their nonces, which begin with 1.
    bytes[] public receipts;

    event TransferBlocked(
        address indexed token,
        address indexed receiver,
        uint64 indexed blockedNonce,
        uint256 amount,
        uint8 receiptVersion,
        bytes receipt
    );

    error InvalidReceipt();
    error InvalidClaimAddress();
    error UnauthorizedClaimer();

    /// @dev For tokens, which have moved the money here. `kind` is 0 for a transfer and 1 for a mint.
    function storeBlocked(address authority, address originator, address recipient, uint256 amount, uint8 kind)
        external
    {
        Receipt memory r = Receipt(
            1,
            msg.sender,
            authority,
            originator,
            recipient,
            uint64(block.timestamp),
            ++lastNonce,
            RECEIVE_POLICY,
            kind,
            0
        );
        bytes memory receipt = abi.encode(r);
        amounts[keccak256(receipt)] = amount;
        receipts.push(receipt);
        emit TransferBlocked(msg.sender, recipient, r.blockedNonce, amount, r.version, receipt);
    }

    function claim(address to, bytes calldata receipt) external {
        if (to == GUARD) revert InvalidClaimAddress();
        Receipt memory r = read(receipt);
        bool byOriginator = r.recoveryAuthority == address(0);
        if (msg.sender != (byOriginator ? r.originator : r.recoveryAuthority)) revert UnauthorizedClaimer();
        bytes32 key = keccak256(abi.encode(r));
        uint256 amount = amounts[key];
        if (amount == 0) revert InvalidReceipt();
        amounts[key] = 0;
        bool resumes = !byOriginator && to == r.recipient;
        PolicyToken(r.token).release(resumes ? GUARD : byOriginator ? r.originator : r.recipient, to, amount);
    }

    function balanceOf(bytes calldata receipt) external view returns (uint256) {
        return amounts[keccak256(abi.encode(read(receipt)))];
    }

    function read(bytes calldata receipt) private pure returns (Receipt memory) {
        if (receipt.length < 320) revert InvalidReceipt();
        uint256[10] memory w = abi.decode(receipt, (uint256[10]));
        // forge-lint: disable-start(unsafe-typecast) -- what is too much is cut, as the chain cuts it.
        return Receipt(
            uint8(w[0]),
            address(uint160(w[1])),
            address(uint160(w[2])),
            address(uint160(w[3])),
            address(uint160(w[4])),
            uint64(w[5]),
            uint64(w[6]),
            uint8(w[7]),
            uint8(w[8]),
            bytes32(w[9])
        );
        // forge-lint: disable-end(unsafe-typecast)
    }
}

/// @dev A TIP-20 as TIP-1028 makes it: what a receiver turns away goes to the guard, and the transfer answers true.
contract PolicyToken is WeirdToken {
    mapping(address receiver => mapping(address sender => bool)) public turnsAway;
    mapping(address receiver => address) public recoveryAuthority;

    error PolicyForbids();

    function setReceivePolicy(address sender, bool value, address authority) external {
        (turnsAway[msg.sender][sender], recoveryAuthority[msg.sender]) = (value, authority);
    }

    /// @dev `subject` is whose standing with `to` counts: the guard's own, which is always good, for a claim that resumes.
    function release(address subject, address to, uint256 amount) external {
        require(msg.sender == GUARD, "not the guard");
        if (paused) revert Paused();
        if (blocked[to]) revert Blocked(to);
        if (turnsAway[to][subject]) revert PolicyForbids();
        balanceOf[GUARD] -= amount;
        balanceOf[to] += amount;
        _wake();
    }

    function _deliver(address from, address to, uint256 value) internal override returns (address) {
        if (!turnsAway[to][from]) return to;
        ReceivePolicyGuard(GUARD).storeBlocked(recoveryAuthority[to], from, to, value, 0);
        return GUARD;
    }
}
