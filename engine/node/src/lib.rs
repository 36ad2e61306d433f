//! The `weir` binary and everything that it is composed of: the one place that knows all the parts.
//!
//! | module | what it does |
//! |---|---|
//! | [`cli`], [`commands`] | the command line; one module per command |
//! | [`config`], [`keys`] | `weir.toml`, and the secrets that it names |
//! | [`serve`] | puts the parts together and takes them apart |
//! | [`proxy`] | the seller's service, behind the gateway of `weir-till` |
//! | [`http`], [`peers`] | both listeners: every wait bounded, every connection counted |
//! | [`sidecar`] | the gateway for services that ask it before they answer |
//! | [`operator`] | the API that the operator's commands speak to |
//! | [`dev`] | a devnet: anvil and a sample service |
//! | [`tls`] | the payers' listener's certificate |
//! | [`metrics`], [`latency`] | what Prometheus is told |
//! | [`table`], [`when`], [`shell`], [`logging`] | what people and machines get to read |

pub mod cli;
pub mod commands;
pub mod config;
pub mod dev;
pub mod http;
pub mod keys;
pub mod latency;
pub mod logging;
pub mod metrics;
pub mod operator;
pub mod peers;
pub mod proxy;
pub mod serve;
pub mod shell;
pub mod sidecar;
pub mod table;
pub mod tls;
pub mod when;
