//! Opens the files that the configuration names.

use super::{Config, ConfigErrors, FUNDING_KEY_VARIABLE, PAYEE_KEY_VARIABLE, Problem};
use crate::keys::{self, KeyError, SecretKey};
use crate::tls::{TlsFault, TlsFiles};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls;

/// Where an account's key is looked for.
struct AccountKey<'a> {
    file: Option<&'a Path>,
    /// Where the configuration names the file.
    key: &'static str,
    /// The environment's variable that has the key where no file is named.
    variable: &'static str,
    /// A file name for who has none yet.
    example: &'static str,
}

impl Config {
    /// The payee's key, from the configured file or else from the environment.
    ///
    /// # Errors
    /// It is not there, is not a key, or others may read it.
    pub fn payee_key(&self) -> Result<SecretKey, ConfigErrors> {
        self.account_key(&AccountKey {
            file: self.chain.payee_key_file.as_deref(),
            key: "chain.payee_key_file",
            variable: PAYEE_KEY_VARIABLE,
            example: "payee-key",
        })
    }

    /// The key that pays for pulled deposits, where some are pulled.
    ///
    /// # Errors
    /// It is not there, is not a key, is the payee's, or others may read it.
    pub fn funding_key(&self) -> Result<Option<SecretKey>, ConfigErrors> {
        let Some(funding) = &self.funding else {
            return Ok(None);
        };
        let key = self.account_key(&AccountKey {
            file: funding.key_file.as_deref(),
            key: "funding.key_file",
            variable: FUNDING_KEY_VARIABLE,
            example: "gas-key",
        })?;
        if self
            .payee_key()
            .is_ok_and(|payee| payee.address() == key.address())
        {
            let why = "is the payee's own key: gas is paid by a key of its own, so that it never stands in the way of a settlement";
            return Err(ConfigErrors::one(&self.file, "funding.key_file", why));
        }
        Ok(Some(key))
    }

    fn account_key(&self, at: &AccountKey<'_>) -> Result<SecretKey, ConfigErrors> {
        let read = at
            .file
            .map_or_else(|| SecretKey::from_env(at.variable), SecretKey::from_file);
        read.map_err(|error| match error {
            KeyError::NotSet(variable) => {
                let (name, example) = (at.key.rsplit('.').next().unwrap_or(at.key), at.example);
                ConfigErrors::one(
                    &self.file,
                    at.key,
                    format_args!(
                        "is missing, and the environment variable {variable} is not set either; to make a key: \
                         (umask 077; openssl rand -hex 32 > {example}), and write {name} = \"{example}\""
                    ),
                )
            }
            error => self.blame(at.key, error),
        })
    }

    /// The secret that binds challenges; made now if it is the default file and there is none yet.
    ///
    /// # Errors
    /// It can't be read or made, is too short, or others may read it.
    pub fn challenge_secret(&self) -> Result<Vec<u8>, ConfigErrors> {
        let file = &self.server.secret_file;
        let secret = if self.server.secret_file_is_default {
            keys::secret_or_new(file)
        } else {
            keys::secret_from_file(file)
        };
        secret.map_err(|error| self.blame("server.secret_file", error))
    }

    /// The secret before the current one.
    ///
    /// # Errors
    /// It can't be read, is too short, or others may read it.
    pub fn previous_challenge_secret(&self) -> Result<Option<Vec<u8>>, ConfigErrors> {
        let read = |file: &std::path::PathBuf| keys::old_secret_from_file(file);
        let secret = self.server.previous_secret_file.as_ref().map(read).transpose();
        secret.map_err(|error| self.blame("server.previous_secret_file", error))
    }

    /// The bearer token of the operator's API.
    ///
    /// # Errors
    /// It can't be read, is no token, or others may read it.
    pub fn operator_token(&self) -> Result<Option<String>, ConfigErrors> {
        let read = |file: &std::path::PathBuf| keys::token_from_file(file);
        let token = self.operator.token_file.as_ref().map(read).transpose();
        token.map_err(|error| self.blame("operator.token_file", error))
    }

    /// The bearer token of services that ask before they answer.
    ///
    /// # Errors
    /// As [`Config::operator_token`].
    pub fn charge_token(&self) -> Result<Option<String>, ConfigErrors> {
        let read = |file: &std::path::PathBuf| keys::token_from_file(file);
        let token = self.operator.charge_token_file.as_ref().map(read).transpose();
        token.map_err(|error| self.blame("operator.charge_token_file", error))
    }

    /// The certificate that payers are served with.
    ///
    /// # Errors
    /// A file can't be read, holds something else, or others may read the key.
    pub fn tls(&self) -> Result<Option<Arc<rustls::ServerConfig>>, ConfigErrors> {
        let Some(tls) = &self.server.tls else {
            return Ok(None);
        };
        let files = TlsFiles {
            cert: tls.cert_file.clone(),
            key: tls.key_file.clone(),
        };
        let blame = |fault: TlsFault| ConfigErrors::one(&self.file, fault.config_key(), fault);
        files.read().map(Some).map_err(blame)
    }

    /// Opens every file that the configuration names, changes nothing, and gives the payee's key.
    ///
    /// # Errors
    /// All that is wrong with any of them.
    pub fn check_files(&self) -> Result<SecretKey, ConfigErrors> {
        let mut problems = Vec::<Problem>::new();
        let key = self.payee_key();
        if !self.server.secret_file_is_default || exists(&self.server.secret_file) {
            let secret = keys::secret_from_file(&self.server.secret_file);
            problems.extend(
                secret
                    .err()
                    .into_iter()
                    .flat_map(|error| self.blame("server.secret_file", error).0),
            );
        }
        problems.extend(
            self.previous_challenge_secret()
                .err()
                .into_iter()
                .flat_map(|errors| errors.0),
        );
        problems.extend(
            self.operator_token()
                .err()
                .into_iter()
                .flat_map(|errors| errors.0),
        );
        problems.extend(self.charge_token().err().into_iter().flat_map(|errors| errors.0));
        problems.extend(self.funding_key().err().into_iter().flat_map(|errors| errors.0));
        problems.extend(self.tls().err().into_iter().flat_map(|errors| errors.0));
        match key {
            Ok(key) if problems.is_empty() => Ok(key),
            Ok(_) => Err(ConfigErrors(problems)),
            Err(mut errors) => {
                errors.0.extend(problems);
                Err(errors)
            }
        }
    }

    fn blame(&self, key: &str, error: KeyError) -> ConfigErrors {
        ConfigErrors::one(&self.file, key, error)
    }
}

fn exists(file: &Path) -> bool {
    file.try_exists().unwrap_or(true)
}
