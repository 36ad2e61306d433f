//! S2: what was acknowledged survives the death of the process, and the true order of syncs and acknowledgements.
//!
//! The writer is this test binary itself, started again: see `writer_process`.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]
#![allow(
    clippy::print_stdout,
    reason = "the writer process acknowledges on its output"
)]

mod trace;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use weir_store::{Birth, Row, Table, disk};

const BIRTH: Birth = Birth {
    unix_seconds: 1,
    id: [4; 16],
};
const WRITERS: u32 = 16;
const KILLS: u32 = 10;

/// Where the writer process works, the first number it uses, and how many rows it writes.
const ENV_DIRECTORY: &str = "WEIR_STORE_TEST_DIRECTORY";
const ENV_FIRST: &str = "WEIR_STORE_TEST_FIRST";
const ENV_COUNT: &str = "WEIR_STORE_TEST_COUNT";

/// Marks the data of a row so that it can be found in a trace.
fn marker(number: u32) -> String {
    format!("<row {number:08}>")
}

/// Not a test of its own: the process that the others start, trace and kill.
#[test]
fn writer_process() {
    let Ok(directory) = std::env::var(ENV_DIRECTORY) else {
        return;
    };
    let number = |name| std::env::var(name).unwrap().parse::<u32>().unwrap();
    let (first, count) = (number(ENV_FIRST), number(ENV_COUNT));
    let next = AtomicU32::new(first);
    let journal = disk::open(Path::new(&directory), BIRTH).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number - first >= count {
                        return;
                    }
                    let key = number.to_be_bytes();
                    let charge = Row::put(Table::Channels, key, marker(number).repeat(20));
                    let used = Row::put(Table::UsedCredentials, key, b"used");
                    let kept = journal
                        .submit(vec![charge, used])
                        .unwrap()
                        .wait_with(number)
                        .unwrap();
                    // One write each, so that a kill leaves no half of a line.
                    let line = format!("ACK {}\n", kept.get());
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
    journal.close().unwrap();
}

fn writer(mut command: Command, directory: &Path, first: u32, count: u32) -> Child {
    command
        .env(ENV_DIRECTORY, directory)
        .env(ENV_FIRST, first.to_string())
        .env(ENV_COUNT, count.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The writer's command line, without and with something in front of it.
fn writer_command(before: &[&str]) -> Command {
    let binary = std::env::current_exe().unwrap();
    let mut words = before
        .iter()
        .map(std::ffi::OsStr::new)
        .chain([binary.as_os_str()]);
    let mut command = Command::new(words.next().unwrap());
    command
        .args(words)
        .args(["--exact", "writer_process", "--nocapture", "--test-threads=1"]);
    command
}

fn acknowledged(line: &str) -> Option<u32> {
    // The test runner may have begun the line.
    line.rsplit_once("ACK ")?.1.trim().parse().ok()
}

#[test]
fn threat_s2_kill_nine_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut kept = Vec::new();
    let mut first = 0;
    // Different in each run, told on failure: any moment must do.
    let seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .subsec_nanos();
    let mut random = seed | 1;
    for kill in 0..KILLS {
        let mut child = writer(writer_command(&[]), directory.path(), first, u32::MAX / 2);
        let mut lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap);
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let life = Duration::from_millis(20 + u64::from(random >> 16) % 300);
        // From the first acknowledgement on, so that there is something to lose.
        let started = lines.by_ref().find_map(|line| acknowledged(&line)).unwrap();
        kept.push(started);
        let reader =
            std::thread::spawn(move || lines.filter_map(|line| acknowledged(&line)).collect::<Vec<_>>());
        std::thread::sleep(life);
        child.kill().unwrap();
        child.wait().unwrap();
        kept.extend(reader.join().unwrap());

        let journal = disk::open(directory.path(), BIRTH).unwrap();
        for number in &kept {
            let key = number.to_be_bytes();
            let row = journal.get(Table::Channels, &key).unwrap();
            let expected = marker(*number).repeat(20).into_bytes();
            assert_eq!(
                row,
                Some(expected),
                "row {number} is lost after kill {kill} (seed {seed})"
            );
        }
        let mut halves = 0;
        let mut last = 0;
        let count = &mut |key: &[u8], _: &[u8]| {
            last = u32::from_be_bytes(key.try_into().unwrap());
            halves += u32::from(journal.get(Table::UsedCredentials, key).unwrap().is_none());
            std::ops::ControlFlow::Continue(())
        };
        journal.scan(Table::Channels, count).unwrap();
        assert_eq!(
            halves, 0,
            "charges without their credentials after kill {kill} (seed {seed})"
        );
        journal.close().unwrap();
        first = last + 1;
    }
    assert!(
        kept.len() > KILLS as usize * 10,
        "only {} acknowledged rows: not much of a test",
        kept.len()
    );
}

#[test]
fn threat_s2_no_ack_before_the_sync_under_strace() {
    const ROWS: u32 = 200;
    let has_strace = Command::new("strace")
        .arg("-V")
        .output()
        .is_ok_and(|output| output.status.success());
    if !has_strace {
        assert_eq!(
            std::env::var("WEIR_NO_STRACE").as_deref(),
            Ok("1"),
            "strace is not installed, so the order of syncs can't be proven: install it (package strace), or set \
             WEIR_NO_STRACE=1 to go on without the proof"
        );
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("trace");
    let calls = "trace=pwrite64,pwritev,pwritev2,writev,write,fdatasync,fsync,sync_file_range,mmap,ftruncate";
    let strace = [
        "strace",
        "-f",
        "-y",
        "-s",
        "1000000",
        "-e",
        calls,
        "-o",
        log.to_str().unwrap(),
    ];
    let store = directory.path().join("store");
    let started = Instant::now();
    let output = writer(writer_command(&strace), &store, 0, ROWS)
        .wait_with_output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
    let calls = trace::parse(&text);
    let data_file = store.join("sled/db");
    let proof = trace::Proof::new(&calls, data_file.to_str().unwrap());
    for number in 0..ROWS {
        proof.check(&marker(number), &format!("ACK {number}\\n")).unwrap();
    }
    // The checker itself must be able to say no.
    let no_syncs: Vec<_> = calls
        .iter()
        .filter(|call| call.name != "fdatasync")
        .cloned()
        .collect();
    let without = trace::Proof::new(&no_syncs, data_file.to_str().unwrap());
    assert!(
        without.check(&marker(0), "ACK 0\\n").is_err(),
        "the checker accepts a trace without syncs"
    );
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "tracing took {:?}",
        started.elapsed()
    );
}
