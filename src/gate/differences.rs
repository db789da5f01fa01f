//! In what two payloads differ, for a person to look at.
//!
//! Values are compared as the digest compares them (see [`super::canonical`]), and shown as their author
//! wrote them.

use serde_json::{Map, Value};

use super::canonical::{self, Plan};
use super::pointer::{Reached, Trail};
use super::rules::{Compare, Rules};

/// In what two payloads differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Differences {
    /// Both are JSON: the values that differ, the first of them only, and how many there are.
    Values {
        /// In the order of the original.
        shown: Vec<Part>,
        /// All of them.
        count: usize,
    },
    /// One of them at least is compared as bytes.
    Bytes {
        /// Size of the original.
        first_bytes: usize,
        /// Size of the other.
        now_bytes: usize,
        /// The first byte that differs, counted from 0; `None` if they are the same.
        offset: Option<usize>,
    },
}

/// A value that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where: an RFC 6901 pointer.
    pub pointer: String,
    /// What the original has there, if anything.
    pub first: Option<Value>,
    /// What the other has there, if anything.
    pub now: Option<Value>,
}

/// So many parts are shown.
const PARTS_MAX: usize = 20;

/// Compares two payloads under `rules`. What they ignore is left out, in arrays and objects alike.
pub fn differences(first: &[u8], now: &[u8], rules: &Rules) -> Differences {
    let read = |payload| {
        let is_json =
            rules.compare != Compare::Bytes && canonical::scan(payload, &rules.plan).is_ok();
        is_json.then(|| serde_json::from_slice::<Value>(payload).ok()).flatten()
    };
    let (Some(first_value), Some(now_value)) = (read(first), read(now)) else {
        let same = first.iter().zip(now).take_while(|(first, now)| first == now).count();
        let differ = first != now;
        return Differences::Bytes {
            first_bytes: first.len(),
            now_bytes: now.len(),
            offset: differ.then_some(same),
        };
    };
    let (trail, root) = Trail::new(rules.plan.tree());
    let mut walk = Walk { trail, shown: Vec::new(), count: 0, path: String::new() };
    walk.compare(Some(&first_value), Some(&now_value), root);
    Differences::Values { shown: walk.shown, count: walk.count }
}

struct Walk<'t> {
    trail: Trail<'t>,
    shown: Vec<Part>,
    count: usize,
    path: String,
}

impl Walk<'_> {
    fn compare(&mut self, first: Option<&Value>, now: Option<&Value>, at: Reached) {
        if self.is_ignored(at) {
            return;
        }
        match (first, now) {
            (Some(Value::Object(first)), Some(Value::Object(now))) => self.members(first, now, at),
            (Some(Value::Array(first)), Some(Value::Array(now))) => self.elements(first, now, at),
            _ if same(first, now) => {}
            _ => self.differ(first, now),
        }
    }

    fn members(&mut self, first: &Map<String, Value>, now: &Map<String, Value>, at: Reached) {
        let added = now.keys().filter(|name| !first.contains_key(*name));
        for name in first.keys().chain(added) {
            let inside = self.trail.enter_member(at, name.as_bytes());
            let escaped = name.replace('~', "~0").replace('/', "~1");
            self.step(&escaped, |walk| walk.compare(first.get(name), now.get(name), inside));
        }
    }

    /// Elements that are left out do not count: the rest closes up.
    fn elements(&mut self, first: &[Value], now: &[Value], at: Reached) {
        let first = self.counted(first, at);
        let now = self.counted(now, at);
        for place in 0..first.len().max(now.len()) {
            let (one, other) = (first.get(place), now.get(place));
            let Some((index, _)) = other.or(one) else { continue };
            let inside = self.trail.enter_element(at, *index);
            let (one, other) = (one.map(|(_, value)| *value), other.map(|(_, value)| *value));
            self.step(&index.to_string(), |walk| walk.compare(one, other, inside));
        }
    }

    fn counted<'v>(&mut self, elements: &'v [Value], at: Reached) -> Vec<(usize, &'v Value)> {
        let counts = |(index, _): &(usize, &Value)| {
            let inside = self.trail.enter_element(at, *index);
            !self.is_ignored(inside)
        };
        elements.iter().enumerate().filter(counts).collect()
    }

    fn is_ignored(&self, at: Reached) -> bool {
        self.trail.asked(at).iter().any(|node| node.ignored)
    }

    fn step(&mut self, segment: &str, inside: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push('/');
        self.path.push_str(segment);
        inside(self);
        self.path.truncate(length);
    }

    fn differ(&mut self, first: Option<&Value>, now: Option<&Value>) {
        self.count += 1;
        if self.shown.len() < PARTS_MAX {
            let pointer = self.path.clone();
            self.shown.push(Part { pointer, first: first.cloned(), now: now.cloned() });
        }
    }
}

/// Numbers in any spelling are the same by their value.
fn same(first: Option<&Value>, now: Option<&Value>) -> bool {
    let (Some(Value::Number(first)), Some(Value::Number(now))) = (first, now) else {
        return first == now;
    };
    let value = |number: &serde_json::Number| {
        canonical::scan(number.to_string().as_bytes(), &Plan::default()).map(|scan| scan.canonical)
    };
    value(first) == value(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::rules::RuleTexts;

    fn rules(compare: &str, ignore: &[&str]) -> Rules {
        Rules::new(RuleTexts {
            key_from: vec!["json:/key".to_owned()],
            key_scope: Vec::new(),
            key_max_bytes: 255,
            key_missing: "reject".to_owned(),
            payload_compare: compare.to_owned(),
            payload_ignore: ignore.iter().map(|text| (*text).to_owned()).collect(),
        })
        .unwrap()
    }

    /// Each part as `pointer first now`.
    fn parts(first: &str, now: &str, ignore: &[&str]) -> Vec<String> {
        match differences(first.as_bytes(), now.as_bytes(), &rules("auto", ignore)) {
            Differences::Values { shown, .. } => shown
                .iter()
                .map(|Part { pointer, first, now }| {
                    let text = |value: &Option<Value>| {
                        value.as_ref().map_or("-".to_owned(), Value::to_string)
                    };
                    format!("{pointer} {} {}", text(first), text(now))
                })
                .collect(),
            bytes => panic!("{bytes:?}"),
        }
    }

    #[test]
    fn values_that_differ() {
        assert_eq!(
            parts(r#"{"amount":10,"to":"a"}"#, r#"{"to":"a","amount":1000}"#, &[]),
            ["/amount 10 1000"]
        );
        assert_eq!(parts("[1,2,3]", "[1,3]", &[]), ["/1 2 3", "/2 3 -"]);
        assert_eq!(parts(r#"{"a/b":{"~":1}}"#, r#"{"a/b":{"~":[1]}}"#, &[]), ["/a~1b/~0 1 [1]"]);
        assert_eq!(parts(r#"{"a":1}"#, r#"{"b":null}"#, &[]), ["/a 1 -", "/b - null"]);
        assert_eq!(parts("1", "\"1\"", &[]), [" 1 \"1\""]);
    }

    #[test]
    fn values_that_are_the_same_in_another_spelling() {
        assert!(parts(r#"{"a":1.0,"b":"x"}"#, r#"{ "b":"\u0078","a":1e0 }"#, &[]).is_empty());
        let exact = parts("[9007199254740992]", "[9007199254740993]", &[]);
        assert_eq!(exact, ["/0 9007199254740992 9007199254740993"]);
        assert_eq!(parts("0.1", "0.10000000000000001", &[]), [" 0.1 0.10000000000000001"]);
    }

    #[test]
    fn what_is_ignored_is_left_out() {
        let (first, now) = (r#"{"key":"a","at":1,"x":1}"#, r#"{"key":"b","at":2,"x":2}"#);
        assert_eq!(parts(first, now, &["/at"]), ["/x 1 2"]);
        assert_eq!(parts("[[1,2],[3]]", "[[9,2],[3,4]]", &["/*/0"]), ["/1/1 - 4"]);
        assert_eq!(parts("[5,1,2]", "[6,1,3]", &["/0"]), ["/2 2 3"]);
    }

    #[test]
    fn many_are_counted_and_few_shown() {
        let numbers = |from: u32| serde_json::json!((from..from + 100).collect::<Vec<_>>());
        let (first, now) = (numbers(0).to_string(), numbers(1).to_string());
        match differences(first.as_bytes(), now.as_bytes(), &rules("auto", &[])) {
            Differences::Values { shown, count } => assert_eq!((shown.len(), count), (20, 100)),
            bytes => panic!("{bytes:?}"),
        }
    }

    #[test]
    fn bytes_are_compared_as_bytes() {
        let bytes = |first: &str, now: &str, compare| {
            differences(first.as_bytes(), now.as_bytes(), &rules(compare, &[]))
        };
        let at =
            |first_bytes, now_bytes, offset| Differences::Bytes { first_bytes, now_bytes, offset };
        assert_eq!(bytes("abc", "abd", "auto"), at(3, 3, Some(2)));
        assert_eq!(bytes("{}", "{} ", "bytes"), at(2, 3, Some(2)));
        assert_eq!(bytes("{}", "{", "auto"), at(2, 1, Some(1)));
        assert_eq!(bytes("same", "same", "auto"), at(4, 4, None));
    }
}
