//! `Accept-Payment`: what a client would rather pay with (draft-httpauth-payment-00, Client Payment
//! Preferences). It only chooses and orders; what is offered stays the server's.

use crate::auth_params::is_token_byte;
use crate::limits::{ACCEPT_PAYMENT_BYTES_MAX, ACCEPT_PAYMENT_RANGES_MAX};

/// A weight in thousandths: 1000 when none is written, 0 for "do not use".
const WEIGHT_DEFAULT: u16 = 1000;

/// One range: a method or any, an intent or any, and its weight.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Range {
    method: Option<String>,
    intent: Option<String>,
    weight: u16,
}

/// The preferences of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptPayment(Vec<Range>);

impl AcceptPayment {
    /// Reads a header value; `None` when it is malformed, empty or too long, and is then to be ignored.
    pub fn read(value: &[u8]) -> Option<Self> {
        if value.len() > ACCEPT_PAYMENT_BYTES_MAX {
            return None;
        }
        let text = core::str::from_utf8(value).ok()?;
        let elements = text.split(',').map(trim).filter(|element| !element.is_empty());
        let mut ranges = Vec::new();
        for element in elements {
            if ranges.len() == ACCEPT_PAYMENT_RANGES_MAX {
                return None;
            }
            ranges.push(read_range(element)?);
        }
        (!ranges.is_empty()).then_some(Self(ranges))
    }

    /// Chooses among (method, intent) offers, which stand in the server's order of preference: the positions
    /// of those that the client takes, its favourites first, ties in the server's order.
    ///
    /// When it takes none of them, all are returned as they stand, as the draft allows.
    pub fn choose(&self, offers: &[(&str, &str)]) -> Vec<usize> {
        let weigh = |(at, offer): (usize, &(&str, &str))| (at, self.weight(offer.0, offer.1));
        let mut taken: Vec<(usize, u16)> = offers
            .iter()
            .enumerate()
            .map(weigh)
            .filter(|(_, weight)| *weight > 0)
            .collect();
        if taken.is_empty() {
            return (0..offers.len()).collect();
        }
        taken.sort_by_key(|(_, weight)| core::cmp::Reverse(*weight));
        taken.into_iter().map(|(at, _)| at).collect()
    }

    /// The weight of one offer in thousandths: that of the most specific range that matches, else 0.
    pub fn weight(&self, method: &str, intent: &str) -> u16 {
        let fits =
            |wanted: &Option<String>, offered: &str| wanted.as_deref().is_none_or(|name| name == offered);
        let matching = self
            .0
            .iter()
            .filter(|range| fits(&range.method, method) && fits(&range.intent, intent));
        // A named method says more than a named intent; of two alike the greater weight counts.
        let rank = |range: &&Range| (range.method.is_some(), range.intent.is_some(), range.weight);
        matching.max_by_key(rank).map_or(0, |range| range.weight)
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

fn read_range(element: &str) -> Option<Range> {
    let mut parts = element.split(';').map(trim);
    let (method, intent) = parts.next()?.split_once('/')?;
    let mut weight = WEIGHT_DEFAULT;
    for part in parts {
        let (name, value) = part.split_once('=')?;
        if name.eq_ignore_ascii_case("q") {
            weight = read_weight(value)?;
        }
    }
    Some(Range {
        method: read_name(method)?,
        intent: read_name(intent)?,
        weight,
    })
}

/// A name, or any: `Some(None)`.
fn read_name(text: &str) -> Option<Option<String>> {
    match text {
        "*" => Some(None),
        _ if !text.is_empty() && text.bytes().all(is_token_byte) => Some(Some(text.to_owned())),
        _ => None,
    }
}

/// RFC 9110 Section 12.4.2: `0` or `1` with at most three decimals, at most 1.
fn read_weight(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{decimals:0<3}").parse::<u16>().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OFFERS: [(&str, &str); 4] = [
        ("tempo", "session"),
        ("tempo", "charge"),
        ("solana", "charge"),
        ("stripe", "charge"),
    ];

    fn choose(header: &str) -> Vec<usize> {
        AcceptPayment::read(header.as_bytes()).unwrap().choose(&OFFERS)
    }

    #[test]
    fn the_drafts_examples_order_as_it_says() {
        let cases: [(&str, &[usize]); 9] = [
            (
                "tempo/charge, tempo/session, stripe/charge;q=0.5, solana/charge;q=0.3",
                &[0, 1, 3, 2],
            ),
            ("tempo/*, solana/*;q=0.6, stripe/charge;q=0.2", &[0, 1, 2, 3]),
            (
                "tempo/charge, tempo/session;q=0, solana/charge;q=0.8, stripe/charge;q=0.4",
                &[1, 2, 3],
            ),
            ("tempo/charge, solana/charge", &[1, 2]),
            ("*/*;q=0.1, tempo/session;q=0", &[1, 2, 3]),
            ("*/charge;q=0.9, tempo/*;q=0.2", &[2, 3, 0, 1]),
            ("*/charge;q=0, tempo/charge;q=0.001", &[1]),
            ("TEMPO/charge", &[0, 1, 2, 3]),
            ("x402/exact", &[0, 1, 2, 3]),
        ];
        for (header, expected) in cases {
            assert_eq!(choose(header), expected, "{header}");
        }
    }

    #[test]
    fn a_malformed_header_is_no_header() {
        for bad in [
            "",
            " , ",
            "tempo",
            "tempo/",
            "/charge",
            "tempo/charge;q=2",
            "tempo/charge;q=1.001",
            "tempo/charge;q=0.0001",
            "tempo/charge;q=-0",
            "tempo/charge;q=",
            "tempo/charge;q=.5",
            "tempo/charge;x",
            "te mpo/charge",
            "tempo/charge/x",
            "\u{e9}/charge",
        ] {
            assert_eq!(AcceptPayment::read(bad.as_bytes()), None, "{bad:?}");
        }
        let many = vec!["a/b"; ACCEPT_PAYMENT_RANGES_MAX + 1].join(",");
        assert_eq!(AcceptPayment::read(many.as_bytes()), None);
    }

    #[test]
    fn weights_and_unknown_parameters_are_read() {
        let read = AcceptPayment::read(b" a/b ; v=1 ; Q=0.25 ,, a/c;q=1.000, a/d;q=0.").unwrap();
        assert_eq!(
            [
                read.weight("a", "b"),
                read.weight("a", "c"),
                read.weight("a", "d")
            ],
            [250, 1000, 0]
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            if let Some(read) = AcceptPayment::read(&bytes) {
                let _ = read.choose(&OFFERS);
            }
        }

        #[test]
        fn a_choice_is_never_empty_and_never_repeats(header in "[a-c*]/[b*](;q=0\\.[0-9])?(, [a-c*]/[b*](;q=[01])?){0,3}") {
            let offers = [("a", "b"), ("b", "b"), ("c", "d")];
            let mut chosen = AcceptPayment::read(header.as_bytes()).unwrap().choose(&offers);
            prop_assert!(!chosen.is_empty());
            let count = chosen.len();
            chosen.sort_unstable();
            chosen.dedup();
            prop_assert_eq!(chosen.len(), count);
        }
    }
}
