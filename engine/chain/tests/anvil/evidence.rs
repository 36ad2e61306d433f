//! What a payer's transaction proves, what a lost state file can be rebuilt from, and which escrow is not ours.

use alloy::primitives::{Address, B256, address};
use weir_chain::{Broadcast, ChainFault, Escrow, EvidenceFault, Outcome, Quote};
use weir_core::terms::{EVM_DOMAIN_NAME, TEMPO_DOMAIN_NAME};
use weir_core::{Amount, Cumulative};
use weir_test_support::{DEPOSIT, World, soon};

const NOBODY: Address = address!("0x00000000000000000000000000000000000000aa");

#[tokio::test]
async fn an_open_is_proven_by_its_event_and_its_state() {
    let world = World::new().await;
    let (id, landed) = world.open(1).await;
    let transaction = landed.logs[0].transaction_hash.unwrap();
    let evidence = world.escrow.opened_by(transaction, id).await.unwrap();
    assert_eq!(evidence.opened.terms, world.terms());
    assert_eq!(evidence.opened.terms, world.terms());
    assert_eq!(evidence.opened.salt, B256::repeat_byte(1));
    assert_eq!(
        (evidence.block.number, evidence.block.hash),
        (landed.block_number, landed.block_hash)
    );
    assert_eq!(evidence.state.deposit, Cumulative::new(DEPOSIT));

    let other = world.escrow.opened_by(transaction, world.id(2)).await;
    assert!(
        matches!(other, Err(EvidenceFault::OtherEffect)),
        "another channel's open proves nothing"
    );
    let top_up = world.escrow.topped_up_by(transaction, id).await;
    assert!(
        matches!(top_up, Err(EvidenceFault::OtherEffect)),
        "an open is no top-up"
    );
}

#[tokio::test]
async fn a_top_up_is_proven_with_its_amount() {
    let world = World::new().await;
    let (id, _) = world.open(1).await;
    let landed = world.pays(world.escrow.calls().top_up(id, Amount::new(7))).await;
    let transaction = landed.logs[0].transaction_hash.unwrap();
    let evidence = world.escrow.topped_up_by(transaction, id).await.unwrap();
    assert_eq!(evidence.added, Amount::new(7));
    assert_eq!(evidence.deposit, Cumulative::new(DEPOSIT + 7));
    assert_eq!(evidence.state.deposit, evidence.deposit);
}

#[tokio::test]
async fn not_mined_and_reverted_are_told_apart() {
    let world = World::new().await;
    let id = world.id(1);
    world.automine(false).await;
    let call = world.escrow.calls().open(&world.opening(1));
    let quote = world.payer.quote(&call).await.unwrap();
    // Too little gas to finish: it will be mined, and revert.
    let quote = Quote {
        gas_limit: quote.gas_limit / 2,
        ..quote
    };
    let nonce = world.payer.next_nonce().await.unwrap();
    let envelope = world.payer.prepare(&quote, &nonce).await.unwrap();
    nonce.keep();
    assert_eq!(
        world.payer.broadcast(&envelope).await.unwrap(),
        Broadcast::Accepted
    );
    let waiting = world.escrow.opened_by(envelope.hash, id).await;
    assert!(matches!(waiting, Err(EvidenceFault::NotMined)));
    world.mine(1).await;
    let Outcome::Landed(landed) = world.payer.wait(envelope.hash, soon()).await else {
        panic!("mined")
    };
    assert!(!landed.success);
    let reverted = world.escrow.opened_by(envelope.hash, id).await;
    assert!(matches!(reverted, Err(EvidenceFault::Reverted)));
}

#[tokio::test]
async fn threat_p1_a_payer_finds_its_channels_without_its_books() {
    let world = World::new().await;
    let (a, _) = world.open(1).await;
    world.mine(2_500).await;
    let (b, _) = world.open(2).await;
    let found = world
        .escrow
        .channels_of_payer(world.payer.address(), 0)
        .await
        .unwrap();
    assert_eq!(found.iter().map(|opened| opened.id).collect::<Vec<_>>(), [a, b]);
    assert_eq!(found[1].salt, B256::repeat_byte(2));
    assert_eq!(
        world
            .escrow
            .channels_of_payee(world.payee.address(), 0)
            .await
            .unwrap(),
        found
    );
    assert_eq!(world.escrow.channels_of_payer(NOBODY, 0).await.unwrap(), []);
}

#[tokio::test]
async fn another_escrow_than_the_configured_one_is_refused() {
    let world = World::new().await;
    let url = world.anvil.url();
    let at = world.escrow.address();
    let fault = Escrow::connect(&url, NOBODY, EVM_DOMAIN_NAME).await.unwrap_err();
    assert!(matches!(fault, ChainFault::NoCode { .. }), "{fault}");
    let fault = Escrow::connect(&url, at, TEMPO_DOMAIN_NAME).await.unwrap_err();
    assert!(matches!(fault, ChainFault::DomainMismatch { .. }), "{fault}");
    let fault = Escrow::connect(&url, world.token, EVM_DOMAIN_NAME)
        .await
        .unwrap_err();
    assert!(
        !fault.is_transient() || matches!(fault, ChainFault::Rpc { answered: true, .. }),
        "{fault}"
    );
    let fault = Escrow::connect("not a url", at, EVM_DOMAIN_NAME)
        .await
        .unwrap_err();
    assert!(matches!(fault, ChainFault::BadUrl(_)), "{fault}");

    assert_eq!(
        world.escrow.max_deposit(world.token).await.unwrap(),
        Cumulative::new(1_000 * DEPOSIT)
    );
    let fault = world.escrow.max_deposit(NOBODY).await.unwrap_err();
    assert!(matches!(fault, ChainFault::TokenNotServed { .. }), "{fault}");
    assert_eq!(world.escrow.listed_tokens().await.unwrap(), [world.token]);
}
