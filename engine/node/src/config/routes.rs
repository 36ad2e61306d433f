//! `[[route]]`: what is sold for how much.

use super::read::Section;
use super::{ChargeOn, Meter, Paid, Price, Route, limits};
use weir_core::{Amount, Cumulative};
use weir_protocol::Intent;
use weir_protocol::charge::ChargeRules;
use weir_till::funding::VALIDITY_SECONDS_MIN;

/// Keys that mean something only where a session may pay.
const SESSION_KEYS: [&str; 2] = ["min_voucher_delta", "suggested_deposit"];

/// The key that means something only where a charge may pay.
const CHARGE_KEY: &str = "charge_challenge_seconds";

/// Keys that mean something only where something is paid.
const PAID_KEYS: [&str; 10] = [
    "accept",
    "price",
    "bind_body",
    "meter",
    "unit",
    "charge_on",
    CHARGE_KEY,
    "min_voucher_delta",
    "suggested_deposit",
    "description",
];

/// What the rest of the file says of the ways to pay.
#[derive(Clone, Copy)]
pub(super) struct Ways {
    /// How the chain's payment method charges, where the chain is known.
    pub(super) charge: Option<&'static ChargeRules>,
    /// From which price on payments are sent for payers who sign them, if any are.
    pub(super) signed_from: Option<Amount>,
}

/// The routes.
pub(super) fn routes(root: &mut Section<'_, '_>, ways: Ways) -> Vec<Route> {
    let mut routes = Vec::<Route>::new();
    let sections = root.sections("route");
    if sections.is_empty() {
        root.refuse("route", "is missing: without a [[route]] nothing is served");
    }
    for mut section in sections {
        let path = path(&mut section);
        let methods = methods(&mut section);
        let price = price(&mut section, ways);
        if let (Some(path), Some(price)) = (path, price) {
            let route = Route { path, methods, price };
            if let Some(first) = routes.iter().find(|first| covers(first, &route)) {
                section.refuse(
                    "path",
                    format_args!("is never reached: the route {} before it fits first", first.path),
                );
            }
            routes.push(route);
        }
        section.finish();
    }
    routes
}

fn path(section: &mut Section<'_, '_>) -> Option<String> {
    let path: String = section.required("path")?;
    let exact = path.strip_suffix("/*").unwrap_or(&path);
    let plain = |byte: u8| {
        byte.is_ascii_graphic() && !matches!(byte, b'*' | b'?' | b'#' | b'%' | b'"' | b'\\' | b'|')
    };
    let reason = if !path.starts_with('/') {
        "does not begin with /"
    } else if exact.contains('*') {
        "has a * that is not the /* at its end"
    } else if !exact.bytes().all(plain) {
        "has a character that is not allowed in a route: space, non-ASCII, ? # % \" \\ or |"
    } else if exact.split('/').any(|part| matches!(part, "." | "..")) {
        "has a . or .. segment"
    } else if path.len() > limits::TEXT_BYTES_MAX {
        "is longer than 200 bytes"
    } else {
        if let Some(segment) = path.split('/').find(|segment| is_placeholder(segment)) {
            section.warn(
                "path",
                format_args!("has {segment}, which stands for itself: the only pattern is /* at the end"),
            );
        }
        return Some(path);
    };
    section.refuse("path", reason);
    None
}

fn methods(section: &mut Section<'_, '_>) -> Vec<String> {
    let methods: Vec<String> = section.or("methods", Vec::new());
    for method in &methods {
        if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
            section.refuse(
                "methods",
                format_args!("{method:?} is not a method such as \"GET\", in capitals"),
            );
        }
    }
    if section.has("methods") && methods.is_empty() {
        section.refuse("methods", "names no method; leave it out for all of them");
    }
    methods
}

fn price(section: &mut Section<'_, '_>, ways: Ways) -> Option<Price> {
    let free = section.or("free", false);
    let price = section.parsed::<Amount>("price");
    let meter = section.parsed("meter").unwrap_or_default();
    let unit = match meter {
        Meter::Request => limits::UNIT,
        Meter::Event => limits::EVENT_UNIT,
    };
    let paid = Paid {
        accept: accept(section),
        price: price.unwrap_or(Amount::ZERO),
        unit: section.or("unit", unit.to_owned()),
        charge_on: section.parsed("charge_on").unwrap_or_default(),
        meter,
        min_voucher_delta: section.parsed("min_voucher_delta").unwrap_or(Amount::ZERO),
        bind_body: section.or("bind_body", false),
        charge_challenge_seconds: section.number(
            CHARGE_KEY,
            limits::CHARGE_CHALLENGE_SECONDS,
            limits::CHARGE_CHALLENGE_SECONDS_RANGE,
        ),
        suggested_deposit: section.parsed("suggested_deposit"),
        description: section.optional("description"),
    };
    if free {
        for key in PAID_KEYS.into_iter().filter(|key| section.has(key)) {
            section.refuse(key, "has no meaning on a route with free = true");
        }
        return Some(Price::Free { free });
    }
    warn(section, &paid);
    if !section.has("price") {
        section.refuse("price", "is missing: give a price in base units, or free = true");
    }
    must_fit_its_ways(section, &paid, ways.charge);
    must_live_long_enough(section, &paid, ways);
    for (key, text) in [
        ("unit", Some(&paid.unit)),
        ("description", paid.description.as_ref()),
    ] {
        let fits = |text: &String| {
            (1..=limits::TEXT_BYTES_MAX).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        };
        if !text.is_none_or(fits) {
            section.refuse(
                key,
                format_args!(
                    "is not 1 to {} printable ASCII characters",
                    limits::TEXT_BYTES_MAX
                ),
            );
        }
    }
    let first_unit = Cumulative::ZERO.plus(paid.price);
    if paid
        .suggested_deposit
        .is_some_and(|deposit| Some(deposit) < first_unit)
    {
        section.refuse(
            "suggested_deposit",
            "is below price: it would not pay for one unit",
        );
    }
    if paid.meter == Meter::Event && paid.charge_on == ChargeOn::Always {
        section.refuse(
            "charge_on",
            "is always, which charges before the answer is known to be a stream; with meter = \"event\" use success or \
             first_byte",
        );
    }
    price.map(|_| Price::Paid(paid))
}

/// The ways to pay, in the order of preference.
fn accept(section: &mut Section<'_, '_>) -> Vec<Intent> {
    let key = "accept";
    let Some(names) = section.optional::<Vec<String>>(key) else {
        return vec![Intent::Session];
    };
    let mut accept = Vec::new();
    for name in &names {
        match name.parse::<Intent>() {
            Ok(intent) if accept.contains(&intent) => section.refuse(key, format_args!("names {name} twice")),
            Ok(intent) => accept.push(intent),
            Err(reason) => section.refuse(key, format_args!("{name:?} {reason}")),
        }
    }
    if names.is_empty() {
        section.refuse(key, "names no way to pay; leave it out for [\"session\"]");
    }
    accept
}

fn must_fit_its_ways(section: &Section<'_, '_>, paid: &Paid, charge: Option<&'static ChargeRules>) {
    let takes_sessions = paid.accept.contains(&Intent::Session);
    if paid.accept.contains(&Intent::Charge) && paid.meter == Meter::Event {
        section.refuse(
            "accept",
            "has charge, which buys one whole answer, and meter = \"event\" sells by the event: give the stream a \
             route of its own with accept = [\"session\"]",
        );
    }
    if section.has("price") && paid.price.is_zero() {
        if takes_sessions {
            section.refuse(
                "price",
                "is zero: write free = true instead, or, on Tempo, accept = [\"charge\"] to ask for a signature",
            );
        } else if charge.is_some_and(|charge| !charge.takes_zero()) {
            section.refuse(
                "price",
                "is zero, for which charges on this chain know no proof: write free = true instead",
            );
        }
    }
    if !takes_sessions {
        for key in SESSION_KEYS.into_iter().filter(|key| section.has(key)) {
            section.warn(key, "has no meaning where accept names no session");
        }
    }
    if !paid.accept.contains(&Intent::Charge) && section.has(CHARGE_KEY) {
        section.warn(CHARGE_KEY, "has no meaning where accept names no charge");
    }
}

/// Clients let a signature end with its challenge, and one that ends too soon is not sent.
fn must_live_long_enough(section: &Section<'_, '_>, paid: &Paid, ways: Ways) {
    let takes_signatures = ways.charge.is_some_and(|charge| charge.is_explicit)
        && paid.accept.contains(&Intent::Charge)
        && ways.signed_from.is_some_and(|least| paid.price >= least);
    let least = limits::SIGNED_CHALLENGE_SECONDS_MIN;
    if takes_signatures && paid.charge_challenge_seconds < least {
        section.refuse(
            CHARGE_KEY,
            format_args!(
                "is {}, and a payment that [funding] sends must count for {VALIDITY_SECONDS_MIN} s more by then, which \
                 clients let end with the challenge: write {least} or more",
                paid.charge_challenge_seconds
            ),
        );
    }
}

/// What is allowed and probably not meant.
fn warn(section: &Section<'_, '_>, paid: &Paid) {
    if paid.meter == Meter::Event && !section.has("methods") {
        section.warn(
            "meter",
            "is event, and the route serves all methods: a POST with a query or a body then buys a stream of its own \
             instead of bringing a voucher; write methods = [\"GET\"]",
        );
    }
    if paid.meter == Meter::Event && paid.bind_body {
        section.warn(
            "bind_body",
            "is true with meter = \"event\": clients that answer a stream's own challenge with its vouchers are refused, \
             because those come without the body",
        );
    }
    let deposit = paid.suggested_deposit.map(Cumulative::base_units);
    if deposit.is_some_and(|deposit| paid.min_voucher_delta.base_units() > deposit) {
        section.warn(
            "min_voucher_delta",
            "is above suggested_deposit: who locks what is suggested can never send a voucher",
        );
    }
}

/// Whether a segment of a path looks like a name for whatever stands there.
fn is_placeholder(segment: &str) -> bool {
    segment.starts_with(':') || segment.contains('{') || segment.contains('}')
}

/// Whether every request of the later route is taken by the earlier one.
fn covers(earlier: &Route, later: &Route) -> bool {
    let methods = earlier.methods.is_empty()
        || !later.methods.is_empty()
            && later
                .methods
                .iter()
                .all(|method| earlier.methods.contains(method));
    methods
        && match earlier.path.strip_suffix('*') {
            Some(prefix) => later.path.starts_with(prefix),
            None => earlier.path == later.path,
        }
}
