//! What an unpaid request is offered: bound to its body where the route says so, and whatever the client would rather pay
//! with.

use crate::daemon::Daemon;
use crate::service::ANSWER;
use crate::wallet::{Said, Wallet, credential};
use crate::world::{PRICE, Settings, World, route};
use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};
use weir_protocol::b64;
use weir_protocol::digest::ContentDigest;

/// Posts a body, with a credential or without.
async fn post(wallet: &Wallet, url: &str, body: &'static str, authorization: Option<&str>) -> Said {
    let mut request = wallet.http.post(url).body(body);
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    Said::read(request.send().await.unwrap()).await
}

fn challenge(said: &Said) -> Value {
    assert_eq!(said.status, 402, "{said:?}");
    serde_json::to_value(said.challenge().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_v2_a_challenge_for_one_body_buys_the_answer_to_no_other() {
    let world = World::start(2).await;
    let routes = route(
        "/v1/bound",
        PRICE,
        "methods = [\"GET\", \"POST\"]\nbind_body = true\n",
    );
    let daemon = Daemon::start(&world.config(&Settings {
        routes: &routes,
        ..world.settings("bound")
    }))
    .await;
    let wallet = Wallet::open(&world, &daemon, 0).await;
    let url = format!("{}/v1/bound", daemon.gateway);
    let voucher = wallet.voucher(PRICE * 2);
    let digest = |body: &str| json!(ContentDigest::of(body.as_bytes()).to_string());

    let asked = challenge(&post(&wallet, &url, "why?", None).await);
    assert_eq!(asked["digest"], digest("why?"));
    let bare = challenge(&wallet.send(reqwest::Method::GET, &url, None).await);
    assert!(bare.get("digest").is_none(), "{bare}");
    let before = (daemon.quiet(wallet.channel).await, world.service.hits());
    for (name, made_for, body) in [
        ("another body", &asked, "how?"),
        ("no body", &asked, ""),
        ("a body and no digest", &bare, "why?"),
    ] {
        let said = post(&wallet, &url, body, Some(&credential(made_for, &voucher))).await;
        assert_eq!(said.problem(), "verification-failed", "{name}: {said:?}");
        said.must_be_a_no(name);
        let fresh = challenge(&said);
        let expected = if body.is_empty() {
            json!(null)
        } else {
            digest(body)
        };
        assert_eq!(
            fresh.get("digest").cloned().unwrap_or_default(),
            expected,
            "{name}"
        );
    }
    let after = daemon.quiet(wallet.channel).await;
    assert_eq!((after.accepted, after.spent), (before.0.accepted, before.0.spent));
    assert_eq!(world.service.hits(), before.1);

    let said = post(&wallet, &url, "why?", Some(&credential(&asked, &voucher))).await;
    assert_eq!((said.status, said.body.as_str()), (200, ANSWER), "{said:?}");
    assert!(said.challenge().is_none(), "the next body is not known yet");
    // The library's payer takes it as it comes.
    let payer = world.payer(1, "payer").await;
    let bought = payer
        .request(
            reqwest::Method::POST,
            &url,
            reqwest::header::HeaderMap::new(),
            b"what?".to_vec(),
        )
        .await
        .unwrap();
    assert_eq!(bought.body, ANSWER.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_of_what_is_offered_hears_what_is() {
    let world = World::start(0).await;
    let daemon = Daemon::start(&world.config(&world.settings("offers"))).await;
    let url = format!("{}/v1/answer", daemon.gateway);
    let ask = async |accepts: &str| {
        let request = reqwest::Client::new().get(&url).header("accept-payment", accepts);
        let said = Said::read(request.send().await.unwrap()).await;
        assert_eq!(
            (said.status, said.problem().as_str()),
            (402, "payment-required"),
            "{said:?}"
        );
        assert!(
            said.challenge().is_some(),
            "{accepts}: whoever asks gets the challenge"
        );
        serde_json::from_str::<Value>(&said.body).unwrap()
    };
    for content in [
        "evm/session",
        "*/*;q=0.1",
        "tempo/charge, */session",
        "evm/*;q=0.3",
        "nonsense",
    ] {
        assert!(ask(content).await.get("offered").is_none(), "{content}");
    }
    for other in ["tempo/session", "tempo/*, stripe/charge", "evm/session;q=0, */*"] {
        let told = ask(other).await;
        assert_eq!(told["offered"], json!(["evm/session"]), "{other}");
        assert!(told["detail"].as_str().unwrap().contains("evm/session"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_names_its_channel_is_told_that_it_may_go_on_with_it_and_nothing_more() {
    let world = World::start(1).await;
    let daemon = Daemon::start(&world.config(&world.settings("resumed"))).await;
    let wallet = Wallet::open(&world, &daemon, 0).await;
    let url = format!("{}/v1/answer", daemon.gateway);
    let ask = async |method: reqwest::Method, channel: &str| {
        let request = wallet
            .http
            .request(method, &url)
            .header("payment-session", channel);
        let said = Said::read(request.send().await.unwrap()).await;
        let asked = challenge(&said)["request"].as_str().unwrap().to_owned();
        serde_json::from_slice::<Value>(&b64::decode(asked.as_bytes()).unwrap()).unwrap()
    };
    let id = wallet.channel.to_string();
    for method in [reqwest::Method::GET, reqwest::Method::HEAD] {
        let asked = ask(method, &id).await;
        assert_eq!(asked["methodDetails"]["channelId"], id, "{asked}");
        assert!(asked.get("suggestedDeposit").is_none(), "{asked}");
        let mut told: Vec<&String> = asked["methodDetails"].as_object().unwrap().keys().collect();
        told.sort();
        assert_eq!(
            told,
            ["chainId", "channelId", "credentialTypes", "escrowContract"]
        );
    }
    let other_token = world.open_in_another_token(0).await.to_string();
    let unknown = format!("0x{}", "77".repeat(32));
    let anew = async |name: &str, channel: &str| {
        let asked = ask(reqwest::Method::GET, channel).await;
        assert!(
            asked["methodDetails"].get("channelId").is_none(),
            "{name}: {asked}"
        );
        assert!(asked.get("suggestedDeposit").is_some(), "{name}: {asked}");
    };
    anew("unknown", &unknown).await;
    anew("no id", "my channel").await;
    anew("another token", &other_token).await;
    let closed = wallet
        .pay(reqwest::Method::POST, &url, &wallet.close(PRICE))
        .await;
    assert_eq!(closed.status, 200, "{closed:?}");
    anew("closed", &id).await;
}
