//! What a route asks for: its challenges.

use crate::Funding;
use crate::charge_rows::CHALLENGE_SECONDS_MAX;
use crate::gateway::draw::offer_draws;
use crate::gateway::fund::offer_pulls;
use crate::gateway::price::Price;
use crate::gateway::route::Route;
use alloy_primitives::Address;
use axum::http::HeaderValue;
use std::sync::{Arc, PoisonError, RwLock};
use weir_core::{Amount, ChannelId, Domain, Terms, UnixSeconds};
use weir_protocol::charge::{ChargeDetails, ChargeRequest, ChargeRules, PERMIT2, charge_rules};
use weir_protocol::opaque::NONCE_BYTES;
use weir_protocol::rails::Rail;
use weir_protocol::request::MethodDetails;
use weir_protocol::secrets::{ChallengeRefusal, Unbound};
use weir_protocol::{Challenge, Intent, Opaque, Secrets, SessionRequest, VerifiedChallenge};

/// How long a challenge may be answered, in seconds: five minutes is usual among clients.
pub const CHALLENGE_SECONDS: u64 = 300;
const _: () = assert!(CHALLENGE_SECONDS <= CHALLENGE_SECONDS_MAX);
/// In a challenge's opaque part: how many seconds it lives, where that is not [`CHALLENGE_SECONDS`].
const LIFETIME_KEY: &str = "lives";

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
    /// The ways to pay, what the seller likes best first.
    pub ways: Vec<Way>,
    /// Pulls deposits, where the seller pays for that.
    pub funding: Option<Funding>,
}

/// A way to pay, which a challenge names by its method and intent.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// Vouchers on a channel; the rail follows from the escrow.
    Session(&'static dyn Rail),
    /// One payment for one answer.
    Charge(&'static ChargeRules),
}

impl Way {
    /// What payments are meant as.
    pub const fn intent(self) -> Intent {
        match self {
            Self::Session(_) => Intent::Session,
            Self::Charge(_) => Intent::Charge,
        }
    }

    /// The `method` and the `intent` of its challenges.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Session(rail) => (rail.rules().method, rail.rules().intent),
            Self::Charge(rules) => (rules.method, Intent::Charge.name()),
        }
    }
}

/// The session that follows from the escrow, and the charge of the same method.
pub fn ways(rail: &'static dyn Rail) -> Vec<Way> {
    let charge = charge_rules(rail.rules().method).map(Way::Charge);
    [Way::Session(rail)].into_iter().chain(charge).collect()
}

/// What a challenge is made for, beside its route.
#[derive(Debug, Clone, Default)]
pub struct Wants {
    /// The digest of the one request body that it buys the answer to.
    pub digest: Option<String>,
    /// The channel that its asker could go on with.
    pub resumes: Option<ChannelId>,
}

/// What a challenge of ours asked for.
#[derive(Debug, Clone)]
pub enum Asked {
    /// Vouchers on a channel.
    Session(&'static dyn Rail, Box<SessionRequest>),
    /// One payment.
    Charge(&'static ChargeRules, ChargeRequest),
}

/// When a challenge of ours was made. It says itself how long it lives: by now its route may say something else.
pub fn issued(challenge: &VerifiedChallenge) -> UnixSeconds {
    let lives = challenge.opaque().more.get(LIFETIME_KEY);
    let lives = lives.and_then(|seconds| seconds.parse().ok());
    let lives: u64 = lives.unwrap_or(CHALLENGE_SECONDS);
    UnixSeconds(challenge.expires().0.saturating_sub(lives))
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

    /// The ways by which a route's price may be paid, what the seller likes best first.
    pub fn ways(&self, price: &Price) -> Vec<Way> {
        let of = |intent: &Intent| {
            let intent = *intent;
            self.seller.ways.iter().filter(move |way| way.intent() == intent)
        };
        price.accept.iter().flat_map(of).copied().collect()
    }

    /// Whether vouchers on a channel of these terms could pay a route's price.
    pub fn may_be_paid_from(&self, price: &Price, terms: &Terms) -> bool {
        let domain = &self.seller.domain;
        self.ways(price).into_iter().any(|way| match way {
            Way::Session(rail) => {
                let request = self.session(rail, price, None);
                request.fits(terms, domain.escrow(), domain.chain_id())
            }
            Way::Charge(_) => false,
        })
    }

    /// The way that a challenge names. It is not verified here.
    pub fn way_of(&self, challenge: &Challenge) -> Option<Way> {
        let named = |way: &&Way| way.names() == (challenge.method.as_str(), challenge.intent.as_str());
        self.seller.ways.iter().find(named).copied()
    }

    /// The intent in whose words a credential is told that its challenge won't do: its own where the route offers that.
    pub fn intent_for(&self, challenge: &Challenge, price: &Price) -> &'static str {
        let ways = self.ways(price);
        let intents = || ways.iter().map(|way| way.names().1);
        let named = intents().find(|intent| *intent == challenge.intent);
        named.or_else(|| intents().next()).unwrap_or_default()
    }

    /// A fresh challenge to pay for a route in this way, as the value of a `WWW-Authenticate` field.
    ///
    /// # Errors
    /// [`OfferFault`].
    pub fn challenge(
        &self,
        way: Way,
        (route, price): (&Route, &Price),
        wants: &Wants,
        now: UnixSeconds,
    ) -> Result<HeaderValue, OfferFault> {
        let mut nonce = [0u8; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| OfferFault::NoRandomness)?;
        let (method, intent) = way.names();
        let (request, lives) = match way {
            Way::Session(rail) => {
                let request = self.session(rail, price, wants.resumes);
                (request.encode(rail.rules().addresses), CHALLENGE_SECONDS)
            }
            Way::Charge(rules) => {
                let request = self.payment(rules, price)?;
                (request.encode(rules.addresses), price.charge_challenge_seconds)
            }
        };
        let mut opaque = Opaque::new(nonce, route.name());
        if lives != CHALLENGE_SECONDS {
            opaque.more.insert(LIFETIME_KEY.to_owned(), lives.to_string());
        }
        let unbound = Unbound {
            realm: self.seller.realm.clone(),
            method: method.to_owned(),
            intent: intent.to_owned(),
            request: request.map_err(|error| OfferFault::Unwritable(error.to_string()))?,
            expires: now.after(lives),
            digest: wants.digest.clone(),
            description: price.description.clone(),
            opaque,
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

    fn session(&self, rail: &dyn Rail, price: &Price, resumes: Option<ChannelId>) -> SessionRequest {
        let seller = &self.seller;
        let rules = rail.rules();
        let types = |kinds: &[&str]| kinds.iter().copied().map(str::to_owned).collect();
        let delta = Some(price.voucher_delta_min).filter(|delta| !delta.is_zero());
        let mut request = SessionRequest {
            amount: price.most(),
            currency: seller.token,
            recipient: seller.recipient,
            unit_type: Some(price.unit.clone()),
            // Who resumes a channel has locked its deposit (draft-tempo-session-00, Method Details).
            suggested_deposit: price
                .suggested_deposit
                .filter(|_| resumes.is_none())
                .map(|deposit| Amount::new(deposit.base_units())),
            description: None,
            external_id: None,
            method_details: MethodDetails {
                min_voucher_delta: delta,
                channel_id: resumes,
                session_protocol: rules.session_protocol.map(str::to_owned),
                credential_types: rules.credential_types.map(types),
                ..MethodDetails::new(seller.domain.escrow(), seller.domain.chain_id())
            },
        };
        if let Some(funding) = &seller.funding {
            offer_pulls(funding, &mut request);
        }
        request
    }

    fn payment(&self, rules: &ChargeRules, price: &Price) -> Result<ChargeRequest, OfferFault> {
        let mut memo = [0u8; 32];
        let memo = if rules.has_memo && !price.per_unit.is_zero() {
            getrandom::fill(&mut memo).map_err(|_| OfferFault::NoRandomness)?;
            Some(memo.into())
        } else {
            None
        };
        let mut details = ChargeDetails {
            chain_id: self.seller.domain.chain_id(),
            memo,
            permit2_address: rules.is_explicit.then_some(PERMIT2),
            permit2_spender: None,
            credential_types: None,
        };
        if rules.is_explicit {
            offer_draws(self.seller.funding.as_ref(), price.most(), &mut details);
        }
        Ok(ChargeRequest {
            amount: price.most(),
            currency: self.seller.token,
            recipient: self.seller.recipient,
            method_details: details,
        })
    }

    /// Recognises an echoed challenge as a live one of ours for this route, in a way that is known here.
    ///
    /// # Errors
    /// [`ChallengeRefusal`]; one of another route counts as unknown.
    pub fn verify(
        &self,
        echo: Challenge,
        route: &Route,
        now: UnixSeconds,
    ) -> Result<(VerifiedChallenge, Asked), ChallengeRefusal> {
        let verified = self.secrets().verify(echo, now)?;
        let challenge = verified.challenge();
        // The secret may have served another escrow before, and with it other ways.
        let way = self.way_of(challenge).ok_or(ChallengeRefusal::Unknown)?;
        if challenge.realm != self.seller.realm || verified.opaque().route != route.name() {
            return Err(ChallengeRefusal::Unknown);
        }
        // The price is the one that was offered, whatever the configuration says by now.
        let asked = match way {
            Way::Session(rail) => SessionRequest::decode(&challenge.request, rail.rules().default_chain_id)
                .map(|request| Asked::Session(rail, Box::new(request))),
            Way::Charge(rules) => {
                ChargeRequest::decode(&challenge.request).map(|request| Asked::Charge(rules, request))
            }
        };
        let asked = asked.map_err(|_| ChallengeRefusal::Unknown)?;
        Ok((verified, asked))
    }
}
