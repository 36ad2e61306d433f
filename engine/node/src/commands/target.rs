//! Where the daemon is, as the command line, the configuration or the default say.

use super::Failure;
use super::operator_client::OperatorClient;
use crate::config::{self, Config, UpstreamUrl, limits};
use crate::keys;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Where the daemon is.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Daemon")]
pub struct Target {
    /// The operator's API; default: as in the configuration, or else http://127.0.0.1:8403
    #[arg(long, value_name = "URL", global = true)]
    pub operator: Option<UpstreamUrl>,
    /// A file with the API's bearer token; default: as in the configuration
    #[arg(long, value_name = "FILE", global = true)]
    pub operator_token_file: Option<PathBuf>,
    /// The daemon's configuration; default: weir.toml, where there is one and --operator is not given
    #[arg(short, long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
}

impl Target {
    /// The configuration, when one is named or stands in the working directory.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read_config(&self) -> Result<Option<Config>, Failure> {
        let here = Path::new(config::FILE);
        let file = match (&self.config, &self.operator) {
            (Some(file), _) => file.as_path(),
            (None, None) if here.is_file() => here,
            _ => return Ok(None),
        };
        Ok(Some(Config::read(file)?))
    }

    /// The client.
    ///
    /// # Errors
    /// The address or the token can't be used.
    pub fn client(&self, config: Option<&Config>) -> Result<OperatorClient, Failure> {
        let base = match (&self.operator, config) {
            (Some(url), _) => url.as_str().to_owned(),
            (None, Some(config)) => url_of(config.operator.listen)?,
            (None, None) => url_of(limits::OPERATOR_LISTEN)?,
        };
        let token = match (&self.operator_token_file, config) {
            (Some(file), _) => {
                Some(keys::token_from_file(file).map_err(|error| Failure::Usage(error.to_string()))?)
            }
            (None, Some(config)) => config.operator_token()?,
            (None, None) => None,
        };
        OperatorClient::new(base, token)
    }
}

/// Where a listener is reached from this machine.
fn url_of(listen: SocketAddr) -> Result<String, Failure> {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    match listen.port() {
        0 => Err(Failure::Usage(
            "operator.listen has port 0, so the daemon chose one itself and printed it; name it with --operator"
                .to_owned(),
        )),
        port => Ok(format!("http://{}", SocketAddr::new(ip, port))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_is_found_by_the_address_it_listens_on() {
        for (listen, url) in [
            ("127.0.0.1:8403", "http://127.0.0.1:8403"),
            ("0.0.0.0:9", "http://127.0.0.1:9"),
            ("[::]:9", "http://[::1]:9"),
            ("10.1.2.3:9", "http://10.1.2.3:9"),
        ] {
            assert_eq!(url_of(listen.parse().unwrap()).unwrap(), url);
        }
        assert!(matches!(
            url_of("127.0.0.1:0".parse().unwrap()),
            Err(Failure::Usage(_))
        ));
    }
}
