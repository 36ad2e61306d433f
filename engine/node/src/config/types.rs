//! Values of the configuration that carry a rule.

use core::fmt;
use core::str::FromStr;
use serde::{Serialize, Serializer};
use url::Url;

/// Why a string is not such a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL at all.
    #[error("is not a URL such as http://127.0.0.1:9000")]
    Malformed,
    /// Neither `http` nor `https`.
    #[error("is not an http:// or https:// URL")]
    Scheme,
    /// A user name or a password, which would end up in logs.
    #[error("must not carry a user name or a password")]
    Credentials,
    /// A query or a fragment, which the request brings itself.
    #[error("must not carry a query or a fragment")]
    Query,
}

fn web_url(text: &str) -> Result<Url, UrlError> {
    let url = Url::parse(text).map_err(|_| UrlError::Malformed)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(UrlError::Scheme);
    }
    if url.host().is_none() {
        Err(UrlError::Malformed)
    } else {
        Ok(url)
    }
}

/// The base URL of the service behind the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamUrl(Url);

impl UpstreamUrl {
    /// The URL, without a slash at its end: a request's path is appended as it is.
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }
}

impl Serialize for UpstreamUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl FromStr for UpstreamUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let url = web_url(text)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::Credentials);
        }
        if url.query().is_some() || url.fragment().is_some() {
            Err(UrlError::Query)
        } else {
            Ok(Self(url))
        }
    }
}

/// The URL of a chain's RPC. Providers put their keys into its path or query, so only scheme and host are ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct RpcUrl(Url);

impl RpcUrl {
    /// The whole URL, for the client that calls it.
    pub fn expose(&self) -> &Url {
        &self.0
    }

    /// Whether nothing of it is hidden where it is shown.
    pub fn is_shown_whole(&self) -> bool {
        matches!(self.0.path(), "" | "/")
            && self.0.query().is_none()
            && self.0.username().is_empty()
            && self.0.password().is_none()
    }
}

impl FromStr for RpcUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        web_url(text).map(Self)
    }
}

impl fmt::Display for RpcUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}",
            self.0.scheme(),
            self.0.host_str().unwrap_or_default()
        )?;
        if let Some(port) = self.0.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(if self.is_shown_whole() { "" } else { "/…" })
    }
}

impl fmt::Debug for RpcUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RpcUrl({self})")
    }
}

impl Serialize for RpcUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// When a route charges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeOn {
    /// When the upstream answers with success and its body arrives whole.
    #[default]
    Success,
    /// When the upstream's first byte arrives, whatever its status.
    FirstByte,
    /// As soon as the request is handed to the upstream.
    Always,
}

impl FromStr for ChargeOn {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "success" => Ok(Self::Success),
            "first_byte" => Ok(Self::FirstByte),
            "always" => Ok(Self::Always),
            _ => Err("is not one of success, first_byte, always"),
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Meter {
    /// One unit a request.
    #[default]
    Request,
    /// One unit an event of a stream.
    Event,
}

impl FromStr for Meter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "request" => Ok(Self::Request),
            "event" => Ok(Self::Event),
            _ => Err("is not one of request, event"),
        }
    }
}

/// What a browser page's origin may be: `*`, or `https://shop.example`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Origin(String);

impl Origin {
    /// As it is compared with an `Origin` header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let bare = || web_url(text).is_ok_and(|url| url.origin().ascii_serialization() == text);
        if text == "*" || !text.contains('*') && bare() {
            Ok(Self(text.to_owned()))
        } else {
            Err("is not an origin: * or scheme://host[:port] without a path")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rpc_url_never_shows_its_key() {
        for (text, shown) in [
            ("https://rpc.example/v2/sup3rsecret", "https://rpc.example/…"),
            ("https://rpc.example/?key=sup3rsecret", "https://rpc.example/…"),
            ("https://user:sup3rsecret@rpc.example", "https://rpc.example/…"),
            ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
        ] {
            let url: RpcUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}{}", serde_json::to_string(&url).unwrap()).contains("sup3r"));
            assert_eq!(
                url.expose().as_str().trim_end_matches('/'),
                text.trim_end_matches('/')
            );
        }
    }

    #[test]
    fn origins_have_no_path() {
        for good in ["*", "https://shop.example", "http://localhost:5173"] {
            assert_eq!(good.parse::<Origin>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "shop.example",
            "https://shop.example/",
            "https://shop.example/x",
            "ftp://a",
            "https://*",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad:?}");
        }
    }
}
