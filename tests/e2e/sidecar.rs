//! Services in other languages, which ask `POST /v1/charge` before they answer: the examples of docs/embedding.md.

use crate::daemon::Daemon;
use crate::wallet::{Said, Wallet};
use crate::world::{PRICE, Settings, World, route, total};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const TOKEN: &str = "a-token-that-services-have";

/// A service in a process of its own.
struct Service {
    process: Child,
    url: String,
}

impl Service {
    async fn start(program: &str, example: &str, operator: &str) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../docs/examples")
            .join(example);
        let mut process = Command::new(program)
            .arg(file)
            .env("WEIR_OPERATOR", operator)
            .env("WEIR_CHARGE_TOKEN", TOKEN)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            said.read_line(&mut line).map(|_| line)
        });
        let line = tokio::time::timeout(Duration::from_secs(30), line).await.unwrap();
        let url = line.unwrap().unwrap().trim().to_owned();
        assert!(url.starts_with("http://"), "{program} {example} did not start");
        Self { process, url }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A daemon that services may ask.
async fn daemon(world: &World) -> Daemon {
    let file = world.files.path().join("charge-token");
    std::fs::write(&file, TOKEN).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let routes = route("/v1/posted", PRICE, "methods = [\"POST\"]\nbind_body = true\n")
        + "[[route]]\npath = \"/health\"\nfree = true\n\n";
    let config = world.config(&Settings {
        routes: &routes,
        ..world.settings("sidecar")
    });
    let text = std::fs::read_to_string(&config).unwrap();
    let section = format!("[operator]\ncharge_token_file = {file:?}\n");
    std::fs::write(&config, text.replace("[operator]\n", &section)).unwrap();
    Daemon::start(&config).await
}

/// A real payer opens, pays, is refused and closes at a service that asks first.
async fn sells(program: &str, example: &str, says: &str) {
    let world = World::start(1).await;
    let daemon = daemon(&world).await;
    let service = Service::start(program, example, &daemon.operator).await;
    let url = format!("{}/v1/answer", service.url);

    let free = reqwest::get(format!("{}/health", service.url)).await.unwrap();
    assert_eq!(free.text().await.unwrap(), "free\n");
    let unpaid = Said::read(reqwest::get(&url).await.unwrap()).await;
    assert_eq!(
        (unpaid.status, unpaid.problem().as_str()),
        (402, "payment-required")
    );
    unpaid.must_be_a_no("unpaid");
    let nowhere = reqwest::get(format!("{}/v1/nowhere", service.url)).await.unwrap();
    assert_eq!(nowhere.status(), 404);

    let payer = world.payer(0, "payer").await;
    for round in 1..4 {
        let answer = payer.get(&url).await.unwrap();
        let said = String::from_utf8(answer.body).unwrap();
        assert_eq!(answer.status, 200, "{said}");
        let payer = payer.address();
        assert_eq!(said, format!("{says} was asked by {payer} for {PRICE}.\n"));
        assert_eq!(answer.receipt.unwrap().spent, total(PRICE * round));
    }
    let [record] = payer.channels().try_into().unwrap();
    let books = daemon.quiet(record.channel).await;
    assert_eq!(
        (books.spent, books.accepted),
        (total(PRICE * 3), total(PRICE * 3))
    );

    // What was bought once is not had again, and a voucher of nobody buys nothing.
    let wallet = Wallet::with(&world, 0, record.channel);
    let credential = wallet
        .credential(Method::GET, &url, &wallet.voucher(PRICE * 4))
        .await;
    let bought = wallet.send(Method::GET, &url, Some(&credential)).await;
    assert_eq!(
        (bought.status, bought.receipt().unwrap().spent),
        (200, total(PRICE * 4))
    );
    let again = wallet.send(Method::GET, &url, Some(&credential)).await;
    assert_eq!(again.status, 402, "{again:?}");
    again.must_be_a_no("again");
    // HEAD manages the channel, and is told by the service what Weir says.
    let managed = wallet.pay(Method::HEAD, &url, &wallet.voucher(PRICE * 6)).await;
    assert_eq!(
        (managed.status, managed.receipt().unwrap().accepted),
        (200, total(PRICE * 6))
    );

    let closed = wallet.pay(Method::POST, &url, &wallet.close(PRICE * 4)).await;
    assert_eq!(closed.status, 200, "{closed:?}");
    let state = world.until(record.channel, |state| state.finalized).await;
    assert_eq!(
        state.settled,
        total(PRICE * 4),
        "the chain pays what the books say"
    );
    assert_eq!(daemon.quiet(record.channel).await.spent, total(PRICE * 4));
    assert_eq!(world.service.hits(), 0, "nobody asked the daemon's upstream");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_in_python_asks_before_it_answers() {
    sells("python3", "sidecar.py", "Python").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_in_javascript_asks_before_it_answers() {
    sells("node", "sidecar.mjs", "JavaScript").await;
}

/// Asks as a service does.
async fn ask(daemon: &Daemon, token: &str, question: &Value) -> (u16, Value) {
    let asked = reqwest::Client::new()
        .post(format!("{}/v1/charge", daemon.operator))
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(CONTENT_TYPE, "application/json")
        .body(question.to_string());
    let answer = asked.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_token_and_what_is_no_request_is_refused_and_charges_nobody() {
    let world = World::start(1).await;
    let daemon = daemon(&world).await;
    let good = json!({ "method": "GET", "url": "/v1/answer" });
    for token in ["", "a-token-that-services-hav", "a-token-that-services-havE"] {
        let (status, said) = ask(&daemon, token, &good).await;
        assert_eq!(status, 401, "{token:?}: {said}");
    }
    let elsewhere = reqwest::get(format!("{}/v1/charge", daemon.gateway))
        .await
        .unwrap();
    assert_eq!(elsewhere.status(), 404, "payers cannot ask");
    for (question, status) in [
        (json!({}), 422),
        (json!({ "method": "GET", "url": "/v1/answer", "headrs": {} }), 422),
        (json!({ "method": "G T", "url": "/v1/answer" }), 400),
        (
            json!({ "method": "GET", "url": "http://elsewhere/v1/answer" }),
            400,
        ),
        (
            json!({ "method": "GET", "url": "/v1/answer", "headers": { "a b": "c" } }),
            400,
        ),
        (
            json!({ "method": "GET", "url": "/v1/answer", "headers": { "a": "b\nc" } }),
            400,
        ),
        (json!({ "method": "POST", "url": "/v1/answer", "body": "%" }), 400),
    ] {
        let (said, why) = ask(&daemon, TOKEN, &question).await;
        assert_eq!(said, status, "{question}: {why}");
        assert!(!why["error"].as_str().unwrap().is_empty(), "{question}");
    }
    let (status, verdict) = ask(&daemon, TOKEN, &good).await;
    assert_eq!(
        (status, &verdict["deliver"], &verdict["status"]),
        (200, &json!(false), &json!(402))
    );
    assert!(daemon.channels().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_v3_only_what_was_paid_for_is_allowed_once_for_a_key_and_for_the_body_that_was_asked_about() {
    let world = World::start(1).await;
    let daemon = daemon(&world).await;
    let wallet = Wallet::open(&world, &daemon, 0).await;
    let line = |verdict: &Value, name: &str| {
        let headers = verdict["headers"].as_array().unwrap();
        let found = headers.iter().find(|header| header[0] == name);
        found.map(|header| header[1].as_str().unwrap().to_owned())
    };
    let url = format!("{}/v1/answer", daemon.gateway);
    let credential = wallet
        .credential(Method::GET, &url, &wallet.voucher(PRICE * 2))
        .await;
    let headers = json!({ "Authorization": credential, "Idempotency-Key": "once" });
    let keyed = json!({ "method": "GET", "url": "/v1/answer", "headers": headers });
    for _ in 0..2 {
        let (_, verdict) = ask(&daemon, TOKEN, &keyed).await;
        assert_eq!(verdict["deliver"], true, "{verdict}");
        assert_eq!(verdict["payment"]["channel"], wallet.channel.to_string());
        assert_eq!(verdict["payment"]["amount"], PRICE.to_string());
        assert!(line(&verdict, "payment-receipt").is_some(), "{verdict}");
        assert_eq!(line(&verdict, "content-type"), None, "{verdict}");
        assert_eq!(daemon.quiet(wallet.channel).await.spent, total(PRICE * 2));
    }

    // A voucher without a question is taken, and buys nothing (threat V3): the service must serve nothing for it.
    for method in [Method::HEAD, Method::POST] {
        let voucher = wallet.voucher(PRICE * 3);
        let credential = wallet.credential(method.clone(), &url, &voucher).await;
        let headers = json!({ "authorization": credential });
        let bare = json!({ "method": method.as_str(), "url": "/v1/answer", "headers": headers });
        let (_, verdict) = ask(&daemon, TOKEN, &bare).await;
        assert_eq!(
            (&verdict["deliver"], &verdict["status"], &verdict["payment"]),
            (&json!(false), &json!(200), &Value::Null),
            "{method}: {verdict}"
        );
        assert!(line(&verdict, "payment-receipt").is_some(), "{verdict}");
        let books = daemon.quiet(wallet.channel).await;
        assert_eq!(
            (books.accepted, books.spent),
            (total(PRICE * 3), total(PRICE * 2))
        );
    }

    // The challenge is made for a body, and buys the answer to no other.
    let posted = |body: &str, credential: Option<&str>| {
        let headers = credential.map_or(json!({}), |credential| json!({ "authorization": credential }));
        json!({ "method": "POST", "url": "/v1/posted", "body": body, "headers": headers })
    };
    let (_, verdict) = ask(&daemon, TOKEN, &posted("b25l", None)).await;
    let challenge = line(&verdict, "www-authenticate").unwrap();
    let mut challenges = weir_protocol::Challenge::read_all([challenge.as_bytes()]);
    let challenge = serde_json::to_value(challenges.remove(0).unwrap()).unwrap();
    let credential = crate::wallet::credential(&challenge, &wallet.voucher(PRICE * 3));
    let (_, other) = ask(&daemon, TOKEN, &posted("dHdv", Some(&credential))).await;
    assert_eq!(
        (&other["deliver"], &other["status"]),
        (&json!(false), &json!(402)),
        "{other}"
    );
    assert_eq!(daemon.quiet(wallet.channel).await.spent, total(PRICE * 2));
    let (_, same) = ask(&daemon, TOKEN, &posted("b25l", Some(&credential))).await;
    assert_eq!(same["deliver"], true, "{same}");
    assert_eq!(daemon.quiet(wallet.channel).await.spent, total(PRICE * 3));
}
