//! What runs beside the requests, how it is stopped, and whether a part of it failed.

use std::future::Future;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a part may take to stop when no request is under way any more.
const STOP: Duration = Duration::from_secs(5);

/// The tasks of a shop.
pub struct Parts {
    stop: watch::Sender<bool>,
    fail: watch::Sender<Option<String>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            stop: watch::Sender::new(false),
            fail: watch::Sender::new(None),
            tasks: Vec::new(),
        }
    }
}

impl Parts {
    /// Turns true when a part has to stop.
    pub fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Runs a part that the shop cannot do without: its fault, and its panic too, end the shop.
    pub fn supervise(
        &mut self,
        part: &'static str,
        work: impl Future<Output = Result<(), String>> + Send + 'static,
    ) {
        let (work, fail) = (tokio::spawn(work), self.fail.clone());
        self.tasks.push(tokio::spawn(async move {
            let why = match work.await {
                Ok(Ok(())) => return,
                Ok(Err(fault)) => fault,
                Err(_) => "it panicked".to_owned(),
            };
            fail.send_replace(Some(format!("{part} failed: {why}")));
        }));
    }

    /// Waits until a part fails.
    pub async fn failed(&self) -> String {
        let mut failed = self.fail.subscribe();
        match failed.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => "all parts have stopped".to_owned(),
        }
    }

    /// Stops them all.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            let _ = tokio::time::timeout(STOP, task).await;
        }
    }
}
