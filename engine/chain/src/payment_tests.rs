//! Which transfers an authorisation made.

use super::*;
use alloy::primitives::{Log as Told, U256};

const TOKEN: Address = Address::repeat_byte(0x70);
const PAYER: Address = Address::repeat_byte(0xaa);

fn log(token: Address, event: &impl SolEvent) -> Log {
    Log {
        inner: Told {
            address: token,
            data: event.encode_log_data(),
        },
        ..Log::default()
    }
}

fn used(token: Address, authorizer: Address, nonce: u8) -> Log {
    let nonce = B256::repeat_byte(nonce);
    log(token, &AuthorizationUsed { authorizer, nonce })
}

fn moved(token: Address, from: Address) -> Log {
    let transfer = IToken::Transfer {
        from,
        to: Address::repeat_byte(0xbb),
        value: U256::from(7),
    };
    log(token, &transfer)
}

#[test]
fn threat_h8_a_transfer_that_was_signed_for_names_what_was_signed() {
    let (other, stranger) = (Address::repeat_byte(0x71), Address::repeat_byte(0xcc));
    let nonces = |logs: &[Log]| -> Vec<Option<B256>> {
        let read = read_transfers(logs);
        read.iter().map(|transfer| transfer.authorized).collect()
    };
    let word = |byte| Some(B256::repeat_byte(byte));
    // Two of one transaction, and a plain one after them.
    let batch = [
        used(TOKEN, PAYER, 1),
        moved(TOKEN, PAYER),
        used(TOKEN, stranger, 2),
        moved(TOKEN, stranger),
        moved(TOKEN, PAYER),
    ];
    assert_eq!(nonces(&batch), [word(1), word(2), None]);
    // What another token says, or says of another, is of no transfer of this one.
    assert_eq!(nonces(&[used(other, PAYER, 1), moved(TOKEN, PAYER)]), [None]);
    assert_eq!(nonces(&[used(TOKEN, stranger, 1), moved(TOKEN, PAYER)]), [None]);
}
