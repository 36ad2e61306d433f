//! What the watcher tells, and what it keeps to itself.

use crate::proxy::{Mood, Replica};
use crate::recorder::Recorder;
use serde_json::json;
use std::time::Duration;
use weir_chain::{Cursor, Escrow, Observation, Rpc, Sender, Sighting, Sink, Tracked, Watcher, WatcherConfig};
use weir_core::terms::EVM_DOMAIN_NAME;
use weir_core::{Amount, ChainState, ChannelId, Cumulative};
use weir_test_support::{DEPOSIT, World, soon};

const FINALITY: u64 = 3;

fn config(cursor: Cursor, tracked: Vec<Tracked>) -> WatcherConfig {
    WatcherConfig {
        poll_interval: Duration::from_millis(20),
        finality_blocks: FINALITY,
        cursor,
        tracked,
    }
}

fn watcher(world: &World) -> Watcher {
    let config = config(Cursor::From(0), Vec::new());
    Watcher::new(world.escrow.clone(), world.payee.address(), config)
}

fn of(sighting: &Sighting, id: ChannelId) -> Option<&Observation> {
    sighting
        .observations
        .iter()
        .find(|observation| observation.id == id)
}

fn counts(observation: &Observation) -> ChainState {
    ChainState::cautious(observation.seen, observation.last_final)
}

#[tokio::test]
async fn an_open_is_told_at_once_and_counts_when_it_is_final() {
    let world = World::new().await;
    let (mut watcher, mut sink) = (watcher(&world), Recorder::default());
    assert!(watcher.step(&mut sink).await.unwrap());
    assert!(
        !watcher.step(&mut sink).await.unwrap(),
        "nothing new, nothing told"
    );

    let (id, landed) = world.open(1).await;
    assert!(watcher.step(&mut sink).await.unwrap());
    let told = of(sink.last(), id).unwrap();
    assert_eq!(told.terms, world.terms());
    assert_eq!(told.opened_in, Some(landed.block_number));
    assert_eq!(told.seen.deposit, Cumulative::new(DEPOSIT));
    assert_eq!(counts(told).deposit, Cumulative::ZERO);

    world.mine(FINALITY - 1).await;
    assert!(watcher.step(&mut sink).await.unwrap());
    assert_eq!(
        of(sink.last(), id),
        None,
        "not final yet, and nothing else changed"
    );
    world.mine(1).await;
    assert!(watcher.step(&mut sink).await.unwrap());
    let told = of(sink.last(), id).unwrap();
    assert_eq!(counts(told).deposit, Cumulative::new(DEPOSIT));
    assert_eq!(sink.last().last_final.number, landed.block_number);

    world.mine(1).await;
    assert!(watcher.step(&mut sink).await.unwrap());
    assert_eq!(sink.last().observations, []);
    let view = *watcher.view().borrow();
    assert_eq!(view.unwrap().head, world.rpc.head().await.unwrap());
}

#[tokio::test]
async fn threat_t5_a_close_request_counts_at_first_sight_and_its_end_when_final() {
    let world = World::new().await;
    let (mut watcher, mut sink) = (watcher(&world), Recorder::default());
    let (id, _) = world.open(1).await;
    world.mine(FINALITY).await;
    watcher.step(&mut sink).await.unwrap();
    assert_eq!(
        counts(of(sink.last(), id).unwrap()).deposit,
        Cumulative::new(DEPOSIT)
    );

    world.pays(world.escrow.calls().request_close(id)).await;
    watcher.step(&mut sink).await.unwrap();
    assert!(counts(of(sink.last(), id).unwrap()).close_requested_at.is_some());

    world.mine(FINALITY).await;
    world.pays(world.escrow.calls().top_up(id, Amount::new(5))).await;
    watcher.step(&mut sink).await.unwrap();
    let told = of(sink.last(), id).unwrap();
    assert_eq!(told.seen.close_requested_at, None);
    assert!(counts(told).close_requested_at.is_some());
    assert_eq!(counts(told).deposit, Cumulative::new(DEPOSIT));

    world.mine(FINALITY).await;
    watcher.step(&mut sink).await.unwrap();
    let told = of(sink.last(), id).unwrap();
    assert_eq!(counts(told).close_requested_at, None);
    assert_eq!(counts(told).deposit, Cumulative::new(DEPOSIT + 5));
}

#[tokio::test]
async fn threat_t4_a_reorg_of_the_same_height_removes_an_open() {
    let world = World::new().await;
    let (mut watcher, mut sink) = (watcher(&world), Recorder::default());
    world.mine(10).await;
    let (id, _) = world.open(1).await;
    watcher.step(&mut sink).await.unwrap();
    assert_eq!(
        of(sink.last(), id).unwrap().seen.deposit,
        Cumulative::new(DEPOSIT)
    );

    let before = world.rpc.head().await.unwrap();
    world.ask("anvil_reorg", json!([2, []])).await;
    let after = world.rpc.head().await.unwrap();
    assert_eq!(before.number, after.number);
    assert_ne!(before.hash, after.hash);
    assert!(watcher.step(&mut sink).await.unwrap());
    assert!(sink.last().reorged);
    let told = of(sink.last(), id).unwrap();
    assert_eq!(told.seen.deposit, Cumulative::ZERO, "the channel is gone");

    // The same open again, in another block; by a sender that does not count on the nonce of the one that was dropped.
    let payer = Sender::connect(world.rpc.clone(), world.payer_key.clone())
        .await
        .unwrap();
    let call = world.escrow.calls().open(&world.opening(1));
    let landed = payer.land(&call, soon()).await.unwrap();
    world.mine(FINALITY).await;
    watcher.step(&mut sink).await.unwrap();
    let told = of(sink.last(), id).unwrap();
    assert_eq!(told.opened_in, Some(landed.block_number));
    assert_eq!(counts(told).deposit, Cumulative::new(DEPOSIT));
    assert!(!sink.last().reorged);
}

#[tokio::test]
async fn threat_t4_a_longer_fork_without_the_open_wins() {
    let world = World::new().await;
    let (mut watcher, mut sink) = (watcher(&world), Recorder::default());
    let snapshot = world.ask("evm_snapshot", json!([])).await;
    let (id, _) = world.open(1).await;
    world.mine(1).await;
    watcher.step(&mut sink).await.unwrap();
    let before = sink.last().head;

    world.ask("evm_revert", json!([snapshot])).await;
    assert!(world.rpc.head().await.unwrap().number < before.number);
    assert!(
        !watcher.step(&mut sink).await.unwrap(),
        "a lower head is no progress, and no reorg yet"
    );
    assert_eq!(watcher.view().borrow().unwrap().head, before, "the view ages");

    world.ask("evm_increaseTime", json!([60])).await;
    world.mine(4).await;
    assert!(watcher.step(&mut sink).await.unwrap());
    assert!(sink.last().reorged);
    assert_eq!(of(sink.last(), id).unwrap().seen.deposit, Cumulative::ZERO);
}

#[tokio::test]
async fn threat_t4_a_lagging_replica_is_neither_a_reorg_nor_progress() {
    let world = World::new().await;
    let replica = Replica::of(world.anvil.port).await;
    let rpc = Rpc::new(&replica.url).unwrap();
    let escrow = Escrow::over(rpc, world.escrow.address(), EVM_DOMAIN_NAME)
        .await
        .unwrap();
    let config = config(Cursor::From(0), Vec::new());
    let (mut watcher, mut sink) = (
        Watcher::new(escrow, world.payee.address(), config),
        Recorder::default(),
    );
    let (id, landed) = world.open(1).await;
    world.mine(FINALITY).await;
    watcher.step(&mut sink).await.unwrap();
    let view = *watcher.view().borrow();

    replica.is(Mood {
        head: Some(landed.block_number - 1),
        down: false,
    });
    assert!(!watcher.step(&mut sink).await.unwrap());
    assert_eq!(*watcher.view().borrow(), view);
    replica.is(Mood {
        head: None,
        down: true,
    });
    assert!(watcher.step(&mut sink).await.is_err());
    assert_eq!(*watcher.view().borrow(), view);

    replica.is(Mood::default());
    world.pays(world.escrow.calls().request_close(id)).await;
    watcher.step(&mut sink).await.unwrap();
    assert!(!sink.last().reorged);
    assert!(of(sink.last(), id).unwrap().seen.close_requested_at.is_some());
}

#[tokio::test]
async fn what_the_sink_refuses_is_told_again() {
    let world = World::new().await;
    let (mut watcher, mut sink) = (
        watcher(&world),
        Recorder {
            refuses: 2,
            ..Default::default()
        },
    );
    let (id, _) = world.open(1).await;
    assert!(watcher.step(&mut sink).await.is_err());
    assert!(watcher.view().borrow().is_none());
    assert!(watcher.step(&mut sink).await.is_err());
    assert!(watcher.step(&mut sink).await.unwrap());
    assert!(of(sink.last(), id).is_some());
}

#[tokio::test]
async fn a_watcher_that_slept_reads_everything_again() {
    let world = World::new().await;
    let (mut first, mut sink) = (watcher(&world), Recorder::default());
    let (old, landed) = world.open(1).await;
    first.step(&mut sink).await.unwrap();
    let cursor = sink.last().head;
    drop(first);

    // More blocks than are followed one by one, a change to a channel of the books, and a channel they don't know.
    world.pays(world.escrow.calls().request_close(old)).await;
    let (new, born) = world.open(2).await;
    world.mine(300).await;
    let tracked = Tracked {
        id: old,
        terms: world.terms(),
        opened_in: Some(landed.block_number),
    };
    let config = config(Cursor::After(cursor), vec![tracked]);
    let mut second = Watcher::new(world.escrow.clone(), world.payee.address(), config);
    second.step(&mut sink).await.unwrap();
    let sighting = sink.last();
    assert!(!sighting.reorged);
    assert!(counts(of(sighting, old).unwrap()).close_requested_at.is_some());
    assert_eq!(of(sighting, old).unwrap().opened_in, Some(landed.block_number));
    assert_eq!(of(sighting, new).unwrap().opened_in, Some(born.block_number));
    assert_eq!(
        counts(of(sighting, new).unwrap()).deposit,
        Cumulative::new(DEPOSIT)
    );
}

#[tokio::test]
async fn threat_t4_a_reorg_during_sleep_is_noticed() {
    let world = World::new().await;
    let (mut first, mut sink) = (watcher(&world), Recorder::default());
    let (id, landed) = world.open(1).await;
    first.step(&mut sink).await.unwrap();
    let cursor = sink.last().head;
    world.ask("anvil_reorg", json!([1, []])).await;
    world.mine(2).await;

    let tracked = Tracked {
        id,
        terms: world.terms(),
        opened_in: Some(landed.block_number),
    };
    let config = config(Cursor::After(cursor), vec![tracked]);
    let mut second = Watcher::new(world.escrow.clone(), world.payee.address(), config);
    second.step(&mut sink).await.unwrap();
    assert!(sink.last().reorged);
    assert_eq!(of(sink.last(), id).unwrap().seen.deposit, Cumulative::ZERO);
}

/// Hands sightings to the test as they are taken.
struct Forward(tokio::sync::mpsc::UnboundedSender<Sighting>);

impl Sink for Forward {
    type Fault = &'static str;

    async fn take(&mut self, sighting: &Sighting) -> Result<(), Self::Fault> {
        self.0.send(sighting.clone()).map_err(|_| "nobody listens")
    }
}

#[tokio::test]
async fn it_runs_through_an_outage_until_it_is_told_to_stop() {
    let world = World::new().await;
    let replica = Replica::of(world.anvil.port).await;
    let rpc = Rpc::new(&replica.url).unwrap();
    let escrow = Escrow::over(rpc, world.escrow.address(), EVM_DOMAIN_NAME)
        .await
        .unwrap();
    let watcher = Watcher::new(escrow, world.payee.address(), config(Cursor::From(0), Vec::new()));
    let mut view = watcher.view();
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(watcher.run(Forward(told), async {
        let _ = stopped.await;
    }));
    tokio::time::timeout_at(soon(), view.changed())
        .await
        .unwrap()
        .unwrap();

    replica.is(Mood {
        head: None,
        down: true,
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = view.borrow_and_update().unwrap();
    let (id, landed) = world.open(1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(view.borrow().unwrap(), before, "without a node the view ages");
    replica.is(Mood::default());
    loop {
        let sighting = tokio::time::timeout_at(soon(), heard.recv())
            .await
            .unwrap()
            .unwrap();
        assert!(!sighting.reorged);
        if let Some(told) = of(&sighting, id) {
            assert_eq!(told.opened_in, Some(landed.block_number));
            break;
        }
    }
    stop.send(()).unwrap();
    tokio::time::timeout_at(soon(), running).await.unwrap().unwrap();
}
