// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

/// @dev An ERC-1271 wallet whose answer the test chooses.
contract ContractSigner {
    enum Answer {
        Accept,
        AcceptAtLength,
        Refuse,
        WrongMagic,
        ShortAnswer,
        DirtyTail,
        Bomb,
        BurnGas,
        Revert,
        RevertWithMagic
    }

    Answer public answer;
    bytes32 public expected;

    function set(Answer value, bytes32 hash) external {
        (answer, expected) = (value, hash);
    }

    function isValidSignature(bytes32 hash, bytes calldata) external view returns (bytes4) {
        Answer a = answer;
        if (a == Answer.Accept && hash == expected) return 0x1626ba7e;
        if (a == Answer.WrongMagic) return 0xffffffff;
        if (a == Answer.Revert) revert();
        if (a == Answer.BurnGas) while (true) {}
        if (a == Answer.ShortAnswer) {
            assembly {
                mstore(0, shl(224, 0x1626ba7e))
                return(0, 4)
            }
        }
        if (a == Answer.DirtyTail) {
            assembly {
                mstore(0, or(shl(224, 0x1626ba7e), 1))
                return(0, 32)
            }
        }
        if (a == Answer.AcceptAtLength || a == Answer.RevertWithMagic) {
            assembly {
                mstore(0, shl(224, 0x1626ba7e))
                mstore(32, not(0))
                if eq(a, 1) { return(0, 64) }
                revert(0, 32)
            }
        }
        if (a == Answer.Bomb) {
            assembly {
                return(0, 200000)
            }
        }
        return 0;
    }
}

/// @dev A wallet that holds money and calls what it is told to: a contract as payer or payee.
contract Wallet {
    function call(address target, bytes calldata data) external returns (bool ok, bytes memory answer) {
        return target.call(data);
    }
}

/// @dev An ERC-1271 wallet that takes every digest its owner signed, without binding it to itself, and at a price.
contract OwnedWallet {
    address public immutable OWNER;
    uint256 public immutable PRICE;

    constructor(address owner, uint256 price) {
        (OWNER, PRICE) = (owner, price);
    }

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        uint256 start = gasleft();
        while (start - gasleft() < PRICE) {}
        (bytes32 r, bytes32 s) = abi.decode(signature, (bytes32, bytes32));
        return ecrecover(hash, uint8(signature[64]), r, s) == OWNER ? bytes4(0x1626ba7e) : bytes4(0);
    }
}
