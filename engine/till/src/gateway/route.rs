//! Which requests cost what: the first route whose path and method fit.

use crate::ChargeOn;
use crate::gateway::offer::CHALLENGE_SECONDS;
use crate::gateway::price::{Meter, Price};
use axum::http::Method;

/// Why a route cannot be sold so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteFault {
    /// No request has this path.
    #[error(
        "the path {0:?} is none: it begins with /, each of its characters stands for itself, and the only pattern is /* at its end"
    )]
    Path(String),
    /// No challenge outlives the change of the secret that binds it.
    #[error("{0}: a challenge to pay by charge lives for 1 to {CHALLENGE_SECONDS} seconds")]
    Lifetime(String),
    /// Units are known when the service answers, and not before.
    #[error(
        "{0}: what is charged by units cannot be charged before the service is asked: choose Success or FirstByte"
    )]
    UnitsBefore(String),
    /// A payment of one answer is made whole, before it is known what the answer uses.
    #[error("{0}: what is charged by units can be paid from channels alone: accept Session only")]
    UnitsAtOnce(String),
    /// It fits no number.
    #[error(
        "{0}: the most that an answer costs is above all amounts: lower the price or the number of units"
    )]
    Dear(String),
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
    /// What is sold at a path, by these methods or, where none is named, by all.
    pub fn sold(methods: &[Method], path: &str, price: Price) -> Self {
        Self {
            path: path.to_owned(),
            methods: methods.to_vec(),
            price: Some(price),
        }
    }

    /// What is passed on as it is, by all methods.
    pub fn free(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            methods: Vec::new(),
            price: None,
        }
    }

    /// Whether requests can have this path, and its price can be charged.
    ///
    /// # Errors
    /// [`RouteFault`].
    pub fn must_fit(&self) -> Result<(), RouteFault> {
        let exact = self.path.strip_suffix('*').unwrap_or(&self.path);
        let is_pattern = exact.len() < self.path.len();
        if !is_plain(exact) || exact.contains('*') || (is_pattern && !exact.ends_with('/')) {
            return Err(RouteFault::Path(self.path.clone()));
        }
        self.price
            .as_ref()
            .map_or(Ok(()), |price| price.must_fit(&self.path))
    }

    /// What a challenge of this route is bound to. Two routes of one path have different methods, and may have
    /// different prices (threat V2).
    pub fn name(&self) -> String {
        let methods: Vec<&str> = self.methods.iter().map(Method::as_str).collect();
        let meter = match self.price.as_ref().map(|price| price.meter) {
            Some(Meter::Event) => " by the event".to_owned(),
            // What a unit costs follows from what was asked for: a challenge for another number of them is another's.
            Some(Meter::Units { max }) => format!(" by up to {max} units"),
            Some(Meter::Request) | None => String::new(),
        };
        format!("{} {}{meter}", methods.join(","), self.path)
    }

    /// The most units that one answer uses, where it is sold by units.
    pub fn units_max(&self) -> Option<u64> {
        match self.price.as_ref()?.meter {
            Meter::Units { max } => Some(max.get()),
            Meter::Request | Meter::Event => None,
        }
    }

    /// When a delivery is charged.
    pub fn charge_on(&self) -> ChargeOn {
        self.price
            .as_ref()
            .map_or(ChargeOn::default(), |price| price.charge_on)
    }

    /// Whether the route serves this method.
    pub fn serves(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }

    /// Whether the path is this paid route's but for its case or a slash at its end.
    fn is_nearly(&self, path: &str) -> bool {
        let trimmed = |path: &str| path.trim_end_matches('/').to_ascii_lowercase();
        let same = match self.path.strip_suffix('*') {
            Some(prefix) => {
                trimmed(path).starts_with(&prefix.to_ascii_lowercase()) || trimmed(path) == trimmed(prefix)
            }
            None => trimmed(path) == trimmed(&self.path),
        };
        self.price.is_some() && same && !self.fits_path(path)
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
    /// The route of a request: the first that serves it.
    ///
    /// A path with a second reading fits none: an upstream that decodes, folds case or trims it would serve another
    /// route's content at this route's price. So a path must be plain ([`is_plain`]), and where it differs from an
    /// earlier paid route only in case or in a slash at its end, the later routes are not looked at.
    pub fn find(&self, method: &Method, path: &str) -> Option<&Route> {
        let mut fitting = self.fitting(path)?;
        fitting.find(|route| route.serves(method))
    }

    /// The route at whose URL a channel is managed: the first paid one of the path, whatever methods it serves.
    pub fn find_paid(&self, path: &str) -> Option<&Route> {
        self.fitting(path)?.find(|route| route.price.is_some())
    }

    /// The paid route of the path to which a challenge is bound by its name.
    pub fn find_named(&self, path: &str, name: &str) -> Option<&Route> {
        self.fitting(path)?
            .find(|route| route.price.is_some() && route.name() == name)
    }

    fn fitting(&self, path: &str) -> Option<impl Iterator<Item = &Route>> {
        if !is_plain(path) {
            return None;
        }
        let reach = self.0.iter().take_while(move |route| !route.is_nearly(path));
        Some(reach.filter(move |route| route.fits_path(path)))
    }
}

/// Whether every HTTP server reads the path the same way: no escape of a character that needs none, none that hides a
/// separator, no backslash, no parameter, no dot segment, no empty one.
fn is_plain(path: &str) -> bool {
    let Some(inner) = path.strip_prefix('/') else {
        return false;
    };
    let segments = inner.strip_suffix('/').unwrap_or(inner);
    let dots = segments.split('/').any(|part| matches!(part, "." | ".."));
    let empty = !segments.is_empty() && segments.split('/').any(str::is_empty);
    !dots && !empty && has_plain_bytes(path.as_bytes())
}

/// Unreserved and harmless bytes as they are; escapes only of bytes outside ASCII.
fn has_plain_bytes(mut path: &[u8]) -> bool {
    while let Some((&byte, rest)) = path.split_first() {
        path = match byte {
            b'%' => match rest {
                [high @ (b'8'..=b'9' | b'A'..=b'F' | b'a'..=b'f'), low, rest @ ..]
                    if low.is_ascii_hexdigit() && *high != b'%' =>
                {
                    rest
                }
                _ => return false,
            },
            b'/' | b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'(' | b')' | b'*' | b'+' | b','
            | b'=' | b':' | b'@' => rest,
            byte if byte.is_ascii_alphanumeric() => rest,
            _ => return false,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::Amount;
    use weir_protocol::Intent;

    fn price() -> Price {
        Price {
            accept: vec![Intent::Session],
            per_unit: Amount::new(1),
            unit: "request".into(),
            suggested_deposit: None,
            voucher_delta_min: Amount::ZERO,
            charge_on: ChargeOn::Success,
            meter: Meter::Request,
            bind_body: false,
            charge_challenge_seconds: CHALLENGE_SECONDS,
            description: None,
        }
    }

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
        let paid = |path: &str| Route {
            path: path.into(),
            methods: Vec::new(),
            price: Some(price()),
        };
        let free = Route {
            path: "/*".into(),
            methods: Vec::new(),
            price: None,
        };
        let routes = Routes(vec![paid("/v1/answer"), paid("/deep/*"), free]);
        for path in [
            "/v1/%61nswer",
            "/v1/../v1/answer",
            "/public/..\\v1\\answer",
            "/v1%2fanswer",
            "/v1/%2e/answer",
            "/v1//answer",
            "//v1/answer",
            "/v1/answer/",
            "/V1/Answer",
            "/v1/answer;x",
            "/v1/answer%00",
            "/v1/answer%",
            "/DEEP/x",
            "/deep",
            "/x\"y",
        ] {
            assert!(routes.find(&Method::GET, path).is_none(), "{path}");
            assert!(routes.find_paid(path).is_none(), "{path}");
        }
        for (path, is_paid) in [
            ("/v1/answer", true),
            ("/deep/x", true),
            ("/v1/caf%C3%A9", false),
            ("/", false),
        ] {
            let route = routes.find(&Method::GET, path).unwrap();
            assert_eq!(route.price.is_some(), is_paid, "{path}");
        }
    }

    #[test]
    fn channels_are_managed_at_every_paid_url() {
        let route = |path: &str, price| Route {
            path: path.into(),
            methods: vec![Method::GET],
            price,
        };
        let routes = Routes(vec![route("/paid", Some(price())), route("/*", None)]);
        assert!(
            routes
                .find(&Method::GET, "/paid")
                .is_some_and(|route| route.price.is_some())
        );
        assert!(
            routes.find(&Method::POST, "/paid").is_none(),
            "a method that is not served is not found"
        );
        assert_eq!(
            routes.find_paid("/paid").map(|route| route.path.as_str()),
            Some("/paid")
        );
        assert!(routes.find_paid("/free").is_none());
        assert!(routes.find_named("/paid", "GET /paid").is_some());
        for (path, name) in [
            ("/paid", "POST /paid"),
            ("/other", "GET /paid"),
            ("/other", "GET /*"),
        ] {
            assert!(routes.find_named(path, name).is_none(), "{path} {name}");
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

    #[test]
    fn what_cannot_be_sold_is_refused_before_it_is_offered() {
        let units = || price().up_to(7);
        let sold = |path: &str, price: Price| Route::sold(&[Method::GET], path, price).must_fit();
        assert_eq!(sold("/v1/answer", units()), Ok(()));
        assert_eq!(sold("/v1/*", price()), Ok(()));
        let always = Price {
            charge_on: ChargeOn::Always,
            ..units()
        };
        let at_once = Price {
            accept: vec![Intent::Session, Intent::Charge],
            ..units()
        };
        let dear = Price {
            per_unit: Amount::new(u128::MAX / 6),
            ..units()
        };
        let late = Price {
            charge_challenge_seconds: CHALLENGE_SECONDS + 1,
            ..price()
        };
        assert_eq!(sold("/a", late), Err(RouteFault::Lifetime("/a".into())));
        assert_eq!(sold("/a", always), Err(RouteFault::UnitsBefore("/a".into())));
        assert_eq!(sold("/a", at_once), Err(RouteFault::UnitsAtOnce("/a".into())));
        assert_eq!(sold("/a", dear.clone()), Err(RouteFault::Dear("/a".into())));
        assert_eq!(dear.most(), Amount::new(u128::MAX), "which nobody can pay");
        for path in ["a", "/a*", "/*/a", "/{id}", "/a b", "/../a", "/%61"] {
            assert_eq!(sold(path, price()), Err(RouteFault::Path(path.into())), "{path}");
        }
    }

    #[test]
    fn threat_v2_a_challenge_for_so_many_units_is_for_no_other_number() {
        let sold = |price: Price| Route::sold(&[Method::GET], "/words", price);
        let names = [
            sold(price()).name(),
            sold(price().up_to(1)).name(),
            sold(price().up_to(10)).name(),
            sold(price().by_the_event()).name(),
        ];
        for (at, name) in names.iter().enumerate() {
            assert!(!names[at + 1..].contains(name), "{name}");
        }
        assert_eq!(price().up_to(10).most(), Amount::new(10));
        assert_eq!(sold(price().up_to(0)).units_max(), Some(1), "one at least");
    }
}
