//! A service that sells its own answers: words by the word, a tale by the event, and one page for nothing.
//!
//! It needs a chain with an escrow (`weir dev` has one, `weir deploy` makes one), and takes its settings from the
//! environment: `WEIR_RPC_URL`, `WEIR_ESCROW`, `WEIR_TOKEN`, `WEIR_PAYEE_KEY`, `WEIR_SECRET` (any 32 characters that stay
//! the same and nobody knows) and `WEIR_BOOKS` (a directory). It prints where it answers.
#![allow(clippy::print_stdout, reason = "where it answers is printed")]

use alloy::signers::local::PrivateKeySigner;
use axum::Router;
use axum::extract::Query;
use axum::http::Method;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use core::convert::Infallible;
use futures_util::{Stream, stream};
use serde::Deserialize;
use std::env::var;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use weir_chain::{Rpc, Sender};
use weir_core::Amount;
use weir_protocol::{ChallengeSecret, Secrets};
use weir_till::gateway::payment::{Payment, ReportNo};
use weir_till::gateway::price::Price;
use weir_till::gateway::route::Route;
use weir_till::shop::{EVM_DOMAIN, Premises};
use weir_till::{Shop, ShopConfig};

/// Base units of a word.
const WORD_PRICE: Amount = Amount::new(10);
/// The most words that one answer has.
const WORDS_MAX: u64 = 10;
const WORDS: &str = "the water that had always run past him turned his wheel all day";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let payee: PrivateKeySigner = var("WEIR_PAYEE_KEY")?.parse()?;
    let premises = Premises {
        payee: Sender::connect(Rpc::new(&var("WEIR_RPC_URL")?)?, payee).await?,
        escrow: var("WEIR_ESCROW")?.parse()?,
        domain_name: EVM_DOMAIN.to_owned(),
        books: var("WEIR_BOOKS")?.into(),
        timeout: Duration::from_secs(60),
        watch: Arc::new(()),
    };
    let secrets = Secrets::new(ChallengeSecret::new(var("WEIR_SECRET")?)?);
    let config = ShopConfig {
        // A local chain's blocks are final at once.
        finality_blocks: 0,
        // A tale takes a voucher a word, as fast as its payer signs.
        vouchers_per_second: 1_000,
        ..ShopConfig::new("words.example", var("WEIR_TOKEN")?.parse()?, secrets)
    };
    let price = || Price::new(WORD_PRICE, "word");
    let shop = Shop::embed(
        config,
        premises,
        vec![
            Route::sold(&[Method::GET], "/words", price().up_to(WORDS_MAX)),
            Route::sold(&[Method::GET], "/tale", price().by_the_event()),
            Route::free("/health"),
        ],
    )
    .await?;
    let service = Router::new()
        .route("/words", get(words))
        .route("/tale", get(tale))
        .route("/health", get(|| async { "ok\n" }))
        .layer(shop.layer());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, service)
        .with_graceful_shutdown(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    shop.shut_down().await?;
    Ok(())
}

#[derive(Deserialize)]
struct Asked {
    count: u64,
}

/// As many words as were asked for, or as there are. What is reported is what they cost.
async fn words(payment: Payment, Query(asked): Query<Asked>) -> Result<String, ReportNo> {
    let said: Vec<&str> = WORDS
        .split(' ')
        .take(usize::try_from(asked.count).unwrap_or(usize::MAX))
        .collect();
    payment.report(said.len().try_into().unwrap_or(u64::MAX))?;
    Ok(said.join(" "))
}

/// A word an event: each is paid for before it is sent.
async fn tale() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    Sse::new(stream::iter(
        WORDS.split(' ').map(|word| Ok(Event::default().data(word))),
    ))
}
