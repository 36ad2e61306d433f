//! Payments of single answers on a Tempo chain: by mppx as published, by hand as the draft says, and by thieves.

use crate::daemon::Daemon;
use crate::gate::Gate;
use crate::interop;
use crate::service::ANSWER;
use crate::wallet::Said;
use crate::world::{PRICE, Settings, World, route};
use reqwest::header::AUTHORIZATION;
use reqwest::{Client, Method};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use weir_node::dev::anvil::Network;
use weir_protocol::charge::ChargeReceipt;

/// How often a request is repeated that cannot be answered yet, and the pause before each.
const REPEATS: usize = 120;
pub(crate) const REPEAT_PAUSE: Duration = Duration::from_millis(250);

/// A daemon behind a gate, which sells single answers.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) gate: Gate,
    name: &'static str,
}

#[derive(Deserialize)]
struct Signed {
    authorization: String,
}

#[derive(Deserialize)]
struct Bought {
    status: u16,
    body: String,
    receipt: String,
}

impl Scene {
    pub(crate) async fn start(name: &'static str) -> (Self, Daemon) {
        let world = World::on(Network::Tempo, 2).await;
        let gate = Gate::before(world.rpc_url()).await;
        let scene = Self { world, gate, name };
        let daemon = scene.daemon(&scene.world.service.url).await;
        (scene, daemon)
    }

    /// A daemon on the scene's books, before this service.
    pub(crate) async fn daemon(&self, upstream: &str) -> Daemon {
        let routes = [
            route("/v1/once", PRICE, "accept = [\"charge\"]"),
            route("/v1/both", PRICE, "accept = [\"session\", \"charge\"]"),
            route("/v1/zero", 0, "accept = [\"charge\"]"),
            route("/broken/once", PRICE, "accept = [\"charge\"]"),
            route(
                "/broken/any",
                PRICE,
                "accept = [\"charge\"]\ncharge_on = \"first_byte\"",
            ),
            route("/cut/once", PRICE, "accept = [\"charge\"]"),
        ];
        let config: PathBuf = self.world.config(&Settings {
            rpc_url: &self.gate.url,
            routes: &routes.concat(),
            upstream,
            ..self.world.settings(self.name)
        });
        Daemon::start(&config).await
    }

    fn request(&self, url: &str, mode: &str) -> Value {
        json!({
            "rpc_url": self.world.rpc_url(),
            "chain_id": self.world.deployed.chain_id,
            "token": self.world.deployed.tokens[0].token,
            "key": self.world.payers[0].expose_hex(),
            "url": url,
            "mode": mode,
        })
    }

    /// Lets mppx sign, and send what is to be sent.
    pub(crate) async fn signs(&self, url: &str, mode: &str) -> String {
        let signed: Signed = interop::run("charge.mjs", self.request(url, mode).to_string()).await;
        signed.authorization
    }

    /// The same by hand, with these things other than the challenge asks.
    async fn signs_other(&self, url: &str, mode: &str, transfer: Value) -> String {
        let mut request = self.request(url, mode);
        request["transfer"] = transfer;
        let signed: Signed = interop::run("charge.mjs", request.to_string()).await;
        signed.authorization
    }

    /// What the seller has.
    pub(crate) async fn earned(&self) -> u128 {
        self.world.balance(&self.world.payee).await
    }
}

pub(crate) fn url(daemon: &Daemon, path: &str) -> String {
    format!("{}{path}", daemon.gateway)
}

pub(crate) async fn ask(url: &str, authorization: &str) -> Result<Said, reqwest::Error> {
    let request = Client::new().get(url).header(AUTHORIZATION, authorization);
    Ok(Said::read(request.send().await?).await)
}

/// The same request, until it has another answer than that it cannot be answered yet.
pub(crate) async fn repeat(url: &str, authorization: &str) -> Said {
    for _ in 0..REPEATS {
        let said = ask(url, authorization).await.unwrap();
        if !matches!(said.status, 409 | 503) {
            return said;
        }
        tokio::time::sleep(REPEAT_PAUSE).await;
    }
    panic!("the daemon never answers");
}

pub(crate) fn receipt(said: &Said) -> ChargeReceipt {
    let value = said.headers.get("payment-receipt").unwrap();
    ChargeReceipt::from_header(value.as_bytes()).unwrap()
}

pub(crate) fn must_be_sold(said: &Said, name: &str) {
    assert_eq!(
        (said.status, said.body.as_str()),
        (200, ANSWER),
        "{name}: {said:?}"
    );
}

pub(crate) fn must_be_used(said: &Said, name: &str) {
    let found = (said.status, said.problem());
    assert_eq!(found, (402, "invalid-challenge".to_owned()), "{name}: {said:?}");
    assert!(said.headers.get("payment-receipt").is_none(), "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mppx_buys_single_answers_by_pull_by_push_and_with_a_proof() {
    let (scene, daemon) = Scene::start("mppx").await;
    for (path, mode, price) in [
        ("/v1/once", "pull", PRICE),
        ("/v1/once", "push", PRICE),
        ("/v1/both", "pull", PRICE),
        ("/v1/zero", "pull", 0),
    ] {
        let name = format!("{path} by {mode}");
        let before = scene.earned().await;
        let mut request = scene.request(&url(&daemon, path), mode);
        request["fetches"] = json!(true);
        let bought: Bought = interop::run("charge.mjs", request.to_string()).await;
        assert_eq!((bought.status, bought.body.as_str()), (200, ANSWER), "{name}");
        let receipt = ChargeReceipt::from_header(bought.receipt.as_bytes()).unwrap();
        assert_eq!(receipt.method, "tempo", "{name}");
        assert_eq!(scene.earned().await - before, price, "{name}");
        if price > 0 {
            let landed = scene
                .world
                .ask("eth_getTransactionReceipt", json!([receipt.reference]))
                .await;
            assert_eq!(landed["status"], "0x1", "{name}: {landed}");
        } else {
            assert!(!receipt.reference.starts_with("0x"), "{name}: {receipt:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_402_offers_every_way_in_a_line_of_its_own_as_the_client_likes_them() {
    let (scene, daemon) = Scene::start("ways").await;
    let both = url(&daemon, "/v1/both");
    let ask = async |accepts: Option<&str>| {
        let mut request = Client::new().get(&both);
        if let Some(accepts) = accepts {
            request = request.header("accept-payment", accepts);
        }
        let said = Said::read(request.send().await.unwrap()).await;
        assert_eq!(
            (said.status, said.problem().as_str()),
            (402, "payment-required"),
            "{said:?}"
        );
        let lines = said.headers.get_all("www-authenticate").iter().count();
        let names: Vec<_> = said.challenges().into_iter().map(|one| one.intent).collect();
        assert_eq!(lines, names.len(), "a line for each");
        (names, serde_json::from_str::<Value>(&said.body).unwrap())
    };
    for (accepts, expected) in [
        (None, vec!["session", "charge"]),
        (Some("tempo/*"), vec!["session", "charge"]),
        (Some("tempo/charge"), vec!["charge"]),
        (Some("*/session"), vec!["session"]),
        (
            Some("tempo/charge, tempo/session;q=0.5"),
            vec!["charge", "session"],
        ),
        (Some("nonsense"), vec!["session", "charge"]),
    ] {
        let (names, told) = ask(accepts).await;
        assert_eq!(names, expected, "{accepts:?}");
        assert!(told.get("offered").is_none(), "{told}");
    }
    let (names, told) = ask(Some("stripe/charge")).await;
    assert_eq!(names, ["session", "charge"]);
    assert_eq!(
        told["offered"],
        json!(["tempo/session", "tempo/charge"]),
        "{told}"
    );

    // Beside an answer stands the next challenge of the way that paid.
    let said = repeat(&both, &scene.signs(&both, "pull").await).await;
    must_be_sold(&said, "charge");
    let next: Vec<_> = said.challenges().into_iter().map(|one| one.intent).collect();
    assert_eq!(next, ["charge"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_t7_what_pays_something_else_is_refused_before_it_is_sent() {
    let (scene, daemon) = Scene::start("wrong").await;
    let place = url(&daemon, "/v1/once");
    let stranger = scene.world.payers[1].address();
    let another_token = "0x20c0000000000000000000000000000000000001";
    let memo = format!("0x{}", "5a".repeat(32));
    let hits = scene.world.service.hits();
    for (name, other) in [
        ("less", json!({ "amount": "99" })),
        ("more", json!({ "amount": "101" })),
        ("another recipient", json!({ "recipient": stranger })),
        ("another token", json!({ "token": another_token })),
        ("another memo", json!({ "memo": memo })),
        ("no memo", json!({ "memo": null })),
        ("too long a life", json!({ "valid_seconds": 600 })),
    ] {
        let signed = scene.signs_other(&place, "pull", other).await;
        let said = ask(&place, &signed).await.unwrap();
        assert_eq!(
            (said.status, said.problem().as_str()),
            (402, "verification-failed"),
            "{name}: {said:?}"
        );
        said.must_be_a_no(name);
    }
    assert_eq!(scene.gate.heard(), Vec::<Value>::new(), "nothing was sent");
    // What is on the chain and pays something else.
    for (name, other) in [
        ("less", json!({ "amount": "99" })),
        ("no memo", json!({ "memo": null })),
    ] {
        let signed = scene.signs_other(&place, "push", other).await;
        let said = repeat(&place, &signed).await;
        assert_eq!(
            (said.status, said.problem().as_str()),
            (402, "verification-failed"),
            "{name}: {said:?}"
        );
    }
    assert_eq!(scene.world.service.hits(), hits);
    // The draft's own way, by hand.
    for mode in ["pull", "push"] {
        let signed = scene.signs_other(&place, mode, json!({})).await;
        must_be_sold(&repeat(&place, &signed).await, mode);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_h8_a_hash_that_was_seen_on_the_chain_buys_nothing_for_a_thief() {
    let (scene, daemon) = Scene::start("thief").await;
    let place = url(&daemon, "/v1/once");
    let signed = scene.signs(&place, "push").await;
    let hash = payload_of(&signed)["hash"].clone();
    let hits = scene.world.service.hits();
    // The thief has a challenge of its own, for the same price.
    let asked = Said::read(Client::new().get(&place).send().await.unwrap()).await;
    let own = serde_json::to_value(asked.challenge().unwrap()).unwrap();
    let stolen = crate::wallet::credential(&own, &json!({ "type": "hash", "hash": hash }));
    let said = repeat(&place, &stolen).await;
    assert_eq!(
        (said.status, said.problem().as_str()),
        (402, "verification-failed"),
        "{said:?}"
    );
    assert_eq!(scene.world.service.hits(), hits);
    must_be_sold(&repeat(&place, &signed).await, "who paid");
}

fn payload_of(authorization: &str) -> Value {
    let encoded = authorization.strip_prefix("Payment ").unwrap();
    let decoded = weir_protocol::b64::decode(encoded).unwrap();
    serde_json::from_slice::<Value>(&decoded).unwrap()["payload"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_not_taken_where_it_buys_nothing() {
    let (scene, daemon) = Scene::start("nothing").await;
    let place = url(&daemon, "/v1/once");
    let signed = scene.signs(&place, "pull").await;
    let request = Client::new()
        .request(Method::HEAD, &place)
        .header(AUTHORIZATION, &signed);
    let said = Said::read(request.send().await.unwrap()).await;
    assert_eq!(said.status, 405, "{said:?}");
    assert_eq!(scene.gate.heard(), Vec::<Value>::new(), "nothing was sent");
    let asked = Said::read(Client::new().get(&place).send().await.unwrap()).await;
    let own = serde_json::to_value(asked.challenge().unwrap()).unwrap();
    for (payload, kind) in [
        (json!({}), "malformed-credential"),
        (
            json!({ "type": "proof", "signature": "0x" }),
            "malformed-credential",
        ),
        (json!({ "type": "hash" }), "malformed-credential"),
        (json!({ "type": "hash", "hash": "0x12" }), "malformed-credential"),
        (
            json!({ "type": "transaction", "signature": "0x7600" }),
            "malformed-credential",
        ),
        (json!({ "action": "voucher" }), "malformed-credential"),
    ] {
        let said = ask(&place, &crate::wallet::credential(&own, &payload))
            .await
            .unwrap();
        assert_eq!(
            (said.status, said.problem().as_str()),
            (402, kind),
            "{payload}: {said:?}"
        );
        said.must_be_a_no(&payload.to_string());
    }
    must_be_sold(&repeat(&place, &signed).await, "where it buys something");
}
