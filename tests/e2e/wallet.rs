//! A payer by hand: every credential is spelled here, the wrong ones too.

use crate::daemon::Daemon;
use crate::world::{DEPOSIT, SECRET, World, total};
use alloy::signers::SignerSync;
use reqwest::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Client, Method};
use serde_json::{Map, Value, json};
use weir_core::voucher::voucher_digest;
use weir_core::{ChannelId, Domain, UnixSeconds};
use weir_node::keys::SecretKey;
use weir_protocol::secrets::Unbound;
use weir_protocol::{Challenge, ChallengeSecret, Opaque, Secrets, SessionReceipt, b64};

/// A key with an open channel.
pub(crate) struct Wallet {
    pub(crate) channel: ChannelId,
    pub(crate) http: Client,
    key: SecretKey,
    domain: Domain,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Wallet {
    /// Opens a channel by buying one answer with the library's payer, which is then done.
    pub(crate) async fn open(world: &World, daemon: &Daemon, index: usize) -> Self {
        let state = format!("wallet-{index}-{}", daemon.gateway.rsplit(':').next().unwrap());
        let payer = world.payer(index, &state).await;
        let bought = payer.get(&format!("{}/v1/answer", daemon.gateway)).await.unwrap();
        assert_eq!(bought.status, 200);
        let [record] = payer.channels().try_into().unwrap();
        assert_eq!(record.deposit, total(DEPOSIT));
        Self::with(world, index, record.channel)
    }

    /// The key of a payer, with a channel that was opened elsewhere.
    pub(crate) fn with(world: &World, index: usize, channel: ChannelId) -> Self {
        Self {
            channel,
            http: Client::new(),
            key: SecretKey::from_bytes(world.payers[index].signer().to_bytes().0).unwrap(),
            domain: world.domain().clone(),
        }
    }

    /// 65 bytes over a total.
    pub(crate) fn signature(&self, base_units: u128) -> [u8; 65] {
        self.signature_of(&self.key, self.channel, base_units)
    }

    /// 65 bytes of any key over any channel.
    pub(crate) fn signature_of(&self, key: &SecretKey, channel: ChannelId, base_units: u128) -> [u8; 65] {
        let digest = voucher_digest(&self.domain, channel, total(base_units));
        key.signer().sign_hash_sync(&digest).unwrap().as_bytes()
    }

    /// The payload of a voucher.
    pub(crate) fn voucher(&self, base_units: u128) -> Value {
        self.voucher_with(base_units, &self.signature(base_units))
    }

    /// The payload of a voucher with other bytes for a signature.
    pub(crate) fn voucher_with(&self, base_units: u128, signature: &[u8]) -> Value {
        json!({
            "action": "voucher",
            "channelId": self.channel.to_string(),
            "cumulativeAmount": base_units.to_string(),
            "signature": hex(signature),
        })
    }

    /// The payload of a close.
    pub(crate) fn close(&self, base_units: u128) -> Value {
        let mut payload = self.voucher(base_units);
        payload["action"] = json!("close");
        payload
    }

    /// A fresh challenge, as its JSON.
    pub(crate) async fn challenge(&self, method: Method, url: &str) -> Value {
        let said = self.send(method, url, None).await;
        assert_eq!(said.status, 402, "{said:?}");
        serde_json::to_value(said.challenge().unwrap()).unwrap()
    }

    /// A credential for a fresh challenge.
    pub(crate) async fn credential(&self, method: Method, url: &str, payload: &Value) -> String {
        credential(&self.challenge(method, url).await, payload)
    }

    /// Sends a request with an `Authorization`, and no body.
    pub(crate) async fn send(&self, method: Method, url: &str, credential: Option<&str>) -> Said {
        let mut request = self.http.request(method, url);
        if let Some(credential) = credential {
            request = request.header(AUTHORIZATION, credential);
        }
        Said::read(request.send().await.unwrap()).await
    }

    /// Pays a fresh challenge with this payload.
    pub(crate) async fn pay(&self, method: Method, url: &str, payload: &Value) -> Said {
        let credential = self.credential(method.clone(), url, payload).await;
        self.send(method, url, Some(&credential)).await
    }

    /// Authorises a total by a method that buys nothing.
    pub(crate) async fn pay_bare(&self, method: Method, url: &str, base_units: u128) -> Said {
        self.pay(method, url, &self.voucher(base_units)).await
    }
}

impl Said {
    pub(crate) async fn read(response: reqwest::Response) -> Self {
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.text().await.unwrap_or_default(),
        }
    }

    /// The last part of the problem's type.
    pub(crate) fn problem(&self) -> String {
        let body: Map<String, Value> = serde_json::from_str(&self.body).unwrap_or_default();
        let kind = body.get("type").and_then(Value::as_str).unwrap_or_default();
        kind.rsplit('/').next().unwrap_or_default().to_owned()
    }

    /// The one challenge of the answer.
    pub(crate) fn challenge(&self) -> Option<Challenge> {
        let mut all = self.challenges();
        assert!(all.len() < 2, "more than one challenge");
        all.pop()
    }

    /// The challenges of the answer.
    pub(crate) fn challenges(&self) -> Vec<Challenge> {
        let lines = self.headers.get_all(WWW_AUTHENTICATE);
        let all = Challenge::read_all(lines.iter().map(|line| line.as_bytes()));
        all.into_iter().map(Result::unwrap).collect()
    }

    /// The receipt of the answer.
    pub(crate) fn receipt(&self) -> Option<SessionReceipt> {
        let value = self.headers.get("payment-receipt")?;
        Some(SessionReceipt::from_header(value.as_bytes()).unwrap())
    }

    /// A header's text.
    pub(crate) fn header(&self, name: reqwest::header::HeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// What every refusal must look like (threats H2 and H3).
    pub(crate) fn must_be_a_no(&self, name: &str) {
        assert_eq!(
            self.header(CONTENT_TYPE),
            "application/problem+json",
            "{name}: {self:?}"
        );
        assert_eq!(self.header(CACHE_CONTROL), "no-store", "{name}: {self:?}");
        assert_eq!(self.challenge().is_some(), self.status == 402, "{name}: {self:?}");
        assert!(self.receipt().is_none(), "{name}: {self:?}");
    }
}

/// Writes the value of an `Authorization` field.
pub(crate) fn credential(challenge: &Value, payload: &Value) -> String {
    encoded(&json!({ "challenge": challenge, "payload": payload }))
}

/// A daemon's challenge as it would have made it at another time.
pub(crate) fn signed_until(live: &Value, expires: u64) -> Value {
    let live: Challenge = serde_json::from_value(live.clone()).unwrap();
    let secrets = Secrets::new(ChallengeSecret::new(SECRET).unwrap());
    let unbound = Unbound {
        realm: live.realm,
        method: live.method,
        intent: live.intent,
        request: live.request,
        expires: UnixSeconds(expires),
        digest: None,
        description: live.description,
        opaque: Opaque::decode(live.opaque.as_deref().unwrap()).unwrap(),
    };
    serde_json::to_value(secrets.sign(unbound).unwrap()).unwrap()
}

/// Any JSON where a credential belongs.
pub(crate) fn encoded(value: &Value) -> String {
    format!("Payment {}", b64::encode(value.to_string()))
}

/// Bytes as payloads spell them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{digits}")
}
