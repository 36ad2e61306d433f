// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IChannelEscrow} from "../interfaces/IChannelEscrow.sol";
import {GasLib} from "./GasLib.sol";

interface IERC20 {
    function balanceOf(address account) external view returns (uint256);
    function transfer(address to, uint256 amount) external returns (bool);
    function transferFrom(address from, address to, uint256 amount) external returns (bool);
}

/// @dev EIP-3009 in the form with packed signatures (USDC 2.2).
interface IERC3009 {
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external;
}

/// @title TokenLib
/// @notice Moves ERC-20 tokens that answer true, or nothing, or lie, or refuse.
library TokenLib {
    /// @dev What a refund push may burn. Chains that price new state high need about 500k for a fresh account.
    uint256 internal constant REFUND_PUSH_GAS = 1_000_000;

    /// @notice Takes exactly `amount` from `from`, which approved it, or reverts.
    function pull(address token, address from, uint256 amount) internal {
        pullThrough(token, token, from, amount, abi.encodeCall(IERC20.transferFrom, (from, address(this), amount)));
    }

    /// @notice Takes exactly `amount` from `from` by a call that `from` signed for, or reverts.
    /// @param target Who is called: the token itself, or Permit2.
    function pullThrough(address token, address target, address from, uint256 amount, bytes memory data) internal {
        uint256 balanceBefore = _balance(token);
        if (!_call(target, gasleft(), data)) revert IChannelEscrow.TransferFailed(token, from, amount);
        uint256 balanceAfter = _balance(token);
        if (balanceAfter < balanceBefore || balanceAfter - balanceBefore != amount) {
            revert IChannelEscrow.UnexpectedDelta(token, amount, balanceBefore, balanceAfter);
        }
    }

    /// @notice Sends `amount` to `to`, or reverts.
    function push(address token, address to, uint256 amount) internal {
        if (!_call(token, gasleft(), abi.encodeCall(IERC20.transfer, (to, amount)))) {
            revert IChannelEscrow.TransferFailed(token, to, amount);
        }
    }

    /// @notice Tries to send `amount` to `to` with a full bound of gas, and says whether the token did.
    /// @dev Reverts if the bound cannot be given in full: else whoever sends the transaction could choose the gas so that
    /// the push fails, and turn every refund into a credit.
    function tryPush(address token, address to, uint256 amount) internal returns (bool) {
        bytes memory data = abi.encodeCall(IERC20.transfer, (to, amount));
        GasLib.demand(REFUND_PUSH_GAS);
        return _call(token, REFUND_PUSH_GAS, data);
    }

    /// @dev The escrow's own balance. Two reads per deposit in the scratch space, because a call as the compiler writes it
    /// costs 250 gas more each. Reverts with what the token answered if that is a refusal, or less than a word.
    function _balance(address token) private view returns (uint256 held) {
        bytes4 selector = IERC20.balanceOf.selector;
        assembly ("memory-safe") {
            mstore(0x00, selector)
            mstore(0x04, address())
            let ok := staticcall(gas(), token, 0x00, 0x24, 0x00, 0x20)
            if or(iszero(ok), lt(returndatasize(), 0x20)) {
                let free := mload(0x40)
                returndatacopy(free, 0x00, returndatasize())
                revert(free, returndatasize())
            }
            held := mload(0x00)
        }
    }

    /// @dev True if the call succeeded and returned nothing or true. One word is copied, however long the answer is.
    /// An answer of an address without code is no success; listed tokens had code when they were listed.
    function _call(address target, uint256 gasBound, bytes memory data) private returns (bool) {
        bool ok;
        uint256 size;
        uint256 answer;
        assembly ("memory-safe") {
            ok := call(gasBound, target, 0, add(data, 0x20), mload(data), 0x00, 0x20)
            size := returndatasize()
            answer := mload(0x00)
        }
        if (!ok) return false;
        return size == 0 ? target.code.length != 0 : size >= 32 && answer == 1;
    }
}
