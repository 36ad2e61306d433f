//! A daemon with one customer, of whom every wrong thing can be tried.

use crate::daemon::Daemon;
use crate::service::ANSWER;
use crate::wallet::{Said, Wallet};
use crate::world::{PRICE, Settings, World, route, total};
use reqwest::Method;
use serde_json::Value;
use weir_protocol::problem::PROBLEMS;

/// A daemon with a wallet that has bought one answer: accepted and spent are one price.
pub(crate) struct Counter {
    pub(crate) world: World,
    pub(crate) daemon: Daemon,
    pub(crate) wallet: Wallet,
    pub(crate) url: String,
}

impl Counter {
    pub(crate) async fn open() -> Self {
        let world = World::start(2).await;
        let routes = [
            route("/v1/steps", 10, "min_voucher_delta = \"50\"\n"),
            route("/v1/dear", PRICE * 50, "methods = [\"POST\"]\n"),
            route("/v1/dear", PRICE, "methods = [\"GET\"]\n"),
        ]
        .concat();
        let settings = Settings {
            routes: &routes,
            ..world.settings("counter")
        };
        let daemon = Daemon::start(&world.config(&settings)).await;
        let wallet = Wallet::open(&world, &daemon, 0).await;
        let url = format!("{}/v1/answer", daemon.gateway);
        Self {
            world,
            daemon,
            wallet,
            url,
        }
    }

    /// What the operator sees: nothing of it may change by a refusal.
    pub(crate) async fn books(&self) -> [u128; 4] {
        let view = self.daemon.quiet(self.wallet.channel).await;
        assert_eq!(
            self.daemon.channels().await.len(),
            1,
            "one channel, whatever was sent"
        );
        [
            view.accepted.base_units(),
            view.spent.base_units(),
            view.credited.base_units(),
            view.settled.base_units(),
        ]
    }

    /// Sends a credential that must be refused like this, and change nothing.
    pub(crate) async fn refused(
        &self,
        name: &str,
        authorization: &str,
        (status, problem): (u16, &str),
    ) -> Said {
        let (books, hits) = (self.books().await, self.world.service.hits());
        let said = self
            .wallet
            .send(Method::GET, &self.url, Some(authorization))
            .await;
        assert_eq!(
            (said.status, said.problem().as_str()),
            (status, problem),
            "{name}: {said:?}"
        );
        said.must_be_a_no(name);
        must_be_in_the_table(status, problem);
        assert_eq!(self.books().await, books, "{name}");
        assert_eq!(self.world.service.hits(), hits, "{name}");
        said
    }

    /// Does it with this payload and a fresh challenge.
    pub(crate) async fn refused_payload(&self, name: &str, payload: &Value, expected: (u16, &str)) -> Said {
        let authorization = self.wallet.credential(Method::GET, &self.url, payload).await;
        self.refused(name, &authorization, expected).await
    }

    /// The next answer can still be bought: nobody was locked out by what was refused.
    pub(crate) async fn still_sells(&self) {
        let [accepted, spent, ..] = self.books().await;
        let next = accepted.max(spent + PRICE);
        let said = self
            .wallet
            .pay(Method::GET, &self.url, &self.wallet.voucher(next))
            .await;
        assert_eq!((said.status, said.body.as_str()), (200, ANSWER), "{said:?}");
        assert_eq!(said.receipt().unwrap().spent, total(spent + PRICE));
    }
}

/// What is answered is what `docs/problems.md` says: the status of the problem's row, or one that its text names.
fn must_be_in_the_table(status: u16, problem: &str) {
    let row = PROBLEMS
        .iter()
        .find(|row| row.uri.rsplit('/').next() == Some(problem));
    let Some(row) = row else {
        panic!("{problem} is in no row of the table");
    };
    assert!(
        row.status == status || row.when.contains(&status.to_string()),
        "{problem} comes with {status}, which its row does not say"
    );
}
