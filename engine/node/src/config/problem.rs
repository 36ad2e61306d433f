//! What is wrong with a configuration: file, key and reason, all at once.

use core::fmt;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, as it was named.
    pub file: PathBuf,
    /// The line that has the key, or its section when the key is missing.
    pub line: Option<usize>,
    /// The dotted path of the key, `route[1].price`; empty when the file as a whole is meant.
    pub key: String,
    /// Why, in a sentence.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ConfigErrors(pub Vec<Problem>);

impl ConfigErrors {
    /// A single problem.
    pub fn one(file: &Path, key: &str, reason: impl fmt::Display) -> Self {
        let reason = reason.to_string();
        Self(vec![Problem {
            file: file.to_owned(),
            line: None,
            key: key.to_owned(),
            reason,
        }])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(problem, f)?;
        }
        Ok(())
    }
}

impl core::error::Error for ConfigErrors {}
