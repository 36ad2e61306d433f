//! The secrets that bind a challenge's id to its parameters, so that no challenge needs to be stored
//! (draft-httpauth-payment-00, Recommended: HMAC-SHA256 Binding).

use crate::b64;
use crate::challenge::{Challenge, ChallengeError, ChallengeTag};
use crate::limits::SECRET_BYTES_MIN;
use crate::opaque::{Opaque, OpaqueError};
use crate::timestamp;
use core::fmt;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use weir_core::UnixSeconds;

/// A secret is shorter than [`SECRET_BYTES_MIN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a challenge secret has at least {SECRET_BYTES_MIN} bytes")]
pub struct SecretError;

/// Key material that binds challenges. Never printed.
#[derive(Clone)]
pub struct ChallengeSecret(Vec<u8>);

impl ChallengeSecret {
    /// Takes at least [`SECRET_BYTES_MIN`] random bytes.
    ///
    /// # Errors
    /// [`SecretError`] when there are fewer: whoever guesses the secret can make challenges of any price.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, SecretError> {
        let bytes = bytes.into();
        if bytes.len() < SECRET_BYTES_MIN {
            Err(SecretError)
        } else {
            Ok(Self(bytes))
        }
    }

    /// The HMAC over the seven slots, in their fixed order.
    fn bind(&self, slots: [&str; 7]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        for (position, slot) in slots.into_iter().enumerate() {
            if position > 0 {
                mac.update(b"|");
            }
            mac.update(slot.as_bytes());
        }
        Some(mac)
    }
}

impl fmt::Debug for ChallengeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChallengeSecret(…)")
    }
}

/// The secret that signs now, and the one before it for as long as its challenges may live.
#[derive(Debug, Clone)]
pub struct Secrets {
    current: ChallengeSecret,
    previous: Option<(ChallengeSecret, UnixSeconds)>,
}

/// A challenge before it is bound: everything but the id.
#[derive(Debug, Clone)]
pub struct Unbound {
    /// Protection space.
    pub realm: String,
    /// Payment method.
    pub method: String,
    /// Payment intent.
    pub intent: String,
    /// Canonical JSON in base64url, from [`SessionRequest::encode`](crate::request::SessionRequest::encode).
    pub request: String,
    /// When it expires.
    pub expires: UnixSeconds,
    /// Content digest of the request that was answered, when it had a body.
    pub digest: Option<String>,
    /// For people; printable ASCII.
    pub description: Option<String>,
    /// The nonce and the route.
    pub opaque: Opaque,
}

/// Why an echoed challenge is not a live one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeRefusal {
    /// No secret of ours made this id for these parameters.
    #[error("the challenge is not one of this server's")]
    Unknown,
    /// It carries no expiry, or one that cannot be read (threat V6).
    #[error("the challenge has no readable expiry")]
    NoExpiry,
    /// Its time has passed.
    #[error("the challenge has expired")]
    Expired,
    /// Its `opaque` is not one that Weir writes.
    #[error("the challenge has no readable opaque")]
    NoOpaque,
}

/// An echoed challenge that a secret of ours made and whose time has not passed. Only [`Secrets::verify`]
/// makes one.
#[derive(Debug, Clone)]
pub struct VerifiedChallenge {
    challenge: Challenge,
    opaque: Opaque,
    expires: UnixSeconds,
}

impl VerifiedChallenge {
    /// The challenge; every parameter but `description` is as it was issued.
    pub const fn challenge(&self) -> &Challenge {
        &self.challenge
    }

    /// The nonce and the route.
    pub const fn opaque(&self) -> &Opaque {
        &self.opaque
    }

    /// When it expires.
    pub const fn expires(&self) -> UnixSeconds {
        self.expires
    }

    /// The key under which it is remembered that this challenge bought content.
    pub fn tag(&self) -> ChallengeTag {
        self.challenge.tag()
    }
}

impl Secrets {
    /// One secret, with no predecessor.
    pub const fn new(current: ChallengeSecret) -> Self {
        Self {
            current,
            previous: None,
        }
    }

    /// A secret that took over from another, which is still believed until `until`: the moment of the change
    /// plus the longest life of a challenge.
    pub const fn rotated(current: ChallengeSecret, previous: ChallengeSecret, until: UnixSeconds) -> Self {
        Self {
            current,
            previous: Some((previous, until)),
        }
    }

    /// Binds a challenge with the current secret.
    ///
    /// # Errors
    /// [`ChallengeError`] when a parameter is empty, cannot stand in a header, or the whole is too long:
    /// a fault in the route's configuration, not in a request.
    pub fn sign(&self, unbound: Unbound) -> Result<Challenge, ChallengeError> {
        let opaque = unbound
            .opaque
            .encode()
            .map_err(|_: OpaqueError| ChallengeError::TooLong)?;
        let expires = timestamp::write(unbound.expires).map_err(|_| ChallengeError::Expiry)?;
        let mut challenge = Challenge {
            id: String::new(),
            realm: unbound.realm,
            method: unbound.method,
            intent: unbound.intent,
            request: unbound.request,
            expires: Some(expires),
            digest: unbound.digest,
            description: unbound.description,
            opaque: Some(opaque),
        };
        let slots = slots(&challenge)?;
        let mac = self.current.bind(slots).ok_or(ChallengeError::Missing("id"))?;
        challenge.id = b64::encode(mac.finalize().into_bytes());
        challenge.to_header().map(|_| challenge)
    }

    /// Verifies an echoed challenge: the binding in constant time first, then the expiry, then `opaque`.
    ///
    /// # Errors
    /// [`ChallengeRefusal`].
    pub fn verify(&self, echo: Challenge, now: UnixSeconds) -> Result<VerifiedChallenge, ChallengeRefusal> {
        let slots = slots(&echo).map_err(|_| ChallengeRefusal::Unknown)?;
        // A strict reading: an id of two spellings would be two credentials for one challenge.
        let id = b64::decode(&echo.id).map_err(|_| ChallengeRefusal::Unknown)?;
        let previous = self
            .previous
            .as_ref()
            .filter(|(_, until)| now < *until)
            .map(|(secret, _)| secret);
        let bound = core::iter::once(&self.current)
            .chain(previous)
            .filter_map(|secret| secret.bind(slots))
            .any(|mac| mac.verify_slice(&id).is_ok());
        if !bound {
            return Err(ChallengeRefusal::Unknown);
        }
        let expires = echo.expires.as_deref().ok_or(ChallengeRefusal::NoExpiry)?;
        let expires = timestamp::read(expires).map_err(|_| ChallengeRefusal::NoExpiry)?;
        if expires <= now {
            return Err(ChallengeRefusal::Expired);
        }
        let opaque = echo.opaque.as_deref().ok_or(ChallengeRefusal::NoOpaque)?;
        let opaque = Opaque::decode(opaque).map_err(|_| ChallengeRefusal::NoOpaque)?;
        Ok(VerifiedChallenge {
            challenge: echo,
            opaque,
            expires,
        })
    }
}

/// The seven slots of the binding. A separator inside one would let two challenges share an input.
fn slots(challenge: &Challenge) -> Result<[&str; 7], ChallengeError> {
    let slots = [
        ("realm", challenge.realm.as_str()),
        ("method", &challenge.method),
        ("intent", &challenge.intent),
        ("request", &challenge.request),
        ("expires", challenge.expires.as_deref().unwrap_or_default()),
        ("digest", challenge.digest.as_deref().unwrap_or_default()),
        ("opaque", challenge.opaque.as_deref().unwrap_or_default()),
    ];
    for (name, value) in slots {
        if value.contains('|') {
            return Err(ChallengeError::Separator(name));
        }
    }
    Ok(slots.map(|(_, value)| value))
}

#[cfg(test)]
#[path = "secrets_tests.rs"]
mod tests;
