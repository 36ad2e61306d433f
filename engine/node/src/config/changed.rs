//! What a running daemon does not take over from a changed file.

use super::Config;
use serde_json::Value;
use std::collections::BTreeSet;

/// What is taken over without a restart: the routes and what is told of them, and where the certificate is.
const RELOADED: [&str; 4] = [
    "route",
    "discovery",
    "server.tls_cert_file",
    "server.tls_key_file",
];

impl Config {
    /// The keys, dotted and in order, that `newer` has otherwise and that only a restart takes over.
    pub fn changed_for_restart(&self, newer: &Self) -> Vec<String> {
        let mut changed = BTreeSet::new();
        let [old, new] = [self, newer].map(|config| serde_json::to_value(config).unwrap_or_default());
        compare("", &old, &new, &mut changed);
        // It may hold a password, so that it is never written out whole.
        if self.chain.rpc_url != newer.chain.rpc_url {
            changed.insert("chain.rpc_url".to_owned());
        }
        changed.into_iter().collect()
    }
}

fn compare(path: &str, old: &Value, new: &Value, changed: &mut BTreeSet<String>) {
    if old == new || RELOADED.contains(&path) {
        return;
    }
    let empty = serde_json::Map::new();
    let (old, new) = match (old, new) {
        (Value::Object(old), Value::Object(new)) => (old, new),
        // A section that came or went: each of its keys did.
        (Value::Object(old), Value::Null) => (old, &empty),
        (Value::Null, Value::Object(new)) => (&empty, new),
        _ => {
            changed.insert(path.to_owned());
            return;
        }
    };
    for key in old.keys().chain(new.keys()) {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        let of = |table: &serde_json::Map<String, Value>| table.get(key).cloned().unwrap_or_default();
        compare(&path, &of(old), &of(new), changed);
    }
}
