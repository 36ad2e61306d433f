//! The payer's limits, as options of the command line.

use alloy_primitives::{Address, B256};
use weir_client::{Allowed, AllowedEscrow, Limits};
use weir_core::Amount;

/// The payer's limits, as options.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitOptions {
    /// The escrow that may hold a deposit; its code decides who gets the money
    #[arg(long, value_name = "ADDRESS")]
    pub escrow: Address,
    /// keccak256 of the escrow's code: it has to be exactly that code
    #[arg(long, value_name = "HASH")]
    pub escrow_code_hash: Option<B256>,
    /// The token to pay with
    #[arg(long, value_name = "ADDRESS")]
    pub token: Address,
    /// The highest price of one unit, in base units of the token
    #[arg(long, value_name = "N", value_parser = base_units)]
    pub max_price: Amount,
    /// The most that this run locks in one channel; what an older one holds already may be used up all the same
    #[arg(long, value_name = "N", value_parser = base_units)]
    pub max_deposit: Amount,
    /// The most that one stream may cost; default: as --max-deposit
    #[arg(long, value_name = "N", value_parser = base_units)]
    pub max_stream: Option<Amount>,
    /// The most that this run may pay; default: no limit but the others
    #[arg(long, value_name = "N", value_parser = base_units)]
    pub max_total: Option<Amount>,
    /// The most that is authorised beyond the price, where a server takes vouchers in larger steps only
    #[arg(long, value_name = "N", default_value = "0", value_parser = base_units)]
    pub max_ahead: Amount,
    /// Who may be paid; may be repeated; default: whoever the server names
    #[arg(long = "recipient", value_name = "ADDRESS")]
    pub recipients: Vec<Address>,
}

impl LimitOptions {
    /// The limits that the library takes.
    pub fn limits(&self) -> Limits {
        let escrow = AllowedEscrow {
            address: self.escrow,
            code_hash: self.escrow_code_hash,
        };
        let recipients = if self.recipients.is_empty() {
            Allowed::Any
        } else {
            Allowed::only(self.recipients.iter().copied())
        };
        Limits {
            max_stream: self.max_stream.unwrap_or(self.max_deposit),
            max_total: self.max_total,
            max_ahead: self.max_ahead,
            recipients,
            ..Limits::new(escrow, self.token, self.max_price, self.max_deposit)
        }
    }
}

/// Reads an amount, and says to people what an amount is.
fn base_units(text: &str) -> Result<Amount, String> {
    text.parse().map_err(|error| {
        format!(
            "{error}; amounts are whole base units of the token: 1000000 is one unit of a token with 6 decimals"
        )
    })
}
