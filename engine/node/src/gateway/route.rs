//! Which requests cost what: the first route whose path and method fit.

use axum::http::Method;
use weir_core::{Amount, Cumulative};
use weir_till::ChargeOn;

/// The price of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// Base units of one unit.
    pub per_unit: Amount,
    /// What one unit is, as the challenge names it.
    pub unit: String,
    /// The deposit suggested to payers.
    pub suggested_deposit: Option<Cumulative>,
    /// The least that a higher voucher adds.
    pub voucher_delta_min: Amount,
    /// When it is charged.
    pub charge_on: ChargeOn,
    /// What one unit is, to the meter.
    pub meter: Meter,
    /// For people.
    pub description: Option<String>,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Meter {
    /// One unit a request.
    #[default]
    Request,
    /// One unit an event, where the answer is a stream of server-sent events; one a request where it is not.
    Event,
}

/// A path with its methods and price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// An exact path, or a prefix that ends in `/*`.
    pub path: String,
    /// The methods; none means all.
    pub methods: Vec<Method>,
    /// The price; `None` is free.
    pub price: Option<Price>,
}

impl Route {
    /// What a challenge of this route is bound to. Two routes of one path have different methods, and may have
    /// different prices (threat V2).
    pub fn name(&self) -> String {
        let methods: Vec<&str> = self.methods.iter().map(Method::as_str).collect();
        format!("{} {}", methods.join(","), self.path)
    }

    /// Whether the route serves this method.
    pub fn serves(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }

    fn fits_path(&self, path: &str) -> bool {
        match self.path.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => path == self.path,
        }
    }
}

/// The routes, in the order of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Routes(pub Vec<Route>);

impl Routes {
    /// The route of a request: the first that serves it or, for the methods by which channels are managed, the first
    /// paid one of its path. A path with an escape or a dot segment in it fits none: the upstream could read it as
    /// another, cheaper or dearer one.
    pub fn find(&self, method: &Method, path: &str) -> Option<&Route> {
        if path.contains('%') && !only_plain_escapes(path)
            || path.split('/').any(|part| matches!(part, "." | ".."))
        {
            return None;
        }
        let mut fitting = self.0.iter().filter(|route| route.fits_path(path));
        let serves = fitting.clone().find(|route| route.serves(method));
        // Channels are managed by HEAD and bare POST at every paid URL, whatever it serves.
        let manages = matches!(*method, Method::HEAD | Method::POST);
        serves.or_else(|| fitting.find(|route| manages && route.price.is_some()))
    }
}

/// Whether no escape hides a character that would have had a meaning in the path.
fn only_plain_escapes(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    !["%2f", "%2e", "%5c", "%00", "%25", "%3f", "%23"]
        .iter()
        .any(|hidden| lower.contains(hidden))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes() -> Routes {
        let route = |path: &str, methods: &[Method]| Route {
            path: path.into(),
            methods: methods.to_vec(),
            price: None,
        };
        Routes(vec![
            route("/v1/answer", &[Method::GET]),
            route("/v1/*", &[]),
            route("/health", &[]),
        ])
    }

    #[test]
    fn the_first_fitting_route_counts() {
        let routes = routes();
        let found = |method: Method, path| routes.find(&method, path).map(|route| route.path.as_str());
        assert_eq!(found(Method::GET, "/v1/answer"), Some("/v1/answer"));
        assert_eq!(found(Method::POST, "/v1/answer"), Some("/v1/*"));
        assert_eq!(found(Method::GET, "/v1/a/b"), Some("/v1/*"));
        assert_eq!(found(Method::GET, "/health"), Some("/health"));
        assert_eq!(found(Method::GET, "/healthy"), None);
        assert_eq!(found(Method::GET, "/v1"), None);
    }

    #[test]
    fn no_spelling_of_a_path_slips_past_its_price() {
        for path in [
            "/v1/../health",
            "/v1/%2e%2e/health",
            "/v1%2fanswer",
            "/v1/./answer",
            "/v1/a%00",
            "/%76%31/%2Fx",
        ] {
            assert!(routes().find(&Method::GET, path).is_none(), "{path}");
        }
        assert!(routes().find(&Method::GET, "/v1/caf%C3%A9").is_some());
    }

    #[test]
    fn channels_are_managed_at_every_paid_url() {
        let price = Price {
            per_unit: Amount::new(1),
            unit: "request".into(),
            suggested_deposit: None,
            voucher_delta_min: Amount::ZERO,
            charge_on: ChargeOn::Success,
            meter: Meter::Request,
            description: None,
        };
        let route = |path: &str, price| Route {
            path: path.into(),
            methods: vec![Method::GET],
            price,
        };
        let routes = Routes(vec![route("/paid", Some(price)), route("/free", None)]);
        for (method, path, found) in [
            (Method::GET, "/paid", true),
            (Method::POST, "/paid", true),
            (Method::HEAD, "/paid", true),
            (Method::DELETE, "/paid", false),
            (Method::POST, "/free", false),
        ] {
            let route = routes.find(&method, path);
            assert_eq!(route.is_some(), found, "{method} {path}");
            assert!(route.is_none_or(|route| route.serves(&method) == (method == Method::GET)));
        }
    }

    #[test]
    fn threat_v2_routes_of_one_path_have_names_of_their_own() {
        let route = |methods: &[Method]| Route {
            path: "/v1/answer".into(),
            methods: methods.to_vec(),
            price: None,
        };
        assert_ne!(route(&[Method::GET]).name(), route(&[Method::POST]).name());
        assert_ne!(route(&[Method::GET]).name(), route(&[]).name());
    }
}
