//! A 402 as the payer reads it: the challenge it can pay, and what the problem says.

use crate::error::Error;
use crate::limits::{AllowedEscrow, Limits};
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};
use weir_core::{Cumulative, UnixSeconds};
use weir_protocol::problem::PROBLEMS;
use weir_protocol::rails::evm_session::TYPE_HASH;
use weir_protocol::rails::signed::{TYPE_AUTHORIZATION, TYPE_PERMIT2};
use weir_protocol::{Challenge, ProblemType, SessionRequest, json, timestamp};

/// A challenge is not answered any more this long before it expires: the answer has to arrive in time.
const EXPIRY_MARGIN_SECONDS: u64 = 3;
/// The ways in which a server pulls a deposit that was signed for.
const PULLED: [&str; 2] = [TYPE_AUTHORIZATION, TYPE_PERMIT2];
/// Longest problem body that is looked at.
pub(crate) const PROBLEM_BYTES_MAX: usize = 16 * 1024;
/// Longest words of somebody else that are shown, in characters.
const WORDS_CHARS_MAX: usize = 300;

/// Somebody else's words, as they may be shown: short and without control characters.
pub(crate) fn words(text: &str) -> String {
    let shown = text.chars().filter(|c| !c.is_control());
    shown.take(WORDS_CHARS_MAX).collect()
}

/// What a problem body says to people, whoever made it.
pub(crate) fn detail(body: &[u8]) -> Option<String> {
    let object = json::parse_object(body, PROBLEM_BYTES_MAX).ok()?;
    let said = object.get("detail").and_then(Value::as_str)?;
    Some(words(said)).filter(|said| !said.is_empty())
}

/// A challenge that was decoded and found within the limits.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) challenge: Challenge,
    pub(crate) request: SessionRequest,
    pub(crate) escrow: AllowedEscrow,
}

impl Offer {
    /// Finds the first session among an answer's challenges that this payer can pay and whose terms are within its
    /// limits. When none is, the first limit that stood in the way is the error.
    pub(crate) fn find(headers: &HeaderMap, limits: &Limits) -> Result<Self, Error> {
        let (found, why) = all(headers, |challenge| Self::judge(challenge, limits));
        found.into_iter().next().ok_or(why)
    }

    /// Reads a session. `None` for what this payer cannot pay.
    pub(crate) fn judge(challenge: Challenge, limits: &Limits) -> Result<Option<Self>, Error> {
        if challenge.method != "evm" || challenge.intent != "session" {
            return Ok(None);
        }
        let Ok(request) = SessionRequest::decode(&challenge.request, None) else {
            return Ok(None);
        };
        let pulls = request.method_details.fee_payer == Some(true);
        let pulls = pulls && PULLED.iter().any(|kind| request.accepts_type(kind));
        if !pulls && !request.accepts_type(TYPE_HASH) {
            return Ok(None);
        }
        let escrow = limits.check(&request)?;
        if !is_fresh(&challenge, now()) {
            return Err(Error::StaleChallenge);
        }
        Ok(Some(Self {
            challenge,
            request,
            escrow,
        }))
    }

    /// Whether the server takes deposits that the payer sends itself.
    pub(crate) fn takes_own(&self) -> bool {
        self.request.accepts_type(TYPE_HASH)
    }

    /// Asked before each new transaction of the payer's own: a server that cannot be told of it would keep its deposit
    /// locked and sell nothing.
    ///
    /// # Errors
    /// [`Error::OnlyPulled`].
    pub(crate) fn must_take_own(&self) -> Result<(), Error> {
        self.takes_own().then_some(()).ok_or(Error::OnlyPulled)
    }

    /// True while the challenge can still be answered.
    pub(crate) fn is_fresh(&self, now: UnixSeconds) -> bool {
        is_fresh(&self.challenge, now)
    }
}

/// True while a challenge can still be answered. One without an expiry never is (threat V6).
pub(crate) fn is_fresh(challenge: &Challenge, now: UnixSeconds) -> bool {
    let expires = challenge.expires.as_deref().map(timestamp::read);
    matches!(expires, Some(Ok(expires)) if expires > now.after(EXPIRY_MARGIN_SECONDS))
}

/// All challenges of an answer that `judge` can pay, in their order, and the error if these are none: what stood in the
/// way of the first that it knows.
pub(crate) fn all<T>(
    headers: &HeaderMap,
    judge: impl Fn(Challenge) -> Result<Option<T>, Error>,
) -> (Vec<T>, Error) {
    let lines = headers.get_all(WWW_AUTHENTICATE);
    let read = Challenge::read_all(lines.iter().map(|line| line.as_bytes()));
    let (mut found, mut names, mut why) = (Vec::new(), Vec::new(), None);
    for challenge in read.into_iter().flatten() {
        names.push(words(&format!("{}/{}", challenge.method, challenge.intent)));
        match judge(challenge) {
            Ok(Some(offer)) => found.push(offer),
            Ok(None) => {}
            Err(error) => why = why.or(Some(error)),
        }
    }
    let offered = match names.as_slice() {
        [] => "none that can be read".to_owned(),
        names => names.join(", "),
    };
    (found, why.unwrap_or(Error::NoChallenge { offered }))
}

/// The payer's clock, which decides nothing but whether a challenge is worth answering.
pub(crate) fn now() -> UnixSeconds {
    UnixSeconds(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |age| age.as_secs()),
    )
}

/// What a problem body says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) kind: ProblemType,
    pub(crate) detail: String,
    /// The total that a voucher must authorise.
    pub(crate) required: Option<Cumulative>,
}

impl Complaint {
    /// Reads a problem body; `None` when it is no problem of the payment drafts, but perhaps the service's own.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let object = json::parse_object(body, PROBLEM_BYTES_MAX).ok()?;
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        let uri = text("type")?;
        let row = PROBLEMS
            .iter()
            .find(|row| row.uri == uri && row.kind != ProblemType::Blank)?;
        let required = text("requiredCumulative").and_then(|total| total.parse().ok());
        Some(Self {
            kind: row.kind,
            detail: words(text("detail").unwrap_or_default()),
            required,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LimitExceeded;
    use alloy::primitives::Address;
    use reqwest::header::HeaderValue;
    use serde_json::json;
    use weir_core::Amount;
    use weir_protocol::{Problem, b64};

    const ESCROW: Address = Address::repeat_byte(0xee);
    const TOKEN: Address = Address::repeat_byte(0x70);

    fn challenge(method: &str, details: Value, expires: Option<&str>) -> HeaderValue {
        let mut request = json!({"amount": "25", "currency": format!("{TOKEN:#x}"),
            "recipient": format!("{:#x}", Address::repeat_byte(0xbb)),
            "methodDetails": {"escrowContract": format!("{ESCROW:#x}"), "chainId": 1}});
        if let Value::Object(details) = details {
            request["methodDetails"].as_object_mut().unwrap().extend(details);
        }
        let challenge = Challenge {
            id: "c1".into(),
            realm: "r".into(),
            method: method.into(),
            intent: "session".into(),
            request: b64::encode(request.to_string()),
            expires: expires.map(Into::into),
            digest: None,
            description: None,
            opaque: None,
        };
        HeaderValue::from_str(&challenge.to_header().unwrap()).unwrap()
    }

    fn find(lines: &[HeaderValue], max_price: u128) -> Result<Offer, Error> {
        let headers = lines
            .iter()
            .map(|line| (WWW_AUTHENTICATE, line.clone()))
            .collect();
        let escrow = AllowedEscrow {
            address: ESCROW,
            code_hash: None,
        };
        Offer::find(
            &headers,
            &Limits::new(escrow, TOKEN, Amount::new(max_price), Amount::new(1000)),
        )
    }

    const LATER: Option<&str> = Some("2999-01-01T00:00:00Z");

    #[test]
    fn the_first_challenge_that_can_be_paid_is_chosen() {
        let other = challenge("tempo", json!({}), LATER);
        let permit = challenge("evm", json!({"credentialTypes": ["permit2"]}), LATER);
        let fine = challenge("evm", json!({"credentialTypes": ["permit2", "hash"]}), LATER);
        assert_eq!(
            find(&[other.clone(), permit.clone(), fine], 25)
                .unwrap()
                .request
                .amount,
            Amount::new(25)
        );
        assert!(matches!(
            find(&[other, permit], 25),
            Err(Error::NoChallenge { .. })
        ));
        assert!(matches!(find(&[], 25), Err(Error::NoChallenge { .. })));
    }

    #[test]
    fn an_offer_outside_a_limit_is_refused_by_name() {
        let over = find(&[challenge("evm", json!({}), LATER)], 24);
        assert!(
            matches!(over, Err(Error::Limit(LimitExceeded::Price { .. }))),
            "{over:?}"
        );
    }

    #[test]
    fn threat_v6_a_challenge_without_an_expiry_or_past_it_is_not_paid() {
        for expires in [None, Some("2020-01-01T00:00:00Z"), Some("soon")] {
            let found = find(&[challenge("evm", json!({}), expires)], 25);
            assert!(matches!(found, Err(Error::StaleChallenge)), "{expires:?}");
        }
    }

    #[test]
    fn a_complaint_is_read_from_the_drafts_problems_alone() {
        let problem =
            Problem::new(ProblemType::InsufficientBalance, "more\u{7}\n").with("requiredCumulative", "30");
        let read = Complaint::read(problem.body().as_bytes()).unwrap();
        assert_eq!(read.kind, ProblemType::InsufficientBalance);
        assert_eq!(
            (read.required, read.detail.as_str()),
            (Some(Cumulative::new(30)), "more")
        );
        assert_eq!(Complaint::read(Problem::blank(404, "no").body().as_bytes()), None);
        assert_eq!(
            Complaint::read(br#"{"type":"https://shop.example/sold-out"}"#),
            None
        );
        assert_eq!(Complaint::read(b"<html>"), None);
    }
}
