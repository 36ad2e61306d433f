//! One field wrong at a time, at a daemon on a chain: every action of every session is answered as the table behind
//! `docs/problems.md` says, delivers nothing meanwhile, and is taken once nothing is wrong.

use crate::counter::Counter;
use crate::daemon::Daemon;
use crate::service::Service;
use crate::wallet::{Said, Wallet, encoded, signed_until};
use crate::world::{DEPOSIT, PRICE, World};
use crate::{reserve, unsent};
use alloy::primitives::{Address, B256};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;
use weir_chain::Sender;
use weir_core::{Amount, ChannelId};
use weir_protocol::b64;
use weir_protocol::fields::{DEEDS, Deed, Reply};

/// A credential as its payer would send it, and the same of somebody else.
struct Pair {
    good: Value,
    other: Value,
}

/// Where credentials are sent.
struct Desk<'a> {
    daemon: &'a Daemon,
    service: &'a Service,
    way: &'static str,
}

fn deed(way: &str, name: &str) -> &'static Deed {
    let found = DEEDS.iter().find(|deed| deed.way == way && deed.name == name);
    found.unwrap_or_else(|| panic!("the table has no {way} {name}"))
}

fn answer_url(daemon: &Daemon) -> String {
    format!("{}/v1/answer", daemon.gateway)
}

/// The JSON of an `Authorization` that a client made.
fn opened(authorization: &str) -> Value {
    let bytes = b64::decode(authorization.strip_prefix("Payment ").unwrap()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn must_say(said: &Said, expected: Reply, what: &str) {
    match expected {
        Reply::Taken => assert!((200..300).contains(&said.status), "{what}: {said:?}"),
        Reply::No(status, kind) => {
            let last = kind.row().uri.rsplit('/').next().unwrap();
            assert_eq!(
                (said.status, said.problem().as_str()),
                (status, last),
                "{what}: {said:?}"
            );
            said.must_be_a_no(what);
        }
    }
}

/// Somebody else's value, or one that is nobody's where both have the same.
fn foreign(good: Option<&Value>, other: Option<&Value>) -> Value {
    let nobodys = json!(Address::repeat_byte(0x77));
    match (good, other) {
        (good, Some(other)) if good != Some(other) => other.clone(),
        (Some(Value::String(text)), _) if !text.starts_with("0x") => {
            json!((text.parse::<u128>().unwrap() + 1).to_string())
        }
        _ => nobodys,
    }
}

impl Desk<'_> {
    async fn send(&self, credential: &Value) -> Said {
        let request = Client::new().get(answer_url(self.daemon));
        let request = request.header("authorization", encoded(credential));
        Said::read(request.send().await.unwrap()).await
    }

    /// One thing wrong after the other, and then nothing.
    async fn check(&self, name: &str, pair: &Pair) -> Said {
        let (deed, hits) = (deed(self.way, name), self.service.hits());
        for row in deed.fields() {
            let place = match row.field {
                "source" => "/source".to_owned(),
                field => format!("/payload/{}", field.replace('.', "/")),
            };
            let (parent, last) = place.rsplit_once('/').unwrap();
            let mut wrong = vec![("malformed", Some(json!("!")), row.malformed)];
            if row.missing != Reply::Taken {
                wrong.push(("missing", None, row.missing));
            }
            if let Some(reply) = row.foreign {
                let value = match row.field {
                    // Left out of the good one: a signature over something else than the wish to close.
                    "closeSignature" => pair.other["payload"]["signature"].clone(),
                    _ => foreign(pair.good.pointer(&place), pair.other.pointer(&place)),
                };
                wrong.push(("another's", Some(value), reply));
            }
            for (how, value, reply) in wrong {
                let mut credential = pair.good.clone();
                let object = credential.pointer_mut(parent).unwrap().as_object_mut().unwrap();
                match value {
                    Some(value) => object.insert(last.to_owned(), value),
                    None => object.remove(last),
                };
                let what = format!("{} {name}: {} is {how}", self.way, row.field);
                must_say(&self.send(&credential).await, reply, &what);
            }
        }
        let mut late = pair.good.clone();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        late["challenge"] = signed_until(&late["challenge"], now.as_secs() - 1);
        must_say(&self.send(&late).await, deed.expired, &format!("{name}, expired"));
        assert_eq!(self.service.hits(), hits, "{name}: something was delivered");

        let said = self.send(&pair.good).await;
        assert_eq!(said.status, 200, "{} {name}: {said:?}", self.way);
        let again = self.send(&pair.good).await;
        must_say(&again, deed.again, &format!("{} {name}, again", self.way));
        let buys = deed.again != Reply::Taken;
        assert_eq!(
            self.service.hits(),
            hits + u64::from(buys),
            "{name}: content or none"
        );
        said
    }

    /// A voucher for this total, which buys one answer more, and a close: each beside one of another channel and total.
    async fn check_vouchers(
        &self,
        total: u128,
        [mine, theirs]: [&Wallet; 2],
        describe: impl Fn(usize, Value) -> Value,
    ) {
        for name in ["voucher", "close"] {
            let url = answer_url(self.daemon);
            let challenge = mine.challenge(Method::GET, &url).await;
            let payload = |index: usize, wallet: &Wallet, total: u128| {
                let payload = if name == "close" {
                    wallet.close(total)
                } else {
                    wallet.voucher(total)
                };
                json!({"challenge": challenge, "payload": describe(index, payload)})
            };
            let pair = Pair {
                good: payload(0, mine, total),
                other: payload(1, theirs, total + PRICE),
            };
            self.check(name, &pair).await;
        }
    }
}

/// Raises a deposit past the daemon, and says by which transaction.
async fn raise(world: &World, payer: usize, channel: ChannelId) -> B256 {
    let (rpc, calls) = (world.escrow.rpc().clone(), world.escrow.calls());
    let sender = Sender::connect(rpc, world.payers[payer].signer().clone())
        .await
        .unwrap();
    let amount = Amount::new(DEPOSIT);
    let soon = || Instant::now() + Duration::from_secs(30);
    let approve = calls.approve(world.deployed.tokens[0].token, amount);
    sender.land(&approve, soon()).await.unwrap();
    let landed = sender.land(&calls.top_up(channel, amount), soon()).await.unwrap();
    landed.logs[0].transaction_hash.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_v2_one_wrong_field_of_an_evm_session_gets_what_the_table_says() {
    let counter = Counter::open().await;
    let (world, daemon) = (&counter.world, &counter.daemon);
    let theirs = Wallet::open(world, daemon, 1).await;
    let desk = Desk {
        daemon,
        service: &world.service,
        way: "`evm`/`session`",
    };
    let wallets = [&counter.wallet, &theirs];
    let challenge = counter.wallet.challenge(Method::GET, &counter.url).await;
    let from = |payer: usize, payload: Value| {
        let address = world.payers[payer].address();
        let source = format!("did:pkh:eip155:{}:{address}", world.deployed.chain_id);
        json!({"challenge": challenge, "payload": payload, "source": source})
    };
    // The opens are known already; who shows one again authorises more.
    let mut opens = Vec::new();
    for (payer, wallet) in wallets.into_iter().enumerate() {
        let key = world.payers[payer].address();
        let [open] = world
            .escrow
            .channels_of_payer(key, 0)
            .await
            .unwrap()
            .try_into()
            .unwrap();
        let mut payload = wallet.voucher(2 * PRICE);
        payload["action"] = json!("open");
        payload["type"] = json!("hash");
        payload["hash"] = json!(open.transaction);
        payload["salt"] = json!(open.salt);
        opens.push(from(payer, payload));
    }
    let [good, other] = opens.try_into().unwrap();
    desk.check("open, `hash`", &Pair { good, other }).await;

    let challenge = counter.wallet.challenge(Method::GET, &counter.url).await;
    let mut raises = Vec::new();
    for (payer, wallet) in wallets.into_iter().enumerate() {
        let hash = raise(world, payer, wallet.channel).await;
        let payload = json!({"action": "topUp", "type": "hash", "hash": hash,
            "channelId": wallet.channel, "additionalDeposit": DEPOSIT.to_string()});
        raises.push(
            json!({"challenge": challenge, "payload": payload, "source": from(payer, json!({}))["source"]}),
        );
    }
    let [good, other] = raises.try_into().unwrap();
    desk.check("top-up, `hash`", &Pair { good, other }).await;
    desk.check_vouchers(3 * PRICE, wallets, |_, payload| payload)
        .await;
}

/// Two channels on a Tempo chain, opened, raised, used and closed, one wrong field at a time. `sign` lets mppx sign an
/// open, or the raise of a channel that one made.
async fn check_tempo<S: AsyncFn(usize, Option<&Value>) -> Value>(desk: &Desk<'_>, world: &World, sign: S) {
    let pair = async |raised: Option<[&Value; 2]>| {
        let [mut good, mut other] = [
            sign(0, raised.map(|raised| raised[0])).await,
            sign(1, raised.map(|raised| raised[1])).await,
        ];
        for signed in [&mut good, &mut other] {
            signed["credential"] = opened(signed["authorization"].as_str().unwrap());
        }
        [good, other]
    };
    let [mine, theirs] = pair(None).await;
    let credentials = |good: &Value, other: &Value| Pair {
        good: good["credential"].clone(),
        other: other["credential"].clone(),
    };
    desk.check("open", &credentials(&mine, &theirs)).await;
    let said = desk.send(&theirs["credential"]).await;
    assert_eq!(said.status, 200, "{said:?}");
    let [my_raise, their_raise] = pair(Some([&mine, &theirs])).await;
    desk.check("top-up", &credentials(&my_raise, &their_raise)).await;

    let signed = [&mine, &theirs];
    let wallets = [0, 1].map(|payer| {
        let channel = signed[payer]["channel"].as_str().unwrap();
        Wallet::with(world, payer, channel.parse().unwrap())
    });
    let describe = |payer: usize, mut payload: Value| {
        let descriptor = &signed[payer]["descriptor"];
        if !descriptor.is_null() {
            payload["descriptor"] = descriptor.clone();
        }
        payload
    };
    desk.check_vouchers(2 * PRICE, [&wallets[0], &wallets[1]], describe)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_v2_one_wrong_field_of_a_tempo_session_gets_what_the_table_says() {
    let (scene, daemon) = unsent::Scene::start("fields").await;
    let desk = Desk {
        daemon: &daemon,
        service: &scene.world.service,
        way: "`tempo`/`session` v1",
    };
    let sign = async |payer: usize, raised: Option<&Value>| {
        let channel = raised.map(|raised| raised["channel"].as_str().unwrap().parse().unwrap());
        let signed = scene.sign(&daemon, payer, channel).await;
        json!({"authorization": signed.authorization, "channel": signed.channel})
    };
    check_tempo(&desk, &scene.world, sign).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_v2_one_wrong_field_of_a_session_in_the_reserve_gets_what_the_table_says() {
    let (scene, daemon) = reserve::Scene::start().await;
    let desk = Desk {
        daemon: &daemon,
        service: &scene.world.service,
        way: "`tempo`/`session` v2",
    };
    let sign = async |payer: usize, raised: Option<&Value>| {
        let raised: Option<reserve::Signed> =
            raised.map(|signed| serde_json::from_value(signed.clone()).unwrap());
        let signed = scene.sign_for(payer, &daemon, raised.as_ref()).await;
        let channel = signed.channel.to_string();
        json!({"authorization": signed.authorization, "channel": channel, "descriptor": signed.descriptor})
    };
    check_tempo(&desk, &scene.world, sign).await;
}
