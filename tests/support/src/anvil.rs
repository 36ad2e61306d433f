//! Anvil as a process of its own.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// An anvil process; it ends with its guard.
pub struct Anvil {
    child: Child,
    /// Where it listens on loopback.
    pub port: u16,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn binary() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = std::env::var_os("WEIR_FOUNDRY_BIN").map(PathBuf::from);
    let path = folder
        .unwrap_or_else(|| root.join("node_modules/.bin"))
        .join("anvil");
    assert!(
        path.exists(),
        "no anvil at {}: run `npm ci --ignore-scripts` at the root, or set WEIR_FOUNDRY_BIN to a Foundry 1.7.1 folder",
        path.display()
    );
    path
}

impl Anvil {
    /// Starts it on a free port, with these arguments beside, and waits until it listens.
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(binary())
            .args(["--port", "0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("anvil starts");
        let mut lines = BufReader::new(child.stdout.take().expect("anvil's output")).lines();
        let port = loop {
            let line = lines
                .next()
                .expect("anvil says where it listens")
                .expect("readable output");
            if let Some(at) = line.strip_prefix("Listening on ") {
                break at
                    .rsplit(':')
                    .next()
                    .and_then(|port| port.trim().parse().ok())
                    .expect("a port");
            }
        };
        // The pipe must be drained, or anvil stops when it is full.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, port }
    }

    /// The URL of its RPC.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
