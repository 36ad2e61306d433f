//! The payer's hands on a real chain: anvil, one per test, and no server at all.

use crate::chain_world::{DEPOSIT, GRACE_SECONDS, NOWHERE, World};
use crate::state::Stage;
use crate::{AllowedEscrow, ChainError, ChannelRecord, CloseRequest, Error, LimitExceeded, Limits, Payer};
use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::providers::Provider;
use core::fmt::Debug;
use core::time::Duration;
use reqwest::Url;
use serde_json::json;
use weir_chain::SettleRow;
use weir_core::{Amount, Cumulative};
use weir_test_support::{ask, soon};

/// Longest wait for something that takes a moment on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a signed transaction is on its way to the node. One that did not arrive is sent by the next attempt.
const BROADCAST: Duration = Duration::from_secs(1);

/// Lets work go on until the books show that its transaction is signed and the node has it, and gives it up there.
async fn die_when<T: Debug>(
    payer: &Payer,
    is_signed: impl Fn(&ChannelRecord) -> bool,
    work: impl Future<Output = T>,
) {
    let signed = async {
        while !payer.channels().iter().any(&is_signed) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(BROADCAST).await;
    };
    tokio::select! {
        done = work => panic!("nothing is mined: {done:?}"),
        () = signed => {}
        () = tokio::time::sleep(PATIENCE) => panic!("nothing was signed"),
    }
}

#[tokio::test]
async fn a_channel_is_opened_with_what_is_suggested_and_found_again_after_a_restart() {
    let world = World::new().await;
    let payer = world.payer().await;
    let purse = world.open(&payer).await.unwrap();
    let record = purse.record();
    assert_eq!(
        (record.stage, record.deposit),
        (Stage::Mined, Cumulative::new(DEPOSIT))
    );
    assert!(record.open_hash.is_some() && record.open_envelope.is_none());
    assert_eq!(world.deposit(&payer, purse.id()).await, DEPOSIT);
    assert_eq!(world.balance(&payer).await, 9 * DEPOSIT);
    let id = purse.id();
    drop((purse, payer));
    let payer = world.payer().await;
    assert_eq!(world.open(&payer).await.unwrap().id(), id);
    assert_eq!(world.balance(&payer).await, 9 * DEPOSIT);
}

#[tokio::test]
async fn two_first_requests_share_one_deposit() {
    let world = World::new().await;
    let payer = world.payer().await;
    let (one, two) = tokio::join!(world.open(&payer), world.open(&payer));
    assert_eq!(one.unwrap().id(), two.unwrap().id());
    assert_eq!(world.balance(&payer).await, 9 * DEPOSIT);
}

#[tokio::test]
async fn threat_t6_an_open_that_was_broadcast_is_resumed_and_not_made_again() {
    let world = World::new().await;
    let payer = world.payer().await;
    let escrow = payer.core.chain.escrow(world.escrow).await.unwrap();
    payer
        .core
        .chain
        .approve(&escrow, world.token, Amount::new(DEPOSIT))
        .await
        .unwrap();
    world.automine(false).await;
    // The process dies while its open waits to be mined.
    let signed = |record: &ChannelRecord| record.open_envelope.is_some();
    die_when(&payer, signed, world.open(&payer)).await;
    let record = payer.channels().pop().unwrap();
    assert!(record.open_envelope.is_some() && record.stage == Stage::Opening);
    drop(payer);
    let payer = world.payer().await;
    world.automine(true).await;
    ask(&world.rpc, "anvil_mine", json!([U256::from(1)])).await;
    let purse = world.open(&payer).await.unwrap();
    assert_eq!((purse.id(), purse.record().stage), (record.channel, Stage::Mined));
    assert_eq!(
        purse.record().open_hash,
        record.open_envelope.map(|envelope| envelope.hash)
    );
    assert_eq!(world.balance(&payer).await, 9 * DEPOSIT);
}

#[tokio::test]
async fn threat_t6_an_open_whose_transaction_the_books_lost_is_adopted() {
    let world = World::new().await;
    let payer = world.payer().await;
    let purse = world.open(&payer).await.unwrap();
    let opened_by = purse.record().open_hash;
    let forget = purse.mark(|record, _| {
        record.stage = Stage::Opening;
        record.open_hash = None;
    });
    forget.await.unwrap();
    let again = world.open(&payer).await.unwrap();
    assert_eq!((again.id(), again.record().open_hash), (purse.id(), opened_by));
    assert_eq!(world.balance(&payer).await, 9 * DEPOSIT);
}

#[tokio::test]
async fn a_deposit_grows_as_far_as_the_limit_and_no_further() {
    let world = World::new().await;
    let payer = world.payer().await;
    let purse = world.open(&payer).await.unwrap();
    let (core, offer, url) = (&payer.core, world.offer(), Url::parse(NOWHERE).unwrap());
    let cover = |units| core.cover(&purse, &offer, Cumulative::new(units), &url);
    assert!(!cover(DEPOSIT).await.unwrap());
    assert!(cover(DEPOSIT + 1).await.unwrap());
    assert_eq!(world.deposit(&payer, purse.id()).await, 2 * DEPOSIT);
    assert_eq!(purse.record().deposit, Cumulative::new(2 * DEPOSIT));
    assert!(cover(3 * DEPOSIT).await.unwrap());
    let over = cover(3 * DEPOSIT + 1).await;
    assert!(
        matches!(over, Err(Error::Limit(LimitExceeded::Deposit { .. }))),
        "{over:?}"
    );
    assert_eq!(world.deposit(&payer, purse.id()).await, 3 * DEPOSIT);
}

#[tokio::test]
async fn no_deposit_is_sent_to_a_server_that_takes_only_what_it_pulls() {
    let world = World::new().await;
    let payer = world.payer().await;
    let (provider, account) = (world.rpc.provider(), world.key.address());
    let sent = async || provider.get_transaction_count(account).await.unwrap();
    let mut pulled = world.offer();
    pulled.request.method_details.fee_payer = Some(true);
    pulled.request.method_details.credential_types = Some(vec!["permit2".to_owned()]);
    let none = payer
        .core
        .purse_for(&pulled, NOWHERE)
        .await
        .map(|purse| purse.id());
    assert!(matches!(none, Err(Error::OnlyPulled)), "{none:?}");
    assert_eq!(sent().await, 0);
    // What was planned is sent once the server takes it, and grows only then too.
    let purse = world.open(&payer).await.unwrap();
    assert_eq!(payer.channels().len(), 1);
    let before = sent().await;
    let (needed, url) = (Cumulative::new(DEPOSIT + 1), Url::parse(NOWHERE).unwrap());
    let more = payer.core.cover(&purse, &pulled, needed, &url).await;
    assert!(matches!(more, Err(Error::OnlyPulled)), "{more:?}");
    assert_eq!(sent().await, before);
    assert_eq!(world.deposit(&payer, purse.id()).await, DEPOSIT);
}

#[tokio::test]
async fn a_top_up_that_was_broadcast_is_not_made_twice() {
    let world = World::new().await;
    let payer = world.payer().await;
    let purse = world.open(&payer).await.unwrap();
    let escrow = payer.core.chain.escrow(world.escrow).await.unwrap();
    payer
        .core
        .chain
        .approve(&escrow, world.token, Amount::new(2 * DEPOSIT))
        .await
        .unwrap();
    world.automine(false).await;
    let (offer, url) = (world.offer(), Url::parse(NOWHERE).unwrap());
    let needed = Cumulative::new(2 * DEPOSIT);
    let waiting = payer.core.cover(&purse, &offer, needed, &url);
    die_when(&payer, |record| record.pending_top_up.is_some(), waiting).await;
    let id = purse.id();
    drop((purse, payer));
    let payer = world.payer().await;
    world.automine(true).await;
    ask(&world.rpc, "anvil_mine", json!([U256::from(1)])).await;
    let purse = world.open(&payer).await.unwrap();
    payer.core.cover(&purse, &offer, needed, &url).await.unwrap();
    assert_eq!((purse.id(), world.deposit(&payer, id).await), (id, 2 * DEPOSIT));
    assert_eq!(purse.record().pending_top_up, None);
}

#[tokio::test]
async fn an_escrow_that_is_not_as_expected_gets_no_deposit() {
    let world = World::new().await;
    let with_hash = |code_hash| AllowedEscrow {
        address: world.escrow,
        code_hash: Some(code_hash),
    };
    let code = world.rpc.provider().get_code_at(world.escrow).await.unwrap();
    let limits = world.limits();
    let payer = world.payer_with(limits.clone()).await;
    let chain = &payer.core.chain;
    assert!(
        chain
            .trusted_escrow(with_hash(keccak256(&code)), &limits)
            .await
            .is_ok()
    );
    let other = chain
        .trusted_escrow(with_hash(B256::ZERO), &limits)
        .await
        .unwrap_err();
    assert!(
        matches!(other, Error::Limit(LimitExceeded::EscrowCode { .. })),
        "{other}"
    );
    let short = Limits {
        grace_seconds: 600..=GRACE_SECONDS - 1,
        ..limits.clone()
    };
    let long = chain
        .trusted_escrow(with_hash(keccak256(&code)), &short)
        .await
        .unwrap_err();
    assert!(
        matches!(long, Error::Limit(LimitExceeded::Grace { .. })),
        "{long}"
    );
    let empty = AllowedEscrow {
        address: Address::repeat_byte(9),
        code_hash: None,
    };
    let empty = chain.trusted_escrow(empty, &limits).await.unwrap_err();
    assert!(matches!(empty, Error::Chain(ChainError::Fault(_))), "{empty}");
    assert!(payer.channels().is_empty());
}

#[tokio::test]
async fn threat_p1_a_payer_that_lost_its_state_gets_its_deposit_back_alone() {
    let mut world = World::new().await;
    let payer = world.payer().await;
    let id = world.open(&payer).await.unwrap().id();
    // The payee settles a voucher, then is never heard of again; the payer's disk is gone.
    let escrow = payer.core.chain.escrow(world.escrow).await.unwrap();
    let cumulative = Cumulative::new(100);
    let signature = Some(payer.core.pen.sign(escrow.domain(), id, cumulative).unwrap());
    let row = SettleRow {
        channel: id,
        cumulative,
        capture: cumulative,
        signature,
    };
    world
        .payee
        .land(&escrow.calls().settle(&row), soon())
        .await
        .unwrap();
    drop(payer);
    world.state = tempfile::tempdir().unwrap();
    let payer = world.payer().await;
    assert!(payer.channels().is_empty());
    let found = payer.recover(0).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].channel, found[0].held(), found[0].ready_at),
        (id, Amount::new(DEPOSIT - 100), None)
    );
    assert!(!found[0].in_books);
    assert!(matches!(
        payer.withdraw(id).await,
        Err(Error::NotReady { ready_at: 0 })
    ));
    let asked = payer.request_close(id).await.unwrap();
    assert_eq!(
        payer.request_close(id).await.unwrap(),
        CloseRequest { stood: true, ..asked },
        "asking again does not prolong the wait"
    );
    assert!(!asked.stood);
    assert_eq!(payer.recover(0).await.unwrap()[0].ready_at, Some(asked.ready_at));
    assert!(
        matches!(payer.withdraw(id).await, Err(Error::NotReady { ready_at }) if ready_at == asked.ready_at)
    );
    world.pass(GRACE_SECONDS).await;
    let withdrawn = payer.withdraw(id).await.unwrap();
    assert_eq!(
        (withdrawn.settled, withdrawn.refunded),
        (cumulative, Amount::new(DEPOSIT - 100))
    );
    assert!(!withdrawn.credited);
    assert_eq!(world.balance(&payer).await, 10 * DEPOSIT - 100);
    // Asked again, nothing is left to do, and it says where the money went.
    let again = payer.withdraw(id).await.unwrap();
    assert!(withdrawn.tx_hash.is_some() && again.tx_hash.is_none());
    assert_eq!(
        (again.settled, again.refunded),
        (withdrawn.settled, withdrawn.refunded)
    );
    let closed = payer.request_close(id).await;
    assert!(
        matches!(closed, Err(Error::AlreadyClosed { settled, .. }) if settled == cumulative),
        "{closed:?}"
    );
    assert_eq!(payer.recover(0).await.unwrap()[0].held(), Amount::ZERO);
}

#[tokio::test]
async fn after_the_payers_own_close_request_a_new_channel_is_opened_at_once() {
    let world = World::new().await;
    let payer = world.payer().await;
    let id = world.open(&payer).await.unwrap().id();
    payer.request_close(id).await.unwrap();
    let second = world.open(&payer).await.unwrap().id();
    assert_ne!(second, id);
    // It is the one that is used from then on, by later runs too.
    drop(payer);
    let payer = world.payer().await;
    assert_eq!(world.open(&payer).await.unwrap().id(), second);
    assert_eq!(world.balance(&payer).await, 8 * DEPOSIT);
    world.pass(GRACE_SECONDS).await;
    payer.withdraw(id).await.unwrap();
    assert_eq!(world.open(&payer).await.unwrap().id(), second);
    assert_eq!(world.balance(&payer).await, 9 * DEPOSIT);
}

#[tokio::test]
async fn threat_p5_a_channel_that_was_given_up_or_cheated_on_is_in_the_way_of_a_second_deposit() {
    let world = World::new().await;
    let payer = world.payer().await;
    let purse = world.open(&payer).await.unwrap();
    // The server says that it does not know it, or that it closed it; the escrow knows better.
    purse
        .mark(|record, _| record.stage = Stage::Closing)
        .await
        .unwrap();
    assert!(matches!(world.open(&payer).await, Err(Error::Forgotten(id)) if id == purse.id()));
    assert_eq!(world.balance(&payer).await, 9 * DEPOSIT);
    payer.request_close(purse.id()).await.unwrap();
    let second = world.open(&payer).await.unwrap();
    // A server that overcharged gets nothing for the payer's word, but when it is over.
    second.mark(|_, account| account.stopped = true).await.unwrap();
    payer.request_close(second.id()).await.unwrap();
    assert!(matches!(world.open(&payer).await, Err(Error::Stopped(id)) if id == second.id()));
    assert_eq!(world.balance(&payer).await, 8 * DEPOSIT);
    world.pass(GRACE_SECONDS).await;
    payer.withdraw(second.id()).await.unwrap();
    assert!(world.open(&payer).await.is_ok());
}

#[tokio::test]
async fn a_record_of_a_chain_that_began_anew_is_named_and_in_the_way_until_it_is_moved() {
    let world = World::new().await;
    let payer = world.payer().await;
    let before = ask(&world.rpc, "evm_snapshot", json!([])).await;
    let purse = world.open(&payer).await.unwrap();
    purse
        .mark(|record, _| record.stage = Stage::Closing)
        .await
        .unwrap();
    ask(&world.rpc, "evm_revert", json!([before])).await;
    let error = world.open(&payer).await.unwrap_err();
    let Error::NotOnChain { channel, file } = error else {
        panic!("{error}");
    };
    assert_eq!(channel, purse.id());
    assert_eq!(world.balance(&payer).await, 10 * DEPOSIT);
    drop((purse, payer));
    std::fs::rename(&file, file.with_extension("old")).unwrap();
    let payer = world.payer().await;
    assert_ne!(world.open(&payer).await.unwrap().id(), channel);
}

#[tokio::test]
async fn a_channel_of_another_chain_than_the_nodes_is_left_alone() {
    let world = World::new().await;
    let payer = world.payer().await;
    let id = world.open(&payer).await.unwrap().id();
    let file = payer.state_path().join(format!("{id}.json"));
    drop(payer);
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.contains("\"chainId\": 31337"), "{kept}");
    std::fs::write(&file, kept.replace("\"chainId\": 31337", "\"chainId\": 1")).unwrap();
    let payer = world.payer().await;
    for tried in [
        payer.request_close(id).await.map(drop),
        payer.withdraw(id).await.map(drop),
    ] {
        let Err(Error::Chain(ChainError::OtherChain { offered, found })) = tried else {
            panic!("{tried:?}");
        };
        assert_eq!((offered, found), (1, 31337));
    }
}
