//! A signed cumulative promise, and the two states of belief in it.
//!
//! A `Voucher<Claimed>` is what somebody sent; [`Voucher::prove`] is the only maker of a `Voucher<Proven>`,
//! and [`step`](crate::step::step) takes nothing less.

use crate::amount::Cumulative;
use crate::ids::ChannelId;
use crate::recover::Recover;
use crate::refusal::Refusal;
use crate::signature::Signature;
use crate::terms::{Domain, Terms};
use alloy_primitives::{Address, B256, b256, keccak256};
use core::marker::PhantomData;
use serde::{Deserialize, Serialize};

/// keccak256("Voucher(bytes32 channelId,uint128 cumulativeAmount)").
pub const VOUCHER_TYPE_HASH: B256 =
    b256!("0xe97c93f01d3ef8eaba1586553df13308f236815bf4ea49c7b696895d8f5ea68a");

/// keccak256("Voucher(bytes32 channelId,uint96 cumulativeAmount)"): the reserve's (TIP-1034).
pub const RESERVE_VOUCHER_TYPE_HASH: B256 =
    b256!("0x4730b4b2fe8de522475e80e010877c5b58ad10eb07fd0436615ee123f743bbe8");
/// keccak256("CloseAuthorization(bytes32 channelId,uint96 cumulativeAmount)"): what newer payers of `tempo`/`session` v2
/// sign beside the last voucher.
pub const CLOSE_AUTHORIZATION_TYPE_HASH: B256 =
    b256!("0x15588a02d9b068ec4a4593a3d3bd1068f3614e6c28e013500ce554846f4b4646");

/// Somebody says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claimed;

/// The channel's signer said so, in the form that the escrow takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proven;

/// A promise that the payee may capture up to `cumulative` of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Voucher<Belief> {
    channel: ChannelId,
    cumulative: Cumulative,
    signature: Signature,
    belief: PhantomData<Belief>,
}

impl<Belief> Voucher<Belief> {
    /// The channel it is about.
    pub const fn channel(&self) -> ChannelId {
        self.channel
    }

    /// The total it authorises since the channel was opened.
    pub const fn cumulative(&self) -> Cumulative {
        self.cumulative
    }

    /// The signature in canonical form.
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }
}

impl Voucher<Claimed> {
    /// What was sent, before anything is believed.
    pub const fn claimed(channel: ChannelId, cumulative: Cumulative, signature: Signature) -> Self {
        Self {
            channel,
            cumulative,
            signature,
            belief: PhantomData,
        }
    }

    /// Recovers the signer and compares it with the channel's, as the escrow will.
    ///
    /// # Errors
    /// [`Refusal::InvalidSignature`] when nothing can be recovered, [`Refusal::SignerMismatch`] when it is
    /// somebody else's (draft-evm-session-00, Voucher Verification 3–5).
    pub fn prove(
        self,
        signer: Address,
        domain: &Domain,
        recover: &dyn Recover,
    ) -> Result<Voucher<Proven>, Refusal> {
        let digest = voucher_digest(domain, self.channel, self.cumulative);
        let found = recover
            .recover(digest, &self.signature)
            .ok_or(Refusal::InvalidSignature)?;
        if found.is_zero() || found != signer {
            return Err(Refusal::SignerMismatch);
        }
        let Self {
            channel,
            cumulative,
            signature,
            ..
        } = self;
        Ok(Voucher {
            channel,
            cumulative,
            signature,
            belief: PhantomData,
        })
    }
}

/// Whether `signature` is the wish of the payer, or of who signs for it, to close at this voucher's total.
///
/// # Errors
/// [`Refusal::InvalidSignature`] when nothing can be recovered, [`Refusal::SignerMismatch`] when it is somebody else's.
pub fn prove_close_authorization(
    voucher: &Voucher<Claimed>,
    signature: &Signature,
    terms: &Terms,
    (domain, recover): (&Domain, &dyn Recover),
) -> Result<(), Refusal> {
    let digest = close_authorization_digest(domain, voucher.channel, voucher.cumulative);
    let found = recover.recover(digest, signature);
    let found = found
        .filter(|found| !found.is_zero())
        .ok_or(Refusal::InvalidSignature)?;
    if found == terms.payer || found == terms.signer() {
        Ok(())
    } else {
        Err(Refusal::SignerMismatch)
    }
}

/// The EIP-712 digest a voucher's signer signs.
pub fn voucher_digest(domain: &Domain, channel: ChannelId, cumulative: Cumulative) -> B256 {
    typed_digest(domain, domain.voucher_type(), channel, cumulative)
}

/// The EIP-712 digest that a payer signs who wants its channel of the reserve closed at this total.
pub fn close_authorization_digest(domain: &Domain, channel: ChannelId, cumulative: Cumulative) -> B256 {
    typed_digest(domain, CLOSE_AUTHORIZATION_TYPE_HASH, channel, cumulative)
}

fn typed_digest(domain: &Domain, type_hash: B256, channel: ChannelId, cumulative: Cumulative) -> B256 {
    let mut structure = [0u8; 96];
    structure[..32].copy_from_slice(type_hash.as_slice());
    structure[32..64].copy_from_slice(channel.as_bytes());
    structure[80..].copy_from_slice(&cumulative.base_units().to_be_bytes());
    let mut message = [0u8; 66];
    message[..2].copy_from_slice(b"\x19\x01");
    message[2..34].copy_from_slice(domain.separator().as_slice());
    message[34..].copy_from_slice(keccak256(structure).as_slice());
    keccak256(message)
}

/// A proven voucher as the books keep it: what a settlement needs, no more.
///
/// It is made from a proven voucher only; reading it back from the books trusts what was once proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptVoucher {
    cumulative: Cumulative,
    signature: Signature,
}

impl KeptVoucher {
    /// The total it authorises.
    pub const fn cumulative(&self) -> Cumulative {
        self.cumulative
    }

    /// Its signature.
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }
}

impl From<Voucher<Proven>> for KeptVoucher {
    fn from(voucher: Voucher<Proven>) -> Self {
        Self {
            cumulative: voucher.cumulative,
            signature: voucher.signature,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_hashes_are_those_of_the_drafts() {
        for (text, hash) in [
            (
                "Voucher(bytes32 channelId,uint128 cumulativeAmount)",
                VOUCHER_TYPE_HASH,
            ),
            (
                "Voucher(bytes32 channelId,uint96 cumulativeAmount)",
                RESERVE_VOUCHER_TYPE_HASH,
            ),
            (
                "CloseAuthorization(bytes32 channelId,uint96 cumulativeAmount)",
                CLOSE_AUTHORIZATION_TYPE_HASH,
            ),
        ] {
            assert_eq!(keccak256(text), hash, "{text}");
        }
    }
}
