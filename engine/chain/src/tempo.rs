//! Transactions of Tempo (type 0x76) that a payer signed and asks us to broadcast (draft-tempo-session-00, Open
//! Verification 1 and TopUp Verification 1).
//!
//! Read whole and narrowly. Every field of the transaction is decoded, each in its one canonical form, and what the
//! draft's clients have no use for is refused: other calls than an approval and the escrow's, value, access lists,
//! authorisations, a fee payer, keys other than secp256k1. So nothing can ride along that is not looked at here, and
//! a form that a later chain adds is unknown until it is added here too.

mod refusal;
mod sign;

pub use refusal::ForeignRefusal;
pub use sign::{SignedTempo, TEMPO_VALID_SECONDS, TempoTransaction};

use crate::bindings::{IChannelEscrow, IMemoToken, IToken};
use crate::payment::Transfer;
use crate::rpc::Rpc;
use crate::sender::SendFault;
use alloy::primitives::{Address, B256, Bytes, U64, U256, keccak256};
use alloy::providers::Provider;
use alloy::sol_types::SolCall;
use alloy_rlp::{Decodable, Header};
use serde_json::json;
use weir_core::recover::{Recover, default_backend};
use weir_core::signature::SIGNATURE_BYTES;
use weir_core::{Amount, ChannelId, Domain, Signature, Terms, UnixSeconds};

/// The EIP-2718 type of Tempo's transactions.
pub const TEMPO_TRANSACTION_TYPE: u8 = 0x76;
/// How clients mark a transaction that a fee payer is to complete.
const FEE_PAYER_TYPE: u8 = 0x78;
/// An approval and what it is for.
const CALLS_MAX: usize = 2;
/// RLP's empty string, which stands for a field that is not set.
const UNSET: u8 = 0x80;
/// From here on a byte begins an RLP list.
const LIST_FROM: u8 = 0xc0;

/// One call of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignCall {
    /// The contract.
    pub to: Address,
    /// The calldata.
    pub input: Bytes,
}

/// A transaction that a payer signed, with its sender recovered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignTransaction {
    /// How it is looked up.
    pub hash: B256,
    /// Who signed it.
    pub sender: Address,
    /// keccak256 of what was signed, followed by the sender: no two transactions that land share it (TIP-1034).
    pub expiring_nonce_hash: B256,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The most that a unit of gas may cost, in attodollars.
    pub max_fee_per_gas: u128,
    /// Of which the block's maker gets, in attodollars.
    pub max_priority_fee_per_gas: u128,
    /// Gas.
    pub gas_limit: u64,
    /// Which row of nonces it uses; 2^256 − 1 is for transactions that expire.
    pub nonce_key: U256,
    /// Its number in that row.
    pub nonce: u64,
    /// It lands before this moment or not at all; `None` if it does not expire.
    pub valid_before: Option<UnixSeconds>,
    /// It does not land before this moment.
    pub valid_after: Option<UnixSeconds>,
    /// The token that its sender pays fees in; the account's own choice when absent.
    pub fee_token: Option<Address>,
    /// Its calls, one or two, which take effect together or not at all.
    pub calls: Vec<ForeignCall>,
}

/// An opening that was signed and not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignOpen {
    /// The parties and the token; the payer is who signed.
    pub terms: Terms,
    /// The salt.
    pub salt: B256,
    /// The deposit.
    pub deposit: Amount,
}

/// A top-up that was signed and not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForeignTopUp {
    /// The channel.
    pub channel: ChannelId,
    /// By how much the deposit would rise.
    pub additional: Amount,
}

/// What a transaction would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForeignDeed {
    /// Open a channel.
    Open(ForeignOpen),
    /// Raise a deposit.
    TopUp(ForeignTopUp),
}

impl ForeignTransaction {
    /// Reads a signed transaction and recovers its sender.
    ///
    /// # Errors
    /// [`ForeignRefusal`]; nothing was asked of any chain.
    pub fn decode(raw: &[u8]) -> Result<Self, ForeignRefusal> {
        let raw = canonical(raw);
        let (&kind, mut rest) = raw.split_first().ok_or(ForeignRefusal::Malformed)?;
        match kind {
            TEMPO_TRANSACTION_TYPE => {}
            FEE_PAYER_TYPE => return Err(ForeignRefusal::Sponsored),
            _ => return Err(ForeignRefusal::OtherType),
        }
        let fields = list(&mut rest)?;
        let mut at = fields;
        let chain_id = number(&mut at)?;
        let max_priority_fee_per_gas = number(&mut at)?;
        let max_fee_per_gas = number(&mut at)?;
        let gas_limit = number(&mut at)?;
        let calls = read_calls(list(&mut at)?)?;
        require(list(&mut at)?.is_empty(), ForeignRefusal::AccessList)?;
        let nonce_key = number(&mut at)?;
        let nonce = number(&mut at)?;
        let (valid_before, valid_after) = (moment(&mut at)?, moment(&mut at)?);
        let fee_token = address(&mut at)?;
        // The placeholder and the signature of a fee payer alike: neither is offered.
        require(at.first() == Some(&UNSET), ForeignRefusal::Sponsored)?;
        text(&mut at)?;
        require(list(&mut at)?.is_empty(), ForeignRefusal::Authorizations)?;
        // A key authorisation is a list, and left out when there is none: the signature, a string, follows then.
        let authorises = at.first().is_some_and(|first| *first >= LIST_FROM);
        require(!authorises, ForeignRefusal::Authorizations)?;
        let signed = fields
            .get(..fields.len() - at.len())
            .ok_or(ForeignRefusal::Malformed)?;
        let signature = text(&mut at)?;
        require(at.is_empty() && rest.is_empty(), ForeignRefusal::Malformed)?;
        let signed = signed_message(signed);
        let sender = recover(&signed, signature)?;
        Ok(Self {
            hash: keccak256(&raw),
            sender,
            expiring_nonce_hash: keccak256([&signed, sender.as_slice()].concat()),
            chain_id,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            gas_limit,
            nonce_key,
            nonce,
            valid_before,
            valid_after,
            fee_token,
            calls,
        })
    }

    /// What it would do with the escrow of `domain`: an opening of any terms, or a top-up in `token`.
    ///
    /// # Errors
    /// [`ForeignRefusal`] when it would do anything else, or anything besides.
    pub fn deed(&self, domain: &Domain, token: Address) -> Result<ForeignDeed, ForeignRefusal> {
        if domain.is_reserve() {
            return self.reserve_deed(domain);
        }
        let escrow = domain.escrow();
        let (approval, call) = match self.calls.as_slice() {
            [call] => (None, call),
            [approval, call] => (Some(approval), call),
            _ => return Err(ForeignRefusal::Calls),
        };
        require(call.to == escrow, ForeignRefusal::OtherContract)?;
        let (deed, token, pulled) = self.read_deed(&call.input, token)?;
        if let Some(approval) = approval {
            let approve = exactly::<IToken::approveCall>(&approval.input).ok_or(ForeignRefusal::Calls)?;
            let fits = approval.to == token
                && approve.spender == escrow
                && approve.value == U256::from(pulled.base_units());
            require(fits, ForeignRefusal::Approval)?;
        }
        Ok(deed)
    }

    /// The one transfer that it would make.
    ///
    /// # Errors
    /// [`ForeignRefusal::Transfer`] when it would do anything else, or anything besides.
    pub fn transfer(&self) -> Result<Transfer, ForeignRefusal> {
        let [call] = self.calls.as_slice() else {
            return Err(ForeignRefusal::Transfer);
        };
        let (to, amount, memo) = if let Some(paid) = exactly::<IMemoToken::transferWithMemoCall>(&call.input)
        {
            (paid.to, paid.amount, Some(paid.memo))
        } else {
            let paid = exactly::<IToken::transferCall>(&call.input).ok_or(ForeignRefusal::Transfer)?;
            (paid.to, paid.value, None)
        };
        Ok(Transfer {
            token: call.to,
            from: self.sender,
            to,
            amount: Amount::new(u128::try_from(amount).map_err(|_| ForeignRefusal::Transfer)?),
            memo,
            authorized: None,
        })
    }

    /// The deed, and which token the escrow would pull for it, and how much.
    fn read_deed(
        &self,
        input: &[u8],
        token: Address,
    ) -> Result<(ForeignDeed, Address, Amount), ForeignRefusal> {
        if let Some(open) = exactly::<IChannelEscrow::openCall>(input) {
            let deposit = Amount::new(open.deposit);
            let terms = Terms {
                payer: self.sender,
                payee: open.payee,
                token: open.token,
                authorized_signer: open.authorizedSigner,
                reserve: None,
            };
            let opening = ForeignOpen {
                terms,
                salt: open.salt,
                deposit,
            };
            return Ok((ForeignDeed::Open(opening), open.token, deposit));
        }
        let top_up = |channel, additional| {
            let channel = ChannelId(channel);
            let deed = ForeignTopUp { channel, additional };
            (ForeignDeed::TopUp(deed), token, additional)
        };
        // Two signatures of one function: the EVM draft's, and the Tempo stream channel's own.
        if let Some(call) = exactly::<IChannelEscrow::topUp_0Call>(input) {
            return Ok(top_up(call.channelId, Amount::new(call.additionalDeposit)));
        }
        let call = exactly::<IChannelEscrow::topUp_1Call>(input).ok_or(ForeignRefusal::Calls)?;
        let additional = u128::try_from(call.additionalDeposit).map_err(|_| ForeignRefusal::Calls)?;
        Ok(top_up(call.channelId, Amount::new(additional)))
    }
}

impl Rpc {
    /// Tries a payer's transaction on the newest state, as wallets do when they estimate its gas.
    ///
    /// # Errors
    /// [`SendFault::WouldRevert`] with the decoded reason, [`SendFault::Refused`] when the node cannot or will not try
    /// it, [`SendFault::Chain`] when it was not reached.
    pub async fn rehearse(&self, transaction: &ForeignTransaction) -> Result<(), SendFault> {
        let call = |call: &ForeignCall| json!({"to": call.to, "value": "0x0", "data": call.input});
        let moment = |moment: Option<UnixSeconds>| moment.map(|at| U64::from(at.0));
        let request = json!({
            "type": U64::from(TEMPO_TRANSACTION_TYPE),
            "chainId": U64::from(transaction.chain_id),
            "from": transaction.sender,
            "calls": transaction.calls.iter().map(call).collect::<Vec<_>>(),
            "nonceKey": transaction.nonce_key,
            "nonce": U64::from(transaction.nonce),
            "validBefore": moment(transaction.valid_before),
            "validAfter": moment(transaction.valid_after),
            "feeToken": transaction.fee_token,
        });
        let tried = self
            .provider()
            .raw_request::<_, U64>("eth_estimateGas".into(), [request]);
        let tried = tried.await;
        tried
            .map(drop)
            .map_err(|error| SendFault::of_execution("trying a payer's transaction", error))
    }
}

/// The bytes as the chain writes them down: v may come as 0 or 1, and the hash is over 27 or 28. The signature is the
/// last item, and v its last byte.
fn canonical(raw: &[u8]) -> Vec<u8> {
    let mut raw = raw.to_vec();
    if let Some(v) = raw.last_mut().filter(|v| **v < 2) {
        *v += 27;
    }
    raw
}

/// Calldata of one function in its one encoding, to the last byte.
pub(crate) fn exactly<C: SolCall>(input: &[u8]) -> Option<C> {
    let call = C::abi_decode(input).ok()?;
    (call.abi_encode() == input).then_some(call)
}

fn read_calls(mut at: &[u8]) -> Result<Vec<ForeignCall>, ForeignRefusal> {
    let mut calls = Vec::with_capacity(CALLS_MAX);
    while !at.is_empty() {
        require(calls.len() < CALLS_MAX, ForeignRefusal::Calls)?;
        let mut call = list(&mut at)?;
        // Without an address it would create a contract.
        let to = address(&mut call)?.ok_or(ForeignRefusal::Calls)?;
        let value: U256 = number(&mut call)?;
        let input = Bytes::copy_from_slice(text(&mut call)?);
        require(call.is_empty(), ForeignRefusal::Malformed)?;
        require(value.is_zero(), ForeignRefusal::Value)?;
        calls.push(ForeignCall { to, input });
    }
    require(!calls.is_empty(), ForeignRefusal::Calls)?;
    Ok(calls)
}

/// The sender signs the type and the list of all fields before the signature.
fn signed_message(fields: &[u8]) -> Vec<u8> {
    let mut message = vec![TEMPO_TRANSACTION_TYPE];
    let payload_length = fields.len();
    Header {
        list: true,
        payload_length,
    }
    .encode(&mut message);
    message.extend_from_slice(fields);
    message
}

fn recover(message: &[u8], signature: &[u8]) -> Result<Address, ForeignRefusal> {
    // All other kinds are longer, and begin with a byte that says which.
    require(signature.len() == SIGNATURE_BYTES, ForeignRefusal::KeyKind)?;
    // Refuses a high s, as the chain does.
    let signature = Signature::from_bytes(signature).map_err(|_| ForeignRefusal::Signature)?;
    default_backend()
        .recover(keccak256(message), &signature)
        .ok_or(ForeignRefusal::Signature)
}

fn require(holds: bool, otherwise: ForeignRefusal) -> Result<(), ForeignRefusal> {
    if holds { Ok(()) } else { Err(otherwise) }
}

fn list<'a>(at: &mut &'a [u8]) -> Result<&'a [u8], ForeignRefusal> {
    Header::decode_bytes(at, true).map_err(|_| ForeignRefusal::Malformed)
}

fn text<'a>(at: &mut &'a [u8]) -> Result<&'a [u8], ForeignRefusal> {
    Header::decode_bytes(at, false).map_err(|_| ForeignRefusal::Malformed)
}

fn number<T: Decodable>(at: &mut &[u8]) -> Result<T, ForeignRefusal> {
    T::decode(at).map_err(|_| ForeignRefusal::Malformed)
}

fn moment(at: &mut &[u8]) -> Result<Option<UnixSeconds>, ForeignRefusal> {
    let seconds: u64 = number(at)?;
    Ok((seconds > 0).then_some(UnixSeconds(seconds)))
}

fn address(at: &mut &[u8]) -> Result<Option<Address>, ForeignRefusal> {
    match text(at)? {
        [] => Ok(None),
        bytes => Address::try_from(bytes)
            .map(Some)
            .map_err(|_| ForeignRefusal::Malformed),
    }
}

#[cfg(test)]
#[path = "tempo_tests.rs"]
pub(crate) mod tests;
