//! The wire of Weir: what is said over HTTP, as bytes and as types.
//!
//! Nothing here knows a clock, a socket, a disk or a random number: nonces and times arrive as arguments.
//! Everything that reads bytes is bounded by [`limits`], refuses with a typed error, and never panics.
//!
//! | module | what it reads or writes |
//! |---|---|
//! | [`challenge`], [`secrets`], [`opaque`] | `WWW-Authenticate: Payment …`, and the proof that it was ours |
//! | [`request`] | the price and the terms inside a session challenge |
//! | [`charge`] | one payment for one answer: what is asked, claimed, judged and receipted |
//! | [`credential`], [`did`] | `Authorization: Payment …` and who says so |
//! | [`rails`] | what a credential of one method × intent claims, which evidence it needs, the judgement |
//! | [`mod@delivery`], [`intent`] | which requests buy content; what a payment is meant as |
//! | [`receipt`], [`problem`], [`fields`] | the yes and the no, and which no a wrong field gets |
//! | [`sse`], [`splitter`] | payment events in a stream, and where one event ends |
//! | [`accept`], [`digest`] | what the client would rather pay with; what the body was |
//! | [`auth_params`], [`b64`], [`hex`], [`json`], [`timestamp`] | the spellings underneath |

pub mod accept;
pub mod auth_params;
pub mod b64;
pub mod challenge;
pub mod charge;
pub mod credential;
pub mod delivery;
pub mod did;
pub mod digest;
pub mod fields;
pub mod hex;
pub mod intent;
pub mod json;
pub mod limits;
pub mod opaque;
pub mod problem;
pub mod rails;
pub mod receipt;
pub mod request;
pub mod secrets;
pub mod splitter;
pub mod sse;
pub mod timestamp;

pub use challenge::{Challenge, ChallengeError, ChallengeTag};
pub use credential::{Credential, CredentialError};
pub use delivery::{Delivery, delivery};
pub use intent::Intent;
pub use opaque::Opaque;
pub use problem::{Problem, ProblemType};
pub use receipt::SessionReceipt;
pub use request::SessionRequest;
pub use secrets::{ChallengeRefusal, ChallengeSecret, Secrets, VerifiedChallenge};
