//! The pure part of a voucher's way: digest, recovery, proof, and the channel's step.

#![expect(clippy::unwrap_used, reason = "a bench stops at the first surprise")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use weir_benches::{NOW, Payer, deposited};
use weir_core::recover::{K256, Libsecp256k1, Recover};
use weir_core::step::{Body, LowerVoucher, VoucherRules};
use weir_core::voucher::voucher_digest;
use weir_core::{Amount, Channel, ChargeId, Cumulative, Input, UnixSeconds, step};

const RULES: VoucherRules = VoucherRules {
    delta_min: Amount::ZERO,
    lower: LowerVoucher::Unchanged,
};

fn digest(criterion: &mut Criterion) {
    let payer = Payer::new(1);
    criterion.bench_function("voucher digest", |bencher| {
        bencher.iter(|| {
            voucher_digest(
                &payer.domain,
                black_box(payer.channel),
                Cumulative::new(black_box(7)),
            )
        });
    });
}

fn recover(criterion: &mut Criterion) {
    let payer = Payer::new(1);
    let voucher = payer.voucher(7);
    let digest = voucher_digest(&payer.domain, payer.channel, voucher.cumulative());
    for backend in [&K256 as &dyn Recover, &Libsecp256k1] {
        criterion.bench_function(&format!("recover/{}", backend.name()), |bencher| {
            bencher.iter(|| backend.recover(black_box(digest), black_box(voucher.signature())));
        });
        criterion.bench_function(&format!("prove/{}", backend.name()), |bencher| {
            bencher.iter(|| black_box(voucher).prove(payer.terms.signer(), &payer.domain, backend));
        });
    }
}

fn pay_and_commit(criterion: &mut Criterion) {
    let payer = Payer::new(1);
    let proven = payer
        .voucher(7)
        .prove(payer.terms.signer(), &payer.domain, &Libsecp256k1);
    let pay = Input::Pay {
        voucher: proven.unwrap(),
        rules: RULES,
        price: Some(Amount::new(7)),
    };
    let commit = Input::Commit {
        charge: ChargeId(0),
        amount: Amount::new(7),
        body: Body::Delivered,
    };
    let channel = Channel::adopt(payer.channel, payer.terms.clone(), deposited(1_000), false);
    let now = UnixSeconds(NOW);
    criterion.bench_function("step/pay + commit", |bencher| {
        bencher.iter_batched_ref(
            || channel.clone(),
            |channel| {
                let paid = step(channel, black_box(pay), now).unwrap();
                step(&paid.channel, black_box(commit), now).unwrap()
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, digest, recover, pay_and_commit);
criterion_main!(benches);
