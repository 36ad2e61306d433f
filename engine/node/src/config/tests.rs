//! What is read, what is told of it, and in which order; `refusals` has the bad values one by one.

mod refusals;

use super::*;
use refusals::with;

const EXAMPLE: &str = include_str!("../../weir.example.toml");

const GOOD: &str = r#"
[server]
upstream = "http://127.0.0.1:9000"
[chain]
rpc_url = "http://127.0.0.1:8545"
escrow = "0x5fbdb2315678afecb367f032d93f642f64180aa3"
token = "0xe7f1725e7734ce288f8367e1bb143e90bb3f0512"
[[route]]
path = "/v1/answer"
price = "100"
"#;

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(Path::new("/etc/weir/weir.toml"), text)
}

fn paid(route: &Route) -> &Paid {
    match &route.price {
        Price::Paid(paid) => paid,
        Price::Free { .. } => panic!("{} is free", route.path),
    }
}

#[test]
fn the_example_states_the_defaults() {
    let example = parse(EXAMPLE).unwrap();
    let least = parse(GOOD).unwrap();
    assert_eq!(example.server, least.server);
    assert_eq!(example.operator, least.operator);
    assert_eq!(example.chain, least.chain);
    assert_eq!(example.settle, least.settle);
    assert_eq!(example.discovery, least.discovery);
    assert_eq!(example.funding, parse(&with("[funding]", "")).unwrap().funding);
    assert!(example.funding.is_some() && least.funding.is_none());
    assert_eq!(example.routes.len(), 2);
    assert_eq!(example.routes[1].price, Price::Free { free: true });
    let (stated, default) = (paid(&example.routes[0]), paid(&least.routes[0]));
    assert_eq!(stated.unit, default.unit);
    assert_eq!(stated.charge_on, default.charge_on);
    assert_eq!(stated.accept, default.accept);
    assert_eq!(stated.min_voucher_delta, default.min_voucher_delta);
    assert!(EXAMPLE.contains(&format!(
        "# charge_challenge_seconds = {}\n",
        default.charge_challenge_seconds
    )));
}

#[test]
fn a_unit_is_called_what_the_meter_counts() {
    let unit = |lines: &str| {
        let route = format!("path = \"/s\"\nprice = \"1\"\nmethods = [\"GET\"]\n{lines}");
        let config = parse(&with("[[route]]", &format!("[[route]]\n{route}"))).unwrap();
        paid(&config.routes[1]).unit.clone()
    };
    assert_eq!(unit(""), "request");
    assert_eq!(unit("meter = \"event\""), "event");
    assert_eq!(unit("meter = \"event\"\nunit = \"token\""), "token");
}

#[test]
fn every_commented_key_of_the_example_is_known() {
    let is_key = |line: &str| line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
    let all: Vec<&str> = EXAMPLE
        .lines()
        .map(|line| {
            line.strip_prefix("# ")
                .filter(|rest| is_key(rest))
                .unwrap_or(line)
        })
        .collect();
    let config = parse(&all.join("\n")).unwrap();
    assert!(config.server.previous_secret_file.is_some());
    assert!(config.operator.token_file.is_some());
    assert!(config.operator.charge_token_file.is_some());
    assert!(config.chain.payee_key_file.is_some());
    assert_eq!(config.chain.chain_id, Some(31_337));
    assert!(config.funding.is_some_and(|funding| funding.key_file.is_some()));
}

#[test]
fn paths_are_relative_to_the_file() {
    let config = parse(&with(
        "[server]",
        "secret_file = \"secret\"\ndata_dir = \"/var/lib/weir\"",
    ))
    .unwrap();
    assert_eq!(config.server.secret_file, Path::new("/etc/weir/secret"));
    assert_eq!(config.server.data_dir, Path::new("/var/lib/weir"));
    assert_eq!(
        parse(GOOD).unwrap().server.secret_file,
        Path::new("/etc/weir/weir-data/challenge-secret")
    );
}

#[test]
fn what_is_printed_reads_back_as_the_same() {
    for text in [EXAMPLE, GOOD] {
        let config = parse(text).unwrap();
        let printed = toml::to_string(&config).unwrap();
        let again = parse(&printed).unwrap();
        assert_eq!(toml::to_string(&again).unwrap(), printed);
        assert_eq!(again.routes, config.routes);
    }
}

#[test]
fn everything_wrong_is_told_at_once_in_the_files_order() {
    let text =
        "[server]\nlisten = 1\nupstreem = \"http://a\"\n[chain]\nescrow = \"x\"\n[[route]]\npath = \"/\"\n";
    let errors = parse(text).unwrap_err();
    let told: Vec<_> = errors
        .0
        .iter()
        .map(|problem| (problem.line, problem.key.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (Some(1), "server.upstream"),
            (Some(2), "server.listen"),
            (Some(3), "server.upstreem"),
            (Some(4), "chain.rpc_url"),
            (Some(4), "chain.token"),
            (Some(5), "chain.escrow"),
            (Some(6), "route[0].price"),
        ]
    );
    let first = errors.to_string();
    assert!(
        first.starts_with("/etc/weir/weir.toml:1: server.upstream: is missing\n"),
        "{first}"
    );
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    assert_eq!(parse(EXAMPLE).unwrap().warnings, []);
    for (lines, key, why) in [
        (
            "path = \"/users/{id}\"\nprice = \"1\"",
            "route[1].path",
            "{id}, which stands for itself",
        ),
        (
            "path = \"/users/:id/x\"\nfree = true",
            "route[1].path",
            ":id, which stands for itself",
        ),
        (
            "path = \"/s\"\nprice = \"1\"\naccept = [\"charge\"]\nsuggested_deposit = \"5\"",
            "route[1].suggested_deposit",
            "names no session",
        ),
        (
            "path = \"/s\"\nprice = \"1\"\ncharge_challenge_seconds = 25",
            "route[1].charge_challenge_seconds",
            "names no charge",
        ),
        (
            "path = \"/s\"\nprice = \"1\"\nmeter = \"event\"",
            "route[1].meter",
            "methods = [\"GET\"]",
        ),
        (
            "path = \"/s\"\nprice = \"1\"\nmeter = \"event\"\nmethods = [\"GET\"]\nbind_body = true",
            "route[1].bind_body",
            "come without the body",
        ),
        (
            "path = \"/s\"\nprice = \"1\"\nsuggested_deposit = \"9\"\nmin_voucher_delta = \"10\"",
            "route[1].min_voucher_delta",
            "above suggested_deposit",
        ),
    ] {
        let config = parse(&with("[[route]]", &format!("[[route]]\n{lines}"))).unwrap();
        let [warning] = config.warnings.as_slice() else {
            panic!("{lines}: {:?}", config.warnings);
        };
        assert_eq!(warning.key, key);
        assert!(
            warning.line.is_some() && warning.reason.contains(why),
            "{warning}"
        );
    }
}

#[test]
fn an_address_in_both_cases_carries_its_checksum() {
    let lower = "0x5fbdb2315678afecb367f032d93f642f64180aa3";
    let right = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
    for good in [
        lower.to_owned(),
        right.to_owned(),
        format!("0x{}", lower[2..].to_uppercase()),
    ] {
        assert!(parse(&GOOD.replace(lower, &good)).is_ok(), "{good}");
    }
    let slip = right.replace("aa3", "aa4");
    let errors = parse(&GOOD.replace(lower, &slip)).unwrap_err();
    assert_eq!(errors.0[0].key, "chain.escrow");
    assert!(errors.to_string().contains("EIP-55"), "{errors}");
}

#[test]
fn a_listener_with_a_certificate_may_be_public() {
    let tls = "listen = \"0.0.0.0:8402\"\ntls_cert_file = \"cert.pem\"\ntls_key_file = \"key.pem\"";
    let config = parse(&with("[server]", tls)).unwrap();
    let files = config.server.tls.unwrap();
    assert_eq!(files.cert_file, Path::new("/etc/weir/cert.pem"));
    for (half, missing) in [
        ("tls_cert_file = \"c\"", "server.tls_key_file"),
        ("tls_key_file = \"k\"", "server.tls_cert_file"),
    ] {
        let errors = parse(&with("[server]", half)).unwrap_err();
        assert_eq!(errors.0[0].key, missing);
    }
}

#[test]
fn a_file_that_is_no_toml_is_refused_with_its_line() {
    let errors = parse("[server]\nlisten = \n").unwrap_err();
    assert_eq!(errors.0[0].line, Some(2));
    assert!(errors.0[0].key.is_empty());
    let missing = Config::read(Path::new("/nowhere/weir.toml")).unwrap_err();
    assert!(
        missing
            .to_string()
            .starts_with("/nowhere/weir.toml: cannot be read: "),
        "{missing}"
    );
}

#[test]
fn keys_that_take_a_restart_are_named_when_they_change() {
    let running = parse(EXAMPLE).unwrap();
    let changed = |from: &str, to: &str| {
        let text = EXAMPLE.replace(from, to);
        assert_ne!(text, EXAMPLE, "{from}");
        running.changed_for_restart(&parse(&text).unwrap())
    };
    assert_eq!(running.changed_for_restart(&running), [""; 0]);
    assert_eq!(
        changed("price = \"100\"", "price = \"101\""),
        [""; 0],
        "prices are taken over"
    );
    assert_eq!(changed("poll_ms = 1000", "poll_ms = 1001"), ["chain.poll_ms"]);
    assert_eq!(
        changed("origins = [\"*\"]", "origins = [\"https://a\"]"),
        ["cors.origins"]
    );
    let gone = changed("[cors]\norigins = [\"*\"]", "");
    assert_eq!(gone, ["cors.origins"]);
    // A secret in the URL's path is compared and not shown.
    let keyed = |key: &str| {
        let url = format!("rpc_url = \"https://rpc.example/{key}\"");
        parse(&GOOD.replace("rpc_url = \"http://127.0.0.1:8545\"", &url)).unwrap()
    };
    assert_eq!(keyed("a").changed_for_restart(&keyed("b")), ["chain.rpc_url"]);
    let server =
        "listen = \"127.0.0.1:1\"\nbehind_tls_proxy = true\ntls_cert_file = \"c\"\ntls_key_file = \"k\"";
    let other = parse(&with("[server]", server)).unwrap();
    assert_eq!(
        parse(GOOD).unwrap().changed_for_restart(&other),
        ["server.behind_tls_proxy", "server.listen"]
    );
}

#[test]
fn the_chains_own_reserve_is_known_by_its_address_and_signs_under_its_own_name() {
    let contract = "escrow = \"0x5fbdb2315678afecb367f032d93f642f64180aa3\"";
    let at_the_reserve = |more: &str| {
        let reserve = "escrow = \"0x4d50500000000000000000000000000000000000\"";
        parse(&GOOD.replace(contract, &format!("{reserve}\n{more}")))
    };
    for more in ["", "domain_name = \"TIP20 Channel Reserve\""] {
        assert_eq!(
            at_the_reserve(more).unwrap().chain.domain_name,
            "TIP20 Channel Reserve"
        );
    }
    let errors = at_the_reserve("domain_name = \"Tempo Stream Channel\"").unwrap_err();
    assert_eq!(errors.0[0].key, "chain.domain_name");
    assert!(errors.0[0].reason.contains("leave it out"), "{errors}");
}
