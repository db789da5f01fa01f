//! The settings that decide what an action's key and payload are, checked and compiled.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::canonical::Plan;
use super::pointer::{Pattern, Pointer};

/// The rules as they are written: in the configuration, and in every `leading` entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleTexts {
    /// `key.from`.
    pub key_from: Vec<String>,
    /// `key.scope`.
    pub key_scope: Vec<String>,
    /// `key.max_bytes`.
    pub key_max_bytes: usize,
    /// `key.missing`: `reject` or `forward`.
    pub key_missing: String,
    /// `payload.compare`: `auto`, `json` or `bytes`.
    pub payload_compare: String,
    /// `payload.ignore`.
    pub payload_ignore: Vec<String>,
}

impl RuleTexts {
    /// Short name of these rules, kept with every record decided under them.
    pub fn fingerprint(&self) -> RulesFingerprint {
        let mut text = Vec::new();
        for list in [&self.key_from, &self.key_scope, &self.payload_ignore] {
            text.extend_from_slice(&(list.len() as u64).to_le_bytes());
            for item in list {
                text.extend_from_slice(&(item.len() as u64).to_le_bytes());
                text.extend_from_slice(item.as_bytes());
            }
        }
        let rest = format!("{} {} {}", self.key_max_bytes, self.key_missing, self.payload_compare);
        text.extend_from_slice(rest.as_bytes());
        RulesFingerprint(xxh3_64(&text))
    }

    /// Whether a key seen under `other` is found under these rules too.
    pub fn same_keys(&self, other: &Self) -> bool {
        self.key_from == other.key_from && self.key_scope == other.key_scope
    }
}

/// See [`RuleTexts::fingerprint`]; written as 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RulesFingerprint(pub u64);

impl std::fmt::Display for RulesFingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Where a key or a scope part is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A header, without regard to case.
    Header(String),
    /// A string in a payload that is strict JSON: the index of its pointer in the scan's captures.
    Json(usize),
    /// The N-th token of the subject, from 1.
    SubjectToken(usize),
}

/// `key.missing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Reject,
    Forward,
}

/// `payload.compare`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Auto,
    Json,
    Bytes,
}

/// The rules, ready for use.
#[derive(Clone, Debug)]
pub struct Rules {
    texts: RuleTexts,
    fingerprint: RulesFingerprint,
    pub(super) from: Vec<Place>,
    pub(super) scope: Vec<Place>,
    pub(super) missing: Missing,
    pub(super) compare: Compare,
    /// One scan gives the canonical form and every captured key and scope part.
    pub(super) plan: Plan,
    pub(super) reads_json: bool,
}

/// A rule that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no rule: {1}")]
pub struct BadRule(String, &'static str);

impl Rules {
    /// Compiles the texts.
    pub fn new(texts: RuleTexts) -> Result<Self, BadRule> {
        let mut captures = Vec::new();
        let from = places(&texts.key_from, &mut captures)?;
        let mut ignore: Vec<Pattern> = captures.iter().cloned().map(Pattern::from).collect();
        let scope = places(&texts.key_scope, &mut captures)?;
        for text in &texts.payload_ignore {
            ignore.push(
                Pattern::parse(text).map_err(|_| BadRule(text.clone(), "not a JSON pointer"))?,
            );
        }
        Ok(Self {
            fingerprint: texts.fingerprint(),
            from,
            scope,
            missing: if texts.key_missing == "forward" {
                Missing::Forward
            } else {
                Missing::Reject
            },
            compare: match texts.payload_compare.as_str() {
                "json" => Compare::Json,
                "bytes" => Compare::Bytes,
                _ => Compare::Auto,
            },
            reads_json: !captures.is_empty(),
            plan: Plan::new(ignore, captures),
            texts,
        })
    }

    /// As written.
    pub fn texts(&self) -> &RuleTexts {
        &self.texts
    }

    /// See [`RuleTexts::fingerprint`].
    pub fn fingerprint(&self) -> RulesFingerprint {
        self.fingerprint
    }
}

fn places(texts: &[String], captures: &mut Vec<Pointer>) -> Result<Vec<Place>, BadRule> {
    texts.iter().map(|text| place(text, captures)).collect()
}

fn place(text: &str, captures: &mut Vec<Pointer>) -> Result<Place, BadRule> {
    let bad = |why| BadRule(text.to_owned(), why);
    match text.split_once(':') {
        Some(("header", name)) => Ok(Place::Header(name.to_owned())),
        Some(("json", pointer)) => {
            captures
                .push(Pointer::parse(pointer).map_err(|_| bad("not a JSON pointer (RFC 6901)"))?);
            Ok(Place::Json(captures.len() - 1))
        }
        Some(("subject", n)) => match n.parse() {
            Ok(n) if n >= 1 => Ok(Place::SubjectToken(n)),
            _ => Err(bad("tokens count from 1")),
        },
        _ => Err(bad("one of header:NAME, json:/POINTER, subject:N is needed")),
    }
}
