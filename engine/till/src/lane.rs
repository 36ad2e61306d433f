//! A lane: the task that is the only writer of one shard, behind a bounded queue.
//!
//! It never waits for the disk. Each answer leaves with the ticket of its rows, and the asker waits for that: so many
//! asks share one sync, and nothing is told before it is durable. The journal keeps the order of submissions, so a
//! ticket that comes good makes everything judged before it good as well.

use crate::clock::Clock;
use crate::no::No;
use crate::shard::{Answer, Ask, Shard};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use weir_core::Channel;
use weir_store::{Durable, Journal, Ticket};

/// Asks that may wait in one lane; beyond it the answer is 503, so memory stays bounded (threat H4).
pub const LANE_QUEUE_MAX: usize = 4096;

#[expect(
    clippy::large_enum_variant,
    reason = "nearly every message is the large one; a box would cost it an allocation"
)]
enum Message {
    Ask {
        ask: Ask,
        reply: oneshot::Sender<Result<(Answer, Ticket), No>>,
    },
    Snapshot {
        reply: oneshot::Sender<Vec<Channel>>,
    },
}

/// The handle by which a lane is asked.
#[derive(Debug, Clone)]
pub struct Lane {
    queue: mpsc::Sender<Message>,
}

impl Lane {
    /// Starts a lane over a shard.
    pub fn start(mut shard: Shard, journal: Arc<dyn Journal>, clock: Arc<dyn Clock>) -> Self {
        let (queue, mut asks) = mpsc::channel(LANE_QUEUE_MAX);
        tokio::spawn(async move {
            while let Some(message) = asks.recv().await {
                match message {
                    Message::Ask { ask, reply } => {
                        let _ = reply.send(answer(&mut shard, &*journal, &ask, &*clock));
                    }
                    Message::Snapshot { reply } => {
                        let _ = reply.send(shard.channels().cloned().collect());
                    }
                }
            }
        });
        Self { queue }
    }

    /// Asks, and waits until the answer is durable.
    pub async fn ask(&self, ask: Ask) -> Result<Durable<Answer>, No> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Ask { ask, reply })?;
        let (answer, ticket) = answer.await.map_err(|_| No::Stopping)??;
        Ok(ticket.with(answer).await?)
    }

    /// All its channels as the lane sees them now, for planning: some of it may not be durable yet.
    pub async fn snapshot(&self) -> Result<Vec<Channel>, No> {
        let (reply, channels) = oneshot::channel();
        // It may wait its turn: nobody's payment hangs on it, and the settler must not be turned away.
        self.queue
            .send(Message::Snapshot { reply })
            .await
            .map_err(|_| No::Stopping)?;
        channels.await.map_err(|_| No::Stopping)
    }

    fn send(&self, message: Message) -> Result<(), No> {
        self.queue.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => No::Busy,
            mpsc::error::TrySendError::Closed(_) => No::Stopping,
        })
    }
}

fn answer(
    shard: &mut Shard,
    journal: &dyn Journal,
    ask: &Ask,
    clock: &dyn Clock,
) -> Result<(Answer, Ticket), No> {
    let mut judged = shard.judge(ask, clock.now())?;
    // No rows make a barrier: a repeated voucher's answer too waits until its first acceptance is durable.
    let ticket = journal.submit(std::mem::take(&mut judged.rows))?;
    shard.apply(&judged);
    Ok((judged.answer, ticket))
}
