//! Each bad value names file, key and reason.

use super::{GOOD, parse};
use std::path::Path;

/// The good configuration with lines added to a section, or a line replaced.
pub(super) fn with(section: &str, lines: &str) -> String {
    match section {
        "" => format!("{lines}\n{GOOD}"),
        "[[route]]" => format!("{GOOD}{lines}\n"),
        _ if GOOD.contains(section) => GOOD.replace(section, &format!("{section}\n{lines}")),
        _ => format!("{GOOD}{section}\n{lines}\n"),
    }
}

#[test]
fn a_bad_value_names_file_key_and_reason() {
    let cases: &[(&str, &str, &str, &str)] = &[
        (
            "[server]",
            "listen = \"127.0.0.1\"",
            "server.listen",
            "invalid socket address",
        ),
        (
            "[server]",
            "listen = \"0.0.0.0:8402\"",
            "server.listen",
            "plaintext",
        ),
        (
            "[server]",
            "listen = 8402",
            "server.listen",
            "invalid type: integer",
        ),
        (
            "[funding]",
            "deposit_min = \"0\"",
            "funding.deposit_min",
            "for nothing",
        ),
        (
            "[funding]",
            "fee_max_gwei = 0",
            "funding.fee_max_gwei",
            "0 is not between 1",
        ),
        (
            "[funding]",
            "gas_per_hour_max = 1",
            "funding.gas_per_hour_max",
            "1 is not between 1000000",
        ),
        (
            "[funding]",
            "charge_gas_per_hour_max = 1",
            "funding.charge_gas_per_hour_max",
            "1 is not between 1000000",
        ),
        ("[server]", "realm = \"\"", "server.realm", "1 to 200 printable"),
        ("[server]", "realm = 'a\"b'", "server.realm", "1 to 200 printable"),
        ("[server]", "realm = 'a|b'", "server.realm", "1 to 200 printable"),
        ("[server]", "data_dir = \"\"", "server.data_dir", "is empty"),
        (
            "[server]",
            "behind_tls_proxy = \"yes\"",
            "server.behind_tls_proxy",
            "expected a boolean",
        ),
        (
            "[server]",
            "vouchers_per_second = 0",
            "server.vouchers_per_second",
            "0 is not between 1",
        ),
        (
            "[server]",
            "connections_per_peer = -1",
            "server.connections_per_peer",
            "-1 is not between 0 and 4096",
        ),
        (
            "[server]",
            "connections_per_peer = 4097",
            "server.connections_per_peer",
            "4097 is not between 0 and 4096",
        ),
        (
            "[server]",
            "vouchers_per_second = -1",
            "server.vouchers_per_second",
            "-1 is not between",
        ),
        (
            "[server]",
            "vouchers_per_second = 1.5",
            "server.vouchers_per_second",
            "floating point",
        ),
        (
            "[server]",
            "upstream_timeout_seconds = 0",
            "server.upstream_timeout_seconds",
            "not between",
        ),
        (
            "[server]",
            "body_bytes_max = 0",
            "server.body_bytes_max",
            "not between",
        ),
        (
            "[server]",
            "secret_file = 'x'\nprevious_secret_file = 'x'",
            "server.previous_secret_file",
            "same file",
        ),
        (
            "[server]",
            "lisen = \"127.0.0.1:1\"",
            "server.lisen",
            "did you mean `listen`?",
        ),
        (
            "[server]",
            "price = \"1\"",
            "server.price",
            "is not a key of this section",
        ),
        (
            "[operator]",
            "listen = \"0.0.0.0:8403\"",
            "operator.token_file",
            "is required",
        ),
        (
            "[operator]",
            "listen = \"0.0.0.0:1\"\ntoken_file = 't'",
            "operator.listen",
            "plaintext",
        ),
        (
            "[operator]",
            "token_file = 't'\ncharge_token_file = 't'",
            "operator.charge_token_file",
            "the operator's own",
        ),
        (
            "[operator]",
            "listen = \"127.0.0.1:8402\"",
            "operator.listen",
            "same address",
        ),
        ("[chain]", "chain_id = 0", "chain.chain_id", "not between"),
        (
            "[chain]",
            "domain_name = \"\"",
            "chain.domain_name",
            "no escrow that is served",
        ),
        (
            "[chain]",
            "domain_name = \"TIP-20 Channel Reserve\"",
            "chain.domain_name",
            "served: \"EVM Payment Channel\", \"Tempo Stream Channel\", \"TIP20 Channel Reserve\"",
        ),
        ("[chain]", "poll_ms = 1", "chain.poll_ms", "1 is not between 50"),
        (
            "[chain]",
            "poll_ms = 5000\nview_age_max_seconds = 5",
            "chain.poll_ms",
            "always be too old",
        ),
        (
            "[chain]",
            "finality_blocks = -1",
            "chain.finality_blocks",
            "not between",
        ),
        (
            "[chain]",
            "private_key = \"0x01\"",
            "chain.private_key",
            "is not a key of this section",
        ),
        (
            "[settle]",
            "value_max = 5",
            "settle.value_max",
            "expected a string",
        ),
        (
            "[settle]",
            "value_max = \"1.5\"",
            "settle.value_max",
            "not a decimal digit",
        ),
        (
            "[settle]",
            "value_max = \"1\"\nvalue_min = \"2\"",
            "settle.value_min",
            "above value_max",
        ),
        (
            "[settle]",
            "age_max_seconds = 0",
            "settle.age_max_seconds",
            "not between",
        ),
        (
            "[settle]",
            "close_batch_ms = 100000",
            "settle.close_batch_ms",
            "not between",
        ),
        ("[cors]", "", "cors.origins", "names no origin"),
        (
            "[cors]",
            "origins = [\"https://a.example/\"]",
            "cors.origins",
            "without a path",
        ),
        ("", "sever = 1", "sever", "did you mean `server`?"),
        ("", "settle = 1", "settle", "is a table, written [settle]"),
    ];
    refuses(cases);
}

#[test]
fn a_bad_route_names_file_key_and_reason() {
    let last: &[(&str, &str, &str)] = &[
        ("path = \"v1\"\nprice = \"1\"", "route[1].path", "begin with /"),
        (
            "path = \"/v1/*/x\"\nprice = \"1\"",
            "route[1].path",
            "not the /* at its end",
        ),
        ("path = \"/a%2fb\"\nprice = \"1\"", "route[1].path", "not allowed"),
        ("path = \"/a?b\"\nprice = \"1\"", "route[1].path", "not allowed"),
        ("path = \"/a/../b\"\nprice = \"1\"", "route[1].path", ".. segment"),
        (
            "path = \"/v1/answer\"\nprice = \"1\"",
            "route[1].path",
            "never reached",
        ),
        ("price = \"1\"", "route[1].path", "is missing"),
        ("path = \"/x\"", "route[1].price", "is missing"),
        (
            "path = \"/x\"\nprice = \"0\"",
            "route[1].price",
            "write free = true",
        ),
        ("path = \"/x\"\nprice = \"01\"", "route[1].price", "leading zero"),
        (
            "path = \"/x\"\nprice = \"0\"\naccept = [\"charge\"]",
            "route[1].price",
            "know no proof",
        ),
        (
            "path = \"/x\"\nprice = \"0\"\naccept = [\"charge\", \"session\"]",
            "route[1].price",
            "is zero",
        ),
        (
            "path = \"/x\"\nprice = \"1\"\naccept = []",
            "route[1].accept",
            "names no way",
        ),
        (
            "path = \"/x\"\nprice = \"1\"\naccept = [\"charge\", \"charge\"]",
            "route[1].accept",
            "twice",
        ),
        (
            "path = \"/x\"\nprice = \"1\"\naccept = [\"subscription\"]",
            "route[1].accept",
            "not one of session, charge",
        ),
        (
            "path = \"/x\"\nprice = \"1\"\nmethods = [\"GET\"]\nmeter = \"event\"\naccept = [\"session\", \"charge\"]",
            "route[1].accept",
            "a route of its own",
        ),
        (
            "path = \"/x\"\nfree = true\naccept = [\"charge\"]",
            "route[1].accept",
            "has no meaning",
        ),
        ("path = \"/x\"\nprice = 5", "route[1].price", "expected a string"),
        (
            "path = \"/x\"\nprice = \"1\"\nfree = true",
            "route[1].price",
            "no meaning",
        ),
        (
            "path = \"/x\"\nfree = true\nunit = \"token\"",
            "route[1].unit",
            "no meaning",
        ),
        (
            "path = \"/x\"\nprice = \"1\"\nunit = \"\"",
            "route[1].unit",
            "printable ASCII",
        ),
        (
            "path = \"/x\"\nprice = \"1\"\ncharge_on = \"maybe\"",
            "route[1].charge_on",
            "success, first_byte, always",
        ),
        (
            "path = \"/x\"\nprice = \"1\"\nmethods = [\"get\"]",
            "route[1].methods",
            "in capitals",
        ),
        (
            "path = \"/x\"\nprice = \"1\"\nmethods = []",
            "route[1].methods",
            "names no method",
        ),
        (
            "path = \"/x\"\nprice = \"5\"\nsuggested_deposit = \"4\"",
            "route[1].suggested_deposit",
            "below price",
        ),
        (
            "path = \"/x\"\nprice = \"1\"\nmin_voucher_delta = \"x\"",
            "route[1].min_voucher_delta",
            "decimal digit",
        ),
        (
            "path = \"/x\"\nprice = \"1\"\ndescription = \"é\"",
            "route[1].description",
            "printable ASCII",
        ),
        (
            "path = \"/x\"\nprice = \"1\"\naccept = [\"charge\"]\ncharge_challenge_seconds = 9",
            "route[1].charge_challenge_seconds",
            "between 10 and 300",
        ),
        (
            "path = \"/x\"\nprice = \"1\"\naccept = [\"charge\"]\ncharge_challenge_seconds = 301",
            "route[1].charge_challenge_seconds",
            "between 10 and 300",
        ),
        (
            "path = \"/x\"\nprice = \"7\"\naccept = [\"charge\"]\ncharge_challenge_seconds = 89\n[funding]\ncharge_min = \"7\"",
            "route[1].charge_challenge_seconds",
            "write 90 or more",
        ),
    ];
    let rows: Vec<_> = last
        .iter()
        .map(|(lines, key, reason)| (format!("[[route]]\n{lines}"), key, reason))
        .collect();
    for (lines, key, reason) in &rows {
        refuses(&[("[[route]]", lines, key, reason)]);
    }
}

#[test]
fn a_required_key_is_missed_by_name() {
    for (line, key) in [
        ("upstream = ", "server.upstream"),
        ("rpc_url = ", "chain.rpc_url"),
        ("escrow = ", "chain.escrow"),
        ("token = ", "chain.token"),
    ] {
        let text: Vec<&str> = GOOD.lines().filter(|row| !row.starts_with(line)).collect();
        let errors = parse(&text.join("\n")).unwrap_err();
        assert_eq!(errors.0.len(), 1, "{errors}");
        assert_eq!(
            (errors.0[0].key.as_str(), errors.0[0].reason.as_str()),
            (key, "is missing")
        );
    }
    let no_route = GOOD.split("[[route]]").next().unwrap();
    assert_eq!(parse(no_route).unwrap_err().0[0].key, "route");
    for (from, to, key) in [
        (
            "\"http://127.0.0.1:9000\"",
            "\"127.0.0.1:9000\"",
            "server.upstream",
        ),
        (
            "\"http://127.0.0.1:9000\"",
            "\"ftp://127.0.0.1\"",
            "server.upstream",
        ),
        (
            "\"http://127.0.0.1:9000\"",
            "\"http://me:pass@127.0.0.1\"",
            "server.upstream",
        ),
        (
            "\"http://127.0.0.1:9000\"",
            "\"http://127.0.0.1/?a\"",
            "server.upstream",
        ),
        ("\"http://127.0.0.1:8545\"", "\"ws://127.0.0.1\"", "chain.rpc_url"),
        (
            "0x5fbdb2315678afecb367f032d93f642f64180aa3",
            "0x5f",
            "chain.escrow",
        ),
        (
            "0x5fbdb2315678afecb367f032d93f642f64180aa3",
            "0x0000000000000000000000000000000000000000",
            "chain.escrow",
        ),
        (
            "0x5fbdb2315678afecb367f032d93f642f64180aa3",
            "0xe7f1725e7734ce288f8367e1bb143e90bb3f0512",
            "chain.token",
        ),
    ] {
        let errors = parse(&GOOD.replace(from, to)).unwrap_err();
        assert_eq!(
            errors
                .0
                .iter()
                .map(|problem| problem.key.as_str())
                .collect::<Vec<_>>(),
            [key],
            "{errors}"
        );
    }
}

fn refuses(cases: &[(&str, &str, &str, &str)]) {
    for (section, lines, key, reason) in cases {
        let errors = parse(&with(section, lines)).expect_err(lines);
        let found = errors.0.iter().find(|problem| problem.key == *key);
        let problem = found.unwrap_or_else(|| panic!("{lines}: {errors}"));
        assert!(problem.reason.contains(reason), "{lines}: {problem}");
        assert_eq!(problem.file, Path::new("/etc/weir/weir.toml"));
        assert!(problem.line.is_some(), "{problem}");
    }
}

#[test]
fn a_challenge_may_be_short_where_nothing_that_is_signed_is_sent() {
    let route = |seconds: u64, price: &str, accept: &str| {
        format!(
            "[[route]]\npath = \"/x\"\nprice = \"{price}\"\naccept = [\"{accept}\"]\ncharge_challenge_seconds = {seconds}"
        )
    };
    let funding = "\n[funding]\ncharge_min = \"7\"";
    for lines in [
        route(90, "7", "charge") + funding,
        route(10, "6", "charge") + funding,
        route(10, "7", "session") + funding,
        route(10, "7", "charge"),
    ] {
        let text = with("[[route]]", &lines);
        assert!(parse(&text).is_ok(), "{lines}: {:?}", parse(&text).err());
    }
}
