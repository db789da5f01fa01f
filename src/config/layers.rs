//! The raw layers over the built-in defaults: one file, then the environment.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use toml::Value;

use super::near::closest;
use super::problem::{Origin, Problem};
use super::syntax::{Read, Unfit, quoted, unfit};

/// What a problem with the file itself is filed under.
pub(super) const FILE: &str = "configuration file";

const DEFAULT_FILE: &str = "config/oncegate.toml";
const FILE_VARIABLE: &str = "ONCEGATE_CONFIG";
const PREFIX: &str = "ONCEGATE__";

/// What the layers hold; whoever takes a setting leaves the rest.
#[derive(Default)]
pub(super) struct Layers {
    path: PathBuf,
    file: toml::Table,
    /// Setting -> variable and its text.
    env: BTreeMap<String, (String, String)>,
}

/// A setting as the highest layer that names it has it.
pub(super) enum Raw {
    Default,
    File(Value),
    Env(String),
}

impl Layers {
    /// The layers, and what is wrong with the file as a whole.
    pub(super) fn open(
        argument: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> (Self, Option<Problem>) {
        let variables: BTreeMap<String, String> = env.into_iter().collect();
        let mut layers =
            Self { env: variables.iter().filter_map(setting_of).collect(), ..Self::default() };
        let mut problem = None;
        if let Some((path, origin)) = which_file(argument, &variables) {
            match read_file(&path) {
                Ok(table) => layers.file = table,
                Err(bad) => {
                    let shown = quoted(&path.to_string_lossy());
                    problem = Some(Problem::new(FILE, Some(shown), origin, bad));
                }
            }
            layers.path = path;
        }
        layers.honour_nats_url(&variables);
        (layers, problem)
    }

    /// `NATS_URL` stands in where no layer names a server.
    fn honour_nats_url(&mut self, variables: &BTreeMap<String, String>) {
        const SERVERS: &str = "nats.servers";
        let nats = self.file.get("nats");
        let in_file = nats.is_some_and(|nats| nats.get("servers").is_some());
        if in_file || self.env.contains_key(SERVERS) {
            return;
        }
        if let Some(url) = not_blank(variables, "NATS_URL") {
            let stand_in = ("NATS_URL".to_owned(), url.clone());
            self.env.insert(SERVERS.to_owned(), stand_in);
        }
    }

    /// Takes a setting out of every layer.
    pub(super) fn take(&mut self, setting: &str) -> (Raw, Origin) {
        let in_file = self.take_from_file(setting);
        match (self.env.remove(setting), in_file) {
            (Some((variable, text)), _) => (Raw::Env(text), Origin::Variable(variable)),
            (None, Some((value, origin))) => (Raw::File(value), origin),
            (None, None) => (Raw::Default, Origin::Default),
        }
    }

    /// Takes a setting out of the file alone.
    pub(super) fn take_from_file(&mut self, setting: &str) -> Option<(Value, Origin)> {
        let value = match setting.split_once('.') {
            None => self.file.remove(setting),
            Some((section, name)) => self.file.get_mut(section)?.as_table_mut()?.remove(name),
        };
        Some((value?, Origin::File(self.path.clone())))
    }

    /// What is left once every `known` setting was taken. No value is shown: it may be a secret whose
    /// name was mistyped.
    pub(super) fn leftovers(self, known: &[&str]) -> Vec<Problem> {
        let origin = Origin::File(self.path);
        let in_file = self
            .file
            .into_iter()
            .flat_map(|(key, value)| left_in_file(&key, &value, known))
            .map(|(setting, bad)| Problem::new(setting, None, origin.clone(), bad));
        let in_env = self.env.into_iter().map(|(setting, (variable, _))| {
            let setting = setting.to_lowercase();
            let near = closest(&setting, known.iter().copied()).map(variable_of);
            let bad = unknown("no such setting", near.as_deref());
            Problem::new(setting, None, Origin::Variable(variable), bad)
        });
        in_file.chain(in_env).collect()
    }
}

/// What is wrong with a top-level entry of the file that still has something in it.
fn left_in_file(key: &str, value: &Value, known: &[&str]) -> Vec<(String, Unfit)> {
    let stray = |setting: String| {
        let bad = unknown("no such setting", closest(&setting, known.iter().copied()));
        (setting, bad)
    };
    let sections = || known.iter().filter_map(|name| Some(name.split_once('.')?.0));
    match (sections().any(|section| section == key), value) {
        (true, Value::Table(rest)) => {
            rest.keys().map(|name| stray(format!("{key}.{name}"))).collect()
        }
        (true, _) => {
            let what = "a section, not a setting".to_owned();
            let allowed = format!("[{key}] with settings under it");
            vec![(key.to_owned(), Unfit { what, allowed })]
        }
        (false, Value::Table(_)) => {
            let bad = unknown("no such section", closest(key, sections()));
            vec![(key.to_owned(), bad)]
        }
        (false, _) => vec![stray(key.to_owned())],
    }
}

fn unknown(what: &str, near: Option<&str>) -> Unfit {
    let what = match near {
        Some(near) => format!("{what}; did you mean {near}?"),
        None => what.to_owned(),
    };
    Unfit { what, allowed: String::new() }
}

/// The file to read, and who says so.
fn which_file(
    argument: Option<&Path>,
    variables: &BTreeMap<String, String>,
) -> Option<(PathBuf, Origin)> {
    if let Some(path) = argument {
        return Some((path.to_owned(), Origin::Argument));
    }
    if let Some(path) = not_blank(variables, FILE_VARIABLE) {
        return Some((PathBuf::from(path), Origin::Variable(FILE_VARIABLE.to_owned())));
    }
    // A file that may exist but cannot be looked at is tried, so that the reason is told.
    let path = PathBuf::from(DEFAULT_FILE);
    path.try_exists().unwrap_or(true).then_some((path, Origin::Default))
}

/// The file's settings. Of a syntax error only the place and the reason are kept, not the line: it may
/// hold a secret.
fn read_file(path: &Path) -> Read<toml::Table> {
    const ALLOWED: &str = "a TOML file that exists and that this user may read";
    let text = fs::read_to_string(path)
        .or_else(|error| unfit(format!("cannot be read: {error}"), ALLOWED))?;
    text.parse().or_else(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let before = before.unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let last_line = before.rsplit('\n').next().unwrap_or_default();
        let column = last_line.chars().count() + 1;
        let reason = error.message();
        unfit(format!("not TOML at line {line}, column {column}: {reason}"), "")
    })
}

/// The variable's setting, if it has the prefix. One that is not spelt as [`variable_of`] does keeps
/// its own spelling, and so is unknown.
fn setting_of((variable, text): (&String, &String)) -> Option<(String, (String, String))> {
    let rest = variable.strip_prefix(PREFIX)?;
    let setting = rest.to_lowercase().replace("__", ".");
    let is_exact = variable_of(&setting) == *variable;
    let setting = if is_exact { setting } else { rest.to_owned() };
    Some((setting, (variable.clone(), text.clone())))
}

/// The environment variable of a setting.
pub(super) fn variable_of(setting: &str) -> String {
    format!("{PREFIX}{}", setting.to_uppercase().replace('.', "__"))
}

fn not_blank<'a>(variables: &'a BTreeMap<String, String>, name: &str) -> Option<&'a String> {
    variables.get(name).filter(|text| !text.trim().is_empty())
}
