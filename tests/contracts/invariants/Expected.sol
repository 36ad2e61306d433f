// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.28;

import {IBlockedFunds} from "../../../contracts/src/interfaces/IBlockedFunds.sol";
import {IChannelEscrow} from "../../../contracts/src/interfaces/IChannelEscrow.sol";
import {IRelayedEscrow} from "../../../contracts/src/interfaces/IRelayedEscrow.sol";
import {PolicyToken, ReceivePolicyGuard} from "../mocks/ReceivePolicies.sol";

/// @dev What has to happen over enough random moves.
library Expected {
    function moves() internal pure returns (bytes32[27] memory) {
        return [
            bytes32("open"),
            "openWithCap",
            "topUp",
            "lowerMaxDeposit",
            "requestClose",
            "withdraw",
            "withdrawRefund",
            "settle",
            "close",
            "settleCapture",
            "closeCapture",
            "settleMany",
            "closeMany",
            "settleManyFor",
            "closeManyFor",
            "setOperator",
            "openWithAuthorization",
            "openWithPermit2",
            "topUpWithAuthorization",
            "topUpWithPermit2",
            "settleWithAuthorization",
            "closeWithAuthorization",
            "settleManyWithAuthorization",
            "closeManyWithAuthorization",
            "cancelAuthorization",
            "recoverBlocked",
            "replay"
        ];
    }

    /// @dev All errors that calls can meet, but for NotEnoughGas, which counts as starved, for Reentered, which the reenterer
    /// counts, for Permit2NotSupported, because this escrow has a Permit2, and for NoReceivePolicyGuard, because there is a guard.
    /// Those of the guard and of its token are among them.
    function refusals() internal pure returns (bytes4[29] memory) {
        return [
            IChannelEscrow.ChannelAlreadyExists.selector,
            IChannelEscrow.ChannelNotFound.selector,
            IChannelEscrow.ChannelFinalized.selector,
            IChannelEscrow.NotPayee.selector,
            IChannelEscrow.NotPayer.selector,
            IChannelEscrow.NotOperator.selector,
            IChannelEscrow.InvalidPayee.selector,
            IChannelEscrow.ZeroDeposit.selector,
            IChannelEscrow.DepositOverflow.selector,
            IChannelEscrow.DepositExceedsCap.selector,
            IChannelEscrow.CapNotLower.selector,
            IChannelEscrow.CapBelowDeposit.selector,
            IChannelEscrow.AmountNotIncreasing.selector,
            IChannelEscrow.AmountExceedsDeposit.selector,
            IChannelEscrow.AmountExceedsCumulative.selector,
            IChannelEscrow.InvalidSignature.selector,
            IChannelEscrow.CloseNotReady.selector,
            IChannelEscrow.TokenNotListed.selector,
            IChannelEscrow.TransferFailed.selector,
            IChannelEscrow.UnexpectedDelta.selector,
            IChannelEscrow.NoRefund.selector,
            IChannelEscrow.InvalidRecipient.selector,
            IRelayedEscrow.NonceMismatch.selector,
            IRelayedEscrow.NonceAlreadyUsed.selector,
            IRelayedEscrow.AuthorizationExpired.selector,
            IBlockedFunds.UnsupportedReceipt.selector,
            IBlockedFunds.NotRecipient.selector,
            ReceivePolicyGuard.InvalidReceipt.selector,
            PolicyToken.PolicyForbids.selector
        ];
    }
}
