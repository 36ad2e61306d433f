//! The client of the operator's API: what is asked of the daemon, and what it answers.

use super::Failure;
use super::channels::pick;
use crate::operator::ChannelView;
use core::time::Duration;
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};
use weir_core::ChannelId;

/// How long a connection to the daemon may take.
const CONNECT_SECONDS_MAX: u64 = 5;
/// How long one answer of the daemon may take.
const ANSWER_SECONDS_MAX: u64 = 60;
/// Pause between two looks at a channel.
const LOOK_PAUSE: Duration = Duration::from_millis(250);

/// Why the daemon did not do it.
#[derive(Debug)]
pub enum Refusal {
    /// Nobody listens there.
    Unreachable(String),
    /// It does not know such a channel.
    NotFound(String),
    /// Anything else.
    Other(Failure),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unreachable(why) => Self::failed(format_args!(
                "{why}; is `weir serve` running? --operator or --config says where"
            )),
            Refusal::NotFound(why) => Self::Failed(why),
            Refusal::Other(failure) => failure,
        }
    }
}

impl Refusal {
    /// The failure of a command that the daemon alone can do, because it keeps the payee's nonces.
    pub fn of_daemons_work(self) -> Failure {
        match self {
            Self::Unreachable(why) => Failure::failed(format_args!(
                "{why}, and nothing was done: only the running daemon sends transactions. Start it with `weir serve`, \
                 then run this again; --operator or --config says where it is. Without it, `weir channels` reads the \
                 books"
            )),
            other => other.into(),
        }
    }
}

/// Speaks to a daemon.
#[derive(Clone)]
pub struct OperatorClient {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl OperatorClient {
    pub(super) fn new(base: String, token: Option<String>) -> Result<Self, Failure> {
        let url = Url::parse(&base).map_err(Failure::failed)?;
        let local = is_loopback(&url);
        if token.is_some() && url.scheme() == "http" && !local {
            return Err(Failure::Usage(format!(
                "{base}: the operator's token must not travel in plaintext; use https, or a tunnel to a local port"
            )));
        }
        let builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX))
            .timeout(Duration::from_secs(ANSWER_SECONDS_MAX));
        // A proxy is for other machines than this one.
        let builder = if local { builder.no_proxy() } else { builder };
        let http = builder.build().map_err(Failure::failed)?;
        Ok(Self { http, base, token })
    }

    /// All channels.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn channels(&self) -> Result<Vec<ChannelView>, Refusal> {
        self.ask(Method::GET, "/v1/channels").await
    }

    /// One channel.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn channel(&self, id: ChannelId) -> Result<ChannelView, Refusal> {
        self.ask(Method::GET, &format!("/v1/channels/{id}")).await
    }

    /// Asks for a settlement of one channel.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn settle(&self, id: ChannelId) -> Result<ChannelView, Refusal> {
        self.ask(Method::POST, &format!("/v1/channels/{id}/settle")).await
    }

    /// Asks for a settlement of every channel with something to collect.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn settle_all(&self) -> Result<Vec<ChannelView>, Refusal> {
        self.ask(Method::POST, "/v1/settle").await
    }

    /// Asks for the close of one channel.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn close(&self, id: ChannelId) -> Result<ChannelView, Refusal> {
        self.ask(Method::POST, &format!("/v1/channels/{id}/close")).await
    }

    /// The channel that is meant by its id or by the beginning of it.
    ///
    /// # Errors
    /// No channel or more than one is meant, or [`Refusal`].
    pub async fn find(&self, text: &str) -> Result<ChannelId, Refusal> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let known = self.channels().await?.into_iter().map(|view| view.channel_id);
        pick(&known.collect::<Vec<_>>(), text).map_err(Refusal::Other)
    }

    /// Looks at these channels until `done` holds for each, at most this long. Gives how they stand then, and whether
    /// it was reached.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn wait(
        &self,
        channels: &[ChannelView],
        seconds: u64,
        done: impl Fn(&ChannelView, &ChannelView) -> bool,
    ) -> Result<(Vec<ChannelView>, bool), Refusal> {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            let now = match channels {
                [one] => vec![self.channel(parse_id(&one.channel_id)?).await?],
                _ => self.channels().await?,
            };
            let state = |asked: &ChannelView| now.iter().find(|view| view.channel_id == asked.channel_id);
            let reached = channels
                .iter()
                .all(|asked| state(asked).is_some_and(|view| done(asked, view)));
            if reached || Instant::now() >= deadline {
                let seen = channels.iter().filter_map(state).cloned().collect();
                return Ok((seen, reached));
            }
            sleep(LOOK_PAUSE).await;
        }
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, Refusal> {
        let request = self.http.request(method, format!("{}{path}", self.base));
        let answer = self.authorised(request).send().await.map_err(|error| {
            let why = if error.is_timeout() {
                "does not answer"
            } else {
                "cannot be reached"
            };
            Refusal::Unreachable(format!("the daemon's operator API at {} {why}", self.base))
        })?;
        let status = answer.status();
        let body = answer
            .bytes()
            .await
            .map_err(|error| self.other(error.without_url()))?;
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|error| self.other(format_args!("its answer is not the operator API's: {error}")));
        }
        Err(self.refusal(status, &body))
    }

    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> Refusal {
        let said = serde_json::from_slice::<serde_json::Value>(body).ok();
        let said = said.as_ref().and_then(|body| body.get("error")?.as_str());
        match (status, said) {
            (StatusCode::UNAUTHORIZED, _) => self.other(
                "the bearer token is missing or wrong; name its file with --operator-token-file, or the daemon's \
                 configuration with --config",
            ),
            (StatusCode::NOT_FOUND, Some(said)) => {
                Refusal::NotFound(format!("the daemon says: {said}; `weir channels` lists those it knows"))
            }
            (_, Some(said)) => Refusal::Other(Failure::failed(format_args!("the daemon says: {said}"))),
            (status, None) => self.other(format_args!(
                "it answers {status}, which is not the operator API; is it the payers' address instead?"
            )),
        }
    }

    fn other(&self, why: impl core::fmt::Display) -> Refusal {
        Refusal::Other(Failure::failed(format_args!("{}: {why}", self.base)))
    }
}

fn parse_id(text: &str) -> Result<ChannelId, Refusal> {
    text.parse()
        .map_err(|error| Refusal::Other(Failure::failed(format_args!("{text:?}: {error}"))))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::HeaderMap;
    use axum::routing::get;

    #[test]
    fn a_token_does_not_leave_this_machine_in_plaintext() {
        let token = || Some("0123456789abcdef".to_owned());
        assert!(OperatorClient::new("http://10.1.2.3:9".to_owned(), token()).is_err());
        for good in [
            "https://10.1.2.3:9",
            "http://127.0.0.1:9",
            "http://[::1]:9",
            "http://localhost:9",
        ] {
            assert!(OperatorClient::new(good.to_owned(), token()).is_ok(), "{good}");
        }
        assert!(OperatorClient::new("http://10.1.2.3:9".to_owned(), None).is_ok());
    }

    async fn served(router: Router) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    #[tokio::test]
    async fn each_refusal_says_what_to_do() {
        let known = |headers: HeaderMap| async move {
            match headers.get("authorization").map(|value| value.as_bytes()) {
                Some(b"Bearer 0123456789abcdef") => (StatusCode::OK, "[]"),
                Some(_) => (StatusCode::CONFLICT, r#"{"error":"no"}"#),
                None => (StatusCode::UNAUTHORIZED, "the token is missing\n"),
            }
        };
        let gone = || async { (StatusCode::NOT_FOUND, r#"{"error":"unknown"}"#) };
        let routes = Router::new()
            .route("/v1/channels", get(known))
            .route("/v1/channels/{id}", get(gone));
        let url = served(routes).await;
        let client =
            |token: Option<&str>| OperatorClient::new(url.clone(), token.map(str::to_owned)).unwrap();
        assert!(
            client(Some("0123456789abcdef"))
                .channels()
                .await
                .unwrap()
                .is_empty()
        );
        let said = async |token| Failure::from(client(token).channels().await.unwrap_err()).to_string();
        assert!(said(None).await.contains("--operator-token-file"));
        assert!(
            said(Some("another-0123456789"))
                .await
                .contains("the daemon says: no")
        );
        let id = format!("0x{}", "ab".repeat(32)).parse().unwrap();
        assert!(matches!(
            client(None).channel(id).await,
            Err(Refusal::NotFound(_))
        ));
        assert!(matches!(client(None).settle_all().await, Err(Refusal::Other(_))));
    }

    #[tokio::test]
    async fn nobody_there_is_told_apart() {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", free.local_addr().unwrap());
        drop(free);
        let client = OperatorClient::new(url, None).unwrap();
        let refusal = client.channels().await.unwrap_err();
        assert!(matches!(refusal, Refusal::Unreachable(_)));
        assert!(Failure::from(refusal).to_string().contains("weir serve"));
        for refused in [
            client.settle_all().await.unwrap_err(),
            client.find("0xabcd").await.unwrap_err(),
        ] {
            let said = refused.of_daemons_work().to_string();
            assert!(
                said.contains("nothing was done") && said.contains("weir serve"),
                "{said}"
            );
        }
    }
}
