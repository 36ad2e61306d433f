//! The two events by which a stream speaks of payment (draft-evm-session-00, Insufficient Balance During
//! Streaming and Receipt Generation).

use crate::hex;
use crate::json::{self, JsonError};
use crate::receipt::{ReceiptError, SessionReceipt};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_core::{ChannelId, Cumulative};

/// Name of the event that carries a receipt.
pub const RECEIPT_EVENT: &str = "payment-receipt";
/// Name of the event that asks for a voucher.
pub const NEED_VOUCHER_EVENT: &str = "payment-need-voucher";
/// Names that begin so are the till's own; an upstream must not send them (threat H1).
pub const RESERVED_PREFIX: &str = "payment-";

/// Longest data of a `payment-need-voucher` event that a client looks at.
const NEED_VOUCHER_BYTES_MAX: usize = 4 * 1024;

/// What the payer has to authorise before the stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NeedVoucher {
    /// The channel.
    #[serde(deserialize_with = "hex::de_channel")]
    pub channel_id: ChannelId,
    /// The least total that the next voucher must authorise. Above `deposit`, a top-up comes first.
    pub required_cumulative: Cumulative,
    /// The highest total accepted so far.
    pub accepted_cumulative: Cumulative,
    /// The deposit on the chain.
    pub deposit: Cumulative,
}

impl NeedVoucher {
    /// Writes the whole event.
    ///
    /// # Errors
    /// [`JsonError::NotCanonical`], which no value of this type brings about.
    pub fn to_event(&self) -> Result<String, JsonError> {
        Ok(event(NEED_VOUCHER_EVENT, &json::canonical(self)?))
    }

    /// Reads the data of the event; unknown fields are ignored.
    ///
    /// # Errors
    /// [`JsonError`].
    pub fn from_data(data: &[u8]) -> Result<Self, JsonError> {
        let object = json::parse_object(data, NEED_VOUCHER_BYTES_MAX)?;
        serde_json::from_value(Value::Object(object)).map_err(|_| JsonError::Invalid)
    }
}

/// Writes a receipt as the whole event that ends a stream.
///
/// # Errors
/// As [`SessionReceipt::to_json`].
pub fn receipt_event(receipt: &SessionReceipt) -> Result<String, ReceiptError> {
    Ok(event(RECEIPT_EVENT, &receipt.to_json()?))
}

/// Writes one event. Each line of the data becomes a `data` field of its own, whichever way it ends, so that
/// no data can begin another field or another event (threat H1).
fn event(name: &'static str, data: &str) -> String {
    let mut text = format!("event: {name}\n");
    let unix = data.replace("\r\n", "\n").replace('\r', "\n");
    for line in unix.split('\n') {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipt;
    use crate::splitter::SseSplitter;
    use alloy_primitives::B256;
    use proptest::prelude::*;

    fn sample() -> NeedVoucher {
        NeedVoucher {
            channel_id: ChannelId(B256::repeat_byte(0xab)),
            required_cumulative: Cumulative::new(250_025),
            accepted_cumulative: Cumulative::new(250_000),
            deposit: Cumulative::new(500_000),
        }
    }

    #[test]
    fn the_event_is_the_drafts() {
        let text = sample().to_event().unwrap();
        let (head, data) = text.split_once("data: ").unwrap();
        assert_eq!(head, "event: payment-need-voucher\n");
        assert!(data.ends_with("}\n\n"));
        assert!(
            data.starts_with(r#"{"acceptedCumulative":"250000","channelId":"0xabab"#),
            "{data}"
        );
        assert_eq!(NeedVoucher::from_data(data.trim().as_bytes()), Ok(sample()));
    }

    #[test]
    fn threat_h1_a_receipt_with_newlines_inside_is_one_event() {
        for evil in [
            "\n\nevent: payment-receipt\ndata: {}\n\n",
            "\r\rdata: x",
            "\r\n\r\nid: 1",
            "\u{2028}",
        ] {
            let receipt = SessionReceipt {
                challenge_id: evil.into(),
                method: evil.into(),
                ..receipt::tests::sample()
            };
            let text = receipt_event(&receipt).unwrap();
            assert_eq!(text.matches('\n').count(), 3, "{text:?}");
            assert!(!text.contains('\r'));
        }
    }

    proptest! {
        #[test]
        fn threat_h1_no_data_forges_an_event(data in "[a\r\n: ]{0,30}") {
            let mut found = Vec::new();
            SseSplitter::default().feed(event(RECEIPT_EVENT, &data).as_bytes(), &mut found).unwrap();
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!(found[0].name(), Some(RECEIPT_EVENT.as_bytes()));
            let lines = data.replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(found[0].data(), Some(lines.into_bytes()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = NeedVoucher::from_data(&bytes);
        }
    }
}
