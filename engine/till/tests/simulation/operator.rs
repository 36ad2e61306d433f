//! The payee's side of the modelled chain, as the settler and the gateway use it; it is often in trouble.

use crate::chain::Chain;
use crate::ledger::Ledger;
use crate::random::Random;
use alloy_primitives::{B256, Bytes};
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use weir_chain::Envelope;
use weir_protocol::rails;
use weir_store::memory::Image;
use weir_till::attempt::Attempt;
use weir_till::settlement::{Batch, ChainTrouble, Landing, Settlement, Skipped};
use weir_till::{Evidence, Sight};

/// Everything outside the till: it outlives the till's crashes.
pub(crate) struct World {
    pub(crate) chain: Chain,
    pub(crate) ledger: Ledger,
    pub(crate) random: Random,
    /// How often the chain fails us, of a hundred times.
    pub(crate) trouble_percent: u64,
    /// The first broken promise.
    pub(crate) broken: Option<String>,
    pub(crate) signed: BTreeMap<B256, (u64, Batch)>,
    broadcast: BTreeSet<B256>,
}

pub(crate) type SharedWorld = Arc<Mutex<World>>;

impl World {
    pub(crate) fn new(chain: Chain, random: Random) -> Self {
        Self {
            chain,
            ledger: Ledger::default(),
            random,
            trouble_percent: 15,
            broken: None,
            signed: BTreeMap::new(),
            broadcast: BTreeSet::new(),
        }
    }

    pub(crate) fn hold<T>(&mut self, result: Result<T, String>) {
        if let Err(broken) = result {
            self.broken.get_or_insert(broken);
        }
    }

    fn trouble(&mut self) -> bool {
        self.random.percent(self.trouble_percent)
    }

    /// CH-3: neither the chain nor a signed settlement may ever take more than was earned.
    pub(crate) fn check_captures(&mut self) {
        let signed = self.signed.values().flat_map(|(_, batch)| &batch.rows);
        let signed = signed.map(|row| (row.channel, row.capture));
        let ids = self.chain.terms.keys();
        let landed = ids.map(|id| (*id, self.chain.state(*id).settled));
        let captures: Vec<_> = signed.chain(landed).collect();
        for (id, capture) in captures {
            let earned = self.ledger.account(id).capturable();
            if capture.base_units() > earned {
                self.hold::<()>(Err(format!(
                    "CH-3: {capture} is captured, {earned} was earned, on {id}"
                )));
            }
        }
    }

    /// TX-1: no channel of this envelope is in another one that may yet land.
    fn check_one_attempt(&mut self, hash: B256) {
        let (nonce, batch) = self.signed[&hash].clone();
        let over = self.chain.final_nonce();
        self.broadcast.insert(hash);
        if nonce < over {
            // Sent again after a restart that had not heard of its end.
            return;
        }
        let others = self.broadcast.iter().filter_map(|hash| self.signed.get(hash));
        let live = others.filter(|(other, _)| *other != nonce && *other >= over);
        let rows: BTreeSet<_> = live
            .flat_map(|(_, batch)| &batch.rows)
            .map(|row| row.channel)
            .collect();
        for row in &batch.rows {
            if rows.contains(&row.channel) {
                self.hold::<()>(Err(format!("TX-1: two attempts are live on {}", row.channel)));
            }
        }
    }
}

/// One life of the payee's account.
pub(crate) struct Operator {
    pub(crate) world: SharedWorld,
    pub(crate) image: Image,
    pub(crate) next_nonce: Mutex<u64>,
}

impl Operator {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn envelope(&self, batch: &Batch, nonce: u64, fee: u128) -> Envelope {
        let mut world = self.world();
        let hash = world.chain.fresh_hash();
        world.signed.insert(hash, (nonce, batch.clone()));
        world.check_captures();
        Envelope {
            nonce,
            hash,
            raw: Bytes::copy_from_slice(hash.as_slice()),
            gas_limit: 100_000,
            max_fee_per_gas: fee,
            to: None,
        }
    }
}

fn trouble() -> ChainTrouble {
    ChainTrouble("injected".to_owned())
}

#[async_trait]
impl Settlement for Operator {
    async fn simulate(&self, batch: &Batch) -> Result<Vec<Skipped>, ChainTrouble> {
        sleep(Duration::from_millis(20)).await;
        let mut world = self.world();
        if world.trouble() {
            return Err(trouble());
        }
        Ok(world.chain.simulate(batch))
    }

    async fn sign(&self, batch: &Batch) -> Result<Envelope, ChainTrouble> {
        sleep(Duration::from_millis(20)).await;
        if self.world().trouble() {
            return Err(trouble());
        }
        let nonce = {
            let mut next = self.next_nonce.lock().unwrap();
            let nonce = self.world().chain.next_nonce().max(*next);
            *next = nonce + 1;
            nonce
        };
        Ok(self.envelope(batch, nonce, 100))
    }

    async fn replace(&self, batch: &Batch, stuck: &Envelope) -> Result<Envelope, ChainTrouble> {
        sleep(Duration::from_millis(20)).await;
        if self.world().trouble() {
            return Err(trouble());
        }
        Ok(self.envelope(batch, stuck.nonce, stuck.max_fee_per_gas * 2))
    }

    async fn broadcast(&self, envelope: &Envelope) -> Result<(), ChainTrouble> {
        {
            let mut next = self.next_nonce.lock().unwrap();
            *next = (*next).max(envelope.nonce + 1);
        }
        let attempts = Attempt::read_all(&*crate::disk::read_back(&self.image)).unwrap();
        let durable = attempts
            .iter()
            .flat_map(|attempt| &attempt.envelopes)
            .any(|kept| kept == envelope);
        let mut world = self.world();
        if !durable {
            world.hold::<()>(Err(
                "TX-2: an envelope was broadcast that is not on the disk".to_owned()
            ));
        }
        world.check_one_attempt(envelope.hash);
        if world.trouble() {
            return Err(trouble());
        }
        // Taken by a node that tells nobody.
        if world.trouble() {
            return Ok(());
        }
        let (nonce, batch) = world.signed[&envelope.hash].clone();
        if !world.chain.take(envelope.hash, nonce, batch) {
            return Err(ChainTrouble("the nonce was used".to_owned()));
        }
        // It arrived, and the answer got lost.
        if world.trouble() {
            return Err(trouble());
        }
        Ok(())
    }

    async fn wait(&self, _: &Batch, envelope: &Envelope, within: Duration) -> Result<Landing, ChainTrouble> {
        let deadline = Instant::now() + within;
        loop {
            {
                let mut world = self.world();
                let percent = world.trouble_percent / 5;
                if world.random.percent(percent) {
                    return Err(trouble());
                }
                if let Some(skipped) = world.chain.landed(envelope.hash) {
                    let gas_used = 50_000;
                    return Ok(Landing::Mined { skipped, gas_used });
                }
            }
            if Instant::now() >= deadline {
                return Ok(Landing::Pending);
            }
            sleep(Duration::from_millis(250)).await;
        }
    }
}

#[async_trait]
impl Evidence for Operator {
    async fn look(&self, evidence: rails::Evidence<'_>) -> Result<Sight, ChainTrouble> {
        let mut world = self.world();
        if world.trouble() {
            return Err(trouble());
        }
        let (rails::Evidence::OpenedBy { tx_hash, channel }
        | rails::Evidence::ToppedUpBy { tx_hash, channel }) = evidence
        else {
            return Ok(Sight::NOTHING);
        };
        let chain = &world.chain;
        let found = chain.amount_of(tx_hash).filter(|_| chain.is_final(tx_hash));
        let Some(amount) = found else {
            return Ok(Sight::of(rails::Seen::NotMined));
        };
        let (chain_id, escrow) = (chain.domain.chain_id(), chain.domain.escrow());
        let (terms, salt) = chain.terms[&channel].clone();
        let seen = match evidence {
            rails::Evidence::OpenedBy { .. } => rails::Seen::Open(rails::OpenSeen {
                chain_id,
                escrow,
                terms,
                salt,
                deposit: amount,
            }),
            _ => rails::Seen::TopUp(rails::TopUpSeen {
                chain_id,
                escrow,
                channel,
                additional: amount,
            }),
        };
        let adoption = Some(chain.adoption(channel));
        Ok(Sight {
            adoption,
            ..Sight::of(seen)
        })
    }
}
