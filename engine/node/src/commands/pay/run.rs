//! One run of `weir pay`: its requests, and their end by Ctrl-C.

use super::bill::{Before, Bill, answer_json, print_closed, refusal, unanswered_json};
use super::{note, print_body};
use crate::cli::EXIT_INTERRUPTED;
use crate::commands::Failure;
use crate::commands::channels::short;
use crate::commands::payer::Again;
use crate::shell::Quoted;
use crate::table::Output;
use core::time::Duration;
use reqwest::header::HeaderMap;
use reqwest::{Method, Url};
use serde_json::json;
use tokio::signal::ctrl_c;
use tokio::sync::watch;
use weir_client::{Error, PaidStream, Payer, StreamEvent};
use weir_core::ChannelId;

/// How long a server is asked after Ctrl-C what an answer cost. A second Ctrl-C waits for nothing.
const RECKONING_SECONDS_MAX: u64 = 10;

/// Hears of Ctrl-C.
#[derive(Debug)]
pub(super) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Listens from now on. The second Ctrl-C ends the process at once: what was agreed to is on disk.
    pub(super) async fn listen() -> Self {
        let (tell, heard) = watch::channel(false);
        let mut next = Box::pin(ctrl_c());
        // It listens from its first poll on, which must not wait until the task runs: what is sent meanwhile would end
        // with the process, and without a word.
        tokio::select! {
            biased;
            _ = &mut next => next = Box::pin(ctrl_c()),
            () = core::future::ready(()) => {}
        }
        tokio::spawn(async move {
            while next.await.is_ok() {
                if tell.send_replace(true) {
                    std::process::exit(EXIT_INTERRUPTED.into());
                }
                next = Box::pin(ctrl_c());
            }
            // It cannot be heard. The sender stays: without it every wait would end as if it had been.
            core::future::pending::<()>().await;
        });
        Self(heard)
    }

    /// Does work until Ctrl-C: `None` then.
    async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut heard = self.0.clone();
        tokio::select! {
            biased;
            _ = heard.wait_for(|heard| *heard) => None,
            done = work => Some(done),
        }
    }
}

/// What is requested, each time.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) url: &'a str,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// A payer at work.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) payer: Payer,
    pub(super) again: Again,
    pub(super) interrupt: Interrupt,
    pub(super) output: Output,
}

impl Run {
    /// Makes the request once, prints its answer and puts it on the bill.
    pub(super) async fn buy(
        &self,
        request: &Request<'_>,
        bill: &mut Bill,
        more: bool,
    ) -> Result<(), Failure> {
        let before = Before::of(&self.payer);
        let (method, headers) = (request.method.clone(), request.headers.clone());
        let sending = self
            .payer
            .stream_request(method, request.url, headers, request.body.clone());
        let Some(sent) = self.interrupt.or(sending).await else {
            let unanswered = Bill::unanswered(&before, &self.payer);
            if self.output.json {
                self.output.json(&unanswered_json(&unanswered));
            }
            bill.join(unanswered);
            return Err(Failure::Interrupted);
        };
        let mut answer = sent.map_err(|error| self.again.explain(error))?;
        let mut body = Vec::new();
        let read = self.interrupt.or(self.read(&mut answer, &mut body)).await;
        let read = match read {
            Some(read) => read.map_err(|error| self.again.explain(error)),
            None => self.stop(&mut answer).await,
        };
        bill.add(&answer);
        if self.output.json {
            self.output.json(&answer_json(&answer, &body, read.is_ok()));
        } else if !answer.is_events() {
            print_body(&body, more);
        }
        read?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(Failure::failed(refusal(status))),
        }
    }

    /// Reads an answer: for people each event of a stream is printed as it comes, for machines all of it is kept, also
    /// what came before it broke off.
    async fn read(&self, answer: &mut PaidStream, body: &mut Vec<u8>) -> Result<(), Error> {
        if !answer.is_events() {
            *body = answer.body().await?;
            return Ok(());
        }
        while let Some(event) = answer.next().await {
            match event? {
                StreamEvent::Message(event) if self.output.json => body.extend(event.bytes()),
                StreamEvent::Message(event) => print_body(event.bytes(), false),
                StreamEvent::Authorised(_) | StreamEvent::Receipt(_) => {}
            }
        }
        Ok(())
    }

    /// Ends an answer because of Ctrl-C.
    async fn stop(&self, answer: &mut PaidStream) -> Result<(), Failure> {
        let stopped = answer.stop(Duration::from_secs(RECKONING_SECONDS_MAX)).await;
        stopped.map_err(|error| self.again.explain(error))?;
        Err(Failure::Interrupted)
    }

    /// Closes the channel of this server.
    pub(super) async fn close(&self, channel: ChannelId, url: &str) -> Result<(), Failure> {
        let Some(closed) = self.interrupt.or(self.payer.close(url)).await else {
            self.tell_open(channel, url);
            return Err(Failure::Interrupted);
        };
        let closed = closed.map_err(|error| self.again.explain(error))?;
        print_closed(&closed, &self.again, self.output);
        Ok(())
    }

    /// Says that Ctrl-C came before the close, and how to close.
    pub(super) fn tell_open(&self, channel: ChannelId, url: &str) {
        let command = self
            .again
            .payer(format_args!("close {}", Quoted(&without_secrets(url))));
        if self.output.json {
            let channel = channel.to_string();
            return self
                .output
                .json(&json!({ "channel": channel, "closed": false, "next": command }));
        }
        note(&format!(
            "channel {} was not seen closed; to close it, run: {command}",
            short(&channel.to_string()),
        ));
    }
}

/// A URL of the same server and place, without what may be secret in it (threat K1).
fn without_secrets(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else {
        return String::new();
    };
    url.set_query(None);
    url.set_fragment(None);
    // Neither can fail where there is a host, and a URL without one was refused before.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}
