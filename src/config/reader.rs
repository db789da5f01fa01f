//! One typed read per setting, from the layers.
//!
//! A bad setting is noted and read as an empty value, which never gets out: [`Reader::finish`] gives
//! the configuration only where nothing was noted.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value;

use super::layers::{FILE, Layers, Raw, variable_of};
use super::problem::{ConfigErrors, Origin, Problem};
use super::secret::Secret;
use super::syntax::{self, Read, Unfit, quoted, unfit};

/// The layers, and what was found wrong with them so far.
pub(super) struct Reader {
    layers: Layers,
    /// Where each setting that was read came from.
    origins: BTreeMap<&'static str, Origin>,
    problems: Vec<Problem>,
}

impl Reader {
    pub(super) fn open(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let (layers, problem) = Layers::open(file, env);
        Self { layers, origins: BTreeMap::new(), problems: problem.into_iter().collect() }
    }

    /// Notes all that nobody has read.
    pub(super) fn refuse_unknown(&mut self) {
        let known: Vec<&str> = self.origins.keys().copied().collect();
        let rest = std::mem::take(&mut self.layers);
        self.problems.extend(rest.leftovers(&known));
    }

    /// Whether the file, if there is one, could be read.
    pub(super) fn has_whole_file(&self) -> bool {
        self.is_sound(FILE)
    }

    /// Whether nothing is wrong with a setting so far.
    pub(super) fn is_sound(&self, setting: &str) -> bool {
        self.problems.iter().all(|problem| problem.setting != setting)
    }

    /// Whether a layer names the setting, so that it is not the built-in default.
    pub(super) fn is_given(&self, setting: &str) -> bool {
        let origin = self.origins.get(setting);
        origin.is_some_and(|origin| *origin != Origin::Default)
    }

    /// The configuration, if nothing is wrong with it.
    pub(super) fn finish<T>(self, config: T) -> Result<T, ConfigErrors> {
        if self.problems.is_empty() { Ok(config) } else { Err(ConfigErrors(self.problems)) }
    }
}

/// The typed reads.
impl Reader {
    pub(super) fn flag(&mut self, setting: &'static str, default: bool) -> bool {
        const ALLOWED: &str = "true, false";
        match self.take(setting) {
            Raw::Default => default,
            Raw::File(Value::Boolean(flag)) => flag,
            Raw::File(other) => self.misshapen(setting, &other, "not a boolean", ALLOWED),
            Raw::Env(text) => {
                let words = [("true", true), ("false", false)];
                self.settle(setting, &text, syntax::one_of(&text, &words))
            }
        }
    }

    pub(super) fn count(
        &mut self,
        setting: &'static str,
        default: usize,
        range: &RangeInclusive<usize>,
    ) -> usize {
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        let read = |text: &str| match text.parse() {
            Ok(count) if range.contains(&count) => Ok(count),
            Ok(_) => unfit("out of range", allowed.clone()),
            Err(_) => unfit("not a count", allowed.clone()),
        };
        match self.take(setting) {
            Raw::Default => default,
            Raw::File(Value::Integer(count)) => {
                let text = count.to_string();
                let count = read(&text);
                self.refuse_or(setting, text, count)
            }
            Raw::File(other) => self.misshapen(setting, &other, "not a number", &allowed),
            Raw::Env(text) => {
                let count = read(&text);
                self.settle(setting, &text, count)
            }
        }
    }

    /// A text that `read` makes something of.
    pub(super) fn parse<T: Default>(
        &mut self,
        setting: &'static str,
        default: &str,
        read: impl FnOnce(&str) -> Read<T>,
    ) -> T {
        let text = match self.take(setting) {
            Raw::Default => default.to_owned(),
            Raw::File(Value::String(text)) | Raw::Env(text) => text,
            Raw::File(other) => {
                return self.misshapen(setting, &other, "not a text", "a text in quotes");
            }
        };
        self.settle(setting, &text, read(&text))
    }

    /// A text as it stands, once `check` has seen it.
    pub(super) fn text(
        &mut self,
        setting: &'static str,
        default: &str,
        check: fn(&str) -> Read<()>,
    ) -> String {
        self.parse(setting, default, |text| check(text).map(|()| text.to_owned()))
    }

    /// A setting that may be absent; `""` is absent too, so that a higher layer can take it away.
    pub(super) fn optional<T>(
        &mut self,
        setting: &'static str,
        default: &str,
        read: impl FnOnce(&str) -> Read<T>,
    ) -> Option<T> {
        self.parse(setting, default, |text| match text {
            "" => Ok(None),
            text => read(text).map(Some),
        })
    }

    /// The path of a file that must be readable.
    pub(super) fn readable_file(&mut self, setting: &'static str) -> Option<PathBuf> {
        self.optional(setting, "", syntax::readable_file)
    }

    pub(super) fn duration(
        &mut self,
        setting: &'static str,
        default: &str,
        range: &RangeInclusive<Duration>,
    ) -> Duration {
        self.parse(setting, default, |text| syntax::duration(text, range))
    }

    /// A list whose every item passes `check`.
    pub(super) fn list(
        &mut self,
        setting: &'static str,
        default: &[&str],
        check: fn(&str) -> Read<()>,
    ) -> Vec<String> {
        const ALLOWED: &str = "a list of texts, [\"...\", \"...\"]";
        let texts = match self.take(setting) {
            Raw::Default => Some(default.iter().map(|&item| item.to_owned()).collect()),
            Raw::Env(text) => Some(split(&text)),
            Raw::File(ref value @ Value::Array(ref items)) => {
                let texts: Option<Vec<String>> =
                    items.iter().map(|i| i.as_str().map(str::to_owned)).collect();
                texts.or_else(|| self.misshapen(setting, value, "not a list of texts", ALLOWED))
            }
            Raw::File(other) => self.misshapen(setting, &other, "not a list", ALLOWED),
        };
        let items = texts.unwrap_or_default();
        for item in &items {
            self.settle(setting, item, check(item));
        }
        items
    }

    /// A list with something in it.
    pub(super) fn some_list(
        &mut self,
        setting: &'static str,
        default: &[&str],
        check: fn(&str) -> Read<()>,
    ) -> Vec<String> {
        let items = self.list(setting, default, check);
        if items.is_empty() && self.is_sound(setting) {
            self.refuse(setting, "[]", "empty", "at least one");
        }
        items
    }

    /// A secret, which the file may not hold: it is copied, committed, and shown to others.
    pub(super) fn secret(&mut self, setting: &'static str, instead: &str) -> Option<Secret> {
        if let Some((_, origin)) = self.layers.take_from_file(setting) {
            let bad = Unfit {
                what: "a secret does not belong in a configuration file, which is copied and shown"
                    .to_owned(),
                allowed: format!(
                    "{instead} in the file, or {} in the environment",
                    variable_of(setting)
                ),
            };
            self.problems.push(Problem::new(setting, None, origin, bad));
        }
        match self.take(setting) {
            Raw::Env(text) if !text.is_empty() => Some(Secret::new(text)),
            _ => None,
        }
    }

    fn take(&mut self, setting: &'static str) -> Raw {
        let (raw, origin) = self.layers.take(setting);
        self.origins.insert(setting, origin);
        raw
    }
}

/// The notes.
impl Reader {
    /// Notes that a known setting is not usable.
    pub(super) fn refuse(
        &mut self,
        setting: &'static str,
        value: &str,
        what: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        let bad = Unfit { what: what.into(), allowed: allowed.into() };
        self.refuse_or(setting, value.to_owned(), Err::<(), _>(bad));
    }

    /// What was read of a text, or nothing and a note.
    fn settle<T: Default>(&mut self, setting: &'static str, text: &str, read: Read<T>) -> T {
        let shown =
            if setting == "nats.servers" { quoted(&syntax::masked(text)) } else { quoted(text) };
        self.refuse_or(setting, shown, read)
    }

    fn refuse_or<T: Default>(&mut self, setting: &'static str, shown: String, read: Read<T>) -> T {
        read.unwrap_or_else(|bad| {
            let origin = self.origins.get(setting).cloned();
            let origin = origin.unwrap_or(Origin::Default);
            self.problems.push(Problem::new(setting, Some(shown), origin, bad));
            T::default()
        })
    }

    fn misshapen<T: Default>(
        &mut self,
        setting: &'static str,
        value: &Value,
        what: &str,
        allowed: &str,
    ) -> T {
        let bad = unfit(what, allowed);
        match value {
            Value::String(text) => self.settle(setting, text, bad),
            Value::Array(_) => self.refuse_or(setting, "[...]".to_owned(), bad),
            Value::Table(_) => self.refuse_or(setting, "{...}".to_owned(), bad),
            plain => self.refuse_or(setting, plain.to_string(), bad),
        }
    }
}

/// The items of a list in a variable; blank is the empty list.
fn split(text: &str) -> Vec<String> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    text.split(',').map(|item| item.trim().to_owned()).collect()
}
