//! What is sold, told before anybody asks: `GET /openapi.json` (draft-payment-discovery-00).
//!
//! It is written from the configuration alone, so that it is there before the chain is. Challenges have the last word.

use crate::gateway::price::{Meter, Price};
use crate::gateway::route::{Route, Routes};
use alloy_primitives::Address;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Method, Response, header};
use serde_json::{Map, Value, json};
use weir_protocol::Intent;

/// Where it is served.
pub const PATH: &str = "/openapi.json";
/// How long clients may keep it (draft-payment-discovery-00, Caching).
const CACHING: &str = "public, max-age=300";
/// What is told of a route that serves all methods.
const METHODS: [Method; 5] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];
/// What stands for the end of a path that is served by its beginning.
const REST: &str = "rest";

/// Whose service it is, and how it is paid.
#[derive(Debug)]
pub struct Service<'a> {
    /// Its name.
    pub title: &'a str,
    /// For people.
    pub description: Option<&'a str>,
    /// The version of its API.
    pub version: &'a str,
    /// The ways to pay, by method and intent; each route says which of them it takes, and in which order.
    pub ways: Vec<(&'a str, &'a str)>,
    /// The token.
    pub token: Address,
    /// The escrow.
    pub escrow: Address,
    /// The chain, where it is configured.
    pub chain_id: Option<u64>,
}

/// The document, ready to be served.
#[derive(Debug, Clone)]
pub struct Document(Bytes);

impl Document {
    /// What is told of these routes; `None` where one of them is named like the document itself: whoever writes that
    /// path down means it, whoever writes `/*` does not.
    pub fn of(service: &Service<'_>, routes: &Routes) -> Option<Self> {
        if routes.0.iter().any(|route| route.path == PATH) {
            return None;
        }
        Some(Self(document(service, routes).to_string().into()))
    }

    /// The answer to a request for it.
    pub fn answer(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.0.clone()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHING));
        response
    }
}

fn document(service: &Service<'_>, routes: &Routes) -> Value {
    let mut paths = Map::new();
    for route in &routes.0 {
        let operations = operations(service, routes, &route.path);
        if !operations.is_empty() {
            paths.insert(template(&route.path), Value::Object(operations));
        }
    }
    let mut info = json!({ "title": service.title, "version": service.version });
    if let Some(description) = service.description {
        info["description"] = description.into();
    }
    json!({ "openapi": "3.1.0", "info": info, "paths": paths })
}

/// What each method of a path costs. The route that sells it may be another than the one that names the path.
fn operations(service: &Service<'_>, routes: &Routes, path: &str) -> Map<String, Value> {
    let mut operations = Map::new();
    let named = routes.0.iter().filter(|route| route.path == path);
    let named = named.flat_map(|route| route.methods.iter().cloned());
    for method in named.chain(METHODS) {
        // The pattern itself is a path, and no other route but a shorter pattern fits it.
        if let Some(route) = routes.find(&method, path).filter(|_| is_operation(&method)) {
            let operation = operation(service, route, &method, path);
            operations.insert(method.as_str().to_ascii_lowercase(), operation);
        }
    }
    operations
}

/// What OpenAPI has a field for. HEAD manages channels wherever GET is served.
fn is_operation(method: &Method) -> bool {
    METHODS.contains(method) || *method == Method::OPTIONS || *method == Method::TRACE
}

fn operation(service: &Service<'_>, route: &Route, method: &Method, path: &str) -> Value {
    let mut operation = json!({ "responses": { "200": { "description": "The answer" } } });
    if path.ends_with('*') {
        operation["parameters"] = json!([{
            "name": REST, "in": "path", "required": true, "schema": { "type": "string" },
            "description": "Whatever follows, slashes included.", "example": "anything",
        }]);
    }
    // Of a body it is known only that there may be one.
    if matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
        operation["requestBody"] = json!({ "required": false, "content": { "*/*": {} } });
    }
    let Some(price) = &route.price else {
        return operation;
    };
    if let Some(description) = &price.description {
        operation["summary"] = description.as_str().into();
    }
    operation["responses"]["402"] = json!({ "description": "Payment Required" });
    operation["x-payment-info"] = json!({ "offers": offers(service, price) });
    operation
}

fn offers(service: &Service<'_>, price: &Price) -> Vec<Value> {
    let chain = service.chain_id.map(|id| format!(" on chain {id}"));
    let chain = chain.unwrap_or_default();
    let offer = |&(method, intent): &(&str, &str)| {
        let channel = match intent {
            "session" => format!(", from a channel in escrow {:#x}", service.escrow),
            _ => String::new(),
        };
        json!({
            "intent": intent,
            "method": method,
            "amount": price.most(),
            "currency": format!("{:#x}", service.token),
            "description": format!("{}{channel}{chain}", priced(price)),
        })
    };
    let of = |intent: &Intent| {
        let intent = intent.name();
        service.ways.iter().filter(move |way| way.1 == intent)
    };
    price.accept.iter().flat_map(of).map(offer).collect()
}

/// What the amount is for.
fn priced(price: &Price) -> String {
    let unit = &price.unit;
    match price.meter {
        Meter::Units { max } => format!("at most, {} per {unit} and {max} a request", price.per_unit),
        Meter::Request | Meter::Event => format!("per {unit}"),
    }
}

/// The path as OpenAPI spells it.
fn template(path: &str) -> String {
    match path.strip_suffix('*') {
        Some(prefix) => format!("{prefix}{{{REST}}}"),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ChargeOn;
    use crate::gateway::offer::CHALLENGE_SECONDS;
    use weir_core::Amount;

    fn route(path: &str, methods: &[Method], price: Option<u128>) -> Route {
        let price = price.map(|units| Price {
            accept: vec![Intent::Session],
            per_unit: Amount::new(units),
            unit: "answer".into(),
            suggested_deposit: None,
            voucher_delta_min: Amount::ZERO,
            charge_on: ChargeOn::Success,
            meter: Meter::Request,
            bind_body: false,
            charge_challenge_seconds: CHALLENGE_SECONDS,
            description: Some("An answer".into()),
        });
        Route {
            path: path.into(),
            methods: methods.to_vec(),
            price,
        }
    }

    fn told(routes: Vec<Route>) -> Option<Value> {
        let service = Service {
            title: "Answers",
            description: None,
            version: "1.2",
            ways: vec![("evm", "session"), ("evm", "charge")],
            token: Address::repeat_byte(0xAB),
            escrow: Address::repeat_byte(0xCD),
            chain_id: Some(31337),
        };
        let document = Document::of(&service, &Routes(routes))?;
        Some(serde_json::from_slice(&document.0).unwrap())
    }

    #[test]
    fn every_paid_operation_says_its_price_token_chain_and_method() {
        let routes = vec![route("/v1/answer", &[Method::GET, Method::POST], Some(100))];
        let told = told(routes).unwrap();
        assert_eq!(told["openapi"], "3.1.0");
        assert_eq!(told["info"], json!({ "title": "Answers", "version": "1.2" }));
        let get = &told["paths"]["/v1/answer"]["get"];
        let offer = json!({
            "intent": "session", "method": "evm", "amount": "100",
            "currency": "0xabababababababababababababababababababab",
            "description":
                "per answer, from a channel in escrow 0xcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd on chain 31337",
        });
        assert_eq!(get["x-payment-info"], json!({ "offers": [offer] }));
        assert_eq!(get["summary"], "An answer");
        assert_eq!(get["responses"]["402"]["description"], "Payment Required");
        assert!(get.get("requestBody").is_none());
        let post = &told["paths"]["/v1/answer"]["post"];
        assert!(post["requestBody"]["content"].is_object());
        assert_eq!(told["paths"]["/v1/answer"].as_object().unwrap().len(), 2);
    }

    #[test]
    fn a_route_that_may_be_paid_in_several_ways_has_an_offer_for_each() {
        let mut both = route("/v1/answer", &[Method::GET], Some(100));
        both.price.as_mut().unwrap().accept = vec![Intent::Charge, Intent::Session];
        let told = told(vec![both]).unwrap();
        let offers = &told["paths"]["/v1/answer"]["get"]["x-payment-info"]["offers"];
        assert_eq!(
            (&offers[0]["intent"], &offers[1]["intent"]),
            (&json!("charge"), &json!("session"))
        );
        assert_eq!(offers[0]["description"], "per answer on chain 31337");
        assert_eq!(offers.as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_path_says_what_each_of_its_methods_costs_whichever_route_sells_it() {
        let routes = vec![
            route("/v1/answer", &[Method::GET, Method::HEAD], Some(100)),
            route("/v1/*", &[Method::GET, Method::POST], Some(7)),
            route("/*", &[], None),
        ];
        let told = told(routes).unwrap();
        let amount = |path: &str, method: &str| {
            let operation = &told["paths"][path][method];
            assert!(operation.is_object(), "{method} {path}: {told}");
            operation["x-payment-info"]["offers"][0]["amount"].clone()
        };
        assert_eq!(amount("/v1/answer", "get"), "100");
        assert_eq!(amount("/v1/answer", "post"), "7");
        assert_eq!(
            amount("/v1/answer", "delete"),
            Value::Null,
            "free, by the last route"
        );
        assert_eq!(amount("/v1/{rest}", "get"), "7");
        assert_eq!(amount("/v1/{rest}", "put"), Value::Null);
        assert_eq!(amount("/{rest}", "get"), Value::Null);
        assert_eq!(
            told["paths"]["/v1/{rest}"]["get"]["parameters"][0]["name"],
            "rest"
        );
        assert!(told["paths"]["/v1/answer"].get("head").is_none());
        assert!(told["paths"]["/v1/answer"].get("parameters").is_none());
    }

    #[test]
    fn a_route_of_the_same_name_wins_and_a_pattern_does_not() {
        assert!(told(vec![route("/*", &[], Some(1))]).is_some());
        assert!(told(vec![route(PATH, &[], None)]).is_none());
        assert!(told(vec![route("/*", &[], None), route(PATH, &[], Some(1))]).is_none());
    }

    #[test]
    fn what_no_request_can_reach_is_not_told() {
        let told = told(vec![route("/v1/{id}", &[], Some(1)), route("/ok", &[], Some(1))]).unwrap();
        let paths: Vec<&String> = told["paths"].as_object().unwrap().keys().collect();
        assert_eq!(paths, ["/ok"]);
    }
}
