//! The daemon as a process that can be stopped, killed and started again.

use serde::Deserialize;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use weir_core::ChannelId;
use weir_node::operator::ChannelView;

/// How long the daemon may take until it answers.
const START: Duration = Duration::from_secs(60);

/// The binary that stands beside this test's own.
pub(crate) fn weir() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.parent().and_then(Path::parent).unwrap().join("weir");
    assert!(
        program.is_file(),
        "{} is not there: run `cargo build --workspace --bin weir`",
        program.display()
    );
    program
}

/// `weir serve` in a process of its own; it ends with this process, however that ends.
pub(crate) struct Daemon {
    process: Child,
    log: PathBuf,
    /// Where payers connect.
    pub(crate) gateway: String,
    /// Where operators connect.
    pub(crate) operator: String,
}

#[derive(Deserialize)]
struct Announced {
    gateway: String,
    operator: String,
}

impl Daemon {
    /// Starts it, without waiting; what it logs goes to a file beside its configuration.
    pub(crate) fn spawn(config: &Path) -> (Child, PathBuf) {
        let log = config.with_extension("log");
        let errors = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let process = Command::new(weir())
            .args(["--json", "serve", "--until-stdin-closes", "--config"])
            .arg(config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        (process, log)
    }

    /// Starts it and waits until it takes vouchers.
    pub(crate) async fn start(config: &Path) -> Self {
        let (process, log) = Self::spawn(config);
        Self::wait(process, log).await
    }

    /// Waits until a daemon that was spawned takes vouchers.
    pub(crate) async fn wait(mut process: Child, log: PathBuf) -> Self {
        let stdout = process.stdout.take().unwrap();
        let (tell, told) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let (mut document, mut tell) = (String::new(), Some(tell));
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                document.push_str(&line);
                if let Ok(announced) = serde_json::from_str::<Announced>(&document)
                    && let Some(tell) = tell.take()
                {
                    let _ = tell.send(announced);
                }
            }
        });
        let announced = tokio::time::timeout(START, told).await;
        let Ok(Ok(Announced { gateway, operator })) = announced else {
            let _ = process.kill();
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            panic!("the daemon did not start: {said}");
        };
        let daemon = Self {
            process,
            log,
            gateway,
            operator,
        };
        let deadline = tokio::time::Instant::now() + START;
        while !daemon.is_ready().await {
            assert!(
                tokio::time::Instant::now() < deadline,
                "the daemon does not get ready"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        daemon
    }

    /// Whether it takes vouchers.
    pub(crate) async fn is_ready(&self) -> bool {
        let answer = reqwest::get(format!("{}/readyz", self.operator)).await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// SIGKILL, at once.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// SIGTERM, and waits for its end.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended(Duration::from_secs(30)).await
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.process.id(), name);
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self, patience: Duration) -> ExitStatus {
        ended(&mut self.process, patience).await
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A channel, as the operator sees it.
    pub(crate) async fn channel(&self, id: ChannelId) -> ChannelView {
        self.known(id).await.unwrap()
    }

    /// The same, unless the daemon has not seen it yet.
    async fn known(&self, id: ChannelId) -> Option<ChannelView> {
        let url = format!("{}/v1/channels/{id}", self.operator);
        let answer = reqwest::get(url).await.unwrap();
        if answer.status() == 404 {
            return None;
        }
        Some(answer.error_for_status().unwrap().json().await.unwrap())
    }

    /// All channels, as the operator sees them.
    pub(crate) async fn channels(&self) -> Vec<ChannelView> {
        let answer = reqwest::get(format!("{}/v1/channels", self.operator))
            .await
            .unwrap();
        answer.json().await.unwrap()
    }

    /// Waits until a channel has no delivery under way, and gives it.
    pub(crate) async fn quiet(&self, id: ChannelId) -> ChannelView {
        self.until(id, |view| view.reserved.is_zero()).await
    }

    /// Waits until a channel is as wanted.
    pub(crate) async fn until(&self, id: ChannelId, wanted: impl Fn(&ChannelView) -> bool) -> ChannelView {
        for _ in 0..600 {
            let view = self.known(id).await;
            if let Some(view) = view.filter(&wanted) {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the channel stays {:?}; {}", self.known(id).await, self.log());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.log();
            let last: Vec<&str> = lines.lines().rev().take(40).collect();
            for line in last.into_iter().rev() {
                println!("daemon: {line}");
            }
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends a signal to one process.
pub(crate) fn signal(process: u32, name: &str) {
    kill(name, &process.to_string());
}

/// Sends a signal to every process of the group that this one leads.
pub(crate) fn signal_group(leader: u32, name: &str) {
    kill(name, &format!("-{leader}"));
}

fn kill(name: &str, target: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, "--", target])
        .status()
        .unwrap();
    assert!(sent.success(), "no signal could be sent to {target}");
}

/// Waits until a process ends.
pub(crate) async fn ended(process: &mut Child, patience: Duration) -> ExitStatus {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        if let Some(status) = process.try_wait().unwrap() {
            return status;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "process {} did not end within {patience:?}",
            process.id()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
