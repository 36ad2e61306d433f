//! `Authorization: Payment <base64url JSON>` (draft-httpauth-payment-00, Credentials).

use crate::auth_params::is_token_byte;
use crate::challenge::{Challenge, SCHEME};
use crate::did::{DidError, DidPkh};
use crate::json::{self, JsonError};
use crate::limits::{CREDENTIAL_BYTES_MAX, SOURCE_BYTES_MAX};
use core::fmt;
use serde_json::{Map, Value};

/// Why a header holds no payment credential that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// More than one payment credential came with the request: 400 by the core draft.
    #[error("more than one payment credential")]
    Several,
    /// Longer than [`CREDENTIAL_BYTES_MAX`].
    #[error("the credential is too long")]
    TooLong,
    /// Not base64url without padding, or not JSON of the accepted kind.
    #[error("the credential cannot be decoded: {0}")]
    Json(JsonError),
    /// `challenge` is missing or not the echo of a challenge.
    #[error("the credential echoes no challenge")]
    Challenge,
    /// `payload` is missing or not an object.
    #[error("the credential has no payload")]
    Payload,
    /// `source` is no string, or longer than [`SOURCE_BYTES_MAX`].
    #[error("the credential's source is malformed")]
    Source,
}

/// A decoded credential. Nothing in it is believed yet.
#[derive(Clone, PartialEq)]
pub struct Credential {
    /// The echo of the challenge.
    pub challenge: Challenge,
    /// Who says it pays, usually a DID; see [`Credential::payer`].
    pub source: Option<String>,
    /// The method's own proof; its rail reads it.
    pub payload: Map<String, Value>,
}

/// A credential is a bearer token: logs never get its payload (threat K1).
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("challenge", &self.challenge)
            .finish_non_exhaustive()
    }
}

impl Credential {
    /// Finds the payment credential among a request's `Authorization` field lines; `None` when there is none.
    ///
    /// A line is one credential: a comma does not end it, so what follows one makes it malformed.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn find<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<Self>, CredentialError> {
        let mut payments = lines.into_iter().filter_map(payment_part);
        let Some(first) = payments.next() else {
            return Ok(None);
        };
        if payments.next().is_some() {
            return Err(CredentialError::Several);
        }
        Self::decode(first).map(Some)
    }

    /// Reads the base64url part behind the scheme.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn decode(text: &[u8]) -> Result<Self, CredentialError> {
        if text.len() > CREDENTIAL_BYTES_MAX {
            return Err(CredentialError::TooLong);
        }
        let mut object = json::parse_object_b64(text, CREDENTIAL_BYTES_MAX).map_err(CredentialError::Json)?;
        let Some(Value::Object(echo)) = object.remove("challenge") else {
            return Err(CredentialError::Challenge);
        };
        let challenge = Challenge::from_echo(echo).map_err(|_| CredentialError::Challenge)?;
        let Some(Value::Object(payload)) = object.remove("payload") else {
            return Err(CredentialError::Payload);
        };
        let source = match object.remove("source") {
            None | Some(Value::Null) => None,
            Some(Value::String(source)) if source.len() <= SOURCE_BYTES_MAX => Some(source),
            Some(_) => return Err(CredentialError::Source),
        };
        Ok(Self {
            challenge,
            source,
            payload,
        })
    }

    /// Writes the value of the `Authorization` header.
    ///
    /// # Errors
    /// [`CredentialError`] when it would be one that no server needs to take.
    pub fn to_header(&self) -> Result<String, CredentialError> {
        let mut object = Map::new();
        let challenge = serde_json::to_value(&self.challenge).map_err(|_| CredentialError::Challenge)?;
        object.insert("challenge".to_owned(), challenge);
        object.insert("payload".to_owned(), Value::Object(self.payload.clone()));
        if let Some(source) = &self.source {
            object.insert("source".to_owned(), Value::String(source.clone()));
        }
        let text = json::canonical_b64(&object).map_err(CredentialError::Json)?;
        if text.len() > CREDENTIAL_BYTES_MAX {
            return Err(CredentialError::TooLong);
        }
        Ok(format!("{SCHEME} {text}"))
    }

    /// The account that `source` names; `None` when the credential has no source.
    ///
    /// # Errors
    /// [`DidError`] when the source is of another kind.
    pub fn payer(&self) -> Result<Option<DidPkh>, DidError> {
        self.source.as_deref().map(str::parse).transpose()
    }
}

/// What stands behind `Payment` and at least one space; `None` for another scheme.
fn payment_part(line: &[u8]) -> Option<&[u8]> {
    let line = line.trim_ascii();
    let scheme_bytes = line.iter().take_while(|byte| is_token_byte(**byte)).count();
    let (scheme, rest) = line.split_at_checked(scheme_bytes)?;
    scheme
        .eq_ignore_ascii_case(SCHEME.as_bytes())
        .then(|| rest.trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::b64;
    use proptest::prelude::*;
    use serde_json::json;

    fn sample() -> Value {
        json!({
            "challenge": {"id": "x7Tg", "realm": "api.example.com", "method": "evm", "intent": "session",
                "request": "e30", "expires": "2025-01-15T12:05:00Z", "later": {"added": true}},
            "source": "did:pkh:eip155:196:0xaabbccddee11223344556677889900aabbccddee",
            "payload": {"action": "voucher", "secret": "0xabcdef"},
            "unknown": 1
        })
    }

    fn header(value: &Value) -> String {
        format!("Payment {}", b64::encode(value.to_string()))
    }

    fn find(line: &str) -> Result<Option<Credential>, CredentialError> {
        Credential::find([line.as_bytes()])
    }

    #[test]
    fn a_credential_is_found_among_other_schemes() {
        let text = header(&sample());
        let found = Credential::find([b"Bearer abc".as_slice(), text.as_bytes()])
            .unwrap()
            .unwrap();
        assert_eq!(found.challenge.id, "x7Tg");
        assert_eq!(found.payer().unwrap().unwrap().chain_id, 196);
        assert_eq!(find(&text.replace("Payment ", "PAYMENT   ")), Ok(Some(found)));
        for other in ["", "Bearer abc", "Basic Payment", "Payments abc", ", Payment abc"] {
            assert_eq!(find(other), Ok(None), "{other:?}");
        }
        let twice = [text.as_bytes(), b"payment zzz"];
        assert_eq!(Credential::find(twice), Err(CredentialError::Several));
    }

    #[test]
    fn a_line_is_one_credential_whatever_commas_it_holds() {
        let text = header(&sample());
        let refused = Err(CredentialError::Json(JsonError::Encoding));
        assert_eq!(find(&format!("{text}, Bearer x")), refused);
        assert_eq!(find(&format!("{text},{text}")), refused);
        assert_eq!(find(&format!("{text}=")), refused);
        assert_eq!(find(&format!("Bearer x, {text}")), Ok(None));
    }

    #[test]
    fn each_malformed_part_has_its_name() {
        let cases = [
            ("/challenge", json!("x"), CredentialError::Challenge),
            ("/challenge/id", json!(1), CredentialError::Challenge),
            ("/challenge/expires", json!({}), CredentialError::Challenge),
            ("/payload", json!([]), CredentialError::Payload),
            ("/source", json!(1), CredentialError::Source),
            (
                "/source",
                json!("d".repeat(SOURCE_BYTES_MAX + 1)),
                CredentialError::Source,
            ),
        ];
        for (pointer, value, why) in cases {
            let mut bad = sample();
            *bad.pointer_mut(pointer).unwrap() = value;
            assert_eq!(find(&header(&bad)), Err(why), "{pointer}");
        }
        assert_eq!(find("Payment"), Err(CredentialError::Json(JsonError::Invalid)));
        assert_eq!(find("Payment e30"), Err(CredentialError::Challenge));
        let long = format!("Payment {}", "A".repeat(CREDENTIAL_BYTES_MAX + 1));
        assert_eq!(find(&long), Err(CredentialError::TooLong));
        let twice = sample().to_string().replacen('{', r#"{"payload":{},"#, 1);
        let twice = format!("Payment {}", b64::encode(twice));
        assert_eq!(find(&twice), Err(CredentialError::Json(JsonError::Invalid)));
    }

    #[test]
    fn an_opaque_map_as_older_clients_echo_it_is_spelled_again() {
        let mut value = sample();
        value["challenge"]["opaque"] = json!({"route": "/", "n": "AA"});
        let found = find(&header(&value)).unwrap().unwrap();
        assert_eq!(
            found.challenge.opaque,
            Some(b64::encode(r#"{"n":"AA","route":"/"}"#))
        );
    }

    #[test]
    fn threat_k1_debug_shows_no_proof() {
        let shown = format!("{:?}", find(&header(&sample())).unwrap());
        assert!(!shown.contains("abcdef") && !shown.contains("x7Tg"), "{shown}");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Credential::find([bytes.as_slice()]);
            let _ = Credential::decode(b64::encode(&bytes).as_bytes());
            let _ = Credential::find([[b"Payment ".as_slice(), &bytes].concat().as_slice()]);
        }

        #[test]
        fn it_goes_there_and_back(id in ".{1,20}", source in proptest::option::of(".{0,40}"), text in ".{0,40}") {
            let mut credential = find(&header(&sample())).unwrap().unwrap();
            credential.challenge.id = id;
            credential.source = source;
            credential.payload.insert("text".into(), Value::String(text));
            prop_assert_eq!(find(&credential.to_header().unwrap()), Ok(Some(credential)));
        }
    }
}
