//! The payment challenge, as it stands in `WWW-Authenticate` and is echoed in a credential
//! (draft-httpauth-payment-00, Challenge).

use crate::auth_params::{self, AuthParamsError, RawChallenge};
use crate::json::{self, JsonError};
use crate::limits::{CHALLENGE_BYTES_MAX, CHALLENGES_MAX};
use core::fmt;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The name of the authentication scheme.
pub const SCHEME: &str = "Payment";

/// Why a challenge cannot be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// The field line breaks the grammar, or a value has no safe place in one.
    #[error("the challenge is not a well-formed list of parameters")]
    Syntax,
    /// A required parameter is missing or empty.
    #[error("the challenge has no {0}")]
    Missing(&'static str),
    /// Longer than [`CHALLENGE_BYTES_MAX`].
    #[error("the challenge is too long")]
    TooLong,
    /// A parameter holds `|`, which separates the slots of the binding.
    #[error("the challenge's {0} holds a separator")]
    Separator(&'static str),
    /// A moment that RFC 3339 cannot spell.
    #[error("the challenge's expiry cannot be spelled")]
    Expiry,
}

impl From<AuthParamsError> for ChallengeError {
    fn from(_: AuthParamsError) -> Self {
        Self::Syntax
    }
}

/// A challenge with its parameters exactly as they stand on the wire. Nothing is believed of it yet.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// Identifies the challenge, and binds the parameters below to it.
    pub id: String,
    /// Protection space.
    pub realm: String,
    /// Payment method, such as `evm` or `tempo`.
    pub method: String,
    /// Payment intent, such as `session`.
    pub intent: String,
    /// What is to be paid: canonical JSON in base64url.
    pub request: String,
    /// RFC 3339 moment at which it expires. Optional on the wire; a server of this crate refuses its absence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// RFC 9530 digest of the body it was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// For people; never for a decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The server's own data: a flat map of strings as canonical JSON in base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opaque: Option<String>,
}

/// The challenge is half of a credential: logs get what names it, not what proves it (threat K1).
impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Challenge({}/{} of {:?}, {:?})",
            self.method,
            self.intent,
            self.realm,
            self.tag()
        )
    }
}

/// SHA-256 of a challenge's id: the key under which "this credential bought its content" is kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChallengeTag(pub [u8; 32]);

impl fmt::Debug for ChallengeTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "ChallengeTag({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

impl Challenge {
    /// The tag of this challenge's id.
    pub fn tag(&self) -> ChallengeTag {
        ChallengeTag(Sha256::digest(self.id.as_bytes()).into())
    }

    /// Writes the value of a `WWW-Authenticate` field line.
    ///
    /// # Errors
    /// [`ChallengeError`] when a required parameter is empty, a value is no printable ASCII, or the whole is
    /// longer than [`CHALLENGE_BYTES_MAX`].
    pub fn to_header(&self) -> Result<String, ChallengeError> {
        let required = [
            ("id", &self.id),
            ("realm", &self.realm),
            ("method", &self.method),
            ("intent", &self.intent),
            ("request", &self.request),
        ];
        let optional = [
            ("expires", &self.expires),
            ("digest", &self.digest),
            ("description", &self.description),
            ("opaque", &self.opaque),
        ];
        let mut line = String::from(SCHEME);
        for (position, (name, value)) in required.into_iter().enumerate() {
            if value.is_empty() {
                return Err(ChallengeError::Missing(name));
            }
            line.push_str(if position == 0 { " " } else { ", " });
            write_param(name, value, &mut line)?;
        }
        for (name, value) in optional {
            if let Some(value) = value {
                line.push_str(", ");
                write_param(name, value, &mut line)?;
            }
        }
        if line.len() > CHALLENGE_BYTES_MAX {
            return Err(ChallengeError::TooLong);
        }
        Ok(line)
    }

    /// Reads the payment challenges from an answer's `WWW-Authenticate` field lines, at most
    /// [`CHALLENGES_MAX`]; other schemes are passed over, and a broken challenge does not hide its neighbours.
    pub fn read_all<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Vec<Result<Self, ChallengeError>> {
        let challenges = lines.into_iter().flat_map(auth_params::split);
        let payments = challenges.filter(|raw| raw.scheme.eq_ignore_ascii_case(SCHEME));
        payments.take(CHALLENGES_MAX).map(Self::from_raw).collect()
    }

    fn from_raw(raw: RawChallenge) -> Result<Self, ChallengeError> {
        let params = raw.params?;
        if params
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum::<usize>()
            > CHALLENGE_BYTES_MAX
        {
            return Err(ChallengeError::TooLong);
        }
        let mut params: Vec<(String, String)> = params
            .into_iter()
            .map(|(name, value)| String::from_utf8(value).map(|value| (name, value)))
            .collect::<Result<_, _>>()
            .map_err(|_| ChallengeError::Syntax)?;
        let mut optional = |name: &str| {
            let at = params.iter().position(|(known, _)| known == name)?;
            Some(params.swap_remove(at).1)
        };
        let mut required = |name: &'static str| {
            optional(name)
                .filter(|value| !value.is_empty())
                .ok_or(ChallengeError::Missing(name))
        };
        Ok(Self {
            id: required("id")?,
            realm: required("realm")?,
            method: required("method")?,
            intent: required("intent")?,
            request: required("request")?,
            expires: optional("expires"),
            digest: optional("digest"),
            description: optional("description"),
            opaque: optional("opaque"),
        })
    }

    /// Reads the echo inside a credential. Unknown members are ignored; `opaque` may also be the map itself,
    /// as older clients send it, and is then spelled again as it was issued.
    pub(crate) fn from_echo(mut echo: Map<String, Value>) -> Result<Self, JsonError> {
        if let Some(Value::Object(map)) = echo.get("opaque") {
            let spelled = json::canonical_b64(map)?;
            echo.insert("opaque".to_owned(), Value::String(spelled));
        }
        serde_json::from_value(Value::Object(echo)).map_err(|_| JsonError::Invalid)
    }
}

fn write_param(name: &str, value: &str, line: &mut String) -> Result<(), ChallengeError> {
    line.push_str(name);
    line.push('=');
    auth_params::quote(value, line).map_err(ChallengeError::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn sample() -> Challenge {
        Challenge {
            id: "x7Tg".into(),
            realm: "api.example.com".into(),
            method: "evm".into(),
            intent: "session".into(),
            request: "e30".into(),
            expires: Some("2025-01-15T12:05:00Z".into()),
            digest: None,
            description: Some(r#"a "good" one \ only"#.into()),
            opaque: None,
        }
    }

    #[test]
    fn a_challenge_is_written_and_read_back_among_others() {
        let header = sample().to_header().unwrap();
        assert!(
            header.starts_with(r#"Payment id="x7Tg", realm="api.example.com", method="evm""#),
            "{header}"
        );
        let mixed = format!(r#"Basic realm="x", {header}, Bearer abc"#);
        let second = format!(r#"{}, new="ignored""#, header.replace("Payment", "payment"));
        let read = Challenge::read_all([mixed.as_bytes(), second.as_bytes()]);
        assert_eq!(read, [Ok(sample()), Ok(sample())]);
    }

    #[test]
    fn a_challenge_without_an_id_is_refused_both_ways() {
        let empty = Challenge {
            id: String::new(),
            ..sample()
        };
        assert_eq!(empty.to_header(), Err(ChallengeError::Missing("id")));
        let header = sample().to_header().unwrap();
        for (broken, why) in [
            (
                header.replace(r#"id="x7Tg", "#, ""),
                ChallengeError::Missing("id"),
            ),
            (header.replace("x7Tg", ""), ChallengeError::Missing("id")),
            (header.replace("realm=", "r="), ChallengeError::Missing("realm")),
            (header.replace("x7Tg\"", "x7Tg\" x"), ChallengeError::Syntax),
        ] {
            assert_eq!(Challenge::read_all([broken.as_bytes()]), [Err(why)], "{broken}");
        }
    }

    #[test]
    fn nothing_that_could_split_a_header_is_written() {
        for bad in ["a\r\nSet-Cookie: x", "a\nb", "tab\t", "\u{2014}", "\u{7f}"] {
            let challenge = Challenge {
                description: Some(bad.into()),
                ..sample()
            };
            assert_eq!(challenge.to_header(), Err(ChallengeError::Syntax), "{bad:?}");
        }
        let long = Challenge {
            request: "a".repeat(CHALLENGE_BYTES_MAX),
            ..sample()
        };
        assert_eq!(long.to_header(), Err(ChallengeError::TooLong));
    }

    #[test]
    fn threat_k1_debug_shows_no_id() {
        assert!(!format!("{:?}", sample()).contains("x7Tg"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Challenge::read_all([bytes.as_slice()]);
            let _ = Challenge::read_all([[b"Payment id=".as_slice(), &bytes].concat().as_slice()]);
        }

        #[test]
        fn every_printable_value_is_read_back(values in proptest::array::uniform8("[ -~]{1,30}")) {
            let [id, realm, method, intent, request, expires, description, opaque] = values;
            let expires = Some(expires).filter(|text| text.len() % 2 == 0);
            let (description, opaque) = (Some(description), Some(opaque));
            let written =
                Challenge { id, realm, method, intent, request, expires, digest: None, description, opaque };
            let header = written.to_header().unwrap();
            prop_assert_eq!(Challenge::read_all([header.as_bytes()]), [Ok(written)]);
        }
    }
}
