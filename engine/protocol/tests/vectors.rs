//! Headers as the peers' own tests publish them, read here as they are read there, or else as the vectors say, and why; and
//! what a proof of nothing is to sign.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use serde::Deserialize;
use serde_json::{Value, json};
use weir_protocol::challenge::Challenge;
use weir_protocol::charge::proof::proof_digests;
use weir_protocol::credential::Credential;
use weir_protocol::receipt::SessionReceipt;

/// The outcome of what must not be read.
const REFUSED: &str = "refused";

#[derive(Deserialize)]
struct Vectors {
    www_authenticate: Vec<Lines>,
    authorization: Vec<Lines>,
    receipts: Vec<Receipt>,
}

/// Field lines and what becomes of them.
#[derive(Deserialize)]
struct Lines {
    name: String,
    lines: Vec<String>,
    peers: Value,
    #[serde(default)]
    ours: Value,
    /// Why ours is not the peers' outcome.
    why: Option<String>,
}

impl Lines {
    fn bytes(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().map(String::as_bytes)
    }

    fn outcome(&self) -> &Value {
        if self.why.is_some() {
            assert_ne!(self.peers, self.ours, "{}: no difference to explain", self.name);
            &self.ours
        } else {
            &self.peers
        }
    }
}

#[derive(Deserialize)]
struct Receipt {
    name: String,
    receipt: Value,
    peers: Value,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("vectors/headers.json")).unwrap()
}

#[test]
fn challenges_are_read_as_the_peers_read_them() {
    for case in vectors().www_authenticate {
        let read = Challenge::read_all(case.bytes());
        let outcomes: Vec<Value> = read
            .iter()
            .map(|one| one.as_ref().map_or(json!(REFUSED), |challenge| json!(challenge)))
            .collect();
        assert_eq!(json!(outcomes), *case.outcome(), "{}", case.name);
        // What can be written is read back the same; only printable ASCII can.
        for challenge in read.into_iter().flatten() {
            if let Ok(header) = challenge.to_header() {
                assert_eq!(
                    Challenge::read_all([header.as_bytes()]),
                    [Ok(challenge)],
                    "{}",
                    case.name
                );
            }
        }
    }
}

#[test]
fn credentials_are_read_as_the_peers_read_them() {
    for case in vectors().authorization {
        let found = Credential::find(case.bytes());
        let outcome = match &found {
            Err(_) => json!(REFUSED),
            Ok(None) => Value::Null,
            Ok(Some(read)) => credential(read),
        };
        assert_eq!(outcome, *case.outcome(), "{}", case.name);
        if let Ok(Some(read)) = found {
            let header = read.to_header().unwrap();
            assert_eq!(
                Credential::find([header.as_bytes()]),
                Ok(Some(read)),
                "{}",
                case.name
            );
        }
    }
}

fn credential(read: &Credential) -> Value {
    let mut shown = json!({ "challenge": read.challenge, "payload": read.payload });
    if let Some(source) = &read.source {
        shown["source"] = json!(source);
    }
    shown
}

#[test]
fn receipts_are_read_and_written_as_the_peers_do() {
    for Receipt { name, receipt, peers } in vectors().receipts {
        let read = SessionReceipt::from_json(receipt.to_string().as_bytes());
        if peers == json!(REFUSED) {
            assert!(read.is_err(), "{name}");
            continue;
        }
        let written = read.unwrap().to_json().unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&written).unwrap(),
            receipt,
            "{name}"
        );
    }
}

#[derive(Deserialize)]
struct Proofs {
    cases: Vec<Proof>,
}

#[derive(Deserialize)]
struct Proof {
    account: String,
    chain_id: u64,
    id: String,
    realm: String,
    digest: String,
}

#[test]
fn proofs_sign_what_the_peers_sign() {
    let Proofs { cases } = serde_json::from_str(include_str!("vectors/proofs.json")).unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let challenge: Challenge = serde_json::from_value(json!({
            "id": case.id, "realm": case.realm, "method": "tempo", "intent": "charge", "request": "e30",
        }))
        .unwrap();
        let [_, third] = proof_digests(case.account.parse().unwrap(), case.chain_id, &challenge);
        assert_eq!(third.to_string(), case.digest);
    }
}
