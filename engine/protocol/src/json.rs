//! JSON that cannot surprise: canonical when written (RFC 8785), bounded and without duplicate keys when read.

use crate::b64;
use crate::limits::JSON_DEPTH_MAX;
use core::fmt;
use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Why bytes are not JSON that this crate takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// More bytes than the caller allows.
    #[error("the JSON is too long")]
    TooLong,
    /// Not base64url without padding.
    #[error("the JSON is not in base64url without padding")]
    Encoding,
    /// Not JSON, nested too deep, or a key occurs twice in one object.
    #[error("not JSON, nested too deep, or with a duplicate key")]
    Invalid,
    /// A JSON value other than an object.
    #[error("the JSON is not an object")]
    NotAnObject,
    /// A value has no canonical spelling.
    #[error("the value has no canonical JSON spelling")]
    NotCanonical,
}

/// Writes a value in the JSON Canonicalization Scheme.
///
/// # Errors
/// [`JsonError::NotCanonical`] when the value has no JSON spelling (a map with keys that are no strings, NaN).
pub fn canonical<T: Serialize>(value: &T) -> Result<String, JsonError> {
    serde_json_canonicalizer::to_string(value).map_err(|_| JsonError::NotCanonical)
}

/// Writes a value as canonical JSON in base64url without padding.
///
/// # Errors
/// As [`canonical`].
pub fn canonical_b64<T: Serialize>(value: &T) -> Result<String, JsonError> {
    canonical(value).map(b64::encode)
}

/// Reads one JSON value of at most `bytes_max` bytes and [`JSON_DEPTH_MAX`] levels.
///
/// # Errors
/// [`JsonError`]; a duplicate key is refused, because two readers of one credential must see one thing.
pub fn parse(bytes: &[u8], bytes_max: usize) -> Result<Value, JsonError> {
    if bytes.len() > bytes_max {
        return Err(JsonError::TooLong);
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Bounded {
        levels: JSON_DEPTH_MAX,
    }
    .deserialize(&mut reader)
    .map_err(|_| JsonError::Invalid)?;
    reader.end().map_err(|_| JsonError::Invalid)?;
    Ok(value)
}

/// Reads one JSON object, as [`parse`].
///
/// # Errors
/// [`JsonError`].
pub fn parse_object(bytes: &[u8], bytes_max: usize) -> Result<Map<String, Value>, JsonError> {
    match parse(bytes, bytes_max)? {
        Value::Object(object) => Ok(object),
        _ => Err(JsonError::NotAnObject),
    }
}

/// Reads a JSON object in base64url without padding; `bytes_max` bounds the encoded string.
///
/// # Errors
/// [`JsonError`].
pub fn parse_object_b64(text: &[u8], bytes_max: usize) -> Result<Map<String, Value>, JsonError> {
    if text.len() > bytes_max {
        return Err(JsonError::TooLong);
    }
    let bytes = b64::decode(text).map_err(|_| JsonError::Encoding)?;
    parse_object(&bytes, bytes_max)
}

/// A JSON value with so many levels of nesting left.
#[derive(Clone, Copy)]
struct Bounded {
    levels: usize,
}

impl Bounded {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let levels = self
            .levels
            .checked_sub(1)
            .ok_or_else(|| E::custom("nested too deep"))?;
        Ok(Self { levels })
    }
}

impl<'de> DeserializeSeed<'de> for Bounded {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate keys, not nested too deep")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(inner)?;
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("duplicate key"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn nested(levels: usize) -> String {
        "[".repeat(levels) + &"]".repeat(levels)
    }

    #[test]
    fn threat_h4_depth_and_length_are_bounded() {
        assert!(parse(nested(JSON_DEPTH_MAX).as_bytes(), 1024).is_ok());
        assert_eq!(
            parse(nested(JSON_DEPTH_MAX + 1).as_bytes(), 1024),
            Err(JsonError::Invalid)
        );
        assert_eq!(
            parse(nested(100_000).as_bytes(), usize::MAX),
            Err(JsonError::Invalid)
        );
        let objects = r#"{"a":"#.repeat(50_000);
        assert_eq!(parse(objects.as_bytes(), usize::MAX), Err(JsonError::Invalid));
        assert_eq!(parse(b"[1,2]", 4), Err(JsonError::TooLong));
    }

    #[test]
    fn duplicate_keys_and_trailing_bytes_are_refused() {
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"x":{"a":1,"\u0061":2}}"#,
            "{} {}",
            "{}x",
            "",
            "{'a':1}",
            "NaN",
        ] {
            assert_eq!(parse(bad.as_bytes(), 1024), Err(JsonError::Invalid), "{bad}");
        }
        assert_eq!(parse_object(b"[]", 10), Err(JsonError::NotAnObject));
        assert_eq!(parse_object_b64(b"e30=", 10), Err(JsonError::Encoding));
    }

    #[test]
    fn the_canonical_form_sorts_keys_and_keeps_no_space() {
        let value = json!({"b": [1, true, null], "a": {"z": "\u{20ac}", "y": 1.0}});
        assert_eq!(
            canonical(&value).unwrap(),
            "{\"a\":{\"y\":1,\"z\":\"\u{20ac}\"},\"b\":[1,true,null]}"
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = (parse(&bytes, 512), parse_object_b64(&bytes, 512));
        }

        #[test]
        fn what_serde_json_reads_is_read_alike(text in r#"[\[\]{}:,"a1. -]{0,24}"#) {
            if let Ok(value) = parse(text.as_bytes(), 64) {
                prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
            }
        }
    }
}
