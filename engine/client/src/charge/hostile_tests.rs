//! Servers that take a payment and say they did not, before a payer that must neither forget it nor pay again.

use super::record::{PAYMENT_FORMAT, fingerprint, shown};
use super::*;
use crate::chain_world::{NOWHERE, World};
use crate::error::Error;
use crate::http::{HttpOptions, Request};
use crate::{LimitExceeded, Limits, Payer};
use alloy::primitives::Bytes;
use reqwest::{Method, Url};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use weir_chain::SignedTempo;
use weir_chain::deploy::mint;
use weir_core::UnixSeconds;
use weir_protocol::Challenge;
use weir_test_support::{key, soon};

const LATER: UnixSeconds = UnixSeconds(32_000_000_000);
const LONG_AGO: UnixSeconds = UnixSeconds(1_700_000_000);
const AMOUNT: Amount = Amount::new(25);
const NO: &str = "HTTP/1.1 402 Payment Required\r\ncontent-length: 0\r\n\r\n";

/// Gives each of these answers on a connection of its own, and is gone then.
fn server(answers: &[&str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("http://{}/x", listener.local_addr().unwrap());
    let answers: Vec<String> = answers.iter().map(|&answer| answer.to_owned()).collect();
    std::thread::spawn(move || {
        let mut listener = Some(listener);
        let last = answers.len().saturating_sub(1);
        for (nth, answer) in answers.iter().enumerate() {
            let Some((mut stream, _)) = listener.as_ref().and_then(|listener| listener.accept().ok()) else {
                return;
            };
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            if nth == last {
                listener = None;
            }
            let closing = answer.replacen("\r\n", "\r\nconnection: close\r\n", 1);
            let _ = stream.write_all(closing.as_bytes());
        }
    });
    place
}

fn asking(place: &str) -> Request {
    Request {
        method: Method::GET,
        url: Url::parse(place).unwrap(),
        headers: reqwest::header::HeaderMap::new(),
        body: Vec::new(),
    }
}

fn record(request: &Request, hash: B256, valid_before: UnixSeconds) -> PaymentRecord {
    let challenge = Challenge {
        id: "c1".into(),
        realm: "r".into(),
        method: "tempo".into(),
        intent: "charge".into(),
        request: "e30".into(),
        expires: Some("2999-01-01T00:00:00Z".into()),
        digest: None,
        description: None,
        opaque: None,
    };
    PaymentRecord {
        format: PAYMENT_FORMAT,
        request: fingerprint(request),
        place: shown(request),
        challenge,
        chain_id: 31337,
        token: Address::repeat_byte(0x70),
        recipient: Address::repeat_byte(0xbb),
        amount: AMOUNT,
        is_pushed: false,
        transaction: SignedTempo {
            hash,
            raw: Bytes::from_static(&[0x76]),
            valid_before,
        },
    }
}

/// A payer whose run may pay twice the amount.
async fn payer(rpc_url: &str, state: &std::path::Path) -> Payer {
    let escrow = crate::AllowedEscrow {
        address: Address::ZERO,
        code_hash: None,
    };
    let limits = Limits {
        max_total: Some(Amount::new(50)),
        ..Limits::new(escrow, Address::ZERO, AMOUNT, AMOUNT)
    };
    let http = HttpOptions {
        retries_max: 1,
        wait_max: core::time::Duration::from_secs(5),
        ..HttpOptions::default()
    };
    Payer::new(key(0x11), rpc_url, state, limits, http).await.unwrap()
}

/// Shows a fresh payment to a server; what came of it.
async fn shown_to(payer: &Payer, answers: &[&str], (hash, valid_before): (B256, UnixSeconds)) -> Error {
    let request = asking(&server(answers));
    let payment = payer.core.payments.begin(record(&request, hash, valid_before));
    let payment = payment.await.unwrap();
    let mut patience = payer.core.http.patience();
    let shown = payer.core.show(&request, (payment, false), &mut patience).await;
    shown.unwrap_err()
}

fn is_open(error: &Error) -> bool {
    matches!(error, Error::PaymentOpen { amount, .. } if *amount == AMOUNT)
}

#[tokio::test]
async fn pay_4_a_payment_that_a_server_has_seen_is_never_called_unsent() {
    let busy = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    let later = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
    let rate = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n";
    let taken = "HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\n\r\n";
    let garbled = "HTTP/1.1 200 OK\r\npayment-receipt: !\r\ncontent-length: 0\r\n\r\n";
    for answers in [vec![busy], vec![later], vec![rate], vec![taken], vec![garbled]] {
        let folder = tempfile::tempdir().unwrap();
        let payer = payer(NOWHERE, folder.path()).await;
        let error = shown_to(&payer, &answers, (B256::repeat_byte(7), LATER)).await;
        assert!(is_open(&error), "{answers:?}: {error}");
        assert_eq!(payer.payments().len(), 1, "{answers:?}");
        // It counts until it is certain that it was not taken.
        assert_eq!(payer.core.run.allows(AMOUNT), Ok(()));
        assert!(payer.core.run.allows(Amount::new(26)).is_err(), "{answers:?}");
    }
}

#[tokio::test]
async fn a_payment_that_nobody_saw_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let payer = payer(NOWHERE, folder.path()).await;
    let request = asking(NOWHERE);
    let payment = payer.core.payments.begin(record(&request, B256::ZERO, LATER));
    let payment = payment.await.unwrap();
    let mut patience = payer.core.http.patience();
    let shown = payer.core.show(&request, (payment, false), &mut patience).await;
    assert!(matches!(shown, Err(Error::Http(_))), "{shown:?}");
    assert_eq!(payer.payments(), []);
    assert_eq!(payer.core.run.allows(Amount::new(50)), Ok(()));
}

#[tokio::test]
async fn pay_4_what_a_no_means_for_the_money_the_chain_tells() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let payer = payer(&world.anvil.url(), folder.path()).await;
    // Broadcast behind the payer's back.
    let landed = landed(&world).await;
    let error = shown_to(&payer, &[NO], (landed, LATER)).await;
    assert!(
        matches!(error, Error::PaidInVain { transaction, .. } if transaction == landed),
        "{error}"
    );
    assert!(payer.core.run.allows(Amount::new(26)).is_err(), "it was paid");
    // Not yet, but perhaps still.
    let error = shown_to(&payer, &[NO], (B256::repeat_byte(8), LATER)).await;
    assert!(is_open(&error), "{error}");
    assert!(payer.core.run.allows(Amount::new(1)).is_err(), "both count");
    assert_eq!(payer.payments().len(), 1);
}

#[tokio::test]
async fn pay_5_a_payment_of_an_earlier_run_counts_when_it_may_happen_in_this_one() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let begun = |payer: &Payer, at: &str, hash: u8, ends| {
        let record = record(&asking(at), B256::repeat_byte(hash), ends);
        let payments = Arc::clone(&payer.core.payments);
        async move { drop(payments.begin(record).await.unwrap()) }
    };
    let first = payer(&world.anvil.url(), folder.path()).await;
    begun(&first, "http://127.0.0.1:9/a", 1, LATER).await;
    begun(&first, "http://127.0.0.1:9/b", 2, LONG_AGO).await;
    drop(first);
    let second = payer(&world.anvil.url(), folder.path()).await;
    let core = &second.core;
    // What is over was counted by the run that made it: this one gets nothing back for it.
    core.run.claim(AMOUNT).unwrap();
    let left = core.left_payment(&asking("http://127.0.0.1:9/b")).await;
    assert!(matches!(left, Ok(None)), "{left:?}");
    assert!(core.run.allows(Amount::new(26)).is_err());
    // What may yet happen is counted once, or not shown.
    core.run.claim(Amount::new(1)).unwrap();
    let left = core.left_payment(&asking("http://127.0.0.1:9/a")).await;
    let over = |left: &Error| matches!(left, Error::Limit(LimitExceeded::Total { .. }));
    assert!(left.as_ref().is_err_and(over), "{left:?}");
    assert_eq!(second.payments().len(), 1);
    core.run.give_back(Amount::new(1));
    for _ in 0..2 {
        let left = core.left_payment(&asking("http://127.0.0.1:9/a")).await;
        assert!(matches!(left, Ok(Some(_))), "{left:?}");
        assert!(core.run.allows(Amount::new(1)).is_err());
    }
}

/// The hash of a transaction that took effect.
async fn landed(world: &World) -> B256 {
    let call = mint(world.token, world.payee.address(), Amount::new(1));
    let (quote, nonce) = (world.payee.quote(&call).await, world.payee.next_nonce().await);
    let (quote, nonce) = (quote.unwrap(), nonce.unwrap());
    let envelope = world.payee.prepare(&quote, &nonce).await.unwrap();
    nonce.keep();
    world.payee.broadcast(&envelope).await.unwrap();
    world.payee.wait(envelope.hash, soon()).await;
    envelope.hash
}
