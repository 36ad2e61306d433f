//! The server's own data inside a challenge (draft-httpauth-payment-00, `opaque`): a flat map of strings.
//!
//! Weir puts two things there: a random nonce, so that no two challenges are ever one, and the route that the
//! challenge was made for, so that a credential cannot be carried to another.

use crate::b64;
use crate::json::{self, JsonError};
use crate::limits::{CHALLENGE_BYTES_MAX, OPAQUE_ENTRIES_MAX};
use core::fmt;
use serde_json::Value;
use std::collections::BTreeMap;

/// Length of the nonce.
pub const NONCE_BYTES: usize = 16;

const NONCE_KEY: &str = "n";
const ROUTE_KEY: &str = "route";

/// Why an `opaque` is not one that Weir wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpaqueError {
    /// Not a flat JSON map of strings in base64url, or too large.
    #[error("opaque is not a flat map of strings")]
    Shape,
    /// No nonce, or not one of [`NONCE_BYTES`].
    #[error("opaque has no nonce")]
    Nonce,
    /// No route.
    #[error("opaque names no route")]
    Route,
}

impl From<JsonError> for OpaqueError {
    fn from(_: JsonError) -> Self {
        Self::Shape
    }
}

/// What a challenge of ours carries for us.
#[derive(Clone, PartialEq, Eq)]
pub struct Opaque {
    /// Random; makes every challenge a fresh one.
    pub nonce: [u8; NONCE_BYTES],
    /// The route that the challenge was made for.
    pub route: String,
    /// Anything else; the keys `n` and `route` are taken and ignored here.
    pub more: BTreeMap<String, String>,
}

impl fmt::Debug for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opaque")
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

impl Opaque {
    /// A nonce for a route, and nothing more.
    pub fn new(nonce: [u8; NONCE_BYTES], route: impl Into<String>) -> Self {
        Self {
            nonce,
            route: route.into(),
            more: BTreeMap::new(),
        }
    }

    /// The wire form: canonical JSON in base64url.
    ///
    /// # Errors
    /// [`OpaqueError::Shape`] when there are more than [`OPAQUE_ENTRIES_MAX`] entries.
    pub fn encode(&self) -> Result<String, OpaqueError> {
        let mut map = self.more.clone();
        map.insert(NONCE_KEY.to_owned(), b64::encode(self.nonce));
        map.insert(ROUTE_KEY.to_owned(), self.route.clone());
        if map.len() > OPAQUE_ENTRIES_MAX {
            return Err(OpaqueError::Shape);
        }
        Ok(json::canonical_b64(&map)?)
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// [`OpaqueError`].
    pub fn decode(text: &str) -> Result<Self, OpaqueError> {
        let object = json::parse_object_b64(text.as_bytes(), CHALLENGE_BYTES_MAX)?;
        if object.len() > OPAQUE_ENTRIES_MAX {
            return Err(OpaqueError::Shape);
        }
        let mut more = BTreeMap::new();
        for (key, value) in object {
            let Value::String(value) = value else {
                return Err(OpaqueError::Shape);
            };
            more.insert(key, value);
        }
        let nonce = more.remove(NONCE_KEY).ok_or(OpaqueError::Nonce)?;
        let nonce = b64::decode(nonce).map_err(|_| OpaqueError::Nonce)?;
        let nonce = nonce.try_into().map_err(|_| OpaqueError::Nonce)?;
        let route = more.remove(ROUTE_KEY).ok_or(OpaqueError::Route)?;
        Ok(Self { nonce, route, more })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn only_a_flat_map_with_nonce_and_route_is_taken() {
        let nonce = b64::encode([1; NONCE_BYTES]);
        let cases = [
            (json!({"n": nonce, "route": "/a"}), None),
            (json!({"n": nonce}), Some(OpaqueError::Route)),
            (json!({"route": "/a"}), Some(OpaqueError::Nonce)),
            (json!({"n": "AA", "route": "/a"}), Some(OpaqueError::Nonce)),
            (json!({"n": nonce, "route": 1}), Some(OpaqueError::Shape)),
            (json!({"n": nonce, "route": {"a": "b"}}), Some(OpaqueError::Shape)),
            (json!([nonce]), Some(OpaqueError::Shape)),
        ];
        for (value, refused) in cases {
            let wire = json::canonical_b64(&value).unwrap();
            assert_eq!(Opaque::decode(&wire).err(), refused, "{value}");
        }
        let crowded = (0..OPAQUE_ENTRIES_MAX)
            .map(|n| (n.to_string(), String::new()))
            .collect();
        let crowded = Opaque {
            more: crowded,
            ..Opaque::new([0; NONCE_BYTES], "/")
        };
        assert_eq!(crowded.encode(), Err(OpaqueError::Shape));
    }

    proptest! {
        #[test]
        fn it_goes_there_and_back(nonce: [u8; NONCE_BYTES], route in ".{0,20}", extra in "[a-m]{1,6}", value in ".{0,9}") {
            let mut opaque = Opaque::new(nonce, route);
            opaque.more.insert(extra, value);
            prop_assert_eq!(Opaque::decode(&opaque.encode().unwrap()), Ok(opaque));
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,60}") {
            let _ = Opaque::decode(&text);
        }
    }
}
