//! Reads a TOML table key by key, so that one look at a file finds everything that is wrong with it: a derived
//! deserialiser stops at the first fault and knows no rule that spans two keys.

use super::problem::{ConfigErrors, Problem};
use alloy_primitives::Address;
use core::cell::RefCell;
use core::fmt::Display;
use core::ops::{Range, RangeInclusive};
use core::str::FromStr;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use strsim::damerau_levenshtein;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// How many letters of a key may be wrong for it to be taken for a known one.
const SLIPS_MAX: usize = 2;

/// The problems found so far in one file.
pub(super) struct Findings<'i> {
    file: &'i Path,
    text: &'i str,
    found: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl<'i> Findings<'i> {
    pub(super) fn new(file: &'i Path, text: &'i str) -> Self {
        Self {
            file,
            text,
            found: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// The directory against which the file's relative paths are read.
    pub(super) fn directory(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new(""))
    }

    pub(super) fn add(&self, key: &str, line: Option<usize>, reason: impl Display) {
        self.found.borrow_mut().push(self.problem(key, line, reason));
    }

    fn problem(&self, key: &str, line: Option<usize>, reason: impl Display) -> Problem {
        Problem {
            file: self.file.to_owned(),
            line,
            key: key.to_owned(),
            reason: reason.to_string(),
        }
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    /// Splits the file into its sections.
    pub(super) fn parse(&self) -> Option<Section<'_, 'i>> {
        match DeTable::parse(self.text) {
            Ok(table) => Some(Section::new(String::new(), None, table.into_inner(), self)),
            Err(error) => {
                let line = error.span().map(|span| self.line(&span));
                self.add("", line, error.message());
                None
            }
        }
    }

    /// What was found; the file's order, not the order of the checks.
    pub(super) fn into_errors_and_warnings(self) -> (Option<ConfigErrors>, Vec<Problem>) {
        let (mut found, mut warnings) = (self.found.into_inner(), self.warnings.into_inner());
        found.sort_by_key(|problem| problem.line);
        warnings.sort_by_key(|warning| warning.line);
        ((!found.is_empty()).then_some(ConfigErrors(found)), warnings)
    }
}

/// A table that is being read. What is left in it at the end is unknown.
pub(super) struct Section<'f, 'i> {
    name: String,
    line: Option<usize>,
    table: DeTable<'i>,
    /// The keys that were asked for, and where those that were there stood.
    asked: BTreeMap<&'static str, Option<usize>>,
    findings: &'f Findings<'i>,
}

impl<'f, 'i> Section<'f, 'i> {
    fn new(name: String, line: Option<usize>, table: DeTable<'i>, findings: &'f Findings<'i>) -> Self {
        Self {
            name,
            line,
            table,
            asked: BTreeMap::new(),
            findings,
        }
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'i>>> {
        let value = self.table.remove(key);
        let line = value.as_ref().map(|value| self.findings.line(&value.span()));
        self.asked.insert(key, line);
        value
    }

    /// Notes that a key's value won't do.
    pub(super) fn refuse(&self, key: &'static str, reason: impl Display) {
        self.findings.add(&self.path(key), self.line_of(key), reason);
    }

    /// Notes that a key's value will do, and is probably not what was meant.
    pub(super) fn warn(&self, key: &'static str, reason: impl Display) {
        let warning = self.findings.problem(&self.path(key), self.line_of(key), reason);
        self.findings.warnings.borrow_mut().push(warning);
    }

    fn line_of(&self, key: &str) -> Option<usize> {
        self.asked.get(key).copied().flatten().or(self.line)
    }

    /// Whether the key is in the file, of whatever value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key) || self.asked.get(key).is_some_and(Option::is_some)
    }

    /// A value, when it is there.
    pub(super) fn optional<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        let value = self.take(key)?;
        match T::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(key, error.message());
                None
            }
        }
    }

    /// A value, or what it is when the file says nothing.
    pub(super) fn or<T: DeserializeOwned>(&mut self, key: &'static str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// A string that stands for something.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<T> {
        let text: String = self.optional(key)?;
        text.parse().map_err(|error| self.refuse(key, error)).ok()
    }

    /// Like [`Self::parsed`], but it has to be there.
    pub(super) fn required<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<T> {
        let value = self.parsed(key);
        if !self.has(key) {
            self.refuse(key, "is missing");
        }
        value
    }

    /// A path, relative to the directory of the file.
    pub(super) fn file(&mut self, key: &'static str) -> Option<PathBuf> {
        let path: PathBuf = self.optional(key)?;
        if path.as_os_str().is_empty() {
            self.refuse(key, "is empty");
        }
        Some(self.findings.directory().join(path))
    }

    /// A path beside the file.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.findings.directory().join(name)
    }

    /// An address that has to be there. The zero address stands for nobody.
    pub(super) fn address(&mut self, key: &'static str) -> Option<Address> {
        let text: String = self.required(key)?;
        let is_mixed = |digits: &str| {
            let has = |of: fn(&char) -> bool| digits.chars().any(|letter| of(&letter));
            has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase)
        };
        match text.parse::<Address>() {
            // EIP-55: letters of both cases carry a checksum. One that fails is a slip of the pen, and money.
            Ok(address) if is_mixed(text.get(2..).unwrap_or_default()) && address.to_string() != text => {
                self.refuse(
                    key,
                    "has letters of both cases, and they are not its checksum (EIP-55): compare it with its source, \
                     digit by digit",
                );
                None
            }
            Ok(address) if text.starts_with("0x") && !address.is_zero() => Some(address),
            _ => {
                self.refuse(
                    key,
                    "is not an address: 0x and 40 hexadecimal digits, not all zero",
                );
                None
            }
        }
    }

    /// A whole number within bounds.
    pub(super) fn number(&mut self, key: &'static str, default: u64, bounds: RangeInclusive<u64>) -> u64 {
        let value = self.or::<i64>(key, i64::try_from(default).unwrap_or(i64::MAX));
        match u64::try_from(value) {
            Ok(value) if bounds.contains(&value) => value,
            _ => {
                let (least, most) = bounds.into_inner();
                self.refuse(key, format_args!("{value} is not between {least} and {most}"));
                default
            }
        }
    }

    /// A table within this one; an absent one is empty.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'f, 'i> {
        let path = self.path(key);
        let (table, line) = match self.take(key).map(Spanned::into_inner) {
            Some(DeValue::Table(table)) => (table, self.asked.get(key).copied().flatten()),
            Some(_) => {
                self.refuse(key, format_args!("is a table, written [{key}]"));
                (DeTable::new(), None)
            }
            None => (DeTable::new(), None),
        };
        Section::new(path, line, table, self.findings)
    }

    /// The tables of an array of tables.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'f, 'i>> {
        let path = self.path(key);
        let rows = match self.take(key).map(Spanned::into_inner) {
            Some(DeValue::Array(rows)) => rows,
            Some(_) => {
                self.refuse(key, format_args!("is an array of tables, each written [[{key}]]"));
                return Vec::new();
            }
            None => return Vec::new(),
        };
        let mut sections = Vec::new();
        for (at, row) in rows.into_iter().enumerate() {
            let line = self.findings.line(&row.span());
            match row.into_inner() {
                DeValue::Table(table) => {
                    sections.push(Section::new(
                        format!("{path}[{at}]"),
                        Some(line),
                        table,
                        self.findings,
                    ));
                }
                _ => self.refuse(key, format_args!("is an array of tables, each written [[{key}]]")),
            }
        }
        sections
    }

    /// Refuses what nobody asked for: a misspelt key must not leave its default in force.
    pub(super) fn finish(self) {
        for (key, value) in &self.table {
            let key = key.get_ref();
            let line = Some(self.findings.line(&value.span()));
            let reason = match meant(key, self.asked.keys().copied()) {
                Some(known) => format!("is not a key of this section; did you mean `{known}`?"),
                None => {
                    let known: Vec<&str> = self.asked.keys().copied().collect();
                    format!("is not a key of this section; known: {}", known.join(", "))
                }
            };
            self.findings.add(&self.path(key), line, reason);
        }
    }
}

/// The known name that was probably meant.
fn meant<'k>(key: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let squash = |text: &str| text.to_ascii_lowercase().replace(['-', '_'], "");
    let key = squash(key);
    let distance = |known: &str| {
        let known = squash(known);
        let slips = damerau_levenshtein(&key, &known);
        let near = slips <= SLIPS_MAX || known.starts_with(&key) || key.starts_with(&known);
        near.then_some(slips)
    };
    known
        .filter_map(|known| Some((distance(known)?, known)))
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_keys_find_their_neighbour() {
        let known = [
            "listen",
            "upstream",
            "poll_ms",
            "behind_tls_proxy",
            "price",
            "unit",
        ];
        for (key, expected) in [
            ("lisen", Some("listen")),
            ("upstraem", Some("upstream")),
            ("poll", Some("poll_ms")),
            ("Behind-TLS-proxy", Some("behind_tls_proxy")),
            ("prices", Some("price")),
            ("colour", None),
        ] {
            assert_eq!(meant(key, known.into_iter()), expected, "{key}");
        }
    }
}
