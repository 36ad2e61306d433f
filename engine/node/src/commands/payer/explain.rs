//! What a no of the library means at the command line, and what to do about it.

use crate::commands::Failure;
use crate::shell::Quoted;
use core::fmt::{self, Display, Write};
use weir_client::{Error, LimitExceeded, StateError};

/// The options that the next command has to repeat, so that it can be copied as it is printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Again(String);

impl Again {
    /// Adds an option and its value.
    pub(super) fn push(&mut self, option: &str, value: &impl Display) {
        let _ = write!(self.0, " {option} {}", Quoted(&value.to_string()));
    }

    /// Adds an option that takes no value.
    pub(super) fn flag(&mut self, option: &str) {
        let _ = write!(self.0, " {option}");
    }

    /// Adds an option whose value is not shown, as a shell reads it from the environment.
    pub(super) fn variable(&mut self, option: &str, variable: &str) {
        let _ = write!(self.0, " {option} \"${variable}\"");
    }

    /// `weir payer` with these words and the options.
    pub(in crate::commands) fn payer(&self, words: impl Display) -> String {
        format!("weir payer {words}{self}")
    }

    /// Says what a no of the library means at the command line, and what to do about it.
    pub(in crate::commands) fn explain(&self, error: Error) -> Failure {
        // What a broken answer cost stands in the bill.
        let said = match &error {
            Error::Cut { events, why, .. } => format!("the answer broke off{}: {why}", after(*events)),
            error => error.to_string(),
        };
        match self.next(&error) {
            Some(next) => Failure::failed(format_args!("{said}; {next}")),
            None => Failure::failed(said),
        }
    }

    fn next(&self, error: &Error) -> Option<String> {
        let next = match error {
            Error::Limit(why) => limit(why)?,
            Error::Insecure(_) => "or allow it with --insecure-http",
            Error::State(StateError::InUse(_)) => {
                "wait until it ends; two runs at once need two keys, because both would sign on the same channels"
            }
            Error::ChannelGone(_) => "run it again: where nothing is in the way, a new one is opened",
            Error::Forgotten(id) => {
                return Some(format!(
                    "wait if you or the seller just closed it; else ask the escrow yourself: `{}`. Paying works at \
                     once after that, on a new channel, and when the grace period is over the rest of this one comes \
                     back by `{}`",
                    self.payer(format_args!("request-close {id}")),
                    self.payer(format_args!("withdraw {id}")),
                ));
            }
            Error::NotOnChain { file, .. } => {
                return Some(format!(
                    "if that chain is gone, move {} away and run it again; if it is not, name the right node with \
                     --rpc-url",
                    file.display(),
                ));
            }
            Error::Stopped(id) => {
                return Some(format!(
                    "it gets no new channel before this one is over: ask the escrow by `{}`, and take back the rest \
                     when the grace period is over by `{}`",
                    self.payer(format_args!("request-close {id}")),
                    self.payer(format_args!("withdraw {id}")),
                ));
            }
            Error::NotReady { ready_at: 0 } => {
                return Some(format!(
                    "no close was asked for: run `{}` first",
                    self.payer("request-close ID")
                ));
            }
            Error::NotReady { .. } => "wait until then",
            Error::NoChannel => {
                return Some(format!(
                    "`{}` lists the books' channels; for one that they have lost, name its escrow with --escrow",
                    self.payer("channels"),
                ));
            }
            Error::OutcomeUnknown => "run it again; the next receipt says what was charged",
            Error::Cut { .. } => {
                "run again, it is bought anew from its beginning; the next receipt says what was charged"
            }
            Error::ForeignRealm { .. } => "name the realm with --realm if both are the same seller",
            Error::PaymentOpen { .. } => {
                return Some(format!(
                    "run it again: the same payment is shown again, and nothing is paid anew before it is certain that \
                     it was not taken; `{}` lists such payments",
                    self.payer("payments"),
                ));
            }
            Error::PaidInVain { .. } => "ask the seller; running it again may pay anew",
            Error::NotSeen => "run it again later, or wait longer with --max-wait",
            Error::Balance { .. } => "send tokens there",
            _ => return None,
        };
        Some(next.to_owned())
    }
}

impl Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const fn limit(why: &LimitExceeded) -> Option<&'static str> {
    Some(match why {
        LimitExceeded::Price { .. } => "raise --max-price if it is worth that",
        LimitExceeded::Deposit { .. } => "raise --max-deposit, or close the channel and start a new one",
        LimitExceeded::Stream { .. } => "raise --max-stream if it is worth that",
        LimitExceeded::Charge { .. } => "raise --max-charge if it is worth that",
        LimitExceeded::Total { .. } => "raise --max-total, or go on in another run",
        LimitExceeded::Ahead { .. } => "allow it with --max-ahead if you trust the server with that much",
        LimitExceeded::Escrow { .. } => "name it with --escrow if you trust its code",
        LimitExceeded::Recipient { .. } => "name it with --recipient if it is the right one",
        LimitExceeded::Token { .. } => "name it with --token if you pay with it",
        LimitExceeded::Chain { .. } => "name an RPC of that chain with --rpc-url",
        _ => return None,
    })
}

fn after(events: u64) -> String {
    match events {
        0 => String::new(),
        some => format!(" after {}", crate::commands::pay::count(some, "event")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{Address, B256};
    use weir_core::{Amount, ChannelId};

    #[test]
    fn every_refusal_by_the_limits_names_the_option_that_changes_it() {
        let stranger = Address::repeat_byte(9);
        let (offered, limit) = (Amount::new(2), Amount::new(1));
        for (why, option) in [
            (LimitExceeded::Price { offered, limit }, "--max-price"),
            (LimitExceeded::Deposit { offered, limit }, "--max-deposit"),
            (LimitExceeded::Stream { offered, limit }, "--max-stream"),
            (LimitExceeded::Charge { offered, limit }, "--max-charge"),
            (LimitExceeded::Total { offered, limit }, "--max-total"),
            (LimitExceeded::Ahead { offered, limit }, "--max-ahead"),
            (LimitExceeded::Escrow { offered: stranger }, "--escrow"),
            (LimitExceeded::Recipient { offered: stranger }, "--recipient"),
            (LimitExceeded::Token { offered: stranger }, "--token"),
            (LimitExceeded::Chain { offered: 1 }, "--rpc-url"),
        ] {
            let said = Again::default().explain(Error::Limit(why)).to_string();
            assert!(said.contains(option) && said.contains(&why.to_string()), "{said}");
        }
    }

    #[test]
    fn a_record_that_is_in_the_way_of_a_new_chain_is_named() {
        let (channel, file) = (ChannelId(B256::ZERO), "/home/me/0xab.json".into());
        let said = Again::default()
            .explain(Error::NotOnChain { channel, file })
            .to_string();
        assert!(said.contains("move /home/me/0xab.json away"), "{said}");
    }

    #[test]
    fn the_next_command_repeats_the_options_that_were_given_and_the_whole_id() {
        let mut again = Again::default();
        again.push("--key-file", &"/home/me/a key");
        again.push("--rpc-url", &"http://127.0.0.1:8545");
        let id = ChannelId(B256::repeat_byte(7));
        let options = "--key-file '/home/me/a key' --rpc-url http://127.0.0.1:8545";
        for error in [Error::Forgotten(id), Error::Stopped(id)] {
            let said = again.explain(error).to_string();
            for what in ["request-close", "withdraw"] {
                let command = format!("`weir payer {what} {id} {options}`");
                assert!(said.contains(&command), "{command} is not in {said}");
            }
        }
        let mut odd = Again::default();
        odd.push("--state-dir", &"it's; rm -rf $HOME");
        assert_eq!(odd.to_string(), r" --state-dir 'it'\''s; rm -rf $HOME'");
    }
}
