//! Every typed no of the payer's library.

use crate::cost::Cost;
use crate::limits::LimitExceeded;
use crate::onchain::ChainError;
use crate::receipt::Overcharged;
use crate::state::StateError;
use alloy::primitives::{Address, B256};
use std::path::PathBuf;
use weir_core::{Amount, ChannelId, Cumulative, UnixSeconds};
use weir_protocol::{ProblemType, timestamp};

/// What this payer pays, as it is told where a server offers none of it.
pub(crate) const SUPPORTED: &str =
    "evm/session (types hash, authorization, permit2) and tempo/charge (without splits and sponsored fees)";

/// Why something was not done. Nothing in it holds a key, a credential or a signature.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An offer is outside the payer's own limits.
    #[error("refused by the payer's limits: {0}")]
    Limit(#[from] LimitExceeded),
    /// A server's receipt or settlement claims more than was agreed. Nothing more is paid on that channel.
    #[error("the server of channel {channel} overcharges: {why}")]
    Overcharged {
        /// The channel, which is stopped.
        channel: ChannelId,
        /// What is wrong with the receipt.
        why: Overcharged,
    },
    /// The channel was stopped earlier, after an overcharge. Its server gets no new one before this one is over.
    #[error("channel {0} is stopped: its server overcharged earlier")]
    Stopped(ChannelId),
    /// A stream pays with the channel, and would use what another request authorises.
    #[error(
        "a stream is under way on channel {0}, or began beside another request: one of them at a time pays with a channel"
    )]
    Streaming(ChannelId),
    /// The URL would send a credential in the clear.
    #[error("a payment over http:// to {0:?} could be read and replayed; use https")]
    Insecure(String),
    /// The URL cannot be requested.
    #[error("not a URL that can be requested: {0}")]
    Url(String),
    /// A 402 without a challenge that this payer can pay.
    #[error(
        "the server takes no payment that this payer can make: it offers {offered}; this payer pays {SUPPORTED}"
    )]
    NoChallenge {
        /// What it offers.
        offered: String,
    },
    /// A deposit that the server is neither able to pull nor willing to be told of: nothing was sent.
    #[error(
        "the server takes only deposits that it pulls itself, in ways that this escrow, the token or the payer's approvals do not allow; nothing was sent"
    )]
    OnlyPulled,
    /// A challenge without an expiry, or past it.
    #[error("the server's challenge has no expiry or is past it")]
    StaleChallenge,
    /// The price or the terms changed between two challenges of one request.
    #[error("the server changed its offer in the middle of a request")]
    OfferChanged,
    /// The server says no, in a way that paying again would not change.
    #[error("the server refused the payment ({status}, {kind:?}): {detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The type of its problem.
        kind: ProblemType,
        /// What it says to people.
        detail: String,
    },
    /// A server asks for a proof of who asks, made out to a name that is not its own.
    #[error(
        "a proof of who asks is wanted for the realm {realm:?} by {host}, who could show it there; nothing was signed"
    )]
    ForeignRealm {
        /// Whom the proof would be good for.
        realm: String,
        /// Who wants it.
        host: String,
    },
    /// The server's receipt for an answer that was paid at once is not for that payment.
    #[error("the {0} of the server's receipt is not that of the payment")]
    WrongReceipt(&'static str),
    /// An answer was paid at once, and the server refuses it.
    #[error(
        "{amount} base units of the token {token} were paid by transaction {transaction}, and the server refuses the answer: {detail}"
    )]
    PaidInVain {
        /// How much.
        amount: Amount,
        /// The token.
        token: Address,
        /// What paid.
        transaction: B256,
        /// What the server says to people.
        detail: String,
    },
    /// A payment for one answer left, and may or may not have been taken. It is on disk: the same request shows it again,
    /// and pays nothing anew before it is certain that it was not taken.
    #[error(
        "{why}; the payment of {amount} base units of the token {token} by transaction {transaction} may have been taken, or may yet be"
    )]
    PaymentOpen {
        /// How much.
        amount: Amount,
        /// The token.
        token: Address,
        /// What pays.
        transaction: B256,
        /// What happened.
        why: String,
    },
    /// The server needs a higher voucher than was agreed.
    #[error("the server wants a voucher of {required} on channel {channel}, where {agreed} was agreed")]
    Demand {
        /// The channel.
        channel: ChannelId,
        /// What the server says it needs.
        required: Cumulative,
        /// What was agreed for all requests so far.
        agreed: Cumulative,
    },
    /// The deposit is on the chain, and the server has not seen it within the payer's patience.
    #[error("the server has not seen the channel's deposit yet, which it takes for final some blocks later")]
    NotSeen,
    /// The channel is closing, closed or unknown to the server. The next request finds out on the chain whether a new
    /// one may be opened.
    #[error(
        "channel {0} buys nothing more: its close was asked for, or the server knows it as closed or not at all"
    )]
    ChannelGone(ChannelId),
    /// The server gave the channel up, or was asked to close it, and the escrow still holds its deposit. No second one
    /// is locked before the payer itself asks the escrow to close it (`request_close`), or somebody closed it.
    #[error(
        "channel {0} buys nothing more, but the escrow still holds its deposit: the server closes it later or forgot it"
    )]
    Forgotten(ChannelId),
    /// The escrow has no such channel, although its open was mined once: the chain was made anew, or its node is another
    /// one. Nothing is locked on a guess.
    #[error(
        "channel {channel} buys nothing more, and the escrow has none of that id: its chain began anew, or the node is behind"
    )]
    NotOnChain {
        /// The channel.
        channel: ChannelId,
        /// Its record, which is in the way of a new channel.
        file: PathBuf,
    },
    /// The channel was closed earlier: nothing is left to do. Amounts are base units.
    #[error("channel {channel} is closed already: the server got {settled}, and {refunded} came back")]
    AlreadyClosed {
        /// The channel.
        channel: ChannelId,
        /// What the payee got over the channel's life.
        settled: Cumulative,
        /// What went back to the payer.
        refunded: Amount,
    },
    /// No channel for this server or with this id.
    #[error("there is no channel for this")]
    NoChannel,
    /// The request was sent and its outcome is unknown. It was not paid twice; it may have been paid once.
    #[error("the answer got lost; the request may have been charged")]
    OutcomeUnknown,
    /// The server's answer breaks the protocol.
    #[error("the server's answer breaks the protocol: {0}")]
    Protocol(&'static str),
    /// The answer broke off: a stream without its last receipt, or a body without its end.
    #[error("the answer broke off{}: {why}; {cost}", after(*events))]
    Cut {
        /// How many events of a stream came.
        events: u64,
        /// What it cost, as far as the server's receipts tell.
        cost: Cost,
        /// What happened.
        why: String,
    },
    /// The payer's balance does not cover what has to be locked.
    #[error("{payer} holds {balance} base units of the token {token}, and {needed} are needed")]
    Balance {
        /// The token.
        token: Address,
        /// Whose balance it is.
        payer: Address,
        /// What the payer holds of the token.
        balance: Amount,
        /// What would be needed.
        needed: Amount,
    },
    /// The escrow takes less of the token on one channel than is needed.
    #[error(
        "the escrow {escrow} takes at most {cap} base units of the token {token} on a channel, and {needed} are needed"
    )]
    Cap {
        /// The escrow.
        escrow: Address,
        /// The token.
        token: Address,
        /// Most that one channel may hold there.
        cap: Amount,
        /// What it would have to hold.
        needed: Amount,
    },
    /// The deposit does not cover the next voucher, and was not raised far enough.
    #[error("channel {channel} would need a deposit of {needed}")]
    DepositTooSmall {
        /// The channel.
        channel: ChannelId,
        /// The total that the deposit has to cover.
        needed: Cumulative,
    },
    /// A total does not fit 128 bits.
    #[error("a total does not fit 128 bits")]
    Overflow,
    /// The grace period of the payer's close request is not over.
    #[error("the deposit can be withdrawn from {} on", date(*ready_at))]
    NotReady {
        /// When it can be, in Unix seconds.
        ready_at: u64,
    },
    /// The server's close did not do on the chain what it should.
    #[error("the close in {tx_hash} did not finalize the channel")]
    CloseNotSeen {
        /// The transaction that the server named.
        tx_hash: B256,
    },
    /// The answer is larger than the payer takes.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The server cannot be reached, or answered too late.
    #[error(transparent)]
    Http(#[from] Unreached),
    /// The chain cannot be asked, or a transaction failed.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The state cannot be kept; nothing is signed without it.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A server was not reached, or its answer did not come in time.
#[derive(Debug)]
pub struct Unreached {
    place: String,
    error: reqwest::Error,
}

impl Unreached {
    /// The URL may hold a secret in its query: the error keeps none (threat K1), and `place` must have none.
    pub(crate) fn new(place: String, error: reqwest::Error) -> Self {
        Self {
            place,
            error: error.without_url(),
        }
    }

    /// True when the request itself cannot be sent.
    pub(crate) fn is_ours(&self) -> bool {
        self.error.is_builder()
    }

    /// True when the request did not leave: nobody took the connection.
    pub(crate) fn is_unsent(&self) -> bool {
        self.error.is_connect()
    }
}

impl core::fmt::Display for Unreached {
    /// The place, and the whole chain of causes: the last one is the one that helps.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut cause = core::error::Error::source(&self.error);
        if causes(&self.error).any(is_refused) {
            return write!(f, "nobody listens at {}: the connection was refused", self.place);
        }
        write!(f, "{}: {}", self.place, self.error)?;
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl core::error::Error for Unreached {}

fn causes<'a>(
    error: &'a (dyn core::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn core::error::Error + 'static)> {
    core::iter::successors(Some(error), |error| error.source())
}

fn is_refused(error: &(dyn core::error::Error + 'static)) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

fn after(events: u64) -> String {
    match events {
        0 => String::new(),
        1 => " after 1 event".to_owned(),
        more => format!(" after {more} events"),
    }
}

/// A moment as people read it, in UTC.
fn date(unix_seconds: u64) -> String {
    timestamp::write(UnixSeconds(unix_seconds)).unwrap_or_else(|_| format!("{unix_seconds} (Unix seconds)"))
}
