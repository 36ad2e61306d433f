//! What a route asks for: its challenges.

use crate::gateway::route::{Price, Route};
use alloy_primitives::Address;
use axum::http::HeaderValue;
use std::sync::{Arc, PoisonError, RwLock};
use weir_core::{Amount, Domain, UnixSeconds};
use weir_protocol::opaque::NONCE_BYTES;
use weir_protocol::rails::Rail;
use weir_protocol::request::MethodDetails;
use weir_protocol::secrets::{ChallengeRefusal, Unbound};
use weir_protocol::{Challenge, Opaque, Secrets, SessionRequest, VerifiedChallenge};

/// How long a challenge may be answered, in seconds: five minutes is usual among clients.
pub const CHALLENGE_SECONDS: u64 = 300;

/// A challenge could not be made: the configuration, not the request, is at fault.
#[derive(Debug, thiserror::Error)]
pub enum OfferFault {
    /// No randomness.
    #[error("the system has no random numbers")]
    NoRandomness,
    /// A value cannot stand in a challenge.
    #[error("a challenge cannot be written: {0}")]
    Unwritable(String),
}

/// Whom payers pay, in what, under which contract.
#[derive(Debug, Clone)]
pub struct Seller {
    /// Protection space.
    pub realm: String,
    /// Who is paid.
    pub recipient: Address,
    /// The token.
    pub token: Address,
    /// The escrow's domain.
    pub domain: Domain,
    /// The way to pay that follows from the escrow.
    pub rail: &'static dyn Rail,
}

/// Makes challenges and recognises them again.
#[derive(Debug)]
pub struct Offers {
    seller: Seller,
    secrets: RwLock<Arc<Secrets>>,
}

impl Offers {
    /// Offers of a seller, bound by its secrets.
    pub fn new(seller: Seller, secrets: Secrets) -> Self {
        Self {
            seller,
            secrets: RwLock::new(Arc::new(secrets)),
        }
    }

    /// The seller.
    pub const fn seller(&self) -> &Seller {
        &self.seller
    }

    fn secrets(&self) -> Arc<Secrets> {
        Arc::clone(&self.secrets.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A fresh challenge for a route, as the value of a `WWW-Authenticate` field.
    ///
    /// # Errors
    /// [`OfferFault`].
    pub fn challenge(
        &self,
        route: &Route,
        price: &Price,
        digest: Option<String>,
        now: UnixSeconds,
    ) -> Result<HeaderValue, OfferFault> {
        let mut nonce = [0u8; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| OfferFault::NoRandomness)?;
        let rules = self.seller.rail.rules();
        let request = self.request(price).encode(rules.addresses);
        let unbound = Unbound {
            realm: self.seller.realm.clone(),
            method: rules.method.to_owned(),
            intent: rules.intent.to_owned(),
            request: request.map_err(|error| OfferFault::Unwritable(error.to_string()))?,
            expires: now.after(CHALLENGE_SECONDS),
            digest,
            description: price.description.clone(),
            opaque: Opaque::new(nonce, route.name()),
        };
        let challenge = self
            .secrets()
            .sign(unbound)
            .map_err(|error| OfferFault::Unwritable(error.to_string()))?;
        let header = challenge
            .to_header()
            .map_err(|error| OfferFault::Unwritable(error.to_string()))?;
        HeaderValue::from_str(&header).map_err(|error| OfferFault::Unwritable(error.to_string()))
    }

    fn request(&self, price: &Price) -> SessionRequest {
        let seller = &self.seller;
        let rules = seller.rail.rules();
        let types = |kinds: &[&str]| kinds.iter().copied().map(str::to_owned).collect();
        let delta = Some(price.voucher_delta_min).filter(|delta| !delta.is_zero());
        SessionRequest {
            amount: price.per_unit,
            currency: seller.token,
            recipient: seller.recipient,
            unit_type: Some(price.unit.clone()),
            suggested_deposit: price
                .suggested_deposit
                .map(|deposit| Amount::new(deposit.base_units())),
            description: None,
            external_id: None,
            method_details: MethodDetails {
                min_voucher_delta: delta,
                session_protocol: rules.session_protocol.map(str::to_owned),
                credential_types: rules.credential_types.map(types),
                ..MethodDetails::new(seller.domain.escrow(), seller.domain.chain_id())
            },
        }
    }

    /// Recognises an echoed challenge as a live one of ours for this route.
    ///
    /// # Errors
    /// [`ChallengeRefusal`]; one of another route counts as unknown.
    pub fn verify(
        &self,
        echo: Challenge,
        route: &Route,
        now: UnixSeconds,
    ) -> Result<(VerifiedChallenge, SessionRequest), ChallengeRefusal> {
        let verified = self.secrets().verify(echo, now)?;
        let challenge = verified.challenge();
        let rules = self.seller.rail.rules();
        // The secret may have served another escrow before, and with it another rail.
        let is_of_this_rail = challenge.method == rules.method && challenge.intent == rules.intent;
        let is_of_this_place =
            challenge.realm == self.seller.realm && verified.opaque().route == route.name();
        if !is_of_this_rail || !is_of_this_place {
            return Err(ChallengeRefusal::Unknown);
        }
        // The price is the one that was offered, whatever the configuration says by now.
        let request = SessionRequest::decode(&challenge.request, rules.default_chain_id)
            .map_err(|_| ChallengeRefusal::Unknown)?;
        Ok((verified, request))
    }
}
