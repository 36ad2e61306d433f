//! Lets mppx, as published and unchanged, sign and pay for tests that look at one daemon closely. What all clients of other
//! makes can do at Weir is told by script/interop.

use serde::de::DeserializeOwned;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// How long a client may take for all that it buys.
const CLIENT: Duration = Duration::from_secs(120);

/// Lets a script of `tests/interop` sign or pay, and reads what it prints.
pub(crate) async fn run<T: DeserializeOwned>(script: &str, argument: impl AsRef<OsStr>) -> T {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop");
    assert!(
        folder.join("node_modules").is_dir(),
        "the clients of other makes are not installed: run `make setup`"
    );
    let run = tokio::process::Command::new("node")
        .arg(folder.join(script))
        .arg(argument)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let done = tokio::time::timeout(CLIENT, run).await.unwrap().unwrap();
    let (said, complained) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert!(done.status.success(), "{script}: {}: {complained}", done.status);
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{script}: {error}: {said}"))
}
