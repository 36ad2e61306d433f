//! What the commands print: tables for people, JSON for machines.

use core::fmt::Display;
use serde::Serialize;
use std::io::{self, Write};

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// JSON instead of text.
    pub json: bool,
}

impl Output {
    /// Prints text for people; a machine gets nothing.
    pub fn text(self, text: &str) {
        if !self.json {
            say(text);
        }
    }

    /// Prints a JSON document on lines of its own.
    pub fn json(self, value: &impl Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => say(&text),
            Err(error) => complain(&error),
        }
    }
}

/// Rows under headings, as wide as their widest cell.
#[derive(Debug, Clone, Default)]
pub struct Table {
    headings: Vec<Cell>,
    rows: Vec<Vec<String>>,
}

#[derive(Debug, Clone)]
struct Cell {
    text: &'static str,
    right: bool,
}

impl Table {
    /// A table with these headings. One that begins with `>` aligns its column to the right, as numbers want it.
    pub fn new(headings: &[&'static str]) -> Self {
        let cell = |heading: &&'static str| match heading.strip_prefix('>') {
            Some(text) => Cell { text, right: true },
            None => Cell {
                text: heading,
                right: false,
            },
        };
        Self {
            headings: headings.iter().map(cell).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; what is missing stays empty, what is too much is dropped.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) -> &mut Self {
        let mut cells: Vec<String> = cells.into_iter().take(self.headings.len()).collect();
        cells.resize(self.headings.len(), String::new());
        self.rows.push(cells);
        self
    }

    fn line<'a>(&self, widths: &[usize], cells: impl Iterator<Item = &'a str>) -> String {
        let mut line = String::new();
        for ((cell, heading), &width) in cells.zip(&self.headings).zip(widths) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            let parts = if heading.right {
                [padding.as_str(), cell]
            } else {
                [cell, padding.as_str()]
            };
            line.extend(parts);
        }
        line.trim_end().to_owned()
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let widest = |(at, heading): (usize, &Cell)| {
            let cells = self
                .rows
                .iter()
                .filter_map(|row| row.get(at))
                .map(|cell| cell.chars().count());
            cells
                .chain([heading.text.chars().count()])
                .max()
                .unwrap_or_default()
        };
        let widths: Vec<usize> = self.headings.iter().enumerate().map(widest).collect();
        writeln!(
            f,
            "{}",
            self.line(&widths, self.headings.iter().map(|heading| heading.text))
        )?;
        let rules: Vec<String> = widths.iter().map(|&width| "─".repeat(width)).collect();
        writeln!(f, "{}", self.line(&widths, rules.iter().map(String::as_str)))?;
        for row in &self.rows {
            writeln!(f, "{}", self.line(&widths, row.iter().map(String::as_str)))?;
        }
        Ok(())
    }
}

/// Prints to standard output. Whoever reads it may have gone away, which is no fault of ours.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush());
}

/// Prints to standard error why a command did not do its work.
pub fn complain(why: &impl Display) {
    let _ = writeln!(io::stderr().lock(), "weir: {why}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["channel", ">spent"]);
        table
            .row(["0xab".into(), "5".into()])
            .row(["0xabcdef00".into(), "123456".into(), "dropped".into()]);
        table.row(["é".into()]);
        let drawn = "channel      spent\n──────────  ──────\n0xab             5\n0xabcdef00  123456\né\n";
        assert_eq!(table.to_string(), drawn);
    }
}
