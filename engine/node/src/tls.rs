//! TLS on the payers' listener: a certificate that can be replaced while connections are open.

use crate::keys::{self, KeyError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

/// How long a handshake may take.
pub const HANDSHAKE_SECONDS_MAX: u64 = 10;
/// What is spoken inside, the favourite first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Where the certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain in PEM, the server's own certificate first.
    pub cert: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
}

/// Why a certificate cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// The certificate's file cannot be read.
    #[error("{file}: {why}")]
    Certificate {
        /// The file.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// The key's file cannot be read, or others may read it.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The key's file holds no key.
    #[error("{0}: holds no private key in PEM (PKCS#8, PKCS#1 or SEC1)")]
    NotAKey(PathBuf),
    /// The two do not fit together.
    #[error("{cert} and {key}: {why}", cert = files.cert.display(), key = files.key.display())]
    Unfit {
        /// The files.
        files: TlsFiles,
        /// Why.
        why: rustls::Error,
    },
}

impl TlsFault {
    /// The configuration's key whose file is at fault.
    pub const fn config_key(&self) -> &'static str {
        match self {
            Self::Certificate { .. } | Self::Unfit { .. } => "server.tls_cert_file",
            Self::Key(_) | Self::NotAKey(_) => "server.tls_key_file",
        }
    }
}

impl TlsFiles {
    /// Reads both, and checks that they belong together.
    ///
    /// # Errors
    /// [`TlsFault`]; no part of the key is in it.
    pub fn read(&self) -> Result<Arc<ServerConfig>, TlsFault> {
        let chain = chain(&self.cert)?;
        let key = keys::read_private(&self.key)?;
        let key =
            PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| TlsFault::NotAKey(self.key.clone()))?;
        let unfit = |why| TlsFault::Unfit {
            files: self.clone(),
            why,
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unfit)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(unfit)?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Arc::new(config))
    }
}

fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let fault = |why: String| TlsFault::Certificate {
        file: file.to_owned(),
        why,
    };
    let text = std::fs::read(file).map_err(|error| fault(error.to_string()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|error| fault(format!("is not PEM: {error}")))?;
    if chain.is_empty() {
        return Err(fault("holds no certificate in PEM".to_owned()));
    }
    Ok(chain)
}

/// TLS as the listener speaks it. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Tls {
    config: Arc<RwLock<Arc<ServerConfig>>>,
}

impl Tls {
    /// TLS with a certificate that was read.
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self {
            config: Arc::new(RwLock::new(config)),
        }
    }

    /// Serves another certificate from the next connection on.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// Shakes hands; `None` when that fails or takes too long.
    pub async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner));
        // Connections are bounded by the listener. Handshakes are not besides: whoever says nothing would hold the
        // place of somebody who does.
        let handshake = TlsAcceptor::from(config).accept(stream);
        tokio::time::timeout(Duration::from_secs(HANDSHAKE_SECONDS_MAX), handshake)
            .await
            .ok()?
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
        let file = folder.join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        file
    }

    #[test]
    fn each_fault_names_its_file_and_reason() {
        let folder = tempfile::tempdir().unwrap();
        let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (one, other) = (made(), made());
        let key = one.signing_key.serialize_pem();
        let files = TlsFiles {
            cert: written(folder.path(), "cert.pem", &one.cert.pem()),
            key: written(folder.path(), "key.pem", &key),
        };
        assert_eq!(files.read().unwrap().alpn_protocols[0], b"h2");
        let said = |cert: &Path, key: &Path| {
            let files = TlsFiles {
                cert: cert.to_owned(),
                key: key.to_owned(),
            };
            let fault = files.read().unwrap_err();
            (fault.config_key(), fault.to_string())
        };
        let missing = folder.path().join("missing.pem");
        let no_pem = written(folder.path(), "no.pem", "hello");
        let others = written(folder.path(), "others.pem", &other.signing_key.serialize_pem());
        let exposed = written(folder.path(), "exposed.pem", &key);
        std::fs::set_permissions(&exposed, std::fs::Permissions::from_mode(0o644)).unwrap();
        for (cert, key, config_key, why) in [
            (&missing, &files.key, "server.tls_cert_file", "missing.pem"),
            (&no_pem, &files.key, "server.tls_cert_file", "no certificate"),
            (&files.cert, &missing, "server.tls_key_file", "missing.pem"),
            (&files.cert, &no_pem, "server.tls_key_file", "no private key"),
            (&files.cert, &exposed, "server.tls_key_file", "chmod 600"),
            (&files.cert, &others, "server.tls_cert_file", "others.pem"),
        ] {
            let (named, said) = said(cert, key);
            assert_eq!(named, config_key, "{said}");
            assert!(said.contains(why), "{said}");
            assert!(!said.contains("BEGIN"), "threat K1: {said}");
        }
    }
}
