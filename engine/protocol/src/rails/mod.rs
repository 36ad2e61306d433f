//! Rails: our implementations of (method, intent) pairs.
//!
//! A rail works in two steps, both pure. First [`Rail::claim`] reads a credential's payload into an
//! [`Action`], and [`Rail::evidence`] says what the chain must show before it can be judged: nothing for
//! vouchers and closes, which the lane judges alone. Then the chain crate looks, the till hands over what it
//! [`Seen`], and [`Rail::judge`] compares it with the claim and the offer.
//!
//! A new way to pay (a charge, x402) adds a variant to [`Funding`], [`Evidence`]
//! and [`Seen`], or a rail; the core does not change.

pub mod evm_session;
pub mod judge;
pub mod payload;
pub mod signed;
pub mod tempo_session_v1;
pub mod tempo_session_v2;

use crate::charge::PaymentSeen;
use crate::credential::Credential;
use crate::delivery::ActionKind;
use crate::problem::{Problem, ProblemType};
use crate::request::{AddressSpelling, SessionRequest};
use alloy_primitives::{Address, B256};
use core::fmt;
use weir_core::voucher::Claimed;
use weir_core::{Amount, ChannelId, Signature, Terms, Voucher};

pub use evm_session::EvmSession;
pub use judge::{JudgeRefusal, Judged};
pub use payload::PayloadError;
pub use signed::SignedPull;
pub use tempo_session_v1::TempoSessionV1;
pub use tempo_session_v2::TempoSessionV2;

/// What a voucher below the accepted total gets, once its signature is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LowerCumulative {
    /// 200, and nothing changes (draft-evm-session-00, Idempotency).
    Unchanged,
    /// A refusal (draft-tempo-session-00, Idempotency).
    Refused,
}

/// Which encodings of a voucher's signature are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureForms {
    /// 65 bytes only.
    Full,
    /// 65 bytes, or the 64 of EIP-2098, which are normalised.
    FullOrCompact,
}

/// Where two rails differ although they do the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RailRules {
    /// The `method` of the challenge and the receipt.
    pub method: &'static str,
    /// The `intent` of both.
    pub intent: &'static str,
    /// `methodDetails.sessionProtocol`, where the method has one.
    pub session_protocol: Option<&'static str>,
    /// The EIP-712 domain name under which vouchers are signed.
    pub domain_name: &'static str,
    /// What a voucher below the accepted total gets.
    pub lower_cumulative: LowerCumulative,
    /// Which signature encodings are taken.
    pub signature_forms: SignatureForms,
    /// How addresses are written into a challenge.
    pub addresses: AddressSpelling,
    /// The chain that a challenge without `chainId` means.
    pub default_chain_id: Option<u64>,
    /// True when receipts carry `chainId`.
    pub receipt_chain_id: bool,
    /// What a transaction that was mined in vain is answered with.
    pub reverted: ProblemType,
    /// The values of `payload.type` that challenges offer, where the method's challenges say so.
    pub credential_types: Option<&'static [&'static str]>,
}

impl RailRules {
    /// How a refusal reads on the wire of this rail.
    pub fn problem(&self, refusal: &JudgeRefusal) -> Problem {
        match refusal {
            JudgeRefusal::Reverted => Problem::new(self.reverted, refusal.to_string()),
            other => Problem::from(other),
        }
    }
}

/// A signed transaction that a client asks the server to broadcast.
#[derive(Clone, PartialEq, Eq)]
pub struct RawTransaction(pub Vec<u8>);

/// Whoever has the bytes can broadcast them: logs get their number only (threat K1).
impl fmt::Debug for RawTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawTransaction({} bytes)", self.0.len())
    }
}

/// How the deposit comes about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Funding {
    /// The client broadcast it: `type: "hash"`.
    Mined {
        /// The transaction's hash.
        tx_hash: B256,
        /// Who the credential's `source` says paid.
        payer: Address,
    },
    /// The server is to broadcast it: `type: "transaction"`.
    Raw(RawTransaction),
    /// The client signed for it, and the server is to pull it: `type: "authorization"` or `"permit2"`.
    Signed(Box<SignedPull>),
}

/// A claim that a channel was, or is to be, opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenClaim {
    /// The first voucher; it names the channel.
    pub voucher: Voucher<Claimed>,
    /// Who signs vouchers, if the payload says so; zero stands for the payer.
    pub authorized_signer: Option<Address>,
    /// The salt in the channel's id, where the payload carries it.
    pub salt: Option<B256>,
    /// How the deposit comes about.
    pub funding: Funding,
}

/// A claim that a deposit was, or is to be, raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopUpClaim {
    /// The channel.
    pub channel: ChannelId,
    /// By how much.
    pub additional: Amount,
    /// How the deposit comes about.
    pub funding: Funding,
}

/// A claim that the payer wants its channel closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseClaim {
    /// The payer's last voucher.
    pub voucher: Voucher<Claimed>,
    /// The payer's signature over the wish to close at the voucher's total, where the payload carries one.
    pub authorization: Option<Signature>,
}

impl From<Voucher<Claimed>> for CloseClaim {
    fn from(voucher: Voucher<Claimed>) -> Self {
        Self {
            voucher,
            authorization: None,
        }
    }
}

/// What a session credential asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open a channel.
    Open(OpenClaim),
    /// Raise a deposit.
    TopUp(TopUpClaim),
    /// Authorise a higher total.
    Voucher(Voucher<Claimed>),
    /// Raise a deposit, and then authorise a higher total: both in one message.
    FundedVoucher {
        /// The deposit, which the server is to pull first.
        deposit: TopUpClaim,
        /// The voucher.
        voucher: Voucher<Claimed>,
    },
    /// Settle and end the channel.
    Close(CloseClaim),
}

impl Action {
    /// Which kind of action it is.
    pub const fn kind(&self) -> ActionKind {
        match self {
            Self::Open(_) => ActionKind::Open,
            Self::TopUp(_) => ActionKind::TopUp,
            Self::Voucher(_) | Self::FundedVoucher { .. } => ActionKind::Voucher,
            Self::Close(_) => ActionKind::Close,
        }
    }

    /// The transaction that the server is to broadcast for it.
    pub const fn unsent(&self) -> Option<&RawTransaction> {
        match self {
            Self::Open(OpenClaim {
                funding: Funding::Raw(raw),
                ..
            })
            | Self::TopUp(TopUpClaim {
                funding: Funding::Raw(raw),
                ..
            }) => Some(raw),
            _ => None,
        }
    }

    /// The deposit that the server is to pull for it.
    pub fn unpulled(&self) -> Option<&SignedPull> {
        match self {
            Self::Open(OpenClaim { funding, .. })
            | Self::TopUp(TopUpClaim { funding, .. })
            | Self::FundedVoucher {
                deposit: TopUpClaim { funding, .. },
                ..
            } => match funding {
                Funding::Signed(pull) => Some(pull),
                Funding::Mined { .. } | Funding::Raw(_) => None,
            },
            Self::Voucher(_) | Self::Close(_) => None,
        }
    }

    /// The same after its transaction was broadcast: from then on it is as if the client had done that.
    #[must_use]
    pub fn sent(mut self, tx_hash: B256, payer: Address) -> Self {
        if let Self::Open(OpenClaim { funding, .. }) | Self::TopUp(TopUpClaim { funding, .. }) = &mut self {
            *funding = Funding::Mined { tx_hash, payer };
        }
        self
    }

    /// The channel that it is about.
    pub const fn channel(&self) -> ChannelId {
        match self {
            Self::Open(claim) => claim.voucher.channel(),
            Self::TopUp(claim) => claim.channel,
            Self::Voucher(voucher) | Self::FundedVoucher { voucher, .. } => voucher.channel(),
            Self::Close(claim) => claim.voucher.channel(),
        }
    }
}

/// What the chain must show before an action can be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence<'a> {
    /// Nothing: the books suffice.
    None,
    /// That this transaction opened this channel.
    OpenedBy {
        /// The transaction.
        tx_hash: B256,
        /// The channel.
        channel: ChannelId,
    },
    /// That this transaction raised this channel's deposit.
    ToppedUpBy {
        /// The transaction.
        tx_hash: B256,
        /// The channel.
        channel: ChannelId,
    },
    /// What this transaction would do.
    RawTransaction {
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// What this transaction paid.
    PaidBy {
        /// The transaction.
        tx_hash: B256,
    },
    /// What this transaction would pay.
    RawPayment {
        /// Its bytes.
        bytes: &'a [u8],
    },
}

/// What was seen on the chain, or read out of a signed transaction: plain facts, nothing believed from the
/// payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing was needed.
    Nothing,
    /// A channel that was opened, or would be.
    Open(OpenSeen),
    /// A deposit that was raised, or would be.
    TopUp(TopUpSeen),
    /// Transfers that were made, or would be.
    Payment(PaymentSeen),
    /// The transaction was mined and changed nothing.
    Reverted,
    /// The transaction is not mined, as far as our node knows.
    NotMined,
    /// The transaction is mined, or decoded, and does something else.
    SomethingElse,
    /// The bytes are no transaction of this rail, in words that follow "the transaction ".
    Unreadable(&'static str),
    /// The transaction was decoded, and would not be broadcast, in words that follow "the transaction ".
    Unfit(&'static str),
}

/// An opening, from the escrow's event or from a transaction's call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSeen {
    /// The chain.
    pub chain_id: u64,
    /// The contract that emitted the event, or is called.
    pub escrow: Address,
    /// The parties and the token; the payer is who the event names, or who signed the transaction.
    pub terms: Terms,
    /// The salt.
    pub salt: B256,
    /// The deposit, in base units.
    pub deposit: Amount,
}

/// A top-up, from the escrow's event or from a transaction's call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopUpSeen {
    /// The chain.
    pub chain_id: u64,
    /// The contract that emitted the event, or is called.
    pub escrow: Address,
    /// The channel.
    pub channel: ChannelId,
    /// By how much the deposit rose, in base units.
    pub additional: Amount,
}

/// Every session rail that is built.
pub const SESSION_RAILS: [&dyn Rail; 3] = [&EvmSession, &TempoSessionV1, &TempoSessionV2];

/// The rail of the escrows that sign under this EIP-712 domain name: it follows from the escrow, and is no choice.
pub fn session_rail(domain_name: &str) -> Option<&'static dyn Rail> {
    SESSION_RAILS
        .into_iter()
        .find(|rail| rail.rules().domain_name == domain_name)
}

/// One (method, intent): which evidence a credential needs, and the judgement of what was found.
pub trait Rail: Send + Sync + fmt::Debug {
    /// Where this rail differs from others.
    fn rules(&self) -> &'static RailRules;

    /// Reads a credential's payload; nothing is believed yet. `offer` is the request of the verified challenge.
    ///
    /// # Errors
    /// [`PayloadError`]: 400, or 402 for a signature that is none.
    fn claim(&self, credential: &Credential, offer: &SessionRequest) -> Result<Action, PayloadError>;

    /// Says what must be looked up before [`Rail::judge`].
    fn evidence<'a>(&self, action: &'a Action) -> Evidence<'a> {
        judge::evidence(action)
    }

    /// Compares a claim with what was seen and what was offered. Signatures are proven by the lane, not here.
    ///
    /// # Errors
    /// [`JudgeRefusal`].
    fn judge(&self, action: Action, seen: &Seen, offer: &SessionRequest) -> Result<Judged, JudgeRefusal> {
        judge::judge(self.rules(), action, seen, offer)
    }
}
