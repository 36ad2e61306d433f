//! Private keys and other secrets: from files that only their owner can read, or from the environment, never from the
//! command line, where every user of the machine sees them.

use crate::shell::Quoted;
use alloy::signers::local::PrivateKeySigner;
use alloy_primitives::{Address, B256, hex};
use core::fmt;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The longest secret file that is read.
const SECRET_FILE_BYTES_MAX: u64 = 4096;
/// Random bytes of a generated secret.
pub const SECRET_BYTES: usize = 32;
/// The mode of a secret's file: its owner alone may read and write it.
const OWNER_ONLY: u32 = 0o600;

/// Why a secret could not be had. No variant carries any of it.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file could not be opened, read or written.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is no such file.
    #[error("{0}: there is no such file")]
    Missing(PathBuf),
    /// There is no such file, and any random number would do.
    #[error(
        "{0}: there is no such file; to make one: (umask 077; openssl rand -hex {SECRET_BYTES} > {quoted})",
        quoted = quoted(.0)
    )]
    NotMade(PathBuf),
    /// Others than its owner may read or write the file.
    #[error("{file}: others may read it (mode {mode:04o}); run: chmod 600 {quoted}", quoted = quoted(file))]
    Exposed {
        /// The file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is more in it than a secret.
    #[error("{0}: is not a regular file of at most {SECRET_FILE_BYTES_MAX} bytes")]
    NotASecretFile(PathBuf),
    /// What is there is not a private key.
    #[error(
        "{0}: is not a private key: 0x and 64 hexadecimal digits, neither zero nor above the curve's order"
    )]
    NotAKey(String),
    /// What is there is not a secret.
    #[error("{0}: is not a secret: at least {SECRET_BYTES} bytes as hexadecimal digits")]
    NotASecret(PathBuf),
    /// The token is empty or not printable.
    #[error("{0}: is not a token: one line of at least 16 printable ASCII characters")]
    NotAToken(PathBuf),
    /// The environment variable is not set.
    #[error("the environment variable {0} is not set")]
    NotSet(&'static str),
    /// The system gave no random numbers.
    #[error("the system gave no random numbers: {0}")]
    Random(getrandom::Error),
}

/// A private key of secp256k1. Shown as its address only.
#[derive(Clone)]
pub struct SecretKey(PrivateKeySigner);

impl SecretKey {
    /// A new random key.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn generate() -> Result<Self, KeyError> {
        loop {
            // All but a vanishing share of 32-byte strings are keys.
            if let Ok(signer) = PrivateKeySigner::from_bytes(&B256::from(random_bytes()?)) {
                return Ok(Self(signer));
            }
        }
    }

    /// The key in a file of hexadecimal digits.
    ///
    /// # Errors
    /// The file can't be read, others may read it, or it holds no key.
    pub fn from_file(file: &Path) -> Result<Self, KeyError> {
        Self::from_hex(&read_or_make(file)?).ok_or_else(|| KeyError::NotAKey(file.display().to_string()))
    }

    /// The key in an environment variable.
    ///
    /// # Errors
    /// It is not set, or is not a key.
    pub fn from_env(variable: &'static str) -> Result<Self, KeyError> {
        let text = std::env::var(variable).map_err(|_| KeyError::NotSet(variable))?;
        Self::from_hex(&text).ok_or_else(|| KeyError::NotAKey(variable.to_owned()))
    }

    /// The key that 32 bytes are.
    pub fn from_bytes(bytes: [u8; 32]) -> Option<Self> {
        PrivateKeySigner::from_bytes(&B256::from(bytes)).ok().map(Self)
    }

    fn from_hex(text: &str) -> Option<Self> {
        let bytes: [u8; 32] = hex::decode_to_array(text.trim()).ok()?;
        Self::from_bytes(bytes)
    }

    /// Writes the key to a new file that only its owner can read.
    ///
    /// # Errors
    /// There is such a file already, or it can't be written.
    pub fn save(&self, file: &Path) -> Result<(), KeyError> {
        write_private(file, &self.expose_hex())
    }

    /// The address of the key.
    pub fn address(&self) -> Address {
        self.0.address()
    }

    /// What signs with it.
    pub fn signer(&self) -> &PrivateKeySigner {
        &self.0
    }

    /// The key itself, for the keys of a devnet that anybody may know.
    pub fn expose_hex(&self) -> String {
        self.0.to_bytes().to_string()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.address())
    }
}

/// The secret in a file of hexadecimal digits.
///
/// # Errors
/// The file can't be read, others may read it, or it holds too little.
pub fn secret_from_file(file: &Path) -> Result<Vec<u8>, KeyError> {
    old_secret_from_file(file).map_err(or_make)
}

/// The same of a secret that was in use: a new one in its place would be of no use.
///
/// # Errors
/// Those of [`secret_from_file`].
pub fn old_secret_from_file(file: &Path) -> Result<Vec<u8>, KeyError> {
    let bytes = hex::decode(read_private(file)?.trim()).unwrap_or_default();
    if bytes.len() < SECRET_BYTES {
        Err(KeyError::NotASecret(file.to_owned()))
    } else {
        Ok(bytes)
    }
}

/// The secret in a file, made on first use.
///
/// # Errors
/// Those of [`secret_from_file`], or it can't be made.
pub fn secret_or_new(file: &Path) -> Result<Vec<u8>, KeyError> {
    match secret_from_file(file) {
        Err(KeyError::NotMade(_)) => {
            let secret = random_bytes()?;
            write_private(file, &hex::encode(secret))?;
            Ok(secret.to_vec())
        }
        known => known,
    }
}

/// The bearer token in a file.
///
/// # Errors
/// The file can't be read, others may read it, or it holds no token.
pub fn token_from_file(file: &Path) -> Result<String, KeyError> {
    let text = read_or_make(file)?;
    let token = text.trim();
    if token.len() < 16 || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(KeyError::NotAToken(file.to_owned()));
    }
    Ok(token.to_owned())
}

fn random_bytes() -> Result<[u8; SECRET_BYTES], KeyError> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(KeyError::Random)?;
    Ok(bytes)
}

fn read_or_make(file: &Path) -> Result<String, KeyError> {
    read_private(file).map_err(or_make)
}

/// Says how to make what is missing.
fn or_make(error: KeyError) -> KeyError {
    match error {
        KeyError::Missing(file) => KeyError::NotMade(file),
        other => other,
    }
}

/// A path as a shell takes it.
fn quoted(file: &Path) -> String {
    Quoted(&file.display().to_string()).to_string()
}

/// Reads a secret's file, which its owner alone may read.
pub(crate) fn read_private(file: &Path) -> Result<String, KeyError> {
    let failed = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => KeyError::Missing(file.to_owned()),
        _ => KeyError::Io {
            file: file.to_owned(),
            source,
        },
    };
    let opened = std::fs::File::open(file).map_err(failed)?;
    // Asked of the open file, so that it can't be exchanged in between.
    let facts = opened.metadata().map_err(failed)?;
    if !facts.is_file() || facts.len() > SECRET_FILE_BYTES_MAX {
        return Err(KeyError::NotASecretFile(file.to_owned()));
    }
    let mode = facts.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed {
            file: file.to_owned(),
            mode,
        });
    }
    let mut text = String::new();
    opened
        .take(SECRET_FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
}

fn write_private(file: &Path, text: &str) -> Result<(), KeyError> {
    let failed = |source| KeyError::Io {
        file: file.to_owned(),
        source,
    };
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(OWNER_ONLY)
        .open(file)
        .map_err(failed)?;
    created
        .write_all(text.as_bytes())
        .and_then(|()| created.write_all(b"\n"))
        .map_err(failed)?;
    // A key that is lost with the power may have been paid to already.
    created.sync_all().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn written(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        (folder, file)
    }

    const ONE: &str = "0x0000000000000000000000000000000000000000000000000000000000000001";

    #[test]
    fn a_key_comes_back_as_it_was_saved_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/key");
        let key = SecretKey::generate().unwrap();
        key.save(&file).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(SecretKey::from_file(&file).unwrap().address(), key.address());
        assert!(matches!(key.save(&file), Err(KeyError::Io { .. })));
        assert!(!format!("{key:?}").contains(&key.expose_hex()[2..]));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        for mode in [0o644, 0o640, 0o604, 0o660, 0o666] {
            let (_folder, file) = written(ONE, mode);
            let error = SecretKey::from_file(&file).unwrap_err();
            assert!(matches!(error, KeyError::Exposed { .. }), "{mode:o}: {error}");
            assert!(error.to_string().contains("chmod 600"));
        }
        for mode in [0o600, 0o400] {
            let (_folder, file) = written(ONE, mode);
            let address = SecretKey::from_file(&file).unwrap().address();
            assert_eq!(
                address.to_string().to_lowercase(),
                "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf"
            );
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        let zero = format!("0x{}", "00".repeat(32));
        let order = "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
        for bad in [
            "",
            "0x",
            "hunter2hunter2",
            &zero,
            order,
            &ONE[..64],
            &format!("{ONE}00"),
        ] {
            let (_folder, file) = written(bad, 0o600);
            let error = SecretKey::from_file(&file).unwrap_err();
            assert!(matches!(error, KeyError::NotAKey(_)), "{bad:?}: {error}");
            assert!(bad.len() < 8 || !error.to_string().contains(bad));
        }
        let (_folder, file) = written(&"0".repeat(5_000), 0o600);
        assert!(matches!(
            SecretKey::from_file(&file),
            Err(KeyError::NotASecretFile(_))
        ));
    }

    #[test]
    fn a_challenge_secret_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data/challenge-secret");
        let first = secret_or_new(&file).unwrap();
        assert_eq!(first.len(), SECRET_BYTES);
        assert_eq!(secret_or_new(&file).unwrap(), first);
        assert_eq!(secret_from_file(&file).unwrap(), first);
        let missing = folder.path().join("nowhere");
        let error = secret_from_file(&missing).unwrap_err().to_string();
        assert!(
            error.contains(&format!("openssl rand -hex 32 > {}", missing.display())),
            "{error}"
        );
        // One that was in use is not made anew, nor is what is no random number.
        for error in [
            old_secret_from_file(&missing).map(drop),
            read_private(&missing).map(drop),
        ] {
            let error = error.unwrap_err().to_string();
            assert!(error.ends_with("there is no such file"), "{error}");
        }
        let odd = folder.path().join("it's a key");
        let error = token_from_file(&odd).unwrap_err().to_string();
        assert!(error.ends_with(r"/it'\''s a key')"), "{error}");
        let (_folder, short) = written(&"ab".repeat(31), 0o600);
        assert!(matches!(secret_or_new(&short), Err(KeyError::NotASecret(_))));
    }
}
