//! A charge as the payer reads it.

use crate::error::Error;
use crate::limits::Limits;
use crate::offer::is_fresh;
use alloy::primitives::B256;
use reqwest::Url;
use serde_json::Value;
use weir_core::UnixSeconds;
use weir_protocol::charge::{ChargeRequest, attribution, charge_rules};
use weir_protocol::limits::CHALLENGE_BYTES_MAX;
use weir_protocol::{Challenge, json, timestamp};

/// The chain that a Tempo charge without `chainId` means (draft-tempo-charge-00, Method Details).
const TEMPO_CHAIN_ID: u64 = 42431;

/// How a charge is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The server broadcasts what the payer signed.
    Pull,
    /// The payer broadcasts it, and tells its hash.
    Push,
    /// Nothing is paid: a signature is shown.
    Proof,
}

/// A charge that was decoded and found within the limits.
#[derive(Debug, Clone)]
pub(crate) struct ChargeOffer {
    pub(crate) challenge: Challenge,
    pub(crate) request: ChargeRequest,
    pub(crate) mode: Mode,
}

impl ChargeOffer {
    /// Reads a charge. `None` for what this payer cannot pay.
    ///
    /// # Errors
    /// A limit that stands in the way; [`Error::StaleChallenge`].
    pub(crate) fn judge(
        challenge: Challenge,
        limits: &Limits,
        now: UnixSeconds,
    ) -> Result<Option<Self>, Error> {
        // Without memos nothing ties a transfer to its challenge, nor ends it: those charges are not paid.
        let is_ours = charge_rules(&challenge.method).is_some_and(|rules| rules.has_memo);
        let read = if is_ours { read(&challenge.request) } else { None };
        let Some((request, mode)) = read else {
            return Ok(None);
        };
        limits.check_charge(&request)?;
        if !is_fresh(&challenge, now) {
            return Err(Error::StaleChallenge);
        }
        Ok(Some(Self {
            challenge,
            request,
            mode,
        }))
    }

    /// What binds a transfer to this challenge: its own memo, or one made of its id.
    pub(crate) fn memo(&self) -> B256 {
        let own = self.request.method_details.memo;
        own.unwrap_or_else(|| attribution(&self.challenge))
    }

    /// When the challenge expires.
    pub(crate) fn expires(&self) -> Option<UnixSeconds> {
        let expires = self.challenge.expires.as_deref().map(timestamp::read);
        expires.and_then(Result::ok)
    }
}

impl Limits {
    /// Whether a proof of who asks may be made for this realm: another server could show it there as its own.
    ///
    /// # Errors
    /// [`Error::ForeignRealm`].
    pub(crate) fn check_realm(&self, realm: &str, url: &Url) -> Result<(), Error> {
        let host = url.host_str().unwrap_or_default();
        let with_port = url.port().map(|port| format!("{host}:{port}"));
        if realm == host || with_port.as_deref() == Some(realm) || self.realms.contains(realm) {
            return Ok(());
        }
        Err(Error::ForeignRealm {
            realm: realm.to_owned(),
            host: host.to_owned(),
        })
    }
}

/// What is asked for, and how this payer pays it; `None` when it cannot.
fn read(request: &str) -> Option<(ChargeRequest, Mode)> {
    let mut object = json::parse_object_b64(request.as_bytes(), CHALLENGE_BYTES_MAX).ok()?;
    let details = object.get_mut("methodDetails")?.as_object_mut()?;
    // Not paid by this payer: shares of several recipients, and transactions that the server pays the fees of.
    if details.contains_key("splits") || details.get("feePayer") == Some(&Value::Bool(true)) {
        return None;
    }
    if !details.contains_key("chainId") {
        details.insert("chainId".to_owned(), TEMPO_CHAIN_ID.into());
    }
    let modes = details.get("supportedModes").cloned();
    let request: ChargeRequest = serde_json::from_value(Value::Object(object)).ok()?;
    let takes = |mode: &str| match &modes {
        None => true,
        Some(Value::Array(modes)) => modes.iter().any(|known| known == mode),
        Some(_) => false,
    };
    let mode = match () {
        () if request.amount.is_zero() => Mode::Proof,
        () if takes("pull") => Mode::Pull,
        () if takes("push") => Mode::Push,
        () => return None,
    };
    Some((request, mode))
}
