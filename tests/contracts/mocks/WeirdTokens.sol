// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

/// @dev A plain ledger with one switch per kind of misbehaviour, so that a test can turn a listed token bad midway.
contract WeirdToken {
    enum Mood {
        Plain,
        ReturnsNothing,
        ReturnsFalse,
        ReturnsTwo,
        Reverts,
        Bombs,
        BurnsGas
    }

    Mood public mood;
    uint256 public feeOnTransfer;
    uint256 public rebateOnTransfer;
    bool public paused;
    mapping(address account => bool) public blocked;
    mapping(address account => uint256) public balanceOf;
    mapping(address owner => mapping(address spender => uint256)) public allowance;
    address public hookTarget;
    bytes public hookData;
    bool public hookSucceeded;
    bytes public hookAnswer;
    uint256 public gasSeen;

    error Blocked(address account);
    error Paused();
    error Refused();

    function setMood(Mood value) external {
        mood = value;
    }

    function setFee(uint256 fee, uint256 rebate) external {
        (feeOnTransfer, rebateOnTransfer) = (fee, rebate);
    }

    function setPaused(bool value) external {
        paused = value;
    }

    function setBlocked(address account, bool value) external {
        blocked[account] = value;
    }

    /// @dev Called in the middle of every move, after the balances changed.
    function setHook(address target, bytes calldata data) external {
        (hookTarget, hookData) = (target, data);
    }

    function mint(address to, uint256 value) external {
        balanceOf[to] += value;
    }

    function approve(address spender, uint256 value) external returns (bool) {
        allowance[msg.sender][spender] = value;
        return true;
    }

    function transfer(address to, uint256 value) external {
        gasSeen = gasleft();
        _answer(_move(msg.sender, to, value));
    }

    function transferFrom(address from, address to, uint256 value) external {
        allowance[from][msg.sender] -= value;
        _answer(_move(from, to, value));
    }

    function _move(address from, address to, uint256 value) private returns (bool) {
        if (paused) revert Paused();
        if (blocked[from]) revert Blocked(from);
        if (blocked[to]) revert Blocked(to);
        if (mood == Mood.ReturnsFalse) return false;
        if (mood == Mood.Reverts) revert Refused();
        if (mood == Mood.BurnsGas) while (true) {}
        if (mood == Mood.Bombs) {
            assembly {
                revert(0, 1000000)
            }
        }
        balanceOf[from] -= value;
        balanceOf[_deliver(from, to, value)] += value - feeOnTransfer + rebateOnTransfer;
        _wake();
        return true;
    }

    function _wake() internal {
        if (hookTarget != address(0)) (hookSucceeded, hookAnswer) = hookTarget.call(hookData);
    }

    /// @dev To whom the money goes that `to` is to get.
    function _deliver(address, address to, uint256) internal virtual returns (address) {
        return to;
    }

    function _answer(bool moved) private view {
        if (mood == Mood.ReturnsNothing) {
            assembly {
                return(0, 0)
            }
        }
        uint256 word = moved ? 1 : 0;
        if (mood == Mood.ReturnsTwo) word = 2;
        assembly {
            mstore(0, word)
            return(0, 32)
        }
    }
}

/// @dev Takes every call that it does not know without a word, as WETH9's fallback does.
contract SwallowingToken is WeirdToken {
    fallback() external {}
}

/// @dev Reads its calls byte by byte, and answers more than a word.
contract ExactToken {
    mapping(address account => uint256) public held;
    mapping(address account => bool) internal refused;

    constructor(address holder, uint256 value) {
        held[holder] = value;
    }

    function refuse(address account) external {
        refused[account] = true;
    }

    fallback(bytes calldata data) external returns (bytes memory) {
        bytes4 selector = bytes4(data);
        if (selector == bytes4(keccak256("balanceOf(address)"))) {
            require(data.length == 36, "balanceOf");
            return abi.encode(held[abi.decode(data[4:], (address))], "at length");
        }
        (address from, address to, uint256 value) = (msg.sender, address(0), 0);
        if (selector == bytes4(keccak256("transfer(address,uint256)"))) {
            require(data.length == 68, "transfer");
            (to, value) = abi.decode(data[4:], (address, uint256));
        } else {
            require(selector == bytes4(keccak256("transferFrom(address,address,uint256)")), "another call");
            require(data.length == 100, "transferFrom");
            (from, to, value) = abi.decode(data[4:], (address, address, uint256));
        }
        require(!refused[to], "refused");
        held[from] -= value;
        held[to] += value;
        return abi.encode(true, "at length");
    }
}
