//! A chain with an escrow on it.

use crate::{Anvil, ask, key, soon};
use alloy::primitives::{Address, B256, U256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use serde_json::{Value, json};
use weir_chain::deploy::{deploy_dev_token, deploy_escrow, mint};
use weir_chain::{Call, Escrow, Landed, Opening, Rpc, Sender, SettleRow};
use weir_core::terms::EVM_DOMAIN_NAME;
use weir_core::voucher::voucher_digest;
use weir_core::{Amount, ChannelId, Cumulative, Signature, Terms};

/// The deposit of every channel here, in base units; the token's cap is a thousand times as much.
pub const DEPOSIT: u128 = 1_000_000;

/// A chain with an escrow, and two parties with money. Transactions are mined as they come, unless a test says not.
pub struct World {
    /// The node's process.
    pub anvil: Anvil,
    /// The way to it.
    pub rpc: Rpc,
    /// The escrow.
    pub escrow: Escrow,
    /// The token, of which the payer has much.
    pub token: Address,
    /// Sends as the payer.
    pub payer: Sender,
    /// Sends as the payee.
    pub payee: Sender,
    /// The payer's key; it signs the vouchers.
    pub payer_key: PrivateKeySigner,
}

impl World {
    /// A chain with an escrow, and money where it is needed.
    pub async fn new() -> Self {
        let anvil = Anvil::start(&[]);
        let rpc = Rpc::new(&anvil.url()).unwrap();
        let (payer_key, payee_key) = (key(0x11), key(0x22));
        let payer = Sender::connect(rpc.clone(), payer_key.clone()).await.unwrap();
        let payee = Sender::connect(rpc.clone(), payee_key).await.unwrap();
        for account in [payer.address(), payee.address()] {
            ask(&rpc, "anvil_setBalance", json!([account, "0xde0b6b3a7640000"])).await;
        }
        let token = deploy_dev_token(&payee, soon()).await.unwrap();
        let caps = [(token, Amount::new(1_000 * DEPOSIT))];
        let at = deploy_escrow(&payee, EVM_DOMAIN_NAME, &caps, soon())
            .await
            .unwrap();
        let escrow = Escrow::over(rpc.clone(), at, EVM_DOMAIN_NAME).await.unwrap();
        let world = Self {
            anvil,
            rpc,
            escrow,
            token,
            payer,
            payee,
            payer_key,
        };
        let much = Amount::new(1_000_000 * DEPOSIT);
        world.pays(mint(token, world.payer.address(), much)).await;
        world.pays(world.escrow.calls().approve(token, much)).await;
        world
    }

    /// Lands a call of the payer's.
    pub async fn pays(&self, call: Call) -> Landed {
        self.payer.land(&call, soon()).await.unwrap()
    }

    /// Lands a call of the payee's.
    pub async fn collects(&self, call: Call) -> Landed {
        self.payee.land(&call, soon()).await.unwrap()
    }

    /// What every channel here binds.
    pub fn terms(&self) -> Terms {
        Terms {
            payer: self.payer.address(),
            payee: self.payee.address(),
            token: self.token,
            authorized_signer: Address::ZERO,
            reserve: None,
        }
    }

    /// An opening with [`DEPOSIT`].
    pub fn opening(&self, salt: u8) -> Opening {
        Opening {
            payee: self.payee.address(),
            token: self.token,
            deposit: Amount::new(DEPOSIT),
            salt: B256::repeat_byte(salt),
            authorized_signer: Address::ZERO,
            max_deposit: None,
        }
    }

    /// The channel of an opening.
    pub fn id(&self, salt: u8) -> ChannelId {
        self.terms()
            .channel_id(B256::repeat_byte(salt), self.escrow.domain())
    }

    /// Opens a channel.
    pub async fn open(&self, salt: u8) -> (ChannelId, Landed) {
        let landed = self.pays(self.escrow.calls().open(&self.opening(salt))).await;
        (self.id(salt), landed)
    }

    /// A row with the payer's voucher over `cumulative`.
    pub fn row(&self, channel: ChannelId, cumulative: u128, capture: u128) -> SettleRow {
        let cumulative = Cumulative::new(cumulative);
        let digest = voucher_digest(self.escrow.domain(), channel, cumulative);
        let signature = self.payer_key.sign_hash_sync(&digest).unwrap();
        SettleRow {
            channel,
            cumulative,
            capture: Cumulative::new(capture),
            signature: Some(Signature::from_bytes(&signature.as_bytes()).unwrap()),
        }
    }

    /// Asks the node, methods of its own included.
    pub async fn ask(&self, method: &'static str, params: Value) -> Value {
        ask(&self.rpc, method, params).await
    }

    /// Mines so many blocks.
    pub async fn mine(&self, blocks: u64) {
        self.ask("anvil_mine", json!([U256::from(blocks)])).await;
    }

    /// Whether transactions are mined as they come.
    pub async fn automine(&self, on: bool) {
        self.ask("evm_setAutomine", json!([on])).await;
    }
}
