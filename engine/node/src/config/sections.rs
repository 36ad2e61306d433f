//! The sections of the file and the rules within and between them.

use super::read::Section;
use super::{Chain, Config, Cors, Discovery, Funding, Operator, Origin, Server, Settle, Tls, limits, routes};
use std::path::Path;
use weir_core::Amount;
use weir_core::terms::{EVM_DOMAIN_NAME, RESERVE_DOMAIN_NAME, TEMPO_RESERVE};
use weir_protocol::charge::{ChargeRules, charge_rules};
use weir_protocol::rails::{SESSION_RAILS, session_rail};

pub(super) fn config(mut root: Section<'_, '_>, file: &Path) -> Option<Config> {
    let mut server_section = root.section("server");
    let server = server(&mut server_section);
    let operator = operator(root.section("operator"), server.as_ref());
    let chain = chain(root.section("chain"));
    let settle = settle(root.section("settle"));
    let funding = root
        .has("funding")
        .then(|| funding(root.section("funding"), chain.as_ref()));
    let cors = root.has("cors").then(|| cors(root.section("cors")));
    let discovery = discovery(root.section("discovery"));
    let ways = routes::Ways {
        charge: chain.as_ref().and_then(charge),
        signed_from: funding.as_ref().map(|funding| funding.charge_min),
    };
    let routes = routes::routes(&mut root, ways);
    server_section.finish();
    root.finish();
    let file = file.to_owned();
    Some(Config {
        file,
        server: server?,
        operator,
        chain: chain?,
        settle,
        funding,
        cors,
        discovery,
        routes,
        warnings: Vec::new(),
    })
}

fn server(section: &mut Section<'_, '_>) -> Option<Server> {
    // Everything is asked for before anything is given up: what was not asked for counts as unknown.
    let listen = section.parsed("listen").unwrap_or(limits::LISTEN);
    let upstream = section.required("upstream");
    let realm = realm(section);
    let data_dir = section
        .file("data_dir")
        .unwrap_or_else(|| section.beside(limits::DATA_DIR));
    let tls = tls(section);
    let behind_tls_proxy = section.or("behind_tls_proxy", false);
    let rate = section.number(
        "vouchers_per_second",
        limits::VOUCHERS_PER_SECOND.into(),
        limits::VOUCHERS_PER_SECOND_RANGE,
    );
    let connections_per_peer = section.number(
        "connections_per_peer",
        limits::CONNECTIONS_PER_PEER,
        limits::CONNECTIONS_PER_PEER_RANGE,
    );
    let upstream_timeout_seconds = section.number(
        "upstream_timeout_seconds",
        limits::UPSTREAM_TIMEOUT_SECONDS,
        limits::UPSTREAM_TIMEOUT_SECONDS_RANGE,
    );
    let body_bytes_max = section.number("body_bytes_max", limits::BODY_BYTES_MAX, limits::BODY_BYTES_RANGE);
    let chosen_secret = section.file("secret_file");
    let previous_secret_file = section.file("previous_secret_file");
    let secret_file_is_default = chosen_secret.is_none();
    let secret_file = chosen_secret.unwrap_or_else(|| data_dir.join(limits::SECRET_FILE));
    if !listen.ip().is_loopback() && tls.is_none() && !behind_tls_proxy {
        section.refuse(
            "listen",
            "is not a loopback address, and vouchers must not travel in plaintext: give tls_cert_file and \
             tls_key_file, or put a TLS proxy in front and set behind_tls_proxy = true",
        );
    }
    if previous_secret_file.as_ref() == Some(&secret_file) {
        section.refuse("previous_secret_file", "is the same file as secret_file");
    }
    Some(Server {
        listen,
        upstream: upstream?,
        realm,
        data_dir,
        tls,
        behind_tls_proxy,
        vouchers_per_second: u32::try_from(rate).unwrap_or(u32::MAX),
        connections_per_peer,
        upstream_timeout_seconds,
        body_bytes_max,
        secret_file,
        secret_file_is_default,
        previous_secret_file,
    })
}

fn tls(section: &mut Section<'_, '_>) -> Option<Tls> {
    let files = (section.file("tls_cert_file"), section.file("tls_key_file"));
    match files {
        (Some(cert_file), Some(key_file)) => Some(Tls { cert_file, key_file }),
        (None, None) => None,
        (Some(_), None) => {
            section.refuse("tls_key_file", "is missing: tls_cert_file needs its key");
            None
        }
        (None, Some(_)) => {
            section.refuse("tls_cert_file", "is missing: tls_key_file needs its certificate");
            None
        }
    }
}

fn realm(section: &mut Section<'_, '_>) -> String {
    let realm = section.or("realm", limits::REALM.to_owned());
    // A quote would end the header's parameter, and a bar separates the parts that a challenge's id binds.
    let plain = |byte: u8| (byte.is_ascii_graphic() || byte == b' ') && !matches!(byte, b'"' | b'\\' | b'|');
    if !(1..=limits::TEXT_BYTES_MAX).contains(&realm.len()) || !realm.bytes().all(plain) {
        let most = limits::TEXT_BYTES_MAX;
        section.refuse(
            "realm",
            format_args!("is not 1 to {most} printable ASCII characters without \" \\ and |"),
        );
    }
    realm
}

fn operator(mut section: Section<'_, '_>, server: Option<&Server>) -> Operator {
    let operator = Operator {
        listen: section.parsed("listen").unwrap_or(limits::OPERATOR_LISTEN),
        token_file: section.file("token_file"),
        charge_token_file: section.file("charge_token_file"),
    };
    if operator.charge_token_file.is_some() && operator.charge_token_file == operator.token_file {
        section.refuse(
            "charge_token_file",
            "is the operator's own token: a service that may ask what is paid for must not settle and close",
        );
    }
    let public = !operator.listen.ip().is_loopback();
    if public && operator.token_file.is_none() {
        section.refuse(
            "token_file",
            "is required, because operator.listen is not a loopback address",
        );
    }
    if let Some(server) = server {
        if public && !server.behind_tls_proxy {
            section.refuse(
                "listen",
                "is not a loopback address, and the operator's token must not travel in plaintext: put a TLS proxy \
                 in front and set server.behind_tls_proxy = true",
            );
        }
        if operator.listen == server.listen && operator.listen.port() != 0 {
            section.refuse("listen", "is the same address as server.listen");
        }
    }
    section.finish();
    operator
}

fn chain(mut section: Section<'_, '_>) -> Option<Chain> {
    let rpc_url = section.required("rpc_url");
    let escrow = section.address("escrow");
    let token = section.address("token");
    let chain_id = section
        .has("chain_id")
        .then(|| section.number("chain_id", 0, 1..=i64::MAX as u64));
    let reserved = escrow == Some(TEMPO_RESERVE);
    let default_name = if reserved {
        RESERVE_DOMAIN_NAME
    } else {
        EVM_DOMAIN_NAME
    };
    let domain_name = section.or("domain_name", default_name.to_owned());
    let payee_key_file = section.file("payee_key_file");
    let poll_ms = section.number("poll_ms", limits::POLL_MS, limits::POLL_MS_RANGE);
    let finality_blocks = section.number(
        "finality_blocks",
        limits::FINALITY_BLOCKS,
        limits::FINALITY_BLOCKS_RANGE,
    );
    let view_age_max_seconds = section.number(
        "view_age_max_seconds",
        limits::VIEW_AGE_SECONDS_MAX,
        limits::VIEW_AGE_SECONDS_RANGE,
    );
    if session_rail(&domain_name).is_none() {
        let served = SESSION_RAILS.map(|rail| format!("{:?}", rail.rules().domain_name));
        section.refuse(
            "domain_name",
            format_args!("is of no escrow that is served; served: {}", served.join(", ")),
        );
    }
    if reserved && domain_name != RESERVE_DOMAIN_NAME {
        section.refuse(
            "domain_name",
            format_args!("is not {RESERVE_DOMAIN_NAME:?}, under which the channel reserve at {TEMPO_RESERVE} signs; leave it out"),
        );
    }
    if poll_ms >= view_age_max_seconds * 1_000 {
        section.refuse(
            "poll_ms",
            "is not below view_age_max_seconds: the view would always be too old",
        );
    }
    if escrow.is_some() && escrow == token {
        section.refuse("token", "is the same address as escrow");
    }
    section.finish();
    Some(Chain {
        rpc_url: rpc_url?,
        escrow: escrow?,
        token: token?,
        chain_id,
        domain_name,
        payee_key_file,
        poll_ms,
        finality_blocks,
        view_age_max_seconds,
    })
}

/// The charge of the chain's payment method.
fn charge(chain: &Chain) -> Option<&'static ChargeRules> {
    charge_rules(session_rail(&chain.domain_name)?.rules().method)
}

fn settle(mut section: Section<'_, '_>) -> Settle {
    let settle = Settle {
        value_max: section
            .parsed("value_max")
            .unwrap_or(Amount::new(limits::SETTLE_VALUE_MAX)),
        age_max_seconds: section.number(
            "age_max_seconds",
            limits::SETTLE_AGE_SECONDS_MAX,
            limits::SETTLE_AGE_SECONDS_RANGE,
        ),
        value_min: section.parsed("value_min").unwrap_or(Amount::ZERO),
        close_batch_ms: section.number(
            "close_batch_ms",
            limits::CLOSE_BATCH_MS,
            limits::CLOSE_BATCH_MS_RANGE,
        ),
    };
    if settle.value_min > settle.value_max {
        section.refuse("value_min", "is above value_max");
    }
    section.finish();
    settle
}

fn funding(mut section: Section<'_, '_>, chain: Option<&Chain>) -> Funding {
    let funding = Funding {
        key_file: section.file("key_file"),
        deposit_min: section
            .parsed("deposit_min")
            .unwrap_or(Amount::new(limits::FUNDING_DEPOSIT_MIN)),
        charge_min: section
            .parsed("charge_min")
            .unwrap_or(Amount::new(limits::FUNDING_CHARGE_MIN)),
        fee_max_gwei: section.number(
            "fee_max_gwei",
            limits::FUNDING_FEE_MAX_GWEI,
            limits::FUNDING_FEE_GWEI_RANGE,
        ),
        gas_per_hour_max: section.number(
            "gas_per_hour_max",
            limits::FUNDING_GAS_PER_HOUR_MAX,
            limits::FUNDING_GAS_PER_HOUR_RANGE,
        ),
        charge_gas_per_hour_max: section.number(
            "charge_gas_per_hour_max",
            limits::FUNDING_CHARGE_GAS_PER_HOUR_MAX,
            limits::FUNDING_GAS_PER_HOUR_RANGE,
        ),
    };
    if funding.deposit_min.is_zero() {
        section.refuse("deposit_min", "is zero: anybody could have gas spent for nothing");
    }
    if funding.charge_min.is_zero() {
        section.refuse("charge_min", "is zero: anybody could have gas spent for nothing");
    }
    if let Some(chain) = chain {
        if chain.domain_name != EVM_DOMAIN_NAME {
            section.refuse(
                "key_file",
                "is for evm/session alone, and chain.domain_name is of another escrow; leave [funding] out",
            );
        }
        if funding.key_file.is_some() && funding.key_file == chain.payee_key_file {
            section.refuse(
                "key_file",
                "is the same file as chain.payee_key_file: gas is paid by a key of its own, so that it never stands in \
                 the way of a settlement",
            );
        }
    }
    section.finish();
    funding
}

fn cors(mut section: Section<'_, '_>) -> Cors {
    let mut origins = Vec::<Origin>::new();
    for text in section.or("origins", Vec::<String>::new()) {
        match text.parse() {
            Ok(origin) => origins.push(origin),
            Err(reason) => section.refuse("origins", format_args!("{text:?} {reason}")),
        }
    }
    if origins.is_empty() {
        section.refuse(
            "origins",
            "names no origin; leave [cors] out if no web page is to call",
        );
    }
    section.finish();
    Cors { origins }
}

fn discovery(mut section: Section<'_, '_>) -> Discovery {
    let discovery = Discovery {
        enabled: section.or("enabled", true),
        title: section.optional("title"),
        description: section.optional("description"),
        version: section.or("version", limits::API_VERSION.to_owned()),
    };
    for (key, text, bytes_max) in [
        ("title", discovery.title.as_ref(), limits::TEXT_BYTES_MAX),
        (
            "description",
            discovery.description.as_ref(),
            limits::DESCRIPTION_BYTES_MAX,
        ),
        ("version", Some(&discovery.version), limits::TEXT_BYTES_MAX),
    ] {
        if text.is_some_and(|text| !(1..=bytes_max).contains(&text.len())) {
            section.refuse(key, format_args!("is not 1 to {bytes_max} bytes long"));
        }
    }
    section.finish();
    discovery
}
