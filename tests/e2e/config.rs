//! What is said of a configuration: by `weir check-config`, at the start, and when it has changed.

use crate::daemon::{Daemon, ended, weir};
use crate::world::{Settings, World};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use weir_node::dev::accounts::account;

/// Runs `weir check-config`: its exit code, standard output and standard error.
fn check(file: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let ran = Command::new(weir())
        .args(["check-config", "--config"])
        .arg(file)
        .args(more)
        .env_remove("WEIR_PAYEE_KEY")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (ran.status.code(), text(ran.stdout), text(ran.stderr))
}

fn sample(routes: &str) -> String {
    let address = |byte: &str| format!("0x{}", byte.repeat(20));
    format!(
        "[server]\nupstream = \"http://127.0.0.1:9\"\n[chain]\nrpc_url = \"http://127.0.0.1:9\"\nescrow = \"{}\"\n\
         token = \"{}\"\npayee_key_file = \"payee-key\"\n{routes}",
        address("11"),
        address("22")
    )
}

#[test]
fn warnings_stand_right_above_the_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weir.toml");
    account(1)
        .unwrap()
        .save(&folder.path().join("payee-key"))
        .unwrap();
    std::fs::write(&file, sample("[[route]]\npath = \"/a\"\nprice = \"1\"\n")).unwrap();
    let (code, out, err) = check(&file, &[]);
    assert_eq!(code, Some(0), "{out} {err}");
    assert_eq!(err, format!("{} is valid\n", file.display()));
    let payee = account(1).unwrap().address().to_string();
    assert!(
        out.starts_with("# Payments go to ") && out.contains(&payee),
        "{out}"
    );

    let doubtful = "[[route]]\npath = \"/a/{id}\"\nprice = \"1\"\n[[route]]\npath = \"/s\"\nprice = \"1\"\nmeter = \"event\"\n";
    std::fs::write(&file, sample(doubtful)).unwrap();
    let (code, out, err) = check(&file, &[]);
    assert_eq!(code, Some(0), "{out} {err}");
    let lines: Vec<&str> = err.lines().collect();
    let [first, second, verdict] = lines.as_slice() else {
        panic!("{err}");
    };
    assert!(
        first.starts_with("warning: ") && first.contains("route[0].path"),
        "{err}"
    );
    assert!(
        second.starts_with("warning: ") && second.contains("route[1].meter"),
        "{err}"
    );
    assert_eq!(*verdict, format!("{} is valid, 2 warnings", file.display()));
}

#[test]
fn a_missing_key_file_is_named_with_the_key_that_names_it_and_how_to_make_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weir.toml");
    std::fs::write(&file, sample("[[route]]\npath = \"/a\"\nprice = \"1\"\n")).unwrap();
    let (code, out, err) = check(&file, &[]);
    assert_eq!(code, Some(2), "{out} {err}");
    let key = folder.path().join("payee-key");
    let how = format!("openssl rand -hex 32 > {}", key.display());
    assert!(
        err.contains("chain.payee_key_file: ") && err.contains(&how),
        "{err}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_above_the_escrows_cap_is_warned_of() {
    let world = World::start(0).await;
    let config = world.config(&Settings {
        routes: "[[route]]\npath = \"/v1/dear\"\nprice = \"1\"\nsuggested_deposit = \"1000000001\"\n",
        ..world.settings("dear")
    });
    let said = "route[0].suggested_deposit: 1000000001 is above 1000000000, ";
    let (code, out, err) = check(&config, &["--rpc"]);
    assert_eq!(code, Some(0), "{out} {err}");
    assert!(
        err.contains(said) && err.ends_with("is valid, 1 warning\n"),
        "{err}"
    );
    let daemon = Daemon::start(&config).await;
    let log = daemon.log();
    assert_eq!(log.matches(said).count(), 1, "{log}");
    // So too when the prices are read again.
    daemon.signal("HUP");
    for _ in 0..600 {
        if daemon.log().contains("were read again") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let log = daemon.log();
    assert_eq!(log.matches(said).count(), 2, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_is_not_the_one_configured_is_told_without_a_daemon() {
    let world = World::start(0).await;
    let config = world.config(&world.settings("asked"));
    let text = std::fs::read_to_string(&config).unwrap();
    let escrow = world.deployed.escrow.to_string();
    let nobody = world.payee.address().to_string();
    let token = world.deployed.tokens[0].token.to_string();
    for (from, to, said) in [
        (&*escrow, &*nobody, "no contract at"),
        (&*token, &*nobody, "does not serve token"),
        ("chain_id = 31337", "chain_id = 1", "is on chain 31337"),
    ] {
        let other = text.replace(from, to);
        assert_ne!(text, other, "{from}");
        std::fs::write(&config, other).unwrap();
        let (code, _, err) = check(&config, &[]);
        assert_eq!(code, Some(0), "{err}");
        let (code, out, err) = check(&config, &["--rpc"]);
        assert_eq!(code, Some(1), "{out} {err}");
        assert!(err.contains(said), "{err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_that_takes_a_restart_is_named() {
    let world = World::start(0).await;
    let config = world.config(&world.settings("changed"));
    let daemon = Daemon::start(&config).await;
    let text = std::fs::read_to_string(&config).unwrap();
    let changed = text
        .replace("poll_ms = 100\n", "poll_ms = 101\n")
        .replace("vouchers_per_second = 100000\n", "vouchers_per_second = 99999\n");
    std::fs::write(&config, changed).unwrap();
    daemon.signal("HUP");
    for _ in 0..200 {
        if daemon.log().contains("were read again") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let log = daemon.log();
    assert!(log.contains("chain.poll_ms, server.vouchers_per_second"), "{log}");
    assert!(log.contains("only a restart"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_was_never_said_to_listen() {
    let world = World::start(0).await;
    let config = world.config(&Settings {
        chain: "finality_blocks = 10000\n",
        ..world.settings("refused")
    });
    let (mut process, log) = Daemon::spawn(&config);
    let status = ended(&mut process, Duration::from_secs(30)).await;
    assert!(!status.success());
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    assert!(!said.contains("listening"), "{said}");
    let daemon = Daemon::start(&world.config(&world.settings("good"))).await;
    assert!(daemon.log().contains("listening"), "{}", daemon.log());
}
