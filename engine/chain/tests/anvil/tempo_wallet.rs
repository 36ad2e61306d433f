//! What a wallet does: encodes and signs a Tempo transaction, also in ways that no wallet should.

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy_rlp::{Encodable, Header};

/// A transaction before it is signed; its odd parts are raw RLP.
#[derive(Clone)]
pub(crate) struct Unsigned {
    pub(crate) chain_id: u64,
    pub(crate) tip: u128,
    pub(crate) fee: u128,
    pub(crate) gas: u64,
    /// Contract, value, input.
    pub(crate) calls: Vec<(Option<Address>, U256, Bytes)>,
    pub(crate) access_list: Vec<u8>,
    pub(crate) nonce_key: U256,
    pub(crate) nonce: u64,
    pub(crate) valid_before: u64,
    pub(crate) valid_after: u64,
    pub(crate) fee_token: Option<Address>,
    pub(crate) fee_payer: Vec<u8>,
    pub(crate) authorizations: Vec<u8>,
    pub(crate) key_authorization: Vec<u8>,
}

impl Unsigned {
    /// What wallets send: these calls, under an expiring nonce.
    pub(crate) fn new(chain_id: u64, fee_token: Address, calls: &[(Address, Bytes)]) -> Self {
        let call = |(to, input): &(Address, Bytes)| (Some(*to), U256::ZERO, input.clone());
        Self {
            chain_id,
            tip: 1_000_000_000,
            fee: 40_000_000_000,
            gas: 5_000_000,
            calls: calls.iter().map(call).collect(),
            access_list: vec![0xc0],
            nonce_key: U256::MAX,
            nonce: 0,
            valid_before: 0,
            valid_after: 0,
            fee_token: Some(fee_token),
            fee_payer: vec![0x80],
            authorizations: vec![0xc0],
            key_authorization: Vec::new(),
        }
    }

    fn fields(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.chain_id.encode(&mut out);
        self.tip.encode(&mut out);
        self.fee.encode(&mut out);
        self.gas.encode(&mut out);
        let mut calls = Vec::new();
        for (to, value, input) in &self.calls {
            let mut call = Vec::new();
            text(&mut call, to.as_ref().map_or(&[], |to| to.as_slice()));
            value.encode(&mut call);
            input.encode(&mut call);
            list(&mut calls, &call);
        }
        list(&mut out, &calls);
        out.extend_from_slice(&self.access_list);
        self.nonce_key.encode(&mut out);
        self.nonce.encode(&mut out);
        self.valid_before.encode(&mut out);
        self.valid_after.encode(&mut out);
        text(
            &mut out,
            self.fee_token.as_ref().map_or(&[], |token| token.as_slice()),
        );
        out.extend_from_slice(&self.fee_payer);
        out.extend_from_slice(&self.authorizations);
        out.extend_from_slice(&self.key_authorization);
        out
    }

    pub(crate) fn sign(&self, key: &PrivateKeySigner) -> Vec<u8> {
        self.with_signature(&key.sign_hash_sync(&self.signing_hash()).unwrap().as_bytes())
    }

    pub(crate) fn signing_hash(&self) -> B256 {
        keccak256(typed(&self.fields()))
    }

    pub(crate) fn with_signature(&self, signature: &[u8]) -> Vec<u8> {
        let mut fields = self.fields();
        text(&mut fields, signature);
        typed(&fields)
    }
}

fn typed(fields: &[u8]) -> Vec<u8> {
    let mut out = vec![0x76];
    list(&mut out, fields);
    out
}

fn list(out: &mut Vec<u8>, payload: &[u8]) {
    let payload_length = payload.len();
    Header {
        list: true,
        payload_length,
    }
    .encode(out);
    out.extend_from_slice(payload);
}

fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    bytes.encode(out);
}
