//! What a receipt must say before the payer goes on paying.

use weir_core::{ChannelId, Cumulative};
use weir_protocol::SessionReceipt;

/// What is wrong with a receipt or a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Overcharged {
    /// The receipt is of another method, channel or chain, or for another challenge.
    #[error("the receipt's {0} is not ours")]
    Other(&'static str),
    /// The accepted total is one that this payer has not signed, or less than it just sent.
    #[error("the receipt accepts {accepted}, which is not between {sent} sent and {signed} signed")]
    Accepted {
        /// What the receipt says.
        accepted: Cumulative,
        /// The voucher of this request.
        sent: Cumulative,
        /// The highest voucher of the channel.
        signed: Cumulative,
    },
    /// More is spent than was agreed for all requests so far.
    #[error("{spent} is spent where {agreed} was agreed")]
    Spent {
        /// What the receipt says.
        spent: Cumulative,
        /// The sum of what was agreed.
        agreed: Cumulative,
    },
    /// More was captured on the chain than was agreed.
    #[error("{captured} was captured where {agreed} was agreed")]
    Captured {
        /// The settled total on the chain.
        captured: Cumulative,
        /// The sum of what was agreed.
        agreed: Cumulative,
    },
}

/// What this payer knows of the credential that a receipt answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent<'a> {
    pub(crate) channel: ChannelId,
    pub(crate) chain_id: u64,
    pub(crate) challenge_id: &'a str,
    /// The voucher of this credential; `None` for a top-up, which carries none.
    pub(crate) voucher: Option<Cumulative>,
}

/// Compares a receipt with what was sent. `signed` is the channel's highest voucher as of now: a request that was
/// overtaken by another one's higher voucher sees that one accepted.
pub(crate) fn check(receipt: &SessionReceipt, sent: Sent<'_>, signed: Cumulative) -> Result<(), Overcharged> {
    if receipt.method != "evm" {
        return Err(Overcharged::Other("method"));
    }
    if receipt.channel != sent.channel {
        return Err(Overcharged::Other("channel"));
    }
    if receipt.chain_id != Some(sent.chain_id) {
        return Err(Overcharged::Other("chain"));
    }
    if receipt.challenge_id != sent.challenge_id {
        return Err(Overcharged::Other("challenge"));
    }
    let least = sent.voucher.unwrap_or(Cumulative::ZERO);
    if receipt.accepted < least || receipt.accepted > signed {
        return Err(Overcharged::Accepted {
            accepted: receipt.accepted,
            sent: least,
            signed,
        });
    }
    if receipt.spent > receipt.accepted {
        return Err(Overcharged::Spent {
            spent: receipt.spent,
            agreed: receipt.accepted,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::B256;
    use weir_core::UnixSeconds;

    fn receipt() -> SessionReceipt {
        SessionReceipt {
            method: "evm".into(),
            timestamp: UnixSeconds(1),
            challenge_id: "c1".into(),
            channel: ChannelId(B256::repeat_byte(1)),
            accepted: Cumulative::new(30),
            spent: Cumulative::new(25),
            chain_id: Some(196),
            units: None,
            tx_hash: None,
            confirmations: None,
        }
    }

    fn checked(receipt: SessionReceipt) -> Result<(), Overcharged> {
        let channel = ChannelId(B256::repeat_byte(1));
        let voucher = Some(Cumulative::new(30));
        let sent = Sent {
            channel,
            chain_id: 196,
            challenge_id: "c1",
            voucher,
        };
        check(&receipt, sent, Cumulative::new(40))
    }

    #[test]
    fn a_receipt_for_what_was_sent_is_taken() {
        assert_eq!(checked(receipt()), Ok(()));
        // Another request's higher voucher came first.
        assert_eq!(
            checked(SessionReceipt {
                accepted: Cumulative::new(40),
                ..receipt()
            }),
            Ok(())
        );
    }

    #[test]
    fn a_receipt_of_another_payment_is_refused() {
        let wrong = [
            (
                SessionReceipt {
                    method: "tempo".into(),
                    ..receipt()
                },
                "method",
            ),
            (
                SessionReceipt {
                    channel: ChannelId(B256::ZERO),
                    ..receipt()
                },
                "channel",
            ),
            (
                SessionReceipt {
                    chain_id: Some(1),
                    ..receipt()
                },
                "chain",
            ),
            (
                SessionReceipt {
                    chain_id: None,
                    ..receipt()
                },
                "chain",
            ),
            (
                SessionReceipt {
                    challenge_id: "c2".into(),
                    ..receipt()
                },
                "challenge",
            ),
        ];
        for (receipt, what) in wrong {
            assert_eq!(checked(receipt), Err(Overcharged::Other(what)));
        }
    }

    #[test]
    fn totals_that_were_never_signed_are_refused() {
        for accepted in [0, 29, 41] {
            let odd = SessionReceipt {
                accepted: Cumulative::new(accepted),
                spent: Cumulative::ZERO,
                ..receipt()
            };
            assert!(
                matches!(checked(odd), Err(Overcharged::Accepted { .. })),
                "{accepted}"
            );
        }
        let over = SessionReceipt {
            spent: Cumulative::new(31),
            ..receipt()
        };
        assert!(matches!(checked(over), Err(Overcharged::Spent { .. })));
    }
}
