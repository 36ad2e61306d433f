//! What a no of the library means at the command line, and what to do about it.

use crate::commands::Failure;
use weir_client::{Error, LimitExceeded, StateError};

/// Says what a no of the library means at the command line, and what to do about it.
pub(in crate::commands) fn explain(error: Error) -> Failure {
    let next = match &error {
        Error::Limit(LimitExceeded::Price { .. }) => "raise --max-price if it is worth that",
        Error::Limit(LimitExceeded::Deposit { .. }) => {
            "raise --max-deposit, or close the channel and start a new one"
        }
        Error::Limit(LimitExceeded::Stream { .. }) => "raise --max-stream if it is worth that",
        Error::Limit(LimitExceeded::Total { .. }) => "raise --max-total, or go on in another run",
        Error::Limit(LimitExceeded::Ahead { .. }) => {
            "allow it with --max-ahead if you trust the server with that much"
        }
        Error::Limit(LimitExceeded::Escrow { .. }) => "name it with --escrow if you trust its code",
        Error::Limit(LimitExceeded::Recipient { .. }) => "name it with --recipient if it is the right one",
        Error::Limit(LimitExceeded::Token { .. }) => "name it with --token if you pay with it",
        Error::Limit(LimitExceeded::Chain { .. }) => "name an RPC of that chain with --rpc-url",
        Error::Insecure(_) => "or allow it with --insecure-http",
        Error::State(StateError::InUse(_)) => {
            "wait until it ends; two runs at once need two keys, because both would sign on the same channels"
        }
        Error::ChannelGone(_) => {
            "unless it is closed already, end it with `weir payer close URL`, or without the server with `weir payer \
             request-close` and, after the grace period, `weir payer withdraw`; then a new one can be opened"
        }
        Error::Stopped(_) => {
            "look at it with `weir payer channels`, and take back what is left with `weir payer request-close` and \
             `weir payer withdraw`"
        }
        Error::NotReady { ready_at: 0 } => "no close was asked for: run `weir payer request-close` first",
        Error::NotReady { .. } => "wait until then",
        Error::NoChannel => {
            "`weir payer channels` lists the books' channels; for one that they have lost, name its escrow with --escrow"
        }
        Error::OutcomeUnknown | Error::Cut { .. } => {
            "run it again to go on; the next receipt says what was charged"
        }
        Error::NotSeen => "run it again later, or wait longer with --max-wait",
        Error::Balance { .. } => "send tokens there",
        _ => return Failure::failed(error),
    };
    match &error {
        Error::NotReady { ready_at: 0 } => Failure::failed(next),
        _ => Failure::failed(format_args!("{error}; {next}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::Address;
    use weir_core::Amount;

    #[test]
    fn every_refusal_by_the_limits_names_the_option_that_changes_it() {
        let stranger = Address::repeat_byte(9);
        let (offered, limit) = (Amount::new(2), Amount::new(1));
        for (why, option) in [
            (LimitExceeded::Price { offered, limit }, "--max-price"),
            (LimitExceeded::Deposit { offered, limit }, "--max-deposit"),
            (LimitExceeded::Stream { offered, limit }, "--max-stream"),
            (LimitExceeded::Total { offered, limit }, "--max-total"),
            (LimitExceeded::Ahead { offered, limit }, "--max-ahead"),
            (LimitExceeded::Escrow { offered: stranger }, "--escrow"),
            (LimitExceeded::Recipient { offered: stranger }, "--recipient"),
            (LimitExceeded::Token { offered: stranger }, "--token"),
            (LimitExceeded::Chain { offered: 1 }, "--rpc-url"),
        ] {
            let said = explain(Error::Limit(why)).to_string();
            assert!(said.contains(option) && said.contains(&why.to_string()), "{said}");
        }
        let said = explain(Error::NotReady { ready_at: 0 }).to_string();
        assert!(
            said.contains("request-close") && !said.contains("from 0"),
            "{said}"
        );
    }
}
