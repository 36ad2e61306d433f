//! The seller is gone, and the payer's books too (threat P1).

use crate::daemon::Daemon;
use crate::world::{DEPOSIT, PRICE, World, total};
use weir_client::Error;

#[tokio::test(flavor = "multi_thread")]
async fn threat_p1_a_payer_without_seller_and_books_gets_its_deposit_back() {
    let world = World::start(1).await;
    let daemon = Daemon::start(&world.config(&world.settings("vanishing"))).await;
    let funds = world.balance(&world.payers[0]).await;
    let payer = world.payer(0, "payer").await;
    let url = format!("{}/v1/answer", daemon.gateway);
    for _ in 0..3 {
        payer.get(&url).await.unwrap();
    }
    let [record] = payer.channels().try_into().unwrap();
    assert_eq!(world.balance(&world.payers[0]).await, funds - DEPOSIT);
    daemon.kill();
    drop(payer);
    std::fs::remove_dir_all(world.state("payer")).unwrap();

    let payer = world.payer(0, "payer").await;
    assert!(payer.channels().is_empty());
    let [found] = payer.recover(0).await.unwrap().try_into().unwrap();
    assert_eq!(found.channel, record.channel);
    assert!(!found.in_books);
    assert_eq!((found.held().base_units(), found.ready_at), (DEPOSIT, None));

    let request = payer.request_close(found.channel).await.unwrap();
    let early = payer.withdraw(found.channel).await;
    assert!(
        matches!(early, Err(Error::NotReady { ready_at }) if ready_at == request.ready_at),
        "{early:?}"
    );
    world.warp(world.escrow.grace_period_seconds() + 1).await;
    let withdrawn = payer.withdraw(found.channel).await.unwrap();
    // Nothing was settled while the seller was there: the vouchers it holds are worth nothing now.
    assert_eq!(withdrawn.settled, total(0));
    assert_eq!(withdrawn.refunded.base_units(), DEPOSIT);
    assert!(!withdrawn.credited);
    assert_eq!(world.balance(&world.payers[0]).await, funds);
    assert!(world.on_chain(found.channel).await.finalized);
    assert!(record.signed >= total(PRICE * 3));
}
