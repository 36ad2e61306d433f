//! The payer's limits, as options of the command line.

use alloy_primitives::{Address, B256};
use weir_client::{Allowed, AllowedEscrow, Limits};
use weir_core::Amount;
use weir_protocol::Intent;

/// Stands where none was named, and is replaced.
const NO_ESCROW: AllowedEscrow = AllowedEscrow {
    address: Address::ZERO,
    code_hash: None,
};

/// The payer's limits, as options.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitOptions {
    /// The escrow that may hold a deposit; its code decides who gets the money. Without one, no channel is opened
    #[arg(long, value_name = "ADDRESS")]
    pub escrow: Option<Address>,
    /// keccak256 of the escrow's code: it has to be exactly that code
    #[arg(long, value_name = "HASH", requires = "escrow")]
    pub escrow_code_hash: Option<B256>,
    /// The token to pay with
    #[arg(long, value_name = "ADDRESS")]
    pub token: Address,
    /// The highest price of one unit, in base units of the token
    #[arg(long, value_name = "N", value_parser = base_units)]
    pub max_price: Amount,
    /// The most that this run locks in one channel; what an older one holds already may be used up all the same
    #[arg(long, value_name = "N", default_value = "0", value_parser = base_units)]
    pub max_deposit: Amount,
    /// The most that one answer may cost that is paid for at once, without a channel; its transaction's fee comes on top,
    /// at most one dollar. Default: as --max-price
    #[arg(long, value_name = "N", value_parser = base_units)]
    pub max_charge: Option<Amount>,
    /// A realm that may be shown who asks, besides the host of the URL; may be repeated
    #[arg(long = "realm", value_name = "REALM")]
    pub realms: Vec<String>,
    /// Pay by a channel (session) or each answer at once (charge); default: by a channel where that is possible
    #[arg(long, value_name = "INTENT")]
    pub intent: Option<Intent>,
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
        let escrow = self.escrow.map(|address| AllowedEscrow {
            address,
            code_hash: self.escrow_code_hash,
        });
        let recipients = if self.recipients.is_empty() {
            Allowed::Any
        } else {
            Allowed::only(self.recipients.iter().copied())
        };
        Limits {
            max_stream: self.max_stream.unwrap_or(self.max_deposit),
            max_total: self.max_total,
            max_ahead: self.max_ahead,
            max_charge: self.max_charge.unwrap_or(self.max_price),
            realms: self.realms.iter().cloned().collect(),
            intent: self.intent,
            recipients,
            escrows: escrow.into_iter().collect(),
            ..Limits::new(NO_ESCROW, self.token, self.max_price, self.max_deposit)
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
