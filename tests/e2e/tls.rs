//! The payers' listener with a certificate of its own.

use crate::daemon::{Daemon, weir};
use crate::service::ANSWER;
use crate::world::{DEPOSIT, PRICE, World, total};
use reqwest::{Certificate, Client, Version};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;

/// How long an answer may take on a machine that has other work too.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes a fresh certificate for this machine and its key; gives the certificate in PEM.
fn certify(folder: &Path) -> String {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = folder.join("tls-key.pem");
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(folder.join("tls-cert.pem"), made.cert.pem()).unwrap();
    made.cert.pem()
}

fn config(world: &World) -> PathBuf {
    let config = world.config(&world.settings("tls"));
    let text = std::fs::read_to_string(&config).unwrap();
    let lines = "[server]\ntls_cert_file = \"tls-cert.pem\"\ntls_key_file = \"tls-key.pem\"";
    std::fs::write(&config, text.replacen("[server]", lines, 1)).unwrap();
    config
}

/// A client that trusts this certificate alone.
fn trusting(pem: &str) -> reqwest::ClientBuilder {
    let certificate = Certificate::from_pem(pem.as_bytes()).unwrap();
    Client::builder().no_proxy().tls_certs_only([certificate])
}

#[tokio::test(flavor = "multi_thread")]
async fn payers_connect_by_tls_and_the_certificate_is_replaced_while_it_runs() {
    let world = World::start(1).await;
    let first = certify(world.files.path());
    let config = config(&world);
    let daemon = Daemon::start(&config).await;
    assert!(daemon.gateway.starts_with("https://"), "{}", daemon.gateway);
    let url = format!("{}/v1/answer", daemon.gateway);

    // The command line's payer opens a channel and buys, twice, by TLS.
    let token = world.deployed.tokens[0].token.to_string();
    for round in 1..3 {
        let paid = Command::new(weir())
            .args(["pay", &url, "--rpc-url", world.rpc_url(), "--token", &token])
            .args(["--escrow", &world.deployed.escrow.to_string()])
            .args([
                "--max-price",
                &PRICE.to_string(),
                "--max-deposit",
                &DEPOSIT.to_string(),
            ])
            .arg("--state-dir")
            .arg(world.state("cli"))
            .env("WEIR_PAYER_KEY", world.payers[0].expose_hex())
            .env("SSL_CERT_FILE", world.files.path().join("tls-cert.pem"))
            .output()
            .await
            .unwrap();
        let (out, errors) = (
            String::from_utf8_lossy(&paid.stdout),
            String::from_utf8_lossy(&paid.stderr),
        );
        assert!(paid.status.success() && out.contains(ANSWER), "{out} {errors}");
        let [view] = daemon.channels().await.try_into().unwrap();
        assert_eq!(view.spent, total(PRICE * round));
    }

    // Both versions of HTTP, as the client chooses.
    for (client, version) in [
        (trusting(&first), Version::HTTP_2),
        (trusting(&first).http1_only(), Version::HTTP_11),
    ] {
        let answer = client.build().unwrap().get(&url).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (402, version));
    }
    let address = daemon.gateway.trim_start_matches("https://").to_owned();
    let plain = Client::new()
        .get(format!("http://{address}/v1/answer"))
        .send()
        .await;
    assert!(plain.is_err(), "nothing is said in plaintext: {plain:?}");

    // A renewed certificate is served from the next connection on; what was open stays.
    let open = trusting(&first).build().unwrap();
    assert_eq!(open.get(&url).send().await.unwrap().status(), 402);
    let second = certify(world.files.path());
    daemon.signal("HUP");
    let renewed = Instant::now() + Duration::from_secs(10);
    let new_client = || trusting(&second).build().unwrap();
    while new_client().get(&url).send().await.is_err() {
        assert!(Instant::now() < renewed, "{}", daemon.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(open.get(&url).send().await.unwrap().status(), 402);
    assert!(trusting(&first).build().unwrap().get(&url).send().await.is_err());

    // One that cannot be read changes nothing.
    std::fs::write(world.files.path().join("tls-cert.pem"), "nonsense").unwrap();
    daemon.signal("HUP");
    while !daemon.log().contains("stay as they were") {
        assert!(
            Instant::now() < renewed + Duration::from_secs(10),
            "{}",
            daemon.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(daemon.log().contains("tls-cert.pem"), "{}", daemon.log());
    assert_eq!(new_client().get(&url).send().await.unwrap().status(), 402);
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_h4_a_handshake_that_does_not_come_is_given_up() {
    let world = World::start(0).await;
    let pem = certify(world.files.path());
    let daemon = Daemon::start(&config(&world)).await;
    let address = daemon.gateway.trim_start_matches("https://").to_owned();
    let mut silent = TcpStream::connect(&address).await.unwrap();
    let began = Instant::now();
    let mut nothing = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), silent.read_to_end(&mut nothing)).await;
    assert!(ended.is_ok() && nothing.is_empty(), "{ended:?}");
    assert!(began.elapsed() < Duration::from_secs(15));
    let answer = trusting(&pem)
        .build()
        .unwrap()
        .get(format!("{}/v1/answer", daemon.gateway))
        .send()
        .await;
    assert_eq!(answer.unwrap().status(), 402);
}

/// A connection from one of this machine's addresses.
async fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    socket.connect(to).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_h4_silent_handshakes_hold_nobody_up() {
    const SILENT: usize = 400;
    let world = World::start(0).await;
    let pem = certify(world.files.path());
    let daemon = Daemon::start(&config(&world)).await;
    let address = daemon.gateway.trim_start_matches("https://").parse().unwrap();
    let mut silent = Vec::new();
    for _ in 0..SILENT {
        silent.push(connect("127.0.0.1", address).await);
    }
    let client = trusting(&pem).timeout(PATIENCE).build().unwrap();
    let url = format!("{}/v1/answer", daemon.gateway);
    assert_eq!(client.get(url).send().await.unwrap().status(), 402);
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_h4_one_peer_of_a_public_listener_does_not_take_every_connection() {
    const SHARE: usize = 8;
    const BEYOND: usize = 3;
    let world = World::start(0).await;
    let pem = certify(world.files.path());
    let config = config(&world);
    let text = std::fs::read_to_string(&config).unwrap();
    let public = format!("connections_per_peer = {SHARE}\nlisten = \"0.0.0.0:");
    let public = text.replacen("listen = \"127.0.0.1:", &public, 1);
    std::fs::write(&config, public).unwrap();
    let daemon = Daemon::start(&config).await;
    let port = daemon.gateway.rsplit(':').next().unwrap();
    let address = format!("127.0.0.1:{port}").parse().unwrap();
    let mut held = Vec::new();
    for _ in 0..SHARE {
        held.push(connect("127.0.0.2", address).await);
    }
    for _ in 0..BEYOND {
        let mut one_more = connect("127.0.0.2", address).await;
        let hung_up = tokio::time::timeout(PATIENCE, one_more.read_u8()).await;
        assert!(matches!(hung_up, Ok(Err(_))), "{hung_up:?}");
    }
    let client = trusting(&pem).timeout(PATIENCE).build().unwrap();
    let url = format!("https://{address}/v1/answer");
    let answer = client.get(url).send().await.unwrap();
    assert_eq!(answer.status(), 402, "others are served");
    // The operator is told, in numbers and once by name.
    let told = reqwest::get(format!("{}/metrics", daemon.operator))
        .await
        .unwrap();
    let told = told.text().await.unwrap();
    let counted = format!("weir_connections_turned_away_total {BEYOND}\n");
    assert!(told.contains(&counted), "{told}");
    let log = daemon.log();
    assert_eq!(log.matches("its share of connections").count(), 1, "{log}");
    assert!(log.contains("\"peer\":\"127.0.0.2\""), "{log}");
    drop(held);
}
