//! The demonstration, as a stranger runs it, and what is left when it is interrupted.

use crate::daemon::{ended, signal, signal_group, weir};
use serde_json::Value;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Every process of one run carries this in its environment, whoever its parent is by now.
const MARK: &str = "WEIR_E2E_RUN";

/// Processes of one run that still live, with their names.
fn left(run: &str) -> Vec<String> {
    let mark = format!("{MARK}={run}");
    let has_mark = |process: &Path| {
        std::fs::read(process.join("environ")).is_ok_and(|variables| {
            variables
                .split(|byte| *byte == 0)
                .any(|one| one == mark.as_bytes())
        })
    };
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes
        .map(|entry| entry.path())
        .filter(|path| has_mark(path))
        .map(|path| {
            let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
            format!("{} {}", path.display(), name.trim())
        })
        .collect()
}

async fn none_left(run: &str) {
    let mut living = left(run);
    for _ in 0..100 {
        if living.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        living = left(run);
    }
    panic!("left behind: {living:?}");
}

/// `weir dev` as a group of its own, as a shell starts it.
fn start(run: &str, folder: &Path, arguments: &[&str]) -> Child {
    Command::new(weir())
        .args(["dev", "--payers", "3"])
        .args(arguments)
        .arg("--summary")
        .arg(folder.join("summary.json"))
        .arg("--ready-file")
        .arg(folder.join("ready.json"))
        .env(MARK, run)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn name(what: &str) -> String {
    format!("{what}-{}", std::process::id())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_comes_out_even_and_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let run = name("even");
    let mut demo = start(&run, folder.path(), &["--demo", "--units", "20"]);
    let status = ended(&mut demo, Duration::from_secs(150)).await;
    assert!(status.success(), "{status}");
    none_left(&run).await;
    let summary = std::fs::read_to_string(folder.path().join("summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["conserved"], true, "{summary}");
    assert_eq!(summary["payers"], 3, "{summary}");
    assert_eq!(summary["captured"], summary["delivered"], "{summary}");
    assert_ne!(summary["captured"], "0", "{summary}");
}

/// Whom a signal reaches.
#[derive(Clone, Copy, Debug)]
enum To {
    /// The process that was started.
    One,
    /// That and whatever shares its group, as Ctrl-C in a terminal does.
    Group,
}

/// Starts a devnet, ends it by a signal so long after it came up, and looks for what is left. With `at` zero it is ended
/// while it is still being set up.
async fn end_by(arguments: &[&str], sent: &str, to: To, at: u64) {
    let folder = tempfile::tempdir().unwrap();
    let run = name(&format!("{sent}-{to:?}-{at}-{}", arguments.len()));
    let mut devnet = start(&run, folder.path(), arguments);
    let ready = folder.path().join("ready.json");
    let up = || {
        if at == 0 {
            left(&run).len() > 2
        } else {
            ready.exists()
        }
    };
    for _ in 0..600 {
        if up() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(up(), "the devnet did not come up");
    tokio::time::sleep(Duration::from_millis(at)).await;
    assert!(left(&run).len() > 2, "nothing to end");
    match to {
        To::One => signal(devnet.id(), sent),
        To::Group => signal_group(devnet.id(), sent),
    }
    let status = ended(&mut devnet, Duration::from_secs(30)).await;
    assert_eq!(status.success(), sent == "INT", "{arguments:?} {sent} {status}");
    none_left(&run).await;
    assert!(!folder.path().join("summary.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_or_killed_demonstration_leaves_no_process() {
    let demo = ["--demo", "--units", "600"];
    end_by(&demo, "INT", To::One, 700).await;
    end_by(&demo, "INT", To::Group, 700).await;
    end_by(&demo, "KILL", To::One, 300).await;
    end_by(&demo, "INT", To::Group, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_or_killed_devnet_leaves_no_process() {
    end_by(&[], "INT", To::Group, 100).await;
    end_by(&[], "KILL", To::One, 100).await;
    end_by(&["--chain", "tempo"], "KILL", To::One, 100).await;
}
