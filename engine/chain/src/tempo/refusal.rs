//! Why a transaction that a payer signed is not taken.

/// Why a transaction that a payer signed is not broadcast. The words go to the payer, after "the transaction ".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("the transaction {}", self.says())]
pub enum ForeignRefusal {
    /// It is of another type.
    OtherType,
    /// It is not the canonical encoding of a transaction, or bytes are left over.
    Malformed,
    /// Its signature is no signature over it.
    Signature,
    /// It wants the server to pay its fees.
    Sponsored,
    /// It is signed by another kind of key.
    KeyKind,
    /// It carries an access list.
    AccessList,
    /// It authorises a key or delegates code.
    Authorizations,
    /// It makes other calls than the two that are known.
    Calls,
    /// A call sends value.
    Value,
    /// Its call is not to the escrow.
    OtherContract,
    /// It makes another call than one of the reserve's two that are known.
    ReserveCalls,
    /// The approval is not of exactly what the next call pulls.
    Approval,
    /// It is to pay, and does not make one transfer alone.
    Transfer,
}

impl ForeignRefusal {
    /// The cause and the next step.
    pub const fn says(self) -> &'static str {
        match self {
            Self::OtherType => "is not of type 0x76; sign a Tempo transaction",
            Self::Malformed => "is not canonically encoded; send the signed bytes as they are",
            Self::Signature => "has an invalid signature",
            Self::Sponsored => {
                "wants its fees paid, which this server does not offer; sign it with a fee token"
            }
            Self::KeyKind => "is not signed by a secp256k1 key, the only kind that is taken here",
            Self::AccessList => "carries an access list; sign it without",
            Self::Authorizations => "carries authorisations; send them in a transaction of their own",
            Self::Calls => "makes other calls than approve and open, or approve and topUp",
            Self::Value => "sends value with a call; sign it without",
            Self::ReserveCalls => "makes other calls than one open or one topUp of the channel reserve",
            Self::OtherContract => "calls another contract than the challenge's escrow",
            Self::Approval => "approves something else than what the next call deposits",
            Self::Transfer => "makes other calls than one transfer or transferWithMemo",
        }
    }

    /// Whether the bytes could not even be read.
    pub const fn is_unreadable(self) -> bool {
        matches!(self, Self::OtherType | Self::Malformed)
    }
}
