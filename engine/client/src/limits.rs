//! The payer's own limits. What a server asks for is an offer; these decide.

use alloy::primitives::{Address, B256};
use core::ops::RangeInclusive;
use std::collections::BTreeSet;
use weir_core::Amount;
use weir_protocol::charge::ChargeRequest;
use weir_protocol::{Intent, SessionRequest};

/// Shortest grace period that the draft allows an escrow (draft-evm-session-00, Forced Close).
pub const GRACE_SECONDS_MIN: u64 = 10 * 60;
/// Longest grace period accepted unless the payer says otherwise: the deposit is out of reach for that long.
pub const GRACE_SECONDS_MAX: u64 = 7 * 24 * 60 * 60;

/// A list of what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed<T: Ord> {
    /// Whatever is offered.
    Any,
    /// These and no others.
    Only(BTreeSet<T>),
}

impl<T: Ord> Allowed<T> {
    /// These and no others.
    pub fn only(values: impl IntoIterator<Item = T>) -> Self {
        Self::Only(values.into_iter().collect())
    }

    /// Whether this value is allowed.
    pub fn allows(&self, value: &T) -> bool {
        match self {
            Self::Any => true,
            Self::Only(values) => values.contains(value),
        }
    }
}

/// An escrow that the payer trusts with its deposit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowedEscrow {
    /// Its address.
    pub address: Address,
    /// keccak256 of its deployed code, when the payer wants exactly that code.
    pub code_hash: Option<B256>,
}

/// What the payer agrees to at most. Amounts are base units of the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Highest price of one unit.
    pub max_price: Amount,
    /// Highest total deposit of one channel, top-ups included.
    pub max_deposit: Amount,
    /// Most that one stream may cost. Any answer may turn out to be a stream and use all that is authorised, so nothing
    /// is signed by which one could cost more.
    pub max_stream: Amount,
    /// Most that is authorised beyond the unit that is paid for, where a server asks for larger steps
    /// (`minVoucherDelta`) or for several units at once.
    pub max_ahead: Amount,
    /// Most that all requests of one [`Payer`](crate::Payer) may cost together; `None` for no such limit.
    pub max_total: Option<Amount>,
    /// Most that one answer may cost that is paid for at once, its transaction's fees not counted. The money is gone before
    /// the answer is here.
    pub max_charge: Amount,
    /// Realms that may be shown who asks, besides the host that is asked: such a proof is good wherever its realm is.
    pub realms: BTreeSet<String>,
    /// The one intent to pay by; `None` for any, sessions first.
    pub intent: Option<Intent>,
    /// Escrows that may hold a deposit. There is no "any": an escrow's code decides who gets the money.
    pub escrows: Vec<AllowedEscrow>,
    /// Payees.
    pub recipients: Allowed<Address>,
    /// EIP-155 chain ids.
    pub chain_ids: Allowed<u64>,
    /// ERC-20 tokens. An amount means nothing without its token, so this too has to be listed.
    pub tokens: BTreeSet<Address>,
    /// Accepted grace periods of an escrow, in seconds.
    pub grace_seconds: RangeInclusive<u64>,
}

impl Limits {
    /// Limits for one escrow and one token: any recipient, chain and intent, no total, streams up to the deposit, no
    /// single payments, and no authorisation ahead of the price.
    pub fn new(escrow: AllowedEscrow, token: Address, max_price: Amount, max_deposit: Amount) -> Self {
        Self {
            max_price,
            max_deposit,
            max_stream: max_deposit,
            max_ahead: Amount::ZERO,
            max_total: None,
            max_charge: Amount::ZERO,
            realms: BTreeSet::new(),
            intent: None,
            escrows: vec![escrow],
            recipients: Allowed::Any,
            chain_ids: Allowed::Any,
            tokens: BTreeSet::from([token]),
            grace_seconds: GRACE_SECONDS_MIN..=GRACE_SECONDS_MAX,
        }
    }

    /// Compares an offer with the limits; gives the escrow that it names, as the payer listed it.
    ///
    /// # Errors
    /// [`LimitExceeded`], which names the limit and what was offered.
    pub fn check(&self, offer: &SessionRequest) -> Result<AllowedEscrow, LimitExceeded> {
        let details = &offer.method_details;
        let known = self
            .escrows
            .iter()
            .find(|known| known.address == details.escrow_contract);
        let escrow = *known.ok_or(LimitExceeded::Escrow {
            offered: details.escrow_contract,
        })?;
        self.check_parties(details.chain_id, offer.currency, offer.recipient)?;
        if offer.amount > self.max_price {
            return Err(LimitExceeded::Price {
                offered: offer.amount,
                limit: self.max_price,
            });
        }
        Ok(escrow)
    }

    /// Compares an answer that is to be paid for at once with the limits.
    ///
    /// # Errors
    /// [`LimitExceeded`].
    pub fn check_charge(&self, offer: &ChargeRequest) -> Result<(), LimitExceeded> {
        self.check_parties(offer.method_details.chain_id, offer.currency, offer.recipient)?;
        if offer.amount > self.max_charge {
            return Err(LimitExceeded::Charge {
                offered: offer.amount,
                limit: self.max_charge,
            });
        }
        Ok(())
    }

    fn check_parties(&self, chain_id: u64, token: Address, recipient: Address) -> Result<(), LimitExceeded> {
        if !self.chain_ids.allows(&chain_id) {
            return Err(LimitExceeded::Chain { offered: chain_id });
        }
        if !self.tokens.contains(&token) {
            return Err(LimitExceeded::Token { offered: token });
        }
        if !self.recipients.allows(&recipient) {
            return Err(LimitExceeded::Recipient { offered: recipient });
        }
        Ok(())
    }

    /// Compares an escrow's grace period with the limits. The draft's minimum holds whatever the payer says.
    ///
    /// # Errors
    /// [`LimitExceeded::Grace`].
    pub fn check_grace(&self, offered: u64) -> Result<(), LimitExceeded> {
        let (min, max) = (
            GRACE_SECONDS_MIN.max(*self.grace_seconds.start()),
            *self.grace_seconds.end(),
        );
        if offered < min || offered > max {
            return Err(LimitExceeded::Grace { offered, min, max });
        }
        Ok(())
    }

    /// Compares what a channel would hold with the limit.
    ///
    /// # Errors
    /// [`LimitExceeded::Deposit`].
    pub fn check_deposit(&self, needed: Amount) -> Result<(), LimitExceeded> {
        if needed > self.max_deposit {
            return Err(LimitExceeded::Deposit {
                offered: needed,
                limit: self.max_deposit,
            });
        }
        Ok(())
    }
}

/// The limit that stood in the way, and what was offered or needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitExceeded {
    /// The price of one unit.
    #[error("the price {offered} is over the limit {limit}")]
    Price {
        /// What the challenge asks.
        offered: Amount,
        /// [`Limits::max_price`].
        limit: Amount,
    },
    /// The price of an answer that is paid for at once.
    #[error("the answer costs {offered}, to be paid at once, over the limit {limit}")]
    Charge {
        /// What the challenge asks.
        offered: Amount,
        /// [`Limits::max_charge`].
        limit: Amount,
    },
    /// The deposit of one channel.
    #[error("the channel would need a deposit of {offered}, over the limit {limit}")]
    Deposit {
        /// What the channel would hold.
        offered: Amount,
        /// [`Limits::max_deposit`].
        limit: Amount,
    },
    /// The cost of one stream.
    #[error("with its next voucher a stream could cost {offered}, over the limit {limit}")]
    Stream {
        /// What it could cost in all.
        offered: Amount,
        /// [`Limits::max_stream`].
        limit: Amount,
    },
    /// The authorisation ahead of what was agreed.
    #[error("the server wants {offered} authorised beyond the unit that is paid for, over the limit {limit}")]
    Ahead {
        /// What would be authorised ahead.
        offered: Amount,
        /// [`Limits::max_ahead`].
        limit: Amount,
    },
    /// The cost of everything.
    #[error("all requests together would cost {offered}, over the limit {limit}")]
    Total {
        /// What everything would cost.
        offered: Amount,
        /// [`Limits::max_total`].
        limit: Amount,
    },
    /// An escrow that is not listed.
    #[error("the escrow {offered} is not one of the allowed")]
    Escrow {
        /// The escrow of the challenge.
        offered: Address,
    },
    /// An escrow with other code than expected.
    #[error("the escrow {escrow} has code with hash {offered}, not {expected}")]
    EscrowCode {
        /// The escrow.
        escrow: Address,
        /// The hash of its code.
        offered: B256,
        /// The hash that the payer listed.
        expected: B256,
    },
    /// A payee that is not listed.
    #[error("the recipient {offered} is not one of the allowed")]
    Recipient {
        /// The payee of the challenge.
        offered: Address,
    },
    /// A token that is not listed.
    #[error("the token {offered} is not one of the allowed")]
    Token {
        /// The token of the challenge.
        offered: Address,
    },
    /// A chain that is not listed.
    #[error("the chain {offered} is not one of the allowed")]
    Chain {
        /// The chain of the challenge.
        offered: u64,
    },
    /// A grace period outside the accepted range.
    #[error("the escrow's grace period of {offered} s is not between {min} s and {max} s")]
    Grace {
        /// The escrow's grace period in seconds.
        offered: u64,
        /// Shortest accepted.
        min: u64,
        /// Longest accepted.
        max: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_protocol::request::MethodDetails;

    const ESCROW: Address = Address::repeat_byte(0xee);
    const TOKEN: Address = Address::repeat_byte(0x70);
    const PAYEE: Address = Address::repeat_byte(0xbb);

    fn offer() -> SessionRequest {
        SessionRequest {
            amount: Amount::new(25),
            currency: TOKEN,
            recipient: PAYEE,
            unit_type: None,
            suggested_deposit: None,
            description: None,
            external_id: None,
            method_details: MethodDetails {
                escrow_contract: ESCROW,
                chain_id: 31337,
                session_protocol: None,
                fee_payer: None,
                min_voucher_delta: None,
                channel_id: None,
                credential_types: None,
                permit2_contract: None,
                operator: None,
                fee_token: None,
                session_snapshot: None,
            },
        }
    }

    fn limits() -> Limits {
        let escrow = AllowedEscrow {
            address: ESCROW,
            code_hash: None,
        };
        Limits {
            recipients: Allowed::only([PAYEE]),
            chain_ids: Allowed::only([31337]),
            ..Limits::new(escrow, TOKEN, Amount::new(25), Amount::new(1000))
        }
    }

    #[test]
    fn an_offer_at_the_limit_is_taken() {
        assert_eq!(limits().check(&offer()).map(|escrow| escrow.address), Ok(ESCROW));
    }

    #[test]
    fn each_limit_is_named_with_what_was_offered() {
        let stranger = Address::repeat_byte(1);
        let mut bad = offer();
        bad.amount = Amount::new(26);
        let price = LimitExceeded::Price {
            offered: Amount::new(26),
            limit: Amount::new(25),
        };
        assert_eq!(limits().check(&bad), Err(price));
        let mut bad = offer();
        bad.recipient = stranger;
        assert_eq!(
            limits().check(&bad),
            Err(LimitExceeded::Recipient { offered: stranger })
        );
        let mut bad = offer();
        bad.currency = stranger;
        assert_eq!(
            limits().check(&bad),
            Err(LimitExceeded::Token { offered: stranger })
        );
        let mut bad = offer();
        bad.method_details.escrow_contract = stranger;
        assert_eq!(
            limits().check(&bad),
            Err(LimitExceeded::Escrow { offered: stranger })
        );
        let mut bad = offer();
        bad.method_details.chain_id = 1;
        assert_eq!(limits().check(&bad), Err(LimitExceeded::Chain { offered: 1 }));
        let over = LimitExceeded::Deposit {
            offered: Amount::new(1001),
            limit: Amount::new(1000),
        };
        assert_eq!(limits().check_deposit(Amount::new(1001)), Err(over));
        assert_eq!(limits().check_deposit(Amount::new(1000)), Ok(()));
    }

    #[test]
    fn a_grace_period_under_the_drafts_minimum_is_refused_whatever_the_payer_accepts() {
        let lax = Limits {
            grace_seconds: 0..=3600,
            ..limits()
        };
        let why = LimitExceeded::Grace {
            offered: 599,
            min: 600,
            max: 3600,
        };
        assert_eq!(lax.check_grace(599), Err(why));
        assert_eq!(lax.check_grace(600), Ok(()));
        assert_eq!(lax.check_grace(3600), Ok(()));
        assert!(lax.check_grace(3601).is_err());
    }
}
