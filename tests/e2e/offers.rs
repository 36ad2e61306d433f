//! What an unpaid request is offered: bound to its body where the route says so, and whatever the client would rather pay
//! with.

use crate::daemon::Daemon;
use crate::service::ANSWER;
use crate::wallet::{Said, Wallet, credential};
use crate::world::{PRICE, Settings, World, route};
use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};
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
