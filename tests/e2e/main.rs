//! End to end: the real `weir` binary in a process of its own, on a real chain, before services that misbehave.
//!
//! | module | what it shows |
//! |---|---|
//! | `kill_nine` | a daemon that is killed again and again forgets nothing that it acknowledged |
//! | `bad_input` | what is refused, how, and that it changes nothing |
//! | `bad_vouchers` | the same for vouchers and replays |
//! | `fields` | one field wrong at a time: each is answered as `docs/problems.md` says |
//! | `charges`, `charges_evm`, `charges_once` | payments of single answers: by other makes' clients, by hashes, by thieves, over kills and failures |
//! | `opens` | opens that the chain does not bear out, that are not there, that come again |
//! | `upstream_failures` | each way in which a service fails is charged or not charged exactly once |
//! | `repeats` | requests that come again under their key: charged once, answered again |
//! | `restart` | an orderly end, a second daemon, a chain that is away |
//! | `other_token` | channels in a token that is not asked for, and pages that the operator did not open |
//! | `discovery` | what is told of a service before anybody asks, and what mppx's validator finds |
//! | `offers` | what an unpaid request is offered |
//! | `config` | what is said of a configuration: when it is checked, at the start, and when it has changed |
//! | `metrics` | what Prometheus is told |
//! | `streams` | streams sold by the event: their end, that of the daemon, and that of the payer |
//! | `deploy` | an escrow is deployed once, found again, and refused when it is another |
//! | `seller_vanished` | the deposit comes back without the seller |
//! | `payer_charges` | what `weir pay` pays at once, to servers of ours and of another make, over its own kills |
//! | `payer_cli` | what `weir pay` pays, prints and says |
//! | `payer_leaves` | Ctrl-C, nodes that are away, close requests and withdrawals at the command line |
//! | `settle` | what the daemon takes on the chain, and when |
//! | `sidecar` | services in other languages, which ask before they answer |
//! | `tls` | payers that connect by TLS |
//! | `embedded` | a service that sells its own answers, in its own program |
//! | `demo` | the demonstration comes out even and leaves no process |
//! | `reserve` | channels of the chain's own reserve: `tempo`/`session` v2 |
//! | `coinless` | payers of ours without a coin, whose deposits the daemon pulls |
//! | `funding` | deposits that payers sign for and the daemon pulls, over kills |
//! | `unsent` | transactions that payers leave to the daemon to broadcast, over kills |
//!
//! Each test has a chain of its own, so that none waits for another's blocks or sees another's clock.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test stops at the first surprise"
)]

mod bad_input;
mod bad_vouchers;
mod charges;
mod charges_evm;
mod charges_once;
mod charges_signed;
mod coinless;
mod config;
mod counter;
mod daemon;
mod demo;
mod deploy;
mod discovery;
mod embedded;
mod fields;
mod funding;
mod gate;
mod interop;
mod kill_nine;
mod metrics;
mod offers;
mod opens;
mod other_token;
mod payer_charges;
mod payer_cli;
mod payer_leaves;
mod repeats;
mod reserve;
mod restart;
mod seller_vanished;
mod service;
mod settle;
mod sidecar;
mod streams;
mod tls;
mod unsent;
mod upstream_failures;
mod wallet;
mod world;
