//! Whose channels, on which chain: the options, and the payer that they make.

use super::explain::Again;
use crate::commands::Failure;
use crate::config::RpcUrl;
use crate::keys::SecretKey;
use std::path::PathBuf;
use weir_client::state::StateDir;
use weir_client::{ChannelRecord, HttpOptions, Limits, Payer as Handle, PaymentRecord, StateError};

/// The environment variable that holds the payer's key when no file is named.
pub const KEY_VARIABLE: &str = "WEIR_PAYER_KEY";
/// The environment variable that holds the chain's RPC when no option names it.
pub const RPC_VARIABLE: &str = "WEIR_RPC_URL";

/// Whose channels, on which chain.
#[derive(Debug, Clone, clap::Args)]
pub struct Wallet {
    /// The chain's RPC; default: the environment's WEIR_RPC_URL
    #[arg(long, value_name = "URL", global = true)]
    pub rpc_url: Option<RpcUrl>,
    /// The payer's private key, as hexadecimal digits, mode 0600; default: the environment's WEIR_PAYER_KEY
    #[arg(long, value_name = "FILE", global = true)]
    pub key_file: Option<PathBuf>,
    /// Where channels are written down; default: weir/payer in the user's data directory
    #[arg(long, value_name = "DIR", global = true)]
    pub state_dir: Option<PathBuf>,
    /// Pay over http:// to other machines too; whoever is on the way can read the payments
    #[arg(long, global = true)]
    pub insecure_http: bool,
}

impl Wallet {
    /// The payer's key.
    ///
    /// # Errors
    /// It is not there, is not a key, or others may read it.
    pub fn key(&self) -> Result<SecretKey, Failure> {
        let key = match &self.key_file {
            Some(file) => SecretKey::from_file(file),
            None => SecretKey::from_env(KEY_VARIABLE),
        };
        key.map_err(|error| match error {
            crate::keys::KeyError::NotSet(variable) => Failure::Usage(format!(
                "there is no key: name its file with --key-file, or set {variable}"
            )),
            error => Failure::Usage(error.to_string()),
        })
    }

    fn rpc_url(&self) -> Result<RpcUrl, Failure> {
        if let Some(url) = &self.rpc_url {
            return Ok(url.clone());
        }
        let text = std::env::var(RPC_VARIABLE).map_err(|_| {
            Failure::Usage(format!(
                "there is no RPC: name it with --rpc-url, or set {RPC_VARIABLE}"
            ))
        })?;
        text.parse()
            .map_err(|error| Failure::Usage(format!("{RPC_VARIABLE} {error}")))
    }

    fn state_dir(&self) -> Result<PathBuf, Failure> {
        let chosen = self.state_dir.clone();
        chosen
            .or_else(|| data_home().map(|home| home.join("weir/payer")))
            .ok_or_else(|| {
                Failure::Usage(
                    "neither XDG_DATA_HOME nor HOME is set: name a directory with --state-dir".to_owned(),
                )
            })
    }

    /// These options, for the next command that somebody is told to run. No key and no secret of a URL is in it: where
    /// the RPC's holds one, the command reads it from the environment.
    pub fn again(&self) -> Again {
        let mut again = Again::default();
        if let Some(file) = &self.key_file {
            again.push("--key-file", &file.display());
        }
        if let Some(directory) = &self.state_dir {
            again.push("--state-dir", &directory.display());
        }
        match &self.rpc_url {
            Some(url) if url.is_shown_whole() => again.push("--rpc-url", url),
            // What hides a provider's key could not be copied.
            Some(_) => again.variable("--rpc-url", RPC_VARIABLE),
            None => {}
        }
        if self.insecure_http {
            again.flag("--insecure-http");
        }
        again
    }

    /// The payer, under these limits.
    ///
    /// # Errors
    /// The key or the state directory can't be used. The chain is not asked yet.
    pub async fn payer(&self, limits: Limits, http: HttpOptions) -> Result<Handle, Failure> {
        let (key, rpc_url, state_dir) = (self.key()?, self.rpc_url()?, self.state_dir()?);
        let http = HttpOptions {
            allow_insecure: self.insecure_http,
            ..http
        };
        let payer = Handle::new(
            key.signer().clone(),
            rpc_url.expose().as_str(),
            &state_dir,
            limits,
            http,
        )
        .await;
        let again = self.again();
        payer
            .and_then(Handle::keeping_receipts)
            .map_err(|error| again.explain(error))
    }

    /// What the books hold, read under their lock; the chain is not asked.
    pub(super) fn books(&self) -> Result<Vec<ChannelRecord>, Failure> {
        let mut records = self.look(StateDir::load)?;
        records.sort_by_key(|record| record.channel);
        Ok(records)
    }

    /// Payments for single answers that were not read.
    pub(super) fn payments(&self) -> Result<Vec<PaymentRecord>, Failure> {
        self.look(StateDir::load_payments)
    }

    fn look<T>(&self, read: impl FnOnce(&StateDir) -> Result<Vec<T>, StateError>) -> Result<Vec<T>, Failure> {
        let explain = |error: StateError| self.again().explain(error.into());
        let (directory, payer) = (self.state_dir()?, self.key()?.address());
        // Who only looks leaves nothing behind.
        if !StateDir::is_there(&directory, payer).map_err(explain)? {
            return Ok(Vec::new());
        }
        let state = StateDir::take(&directory, payer).map_err(explain)?;
        read(&state).map_err(explain)
    }
}

fn data_home() -> Option<PathBuf> {
    let absolute = |variable| {
        let path = std::env::var_os(variable).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_only_looks_into_the_books_makes_none() {
        let folder = tempfile::tempdir().unwrap();
        let (key_file, state_dir) = (folder.path().join("key"), folder.path().join("state"));
        let key = crate::keys::SecretKey::from_bytes([7; 32]).unwrap();
        key.save(&key_file).unwrap();
        let wallet = Wallet {
            rpc_url: None,
            key_file: Some(key_file),
            state_dir: Some(state_dir.clone()),
            insecure_http: false,
        };
        assert!(wallet.books().unwrap().is_empty());
        assert!(!state_dir.exists());
        drop(StateDir::take(&state_dir, key.address()).unwrap());
        assert!(StateDir::is_there(&state_dir, key.address()).unwrap());
        assert!(wallet.books().unwrap().is_empty());
    }

    #[test]
    fn threat_k1_the_next_command_takes_a_secret_url_from_the_environment() {
        let again = |url: &str| {
            let wallet = Wallet {
                rpc_url: Some(url.parse().unwrap()),
                key_file: None,
                state_dir: None,
                insecure_http: true,
            };
            wallet.again().to_string()
        };
        let local = " --rpc-url http://127.0.0.1:8545 --insecure-http";
        assert_eq!(again("http://127.0.0.1:8545"), local);
        let secret = r#" --rpc-url "$WEIR_RPC_URL" --insecure-http"#;
        for url in [
            "https://rpc.example/v2/s3same",
            "https://rpc.example/?key=s3same",
            "https://me:s3same@rpc.example",
        ] {
            assert_eq!(again(url), secret);
        }
    }
}
