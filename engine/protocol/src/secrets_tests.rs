//! What must hold of the binding of challenges.

use super::*;
use crate::json;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

const NOW: UnixSeconds = UnixSeconds(1_736_165_100);

fn secret(seed: u8) -> ChallengeSecret {
    ChallengeSecret::new([seed; 32]).unwrap()
}

fn unbound() -> Unbound {
    Unbound {
        realm: "api.example.com".into(),
        method: "evm".into(),
        intent: "session".into(),
        request: "e30".into(),
        expires: NOW.after(300),
        digest: None,
        description: Some("a page".into()),
        opaque: Opaque::new([7; 16], "GET /page"),
    }
}

/// Binds whatever is there, as a server of another make would.
fn bound(secret: &ChallengeSecret, mut challenge: Challenge) -> Challenge {
    let mac = secret.bind(slots(&challenge).unwrap()).unwrap();
    challenge.id = b64::encode(mac.finalize().into_bytes());
    challenge
}

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    secret: String,
    realm: String,
    method: String,
    intent: String,
    request: Value,
    expires: Option<String>,
    digest: Option<String>,
    opaque: Option<Value>,
    id: String,
}

#[test]
fn ids_are_those_that_the_peers_published() {
    let vectors: Vectors = serde_json::from_str(include_str!("../tests/vectors/challenge_ids.json")).unwrap();
    assert_eq!(vectors.cases.len(), 22);
    for vector in vectors.cases {
        let challenge = Challenge {
            id: String::new(),
            realm: vector.realm,
            method: vector.method,
            intent: vector.intent,
            request: json::canonical_b64(&vector.request).unwrap(),
            expires: vector.expires,
            digest: vector.digest,
            description: None,
            opaque: vector.opaque.map(|map| json::canonical_b64(&map).unwrap()),
        };
        let secret = ChallengeSecret(vector.secret.into_bytes());
        assert_eq!(bound(&secret, challenge).id, vector.id, "{}", vector.name);
    }
}

#[test]
fn a_challenge_of_ours_is_recognised_with_its_route() {
    let secrets = Secrets::new(secret(1));
    let challenge = secrets.sign(unbound()).unwrap();
    let verified = secrets.verify(challenge.clone(), NOW).unwrap();
    assert_eq!(verified.challenge(), &challenge);
    assert_eq!(verified.opaque(), &unbound().opaque);
    assert_eq!(verified.expires(), NOW.after(300));
    assert_eq!(verified.tag(), challenge.tag());
}

#[test]
fn every_bound_parameter_is_bound() {
    let secrets = Secrets::new(secret(1));
    let issued = secrets
        .sign(Unbound {
            digest: Some("sha-256=:x:".into()),
            ..unbound()
        })
        .unwrap();
    assert!(secrets.verify(issued.clone(), NOW).is_ok());
    type Change = fn(&mut Challenge);
    let changes: [(&str, Change); 10] = [
        ("realm", |c| c.realm.push('x')),
        ("method", |c| c.method = "tempo".into()),
        ("intent", |c| c.intent = "charge".into()),
        ("request", |c| c.request = "e31".into()),
        ("expires", |c| c.expires = Some("2099-01-01T00:00:00Z".into())),
        ("digest", |c| c.digest = None),
        ("opaque", |c| c.opaque = None),
        ("id", |c| c.id = b64::encode([0; 32])),
        ("empty id", |c| c.id.clear()),
        ("cut id", |c| {
            c.id = b64::encode(&b64::decode(&c.id).unwrap()[..16])
        }),
    ];
    for (name, change) in changes {
        let mut echo = issued.clone();
        change(&mut echo);
        assert_eq!(
            secrets.verify(echo, NOW).unwrap_err(),
            ChallengeRefusal::Unknown,
            "{name}"
        );
    }
    let mut described = issued;
    described.description = Some("another".into());
    assert!(
        secrets.verify(described, NOW).is_ok(),
        "descriptions are for people and not bound"
    );
}

#[test]
fn threat_v6_a_challenge_without_expiry_or_past_it_is_refused() {
    let secrets = Secrets::new(secret(1));
    let issued = secrets.sign(unbound()).unwrap();
    assert!(secrets.verify(issued.clone(), NOW.after(299)).is_ok());
    assert_eq!(
        secrets.verify(issued.clone(), NOW.after(300)).unwrap_err(),
        ChallengeRefusal::Expired
    );
    for expires in [None, Some(String::new()), Some("never".to_owned())] {
        let echo = bound(
            &secret(1),
            Challenge {
                expires,
                ..issued.clone()
            },
        );
        assert_eq!(secrets.verify(echo, NOW).unwrap_err(), ChallengeRefusal::NoExpiry);
    }
    let bare = bound(
        &secret(1),
        Challenge {
            opaque: None,
            ..issued
        },
    );
    assert_eq!(secrets.verify(bare, NOW).unwrap_err(), ChallengeRefusal::NoOpaque);
}

#[test]
fn threat_h5_an_id_has_one_spelling() {
    let secrets = Secrets::new(secret(1));
    let issued = secrets.sign(unbound()).unwrap();
    let stem = &issued.id[..issued.id.len() - 1];
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let spellings = alphabet.chars().map(|last| format!("{stem}{last}"));
    let alike = spellings.filter(|id| {
        let echo = Challenge {
            id: id.clone(),
            ..issued.clone()
        };
        secrets.verify(echo, NOW).is_ok()
    });
    assert_eq!(alike.collect::<Vec<_>>(), vec![issued.id.clone()]);
    let padded = Challenge {
        id: format!("{}=", issued.id),
        ..issued
    };
    assert!(secrets.verify(padded, NOW).is_err());
}

#[test]
fn parameters_cannot_slide_from_slot_to_slot() {
    let secrets = Secrets::new(secret(1));
    let piped = Unbound {
        realm: "a|b".into(),
        ..unbound()
    };
    assert_eq!(secrets.sign(piped), Err(ChallengeError::Separator("realm")));
    let issued = secrets.sign(unbound()).unwrap();
    let slid = Challenge {
        realm: format!("{}|{}", issued.realm, issued.method),
        method: issued.intent.clone(),
        ..issued
    };
    assert_eq!(secrets.verify(slid, NOW).unwrap_err(), ChallengeRefusal::Unknown);
}

#[test]
fn a_rotated_secret_is_believed_until_its_challenges_are_over() {
    let before = Secrets::new(secret(1));
    let issued = before.sign(unbound()).unwrap();
    let after = Secrets::rotated(secret(2), secret(1), NOW.after(200));
    assert!(after.verify(issued.clone(), NOW.after(199)).is_ok());
    assert_eq!(
        after.verify(issued.clone(), NOW.after(200)).unwrap_err(),
        ChallengeRefusal::Unknown
    );
    let fresh = after.sign(unbound()).unwrap();
    assert_ne!(fresh.id, issued.id);
    assert!(before.verify(fresh.clone(), NOW).is_err());
    assert!(after.verify(fresh, NOW).is_ok());
}

#[test]
fn threat_k1_secrets_are_never_printed() {
    let secrets = Secrets::rotated(secret(0x41), secret(0x42), NOW);
    let shown = format!("{secrets:?}");
    let hidden = "ChallengeSecret(…)";
    assert_eq!(
        shown,
        format!(
            "Secrets {{ current: {hidden}, previous: Some(({hidden}, UnixSeconds({}))) }}",
            NOW.0
        )
    );
    assert_eq!(ChallengeSecret::new([0; 31]).unwrap_err(), SecretError);
}

proptest! {
    #[test]
    fn nobody_guesses_an_id(id in "[A-Za-z0-9_-]{0,50}", realm in ".{0,20}", expires in ".{0,30}") {
        let secrets = Secrets::new(secret(1));
        let issued = secrets.sign(unbound()).unwrap();
        let echo = Challenge { id, realm, expires: Some(expires), ..issued };
        prop_assert_eq!(secrets.verify(echo, NOW).unwrap_err(), ChallengeRefusal::Unknown);
    }
}
