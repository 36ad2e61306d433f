//! Transactions that Tempo payers sign, on a real chain of that kind.

use crate::tempo_wallet::Unsigned;
use alloy::primitives::{Address, B256, Bytes, U256, address, b256};
use alloy::providers::Provider;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;
use weir_chain::deploy::deploy_escrow;
use weir_chain::{
    Broadcast, Escrow, ForeignDeed, ForeignTransaction, IChannelEscrow, IToken, Outcome, Rpc, Sender,
};
use weir_core::Amount;
use weir_core::terms::TEMPO_DOMAIN_NAME;
use weir_test_support::{Anvil, soon};

/// pathUSD, in which fees are paid too.
const TOKEN: Address = address!("0x20c0000000000000000000000000000000000000");
const PAYEE: Address = address!("0x00000000000000000000000000000000000000aa");
/// The first of the accounts that anvil funds, known to everybody.
const PAYER: B256 = b256!("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
const DEPOSIT: u128 = 1_000_000;

fn opening(escrow: Address, approved: u128) -> Vec<(Address, Bytes)> {
    let (spender, value) = (escrow, U256::from(approved));
    let open = IChannelEscrow::openCall {
        payee: PAYEE,
        token: TOKEN,
        deposit: DEPOSIT,
        salt: B256::repeat_byte(7),
        authorizedSigner: Address::ZERO,
    };
    vec![
        (TOKEN, IToken::approveCall { spender, value }.abi_encode().into()),
        (escrow, open.abi_encode().into()),
    ]
}

/// State is dear on Tempo: the escrow alone takes more gas than anvil gives a block otherwise.
const TEMPO: [&str; 8] = [
    "--network",
    "tempo",
    "--hardfork",
    "T4",
    "--chain-id",
    "1337",
    "--gas-limit",
    "500000000",
];

#[tokio::test]
async fn the_node_knows_a_transaction_by_the_hash_that_was_read_however_v_is_spelled() {
    let anvil = Anvil::start(&TEMPO);
    let rpc = Rpc::new(&anvil.url()).unwrap();
    let key = PrivateKeySigner::from_bytes(&PAYER).unwrap();
    let valid_before = rpc.head().await.unwrap().timestamp.0 + 25;
    // Signatures of either parity are found by trying limits of gas.
    let mut seen = [false; 2];
    for gas in 1_000_000.. {
        let unsigned = Unsigned::new(1337, TOKEN, &[opening(Address::repeat_byte(9), 1).swap_remove(0)]);
        let unsigned = Unsigned {
            gas,
            valid_before,
            ..unsigned
        };
        let mut raw = unsigned.sign(&key);
        let canonical = ForeignTransaction::decode(&raw).unwrap();
        let parity = raw.last_mut().unwrap();
        *parity -= 27;
        if std::mem::replace(&mut seen[usize::from(*parity)], true) {
            continue;
        }
        let read = ForeignTransaction::decode(&raw).unwrap();
        assert_eq!(read, canonical);
        let sent = rpc.provider().send_raw_transaction(&raw).await.unwrap();
        assert_eq!(*sent.tx_hash(), read.hash);
        assert_ne!(rpc.outcome(read.hash).await.unwrap(), Outcome::NotSeen);
        if seen == [true; 2] {
            return;
        }
    }
}

#[tokio::test]
async fn threat_t6_a_payers_open_is_tried_and_sent_and_sending_it_again_is_harmless() {
    let anvil = Anvil::start(&TEMPO);
    let rpc = Rpc::new(&anvil.url()).unwrap();
    let key = PrivateKeySigner::from_bytes(&PAYER).unwrap();
    let deployer = Sender::connect(rpc.clone(), key.clone()).await.unwrap();
    let caps = [(TOKEN, Amount::new(1_000 * DEPOSIT))];
    let at = deploy_escrow(&deployer, TEMPO_DOMAIN_NAME, &caps, soon())
        .await
        .unwrap();
    let escrow = Escrow::over(rpc.clone(), at, TEMPO_DOMAIN_NAME).await.unwrap();
    let valid_before = rpc.head().await.unwrap().timestamp.0 + 25;
    let signed = |calls: &[(Address, Bytes)]| {
        let unsigned = Unsigned::new(1337, TOKEN, calls);
        Unsigned {
            valid_before,
            ..unsigned
        }
        .sign(&key)
    };

    let raw = signed(&opening(at, DEPOSIT));
    let transaction = ForeignTransaction::decode(&raw).unwrap();
    assert_eq!(transaction.sender, key.address());
    let Ok(ForeignDeed::Open(open)) = transaction.deed(escrow.domain(), TOKEN) else {
        panic!("not an open")
    };
    let channel = open.terms.channel_id(open.salt, escrow.domain());
    assert_eq!(rpc.outcome(transaction.hash).await.unwrap(), Outcome::NotSeen);
    // anvil 1.7.1 tries the transaction without its calls: what would revert can only be seen on a node of the chain.
    rpc.rehearse(&transaction).await.unwrap();
    assert_eq!(
        rpc.broadcast(&raw, transaction.hash).await.unwrap(),
        Broadcast::Accepted
    );
    assert!(matches!(
        deployer.wait(transaction.hash, soon()).await,
        Outcome::Landed(landed) if landed.success
    ));
    let evidence = escrow.opened_by(transaction.hash, channel).await.unwrap();
    assert_eq!(evidence.opened.terms, open.terms);
    assert_eq!(evidence.state.deposit.base_units(), DEPOSIT);

    // Whatever the node says of the repetition, the transaction is known, and the channel is open once.
    let _ = rpc.broadcast(&raw, transaction.hash).await;
    assert!(matches!(
        rpc.outcome(transaction.hash).await.unwrap(),
        Outcome::Landed(_)
    ));
    let opened = escrow.channels_of_payee(PAYEE, 0).await.unwrap();
    assert_eq!(opened.len(), 1);
}
