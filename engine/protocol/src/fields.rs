//! What is answered when one field of a payload is wrong, for every way to pay and everything that a credential can do.
//!
//! Nothing is decided by this table: it says what the rails and the charges decide, `docs/problems.md` is written from it,
//! and tests hold both to it, on the payloads themselves and at a daemon on a chain.

use crate::problem::ProblemType;

/// An answer to a credential with one thing wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// It is taken as if nothing were wrong: the field may be left out, or says nothing new.
    Taken,
    /// A problem of this status and type.
    No(u16, ProblemType),
}

/// One field of a payload, or the credential's `source`.
#[derive(Debug, Clone, Copy)]
pub struct FieldRow {
    /// Its name; a dot stands before a member of an object.
    pub field: &'static str,
    /// It is not there, or `null`.
    pub missing: Reply,
    /// It has another type, length, range or spelling. Hexadecimal digits may have either case, words may not.
    pub malformed: Reply,
    /// It is whole, and another channel's, payer's, amount's or payment's.
    pub foreign: Option<Reply>,
}

/// What a credential can do, by one way to pay.
#[derive(Debug, Clone, Copy)]
pub struct Deed {
    /// Method and intent, and the protocol where a method has several.
    pub way: &'static str,
    /// What is done, and how the money comes.
    pub name: &'static str,
    /// The same credential asks for content a second time.
    pub again: Reply,
    /// Its challenge has expired, is another route's, or was changed.
    pub expired: Reply,
    /// Its fields, in groups that several share.
    pub groups: &'static [&'static [FieldRow]],
}

impl Deed {
    /// The rows of its fields.
    pub fn fields(&self) -> impl Iterator<Item = &'static FieldRow> + use<> {
        self.groups.iter().copied().flatten()
    }
}

const T: Reply = Reply::Taken;
/// A session's payload that was decoded and is wrong (draft-evm-session-00 and draft-tempo-session-00, Error Responses).
const M: Reply = Reply::No(400, ProblemType::MalformedCredential);
/// A charge's (draft-evm-charge-00, Error Responses).
const C: Reply = Reply::No(402, ProblemType::MalformedCredential);
const FAILED: Reply = Reply::No(402, ProblemType::VerificationFailed);
const SIGNER: Reply = Reply::No(402, ProblemType::SignerMismatch);
const USED: Reply = Reply::No(402, ProblemType::InvalidChallenge);
const UNKNOWN: Reply = Reply::No(402, ProblemType::ChallengeNotFound);

const fn row(field: &'static str, missing: Reply, malformed: Reply) -> FieldRow {
    FieldRow {
        field,
        missing,
        malformed,
        foreign: None,
    }
}

/// A field that must be there, and what it is answered with when it is somebody else's.
const fn must(field: &'static str, foreign: Reply) -> FieldRow {
    FieldRow {
        foreign: Some(foreign),
        ..row(field, M, M)
    }
}

/// A field that may be left out.
const fn may(field: &'static str, foreign: Reply) -> FieldRow {
    FieldRow {
        foreign: Some(foreign),
        ..row(field, T, M)
    }
}

/// A field of a charge that must say what the challenge asks for.
const fn asked(field: &'static str) -> FieldRow {
    FieldRow {
        foreign: Some(FAILED),
        ..row(field, C, C)
    }
}

const ACTION: FieldRow = row("action", M, M);
const TYPE: FieldRow = row("type", M, M);
const VOUCHER: &[FieldRow] = &[
    must("channelId", SIGNER),
    must("cumulativeAmount", SIGNER),
    must("signature", SIGNER),
];
/// Beside a deposit that names the channel, the voucher's channel must be that.
const FIRST_VOUCHER: &[FieldRow] = &[
    must("channelId", FAILED),
    must("cumulativeAmount", SIGNER),
    must("signature", SIGNER),
];
/// Where `signature` is the deposit's.
const SIGNED_OPEN: &[FieldRow] = &[
    ACTION,
    TYPE,
    must("channelId", FAILED),
    row("cumulativeAmount", M, M),
    row("voucherSignature", M, M),
    row("signature", M, M),
    // Left out it means the payer, and so another channel, where one was named.
    row("authorizedSigner", T, M),
    row("authorization", M, M),
    row("authorization.from", M, M),
];
const SIGNED_TOP_UP: &[FieldRow] = &[
    ACTION,
    TYPE,
    must("channelId", FAILED),
    must("additionalDeposit", FAILED),
    row("signature", M, M),
    row("authorization", M, M),
    row("authorization.from", M, M),
];
const EIP3009: &[FieldRow] = &[
    must("salt", FAILED),
    must("authorization.to", FAILED),
    row("authorization.value", M, M),
    row("authorization.validAfter", M, M),
    row("authorization.validBefore", M, M),
    must("authorization.nonce", FAILED),
];
const PERMIT2: &[FieldRow] = &[
    row("authorization.permitted", M, M),
    must("authorization.permitted.token", FAILED),
    row("authorization.permitted.amount", M, M),
    row("authorization.nonce", M, M),
    row("authorization.deadline", M, M),
    row("authorization.witness", M, M),
];
const TRANSACTION_OPEN: &[FieldRow] = &[
    ACTION,
    TYPE,
    must("transaction", FAILED),
    may("authorizedSigner", FAILED),
];
const TRANSACTION_TOP_UP: &[FieldRow] = &[ACTION, TYPE, must("transaction", FAILED)];
/// The channel follows from the descriptor: what differs in either is seen before anything else.
const DESCRIPTOR: &[FieldRow] = &[
    row("descriptor", M, M),
    must("descriptor.payer", M),
    must("descriptor.payee", M),
    must("descriptor.operator", M),
    must("descriptor.token", M),
    must("descriptor.salt", M),
    must("descriptor.authorizedSigner", M),
    must("descriptor.expiringNonceHash", M),
];
const DESCRIBED_VOUCHER: &[FieldRow] = &[
    must("channelId", M),
    must("cumulativeAmount", SIGNER),
    must("signature", SIGNER),
];

const fn session(way: &'static str, name: &'static str, groups: &'static [&'static [FieldRow]]) -> Deed {
    Deed {
        way,
        name,
        again: USED,
        expired: UNKNOWN,
        groups,
    }
}

/// What never buys content, and so may come again.
const fn managing(way: &'static str, name: &'static str, groups: &'static [&'static [FieldRow]]) -> Deed {
    Deed {
        again: T,
        ..session(way, name, groups)
    }
}

const fn charge(way: &'static str, name: &'static str, groups: &'static [&'static [FieldRow]]) -> Deed {
    Deed {
        expired: USED,
        ..session(way, name, groups)
    }
}

const EVM: &str = "`evm`/`session`";
const V1: &str = "`tempo`/`session` v1";
const V2: &str = "`tempo`/`session` v2";

/// Everything that credentials can do.
pub const DEEDS: &[Deed] = &[
    session(
        EVM,
        "open, `hash`",
        &[
            &[ACTION, TYPE, must("hash", FAILED), must("source", FAILED)],
            FIRST_VOUCHER,
            &[must("salt", FAILED), may("authorizedSigner", FAILED)],
        ],
    ),
    session(EVM, "open, `authorization`", &[SIGNED_OPEN, EIP3009]),
    session(
        EVM,
        "open, `permit2`",
        &[
            SIGNED_OPEN,
            PERMIT2,
            &[
                must("salt", FAILED),
                must("authorization.witness.payee", FAILED),
                must("authorization.witness.salt", FAILED),
                may("authorization.witness.authorizedSigner", FAILED),
            ],
        ],
    ),
    managing(
        EVM,
        "top-up, `hash`",
        &[&[
            ACTION,
            TYPE,
            must("channelId", FAILED),
            must("hash", FAILED),
            must("additionalDeposit", FAILED),
            // Whoever raises a deposit may: it is the channel's, and goes back to its payer.
            must("source", T),
        ]],
    ),
    managing(EVM, "top-up, `authorization`", &[SIGNED_TOP_UP, EIP3009]),
    managing(
        EVM,
        "top-up, `permit2`",
        &[
            SIGNED_TOP_UP,
            PERMIT2,
            &[must("authorization.witness.channelId", FAILED)],
        ],
    ),
    session(EVM, "voucher", &[&[ACTION], VOUCHER]),
    managing(EVM, "close", &[&[ACTION], VOUCHER]),
    session(V1, "open", &[TRANSACTION_OPEN, FIRST_VOUCHER]),
    managing(
        V1,
        "top-up",
        &[
            TRANSACTION_TOP_UP,
            &[must("channelId", FAILED), must("additionalDeposit", FAILED)],
        ],
    ),
    session(V1, "voucher", &[&[ACTION], VOUCHER]),
    managing(V1, "close", &[&[ACTION], VOUCHER]),
    session(V2, "open", &[TRANSACTION_OPEN, DESCRIBED_VOUCHER, DESCRIPTOR]),
    managing(
        V2,
        "top-up",
        &[
            TRANSACTION_TOP_UP,
            &[must("channelId", M), must("additionalDeposit", FAILED)],
            DESCRIPTOR,
        ],
    ),
    session(V2, "voucher", &[&[ACTION], DESCRIBED_VOUCHER, DESCRIPTOR]),
    managing(
        V2,
        "close",
        &[
            &[ACTION],
            DESCRIBED_VOUCHER,
            &[may("closeSignature", SIGNER)],
            DESCRIPTOR,
        ],
    ),
    charge(
        "`tempo`/`charge`",
        "`transaction`",
        &[&[row("type", C, C), row("signature", C, C)]],
    ),
    charge(
        "`tempo`/`charge`",
        "`hash`",
        &[&[row("type", C, C), row("hash", C, C)]],
    ),
    charge(
        "`tempo`/`charge`",
        "`proof`",
        &[&[row("type", C, C), row("signature", C, C), row("source", C, C)]],
    ),
    charge(
        "`evm`/`charge`",
        "`authorization`",
        &[&[
            row("type", C, C),
            asked("from"),
            asked("to"),
            asked("value"),
            row("validAfter", C, C),
            row("validBefore", C, C),
            asked("nonce"),
            row("signature", C, C),
            row("source", T, C),
        ]],
    ),
    charge(
        "`evm`/`charge`",
        "`permit2`",
        &[&[
            row("type", C, C),
            row("permit", C, C),
            row("permit.permitted", C, C),
            asked("permit.permitted.0.token"),
            asked("permit.permitted.0.amount"),
            row("permit.nonce", C, C),
            row("permit.deadline", C, C),
            row("transferDetails", C, C),
            asked("transferDetails.0.to"),
            asked("transferDetails.0.requestedAmount"),
            row("witness", C, C),
            asked("witness.challengeHash"),
            row("signature", C, C),
            row("source", C, C),
        ]],
    ),
    charge(
        "`evm`/`charge`",
        "`hash`",
        &[&[row("type", C, C), row("hash", C, C)]],
    ),
];

#[cfg(test)]
#[path = "fields_page.rs"]
pub(crate) mod page;
#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
