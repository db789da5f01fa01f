//! The rules once more, slow and plain: a tree of values read by `serde_json`'s parser. The fuzz targets
//! use it too.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde_json::Value;

use super::decimal::Decimal;

/// A value, equal to another exactly when the contract says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slow {
    Null,
    Bool(bool),
    Number(Decimal),
    Text(String),
    List(Vec<Slow>),
    Object(BTreeMap<String, Slow>),
}

pub fn slow(value: &Value) -> Slow {
    match value {
        Value::Null => Slow::Null,
        Value::Bool(bool) => Slow::Bool(*bool),
        Value::Number(number) => Slow::Number(Decimal::read(&number.to_string())),
        Value::String(text) => Slow::Text(text.clone()),
        Value::Array(list) => Slow::List(list.iter().map(slow).collect()),
        Value::Object(members) => {
            Slow::Object(members.iter().map(|(name, value)| (name.clone(), slow(value))).collect())
        }
    }
}

/// Leaves out what the patterns match, each of them a list of segments.
pub fn without(value: &Value, patterns: &[&[String]]) -> Value {
    let step = |segment: &str| -> Vec<&[String]> {
        let matching =
            patterns.iter().filter(|rest| rest.first().is_some_and(|s| s == "*" || s == segment));
        matching.map(|rest| &rest[1..]).collect()
    };
    let keep = |segment: &str, value: &Value| {
        let inner = step(segment);
        (!inner.iter().any(|rest| rest.is_empty())).then(|| without(value, &inner))
    };
    match value {
        Value::Array(list) => {
            let kept = list.iter().enumerate().filter_map(|(i, value)| keep(&i.to_string(), value));
            kept.collect()
        }
        Value::Object(members) => {
            let kept =
                members.iter().filter_map(|(name, value)| Some((name.clone(), keep(name, value)?)));
            Value::Object(kept.collect())
        }
        other => other.clone(),
    }
}

/// The value of a text that is strict JSON, The outer `None`: no opinion, since
/// `serde_json` has a lower limit of levels, and takes an object with a certain name for a number.
pub fn reading(text: &[u8]) -> Option<Option<Value>> {
    let brackets = text.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    let magic = b"serde_json::private";
    if brackets > 126 || text.windows(magic.len()).any(|part| part == magic) {
        return None;
    }
    Some(accepts(text).then(|| serde_json::from_slice(text).unwrap()))
}

/// What `serde_json` takes, less the texts with a repeated name. Its limit of levels is 127.
fn accepts(text: &[u8]) -> bool {
    serde_json::from_slice::<NoRepeats>(text).is_ok()
}

struct NoRepeats;

impl<'de> serde::Deserialize<'de> for NoRepeats {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Visitor)
    }
}

struct Visitor;

type Seen<E> = Result<NoRepeats, E>;

impl<'de> serde::de::Visitor<'de> for Visitor {
    type Value = NoRepeats;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Seen<E> {
        Ok(NoRepeats)
    }

    fn visit_bool<E>(self, _: bool) -> Seen<E> {
        Ok(NoRepeats)
    }

    fn visit_u64<E>(self, _: u64) -> Seen<E> {
        Ok(NoRepeats)
    }

    fn visit_i64<E>(self, _: i64) -> Seen<E> {
        Ok(NoRepeats)
    }

    fn visit_str<E>(self, _: &str) -> Seen<E> {
        Ok(NoRepeats)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Seen<A::Error> {
        while seq.next_element::<NoRepeats>()?.is_some() {}
        Ok(NoRepeats)
    }

    /// Other numbers come this way too: `arbitrary_precision` makes a map of one of them.
    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Seen<A::Error> {
        let mut names = HashSet::new();
        while let Some((name, NoRepeats)) = map.next_entry::<String, NoRepeats>()? {
            if !names.insert(name) {
                return Err(serde::de::Error::custom("a repeated name"));
            }
        }
        Ok(NoRepeats)
    }
}
