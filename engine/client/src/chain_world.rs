//! A chain of one's own: anvil on a free port, an escrow, a token, a payee, and a payer with money.

use crate::http::HttpOptions;
use crate::offer::Offer;
use crate::purse::Purse;
use crate::{AllowedEscrow, Error, Limits, Payer};
use alloy::primitives::{Address, U256};
use alloy::signers::local::PrivateKeySigner;
use serde_json::json;
use std::sync::Arc;
use tempfile::TempDir;
use weir_chain::deploy::{deploy_dev_token, deploy_escrow, mint};
use weir_chain::{Rpc, Sender};
use weir_core::terms::EVM_DOMAIN_NAME;
use weir_core::{Amount, ChannelId};
use weir_protocol::{Challenge, SessionRequest, b64};
use weir_test_support::{Anvil, ask, key, soon};

pub(crate) const DEPOSIT: u128 = 1000;
pub(crate) const GRACE_SECONDS: u64 = 900;
/// Nothing listens there: these tests need no server.
pub(crate) const NOWHERE: &str = "http://127.0.0.1:9/x";

/// A chain with an escrow and a token, a payer with money, and a directory for its state.
pub(crate) struct World {
    pub(crate) anvil: Anvil,
    pub(crate) rpc: Rpc,
    pub(crate) payee: Sender,
    pub(crate) key: PrivateKeySigner,
    pub(crate) token: Address,
    pub(crate) escrow: Address,
    pub(crate) state: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let anvil = Anvil::start(&[]);
        let rpc = Rpc::new(&anvil.url()).unwrap();
        let payee = Sender::connect(rpc.clone(), key(0x22)).await.unwrap();
        let key = key(0x11);
        for account in [key.address(), payee.address()] {
            ask(&rpc, "anvil_setBalance", json!([account, "0xde0b6b3a7640000"])).await;
        }
        let token = deploy_dev_token(&payee, soon()).await.unwrap();
        let caps = [(token, Amount::new(100 * DEPOSIT))];
        let escrow = deploy_escrow(&payee, EVM_DOMAIN_NAME, &caps, soon())
            .await
            .unwrap();
        payee
            .land(&mint(token, key.address(), Amount::new(10 * DEPOSIT)), soon())
            .await
            .unwrap();
        Self {
            anvil,
            rpc,
            payee,
            key,
            token,
            escrow,
            state: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        let escrow = AllowedEscrow {
            address: self.escrow,
            code_hash: None,
        };
        Limits::new(escrow, self.token, Amount::new(25), Amount::new(3 * DEPOSIT))
    }

    pub(crate) async fn payer_with(&self, limits: Limits) -> Payer {
        self.payer_at(&self.anvil.url(), limits).await
    }

    /// A payer whose node is, or is not, at this URL.
    pub(crate) async fn payer_at(&self, rpc_url: &str, limits: Limits) -> Payer {
        let http = HttpOptions {
            retries_max: 0,
            ..HttpOptions::default()
        };
        let payer = Payer::new(self.key.clone(), rpc_url, self.state.path(), limits, http);
        payer.await.unwrap()
    }

    pub(crate) async fn payer(&self) -> Payer {
        self.payer_with(self.limits()).await
    }

    pub(crate) fn offer(&self) -> Offer {
        let request = json!({"amount": "25", "currency": self.token, "recipient": self.payee.address(),
            "suggestedDeposit": DEPOSIT.to_string(),
            "methodDetails": {"escrowContract": self.escrow, "chainId": 31337}});
        let request = b64::encode(request.to_string());
        let challenge = Challenge {
            id: "c".into(),
            realm: "r".into(),
            method: "evm".into(),
            intent: "session".into(),
            request: request.clone(),
            expires: Some("2999-01-01T00:00:00Z".into()),
            digest: None,
            description: None,
            opaque: None,
        };
        let escrow = AllowedEscrow {
            address: self.escrow,
            code_hash: None,
        };
        Offer {
            challenge,
            request: SessionRequest::decode(&request, None).unwrap(),
            escrow,
        }
    }

    pub(crate) async fn open(&self, payer: &Payer) -> Result<Arc<Purse>, Error> {
        payer.core.purse_for(&self.offer(), "http://127.0.0.1:9").await
    }

    pub(crate) async fn deposit(&self, payer: &Payer, channel: ChannelId) -> u128 {
        let escrow = payer.core.chain.escrow(self.escrow).await.unwrap();
        let found = payer.core.chain.channel(&escrow, channel).await.unwrap().unwrap();
        found.state.deposit.base_units()
    }

    pub(crate) async fn balance(&self, payer: &Payer) -> u128 {
        let escrow = payer.core.chain.escrow(self.escrow).await.unwrap();
        let balance = payer.core.chain.balance(&escrow, self.token).await;
        balance.unwrap().base_units()
    }

    pub(crate) async fn pass(&self, seconds: u64) {
        ask(&self.rpc, "evm_increaseTime", json!([seconds])).await;
        ask(&self.rpc, "anvil_mine", json!([U256::from(1)])).await;
    }

    pub(crate) async fn automine(&self, on: bool) {
        ask(&self.rpc, "evm_setAutomine", json!([on])).await;
    }
}
