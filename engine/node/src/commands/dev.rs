//! `weir dev`.

use super::Failure;
use super::serve::Ended;
use crate::dev::anvil::Network;
use crate::dev::demo::{self, Summary};
use crate::dev::devnet::{ANSWER_PRICE, Devnet, MAX_DEPOSIT, Reserved, STORY_VOUCHER_STEP};
use crate::keys::SecretKey;
use crate::table::{Output, Table};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Vouchers a second on one channel of the devnet: a person at a keyboard and a benchmark both fit.
const VOUCHERS_PER_SECOND: u32 = 100_000;
/// How long a story the printed and written URLs ask for.
const STORY_TOKENS: u64 = 60;
/// How to pay on a Tempo chain. Later versions of viem refuse this mppx. The limit of gas is there because anvil reckons
/// the gas of a Tempo transaction without its calls.
const PAY_WITH_MPPX: &str = r"pay for an answer with mppx (the key is worthless):

mkdir -p mppx-try && cd mppx-try && npm init -y && npm install mppx@0.11.0 viem@2.56.8
cat > pay.mjs <<'END'
import { sessionLegacyManager } from 'mppx/client'
import { createClient, http } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { fillTransaction } from 'viem/actions'
import { tempoLocalnet } from 'viem/chains'

const client = createClient({ chain: tempoLocalnet, transport: http('$RPC_URL') }).extend((client) => ({
  fillTransaction: (request) => fillTransaction(client, { ...request, gas: 3_000_000n }),
}))
const account = privateKeyToAccount('$KEY')
const session = sessionLegacyManager({ account, client, escrowContract: '$ESCROW', maxDeposit: '1' })
const answer = await session.fetch('$PAID_URL')
console.log(answer.status, await answer.text(), answer.receipt)
console.log(await session.close())
END
node pay.mjs
";

const EXAMPLES: &str = "\
Examples:
  weir dev
  weir dev --chain tempo
  weir dev --demo
  weir dev --demo --payers 5 --units 100 --summary summary.json";

/// Bring up a devnet, or run the demonstration on one
///
/// Starts a chain (anvil), deploys a test token and the escrow, starts a sample service and the daemon before it, and
/// prints how to pay. Everything ends with Ctrl-C. With --demo, payers then open channels, pay for answers and for a
/// stream token by token, top up and close, all at once, and every base unit is accounted for on the chain. With
/// --chain tempo, the chain follows Tempo's rules, channels hold pathUSD, and payers are clients such as mppx. There a
/// second daemon sells on channels of the reserve (TIP-1034), for which a contract of our own stands in.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Dev {
    /// Whose rules the chain follows
    #[arg(long, value_enum, default_value_t)]
    pub chain: Network,
    /// Run the demonstration and end
    #[arg(long)]
    pub demo: bool,
    /// How many payers are funded
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub payers: u32,
    /// How many answers each payer of the demonstration buys; it streams a fifth as many tokens besides
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub units: u64,
    /// Where the demonstration's summary is written
    #[arg(long, value_name = "FILE", default_value = "target/demo/summary.json")]
    pub summary: PathBuf,
    /// Write a JSON file with all addresses once everything answers
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

impl Dev {
    /// Runs the command.
    ///
    /// # Errors
    /// A part could not be started, or the demonstration did not come out even.
    pub async fn run(self, output: Output) -> Result<(), Failure> {
        if self.demo && self.chain != Network::Evm {
            return Err(Failure::Usage(
                "--demo needs --chain evm: its payers are Weir's own, which pay evm/session; on a Tempo chain pay with \
                 mppx, as `weir dev --chain tempo` prints"
                    .to_owned(),
            ));
        }
        let mut ended = Ended::listen(false)?;
        let devnet = tokio::select! {
            devnet = Devnet::start(self.chain, self.payers, VOUCHERS_PER_SECOND) => devnet?,
            () = ended.wait() => return Ok(()),
        };
        if let Some(file) = &self.ready_file {
            write_json(file, &ready(&devnet))?;
        }
        if !self.demo {
            if output.json {
                output.json(&ready(&devnet));
            } else {
                output.text(&invitation(&devnet));
            }
            ended.wait().await;
            return Ok(());
        }
        output.text(&format!(
            "{} payers buy {} answers each, and streamed tokens, at {ANSWER_PRICE} base units; the daemon is a process of its own at {}",
            self.payers, self.units, devnet.daemon.gateway
        ));
        let summary = tokio::select! {
            summary = demo::run(&devnet, self.units, !output.json) => summary?,
            () = ended.wait() => return Ok(()),
        };
        write_json(&self.summary, &summary)?;
        report(output, &summary);
        if summary.conserved {
            Ok(())
        } else {
            Err(Failure::failed("the amounts do not come out even"))
        }
    }
}

fn report(output: Output, summary: &Summary) {
    if output.json {
        return output.json(summary);
    }
    let mut table = Table::new(&["what", ">how much"]);
    let rows = [
        ("payers", summary.payers.to_string()),
        ("vouchers accepted", summary.vouchers_accepted.to_string()),
        ("paid units", summary.paid_units.to_string()),
        ("on-chain transactions", summary.onchain_transactions.to_string()),
        (
            "of which settlements",
            summary.settlement_transactions.to_string(),
        ),
        (
            "gas per channel closed",
            summary.gas_per_channel_closed.to_string(),
        ),
        ("deposited (chain)", summary.deposited.to_string()),
        ("captured (chain)", summary.captured.to_string()),
        ("refunded (chain)", summary.refunded.to_string()),
        ("delivered (payers)", summary.delivered.to_string()),
        ("payment p50, µs", summary.accept_p50_us.to_string()),
        ("payment p99, µs", summary.accept_p99_us.to_string()),
        ("seconds", summary.seconds.to_string()),
    ];
    for (what, how_much) in rows {
        table.row([what.to_owned(), how_much]);
    }
    output.text(&table.to_string());
    output.text(if summary.conserved {
        "conserved: every base unit is accounted for on-chain: captured = delivered, deposited = captured + refunded"
    } else {
        "NOT conserved: the amounts above do not come out even"
    });
}

fn ready(devnet: &Devnet) -> serde_json::Value {
    let mut ready = json!({
        "rpc_url": devnet.rpc_url(),
        "chain_id": devnet.deployed.chain_id,
        "escrow": devnet.deployed.escrow.to_string(),
        "token": devnet.token.to_string(),
        "paid_url": devnet.paid_url(),
        "sse_url": devnet.story_url(STORY_TOKENS),
        "operator_url": devnet.daemon.operator,
        "payer_keys": devnet.payers.iter().map(SecretKey::expose_hex).collect::<Vec<_>>(),
    });
    match devnet.network {
        Network::Evm => {
            ready["evm_session_url"] = devnet.paid_url().into();
            ready["evm_charge_url"] = devnet.charge_url().into();
        }
        Network::Tempo => {
            ready["session_v1_url"] = devnet.paid_url().into();
            ready["charge_url"] = devnet.charge_url().into();
        }
    }
    if let Some(Reserved { daemon, .. }) = &devnet.reserved {
        ready["session_v2_url"] = daemon.paid_url().into();
        ready["sse_v2_url"] = daemon.story_url(STORY_TOKENS).into();
        ready["operator_v2_url"] = daemon.operator.clone().into();
    }
    ready
}

fn invitation(devnet: &Devnet) -> String {
    let key = devnet
        .payers
        .first()
        .map(SecretKey::expose_hex)
        .unwrap_or_default();
    let program =
        std::env::current_exe().map_or_else(|_| "weir".to_owned(), |path| path.display().to_string());
    let token_name = match devnet.network {
        Network::Evm => "worthless, 6 decimals",
        Network::Tempo => "pathUSD, worthless here, 6 decimals",
    };
    let how_to_pay = match devnet.network {
        Network::Evm => pay_with_weir(devnet, &program, &key),
        Network::Tempo => pay_with_mppx(devnet, &key),
    };
    let reserve = devnet.reserved.as_ref().map_or_else(String::new, |reserved| {
        format!(
            "\nthe same is sold on channels of the chain's own reserve (tempo/session v2; `tempo.session.manager` in \
             mppx, without\nan escrowContract), for which a contract of ours stands in:\n\n  {}\n",
            reserved.daemon.paid_url()
        )
    });
    format!(
        "a devnet is up; Ctrl-C ends it\n\n  chain     {}  (id {})\n  escrow    {}\n  token     {}  ({token_name})\n  \
         gateway   {}\n  operator  {}\n\n{how_to_pay}{reserve}\nlook at what came in:\n\n  {program} channels --operator {}\n",
        devnet.rpc_url(),
        devnet.deployed.chain_id,
        devnet.deployed.escrow,
        devnet.token,
        devnet.daemon.gateway,
        devnet.daemon.operator,
        devnet.daemon.operator,
    )
}

fn pay_with_weir(devnet: &Devnet, program: &str, key: &str) -> String {
    let limits = format!(
        "--rpc-url {} --escrow {} --token {} --max-price {ANSWER_PRICE} --max-deposit {MAX_DEPOSIT}",
        devnet.rpc_url(),
        devnet.deployed.escrow,
        devnet.token,
    );
    let state = devnet.files.path().join("payer");
    format!(
        "pay for an answer (the key is worthless; the books are thrown away with the devnet):\n\n  export \
         WEIR_PAYER_KEY={key}\n  {program} pay '{}' --state-dir {} {limits}\n\npay for a stream, token by \
         token:\n\n  {program} pay --stream '{}' --state-dir {} --max-ahead {STORY_VOUCHER_STEP} {limits}\n",
        devnet.paid_url(),
        state.display(),
        devnet.story_url(STORY_TOKENS),
        state.display(),
    )
}

/// A whole script: what a stranger needs to pay from JavaScript.
fn pay_with_mppx(devnet: &Devnet, key: &str) -> String {
    let values = [
        ("$KEY", key.to_owned()),
        ("$RPC_URL", devnet.rpc_url().to_owned()),
        ("$ESCROW", devnet.deployed.escrow.to_string()),
        ("$PAID_URL", devnet.paid_url()),
    ];
    values
        .into_iter()
        .fold(PAY_WITH_MPPX.to_owned(), |text, (name, value)| {
            text.replace(name, &value)
        })
}

/// Written whole or not at all: whoever waits for the file never reads half of it.
fn write_json(file: &Path, value: &impl serde::Serialize) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::failed(format_args!("{}: {error}", file.display()));
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let text = serde_json::to_string_pretty(value).map_err(Failure::failed)?;
    let beside = file.with_extension("tmp");
    std::fs::write(&beside, text + "\n")
        .and_then(|()| std::fs::rename(&beside, file))
        .map_err(failed)
}
