//! A devnet on this machine: a chain of its own, and a service to sell.

pub mod accounts;
pub mod anvil;
pub mod demo;
pub mod devnet;
pub mod reserve;
pub mod upstream;
