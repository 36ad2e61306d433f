//! What must hold of problems.

use super::*;
use serde_json::json;
use weir_core::{Amount, Cumulative};

fn body(problem: &Problem) -> Value {
    serde_json::from_str(&problem.body()).unwrap()
}

#[test]
fn threat_h3_status_table() {
    let expected = [
        ("payment-required", 402),
        ("payment-insufficient", 402),
        ("payment-expired", 402),
        ("verification-failed", 402),
        ("method-unsupported", 400),
        ("malformed-credential", 402),
        ("invalid-challenge", 402),
        ("session/invalid-signature", 402),
        ("session/signer-mismatch", 402),
        ("session/amount-exceeds-deposit", 402),
        ("session/delta-too-small", 402),
        ("session/channel-not-found", 410),
        ("session/channel-finalized", 410),
        ("session/challenge-not-found", 402),
        ("session/insufficient-balance", 402),
        ("session/transaction-reverted", 409),
    ];
    assert_eq!(PROBLEMS.len(), expected.len() + 1);
    for (row, (name, status)) in PROBLEMS.iter().zip(expected) {
        assert_eq!(row.uri, format!("https://paymentauth.org/problems/{name}"));
        assert_eq!((row.status, row.kind.row().uri), (status, row.uri));
    }
}

#[test]
fn threat_h3_a_channel_that_never_sells_again_is_gone() {
    for refusal in [
        Refusal::ChannelNotFound,
        Refusal::ChannelFinalized,
        Refusal::ChannelClosing,
        Refusal::ChannelFrozen,
        Refusal::ChannelDrainOnly,
    ] {
        let problem = Problem::from(&refusal);
        assert_eq!(
            (problem.status(), problem.needs_challenge()),
            (410, false),
            "{refusal:?}"
        );
    }
}

#[test]
fn a_refusal_keeps_its_numbers() {
    let refusal = Refusal::InsufficientBalance {
        required: Cumulative::new(125),
        accepted: Cumulative::new(100),
    };
    let problem = Problem::from(&refusal).on_channel(ChannelId([0xab; 32].into()));
    let expected = json!({
        "type": "https://paymentauth.org/problems/session/insufficient-balance",
        "title": "Insufficient Balance",
        "status": 402,
        "detail": refusal.to_string(),
        "channelId": format!("0x{}", "ab".repeat(32)),
        "requiredCumulative": "125",
        "acceptedCumulative": "100",
        "requiredTopUp": "25",
    });
    assert_eq!(body(&problem), expected);
    let small = Problem::from(&Refusal::DeltaTooSmall {
        minimum: Amount::new(7),
    });
    assert_eq!(body(&small)["minVoucherDelta"], "7");
}

#[test]
fn what_is_ours_to_get_right_tells_nothing() {
    let problem = Problem::from(&Refusal::ChargeNotOpen);
    assert_eq!(problem.status(), 500);
    assert_eq!(body(&problem)["type"], "about:blank");
    assert_eq!(body(&problem).get("title"), None);
}

#[test]
fn extensions_cannot_pose_as_members_of_the_rfc() {
    let problem = Problem::new(ProblemType::PaymentRequired, "pay")
        .with("status", 200)
        .with("note", "x");
    assert_eq!(
        (&body(&problem)["status"], &body(&problem)["note"]),
        (&json!(402), &json!("x"))
    );
}

#[test]
fn unreadable_credentials_and_challenges_have_their_status() {
    use crate::json::JsonError;
    let several = Problem::from(&CredentialError::Several);
    let garbled = Problem::from(&CredentialError::Json(JsonError::Encoding));
    assert_eq!((several.status(), garbled.status()), (400, 402));
    assert_eq!(garbled.kind(), ProblemType::MalformedCredential);
    assert_eq!(
        ChallengeRefusal::Expired.problem("session").kind(),
        ProblemType::ChallengeNotFound
    );
    assert_eq!(
        ChallengeRefusal::Unknown.problem("charge").kind(),
        ProblemType::InvalidChallenge
    );
}

/// Writes `docs/problems.md` anew when this is set, instead of comparing.
const UPDATE: &str = "WEIR_UPDATE_DOCS";

fn document() -> String {
    let mut text = "\
# Problems

What a payer reads when the answer is no (RFC 9457, `application/problem+json`). The status is the usual one; where another
one may stand, the text says so. Only a 402 brings a fresh challenge, and no problem comes with a receipt. This page is
written from the table in `engine/protocol/src/problem.rs`.

| type | status | fresh challenge | when | what to do next | source |
|---|---|---|---|---|---|
"
    .to_owned();
    for row in PROBLEMS {
        let challenge = if row.has_challenge() { "yes" } else { "no" };
        let (uri, status, when, next, source) = (row.uri, row.status, row.when, row.next, row.source);
        text += &format!("| `{uri}` | {status} | {challenge} | {when} | {next} | {source} |\n");
    }
    text + &crate::fields::page::chapter()
}

#[test]
fn the_published_table_is_the_one_that_is_answered_from() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/problems.md");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&file, document()).unwrap();
    }
    let published = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        published == document(),
        "docs/problems.md is old; write it anew: {UPDATE}=1 cargo test --package weir-protocol problem"
    );
}

#[test]
fn every_row_stands_where_its_type_says() {
    for (at, row) in PROBLEMS.iter().enumerate() {
        assert_eq!((row.kind as usize, row.kind.row().uri), (at, row.uri));
        assert_eq!(row.has_challenge(), Problem::new(row.kind, "").needs_challenge());
    }
}
