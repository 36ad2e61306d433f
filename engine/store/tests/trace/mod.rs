//! Reads a log of `strace -f -y` and answers one question: was this data synced before that was said?

use std::collections::HashMap;

/// One system call, with where it begins and ends in the log.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// Arguments and result, as strace prints them.
    pub(crate) text: String,
    pub(crate) begin: usize,
    pub(crate) end: usize,
}

/// The finished calls of a log; those cut in two by other threads are put together again.
pub(crate) fn parse(log: &str) -> Vec<Call> {
    let mut open: HashMap<&str, Call> = HashMap::new();
    let mut calls = Vec::new();
    for (at, line) in log.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((_, tail)) = resumed.split_once(" resumed>") else {
                continue;
            };
            if let Some(mut call) = open.remove(thread) {
                call.text.push_str(tail);
                call.end = at;
                calls.push(call);
            }
            continue;
        }
        let Some((name, text)) = rest.split_once('(') else {
            continue;
        };
        let mut call = Call {
            name: name.to_owned(),
            text: text.to_owned(),
            begin: at,
            end: at,
        };
        match text.strip_suffix(" <unfinished ...>") {
            Some(first_half) => {
                call.text = first_half.to_owned();
                open.insert(thread, call);
            }
            None => calls.push(call),
        }
    }
    calls
}

/// What a trace says about one data file.
pub(crate) struct Proof<'a> {
    writes: Vec<&'a Call>,
    syncs: Vec<&'a Call>,
    outputs: Vec<&'a Call>,
}

impl<'a> Proof<'a> {
    pub(crate) fn new(calls: &'a [Call], data_file: &str) -> Self {
        let on_data = format!("<{data_file}>");
        let of = |names: &'static [&'static str]| {
            calls
                .iter()
                .filter(move |call| names.contains(&call.name.as_str()))
        };
        // `-y` prints the path after the descriptor, which is the first argument.
        let first_argument = |call: &Call| call.text.split([',', ')']).next().unwrap_or_default().to_owned();
        let mapped = of(&["mmap"]).find(|call| call.text.contains(&on_data));
        assert!(
            mapped.is_none(),
            "the data file is mapped: its writes are not seen by a trace ({mapped:?})"
        );
        let writes = of(&["pwrite64", "pwritev", "pwritev2", "writev", "write"]);
        let syncs = of(&["fdatasync", "fsync"]);
        Self {
            writes: writes
                .clone()
                .filter(|call| first_argument(call).ends_with(&on_data))
                .collect(),
            syncs: syncs
                .filter(|call| first_argument(call).ends_with(&on_data) && call.text.ends_with("= 0"))
                .collect(),
            outputs: writes.filter(|call| call.text.starts_with("1<")).collect(),
        }
    }

    /// The data is first written, then a sync begins and ends well, and only then the words are said.
    pub(crate) fn check(&self, data: &str, words: &str) -> Result<(), String> {
        let written = self
            .writes
            .iter()
            .find(|call| call.text.contains(data))
            .ok_or_else(|| format!("{data} was never written to the data file"))?;
        let said = self
            .outputs
            .iter()
            .find(|call| call.text.contains(words))
            .ok_or_else(|| format!("{words} was never said"))?;
        let synced = self
            .syncs
            .iter()
            .any(|sync| sync.begin > written.end && sync.end < said.begin);
        let (written, said) = (written.end, said.begin);
        if synced {
            Ok(())
        } else {
            Err(format!(
                "no sync between {data} (line {written}) and {words} (line {said})"
            ))
        }
    }
}
