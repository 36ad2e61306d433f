//! The core's ids, digests and domains are the contract's, over many inputs.

use alloy::primitives::{Address, B256, Bytes, keccak256};
use alloy::providers::Provider;
use alloy::rpc::client::BatchRequest;
use alloy::sol_types::SolCall;
use serde_json::json;
use weir_chain::IChannelEscrow::{computeChannelIdCall, getVoucherDigestCall};
use weir_core::voucher::voucher_digest;
use weir_core::{ChannelId, Cumulative, Terms};
use weir_test_support::World;

const INPUTS: u64 = 1_000;
const CALLS_PER_REQUEST: usize = 250;

/// Words that look random and are the same in every run; every sixteenth is all zeros, another all ones.
fn word(input: u64, part: u8) -> B256 {
    let hash = keccak256([input.to_be_bytes().as_slice(), &[part]].concat());
    match hash[0] % 16 {
        0 => B256::ZERO,
        1 => B256::repeat_byte(0xff),
        _ => hash,
    }
}

fn someone(input: u64, part: u8) -> Address {
    Address::from_word(word(input, part))
}

/// The contract's answers, one word each.
async fn answers(world: &World, calls: &[Vec<u8>]) -> Vec<B256> {
    let mut words = Vec::new();
    for chunk in calls.chunks(CALLS_PER_REQUEST) {
        let mut batch = BatchRequest::new(world.rpc.provider().client());
        let waiting: Vec<_> = chunk
            .iter()
            .map(|call| {
                let call = json!({ "to": world.escrow.address(), "data": Bytes::copy_from_slice(call) });
                batch
                    .add_call::<_, B256>("eth_call", &json!([call, "latest"]))
                    .unwrap()
            })
            .collect();
        batch.send().await.unwrap();
        for answer in waiting {
            words.push(answer.await.unwrap());
        }
    }
    words
}

#[tokio::test]
async fn ids_and_digests_are_those_of_the_contract() {
    let world = World::new().await;
    // The domain's separator was compared when the escrow was connected: a wrong one does not get here.
    let domain = world.escrow.domain();
    let (mut calls, mut expected) = (Vec::new(), Vec::new());
    for input in 0..INPUTS {
        let terms = Terms {
            payer: someone(input, 0),
            payee: someone(input, 1),
            token: someone(input, 2),
            authorized_signer: someone(input, 3),
            reserve: None,
        };
        let salt = word(input, 4);
        let call = computeChannelIdCall {
            payer: terms.payer,
            payee: terms.payee,
            token: terms.token,
            salt,
            authorizedSigner: terms.authorized_signer,
        };
        calls.push(call.abi_encode());
        expected.push(terms.channel_id(salt, domain).0);

        let (channel, amount) = (word(input, 5), word(input, 6));
        let cumulative = u128::from_be_bytes(amount[..16].try_into().unwrap());
        let call = getVoucherDigestCall {
            channelId: channel,
            cumulativeAmount: cumulative,
        };
        calls.push(call.abi_encode());
        expected.push(voucher_digest(
            domain,
            ChannelId(channel),
            Cumulative::new(cumulative),
        ));
    }
    let found = answers(&world, &calls).await;
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(found, expected, "input {}", index / 2);
    }
}
