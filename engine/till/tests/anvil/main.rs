//! The settler over a real chain: anvil, one per test, with a watcher that tells what happened.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod shop;

use serde_json::json;
use shop::Shop;
use weir_core::Cumulative;
use weir_till::attempt::{Attempt, Ended};

/// The nonce that all envelopes of an attempt share: a slow block may have had one replaced by a dearer one.
fn only_nonce(attempt: &Attempt) -> u64 {
    let nonce = attempt.envelopes[0].nonce;
    assert!(attempt.envelopes.iter().all(|envelope| envelope.nonce == nonce));
    nonce
}

#[tokio::test]
async fn threat_t2_a_nonce_that_was_used_elsewhere_lets_the_settlement_go_and_the_next_one_lands() {
    let shop = Shop::open(0).await;
    let channel = shop.sell(1, 60).await;
    shop.chain.steal_next_nonce();
    shop.settle(channel).await;
    shop.until("the attempt was let go", async || {
        shop.attempts()
            .first()
            .is_some_and(|first| first.ended == Some(Ended::Displaced))
    })
    .await;
    assert_eq!(shop.settled_on_chain(channel).await, Cumulative::ZERO);
    // A person's word counts once.
    shop.settle(channel).await;
    shop.until_settled(channel, 60).await;
    let attempts = shop.attempts();
    let nonces = [0, 1].map(|attempt| only_nonce(&attempts[attempt]));
    assert_eq!(
        nonces[1],
        nonces[0] + 1,
        "the stranger's transaction has the first one, and no other is left out"
    );
}

#[tokio::test]
async fn tx_1_a_settlement_that_a_reorganisation_took_out_is_sent_again() {
    let shop = Shop::open(3).await;
    let channel = shop.sell(1, 60).await;
    shop.settle(channel).await;
    shop.until_settled(channel, 60).await;
    let nonce = only_nonce(&shop.attempts()[0]);
    // Its block is replaced by an empty one, and anvil forgets the transaction.
    shop.world.ask("anvil_reorg", json!([1, []])).await;
    assert_eq!(
        shop.settled_on_chain(channel).await,
        Cumulative::ZERO,
        "it was taken out"
    );
    shop.until_settled(channel, 60).await;
    assert_eq!(shop.attempts().len(), 1, "the same attempt");
    assert_eq!(only_nonce(&shop.attempts()[0]), nonce, "and the same nonce");
    assert_eq!(shop.attempts()[0].ended, None, "it is not final yet");
    shop.world.mine(3).await;
    shop.until("it is final", async || {
        shop.attempts()[0].ended == Some(Ended::Mined)
    })
    .await;
    let answer = shop.till.read(channel).await.unwrap();
    assert_eq!(answer.get().channel.capture(), None);
}

#[tokio::test]
async fn tx_1_the_next_settlement_of_a_channel_waits_until_the_last_one_is_final() {
    let shop = Shop::open(3).await;
    let channel = shop.sell(1, 60).await;
    shop.settle(channel).await;
    shop.until_settled(channel, 60).await;
    shop.sell_more(channel, 1, 100, 40).await;
    let requested = shop.world.escrow.calls().request_close(channel);
    let _ = shop.world.pays(requested).await;
    shop.until("the close request is seen, long before it is final", async || {
        let answer = shop.till.read(channel).await.unwrap();
        answer.get().channel.chain().close_requested_at.is_some()
    })
    .await;
    tokio::time::sleep(2 * weir_till::settler::LOOK_EVERY).await;
    assert_eq!(shop.attempts().len(), 1);
    assert_eq!(shop.settled_on_chain(channel).await, Cumulative::new(60));
    shop.world.mine(3).await;
    shop.until_settled(channel, 100).await;
}
