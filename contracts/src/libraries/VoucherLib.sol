// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IChannelEscrow} from "../interfaces/IChannelEscrow.sol";

/// @title VoucherLib
/// @notice The EIP-712 domain, and the hashes of what payers and payees sign under it.
library VoucherLib {
    bytes32 internal constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 internal constant VERSION_HASH = keccak256("1");

    /// @dev The payer's (or its signer's) promise.
    bytes32 internal constant VOUCHER_TYPEHASH = keccak256("Voucher(bytes32 channelId,uint128 cumulativeAmount)");

    /// @dev The payee's leave for a relayed call; draft-evm-session-00, Payee-initiated functions.
    bytes32 internal constant SETTLE_TYPEHASH =
        keccak256("SettleAuthorization(bytes32 channelId,uint128 cumulativeAmount,uint256 nonce,uint256 deadline)");
    bytes32 internal constant CLOSE_TYPEHASH =
        keccak256("CloseAuthorization(bytes32 channelId,uint128 cumulativeAmount,uint256 nonce,uint256 deadline)");

    /// @dev The payee's leave for a relayed batch. The rows are signed whole, the vouchers' signatures included.
    bytes32 internal constant ROW_TYPEHASH =
        keccak256("Row(bytes32 channelId,uint128 cumulativeAmount,uint128 captureAmount,bytes signature)");
    bytes32 internal constant SETTLE_MANY_TYPEHASH = keccak256(
        "SettleManyAuthorization(address token,Row[] rows,uint256 nonce,uint256 deadline)Row(bytes32 channelId,uint128 cumulativeAmount,uint128 captureAmount,bytes signature)"
    );
    bytes32 internal constant CLOSE_MANY_TYPEHASH = keccak256(
        "CloseManyAuthorization(address token,Row[] rows,uint256 nonce,uint256 deadline)Row(bytes32 channelId,uint128 cumulativeAmount,uint128 captureAmount,bytes signature)"
    );

    function domainSeparator(bytes32 nameHash) internal view returns (bytes32) {
        return keccak256(abi.encode(DOMAIN_TYPEHASH, nameHash, VERSION_HASH, block.chainid, address(this)));
    }

    function hash(bytes32 channelId, uint128 cumulativeAmount) internal pure returns (bytes32) {
        return keccak256(abi.encode(VOUCHER_TYPEHASH, channelId, cumulativeAmount));
    }

    /// @notice The EIP-712 hash of an array of rows.
    function hashRows(IChannelEscrow.Row[] calldata rows) internal pure returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](rows.length);
        for (uint256 i = 0; i < rows.length; ++i) {
            IChannelEscrow.Row calldata row = rows[i];
            hashes[i] = keccak256(
                abi.encode(
                    ROW_TYPEHASH, row.channelId, row.cumulativeAmount, row.captureAmount, keccak256(row.signature)
                )
            );
        }
        return keccak256(abi.encodePacked(hashes));
    }
}
