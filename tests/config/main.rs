//! The configuration: layers, rules, and how what is wrong is told.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod between;
mod layers;
mod messages;
mod rules;
mod secrets;
mod whatever;

use std::fs;
use std::path::{Path, PathBuf};

use oncegate::config::{Config, ConfigErrors};
use tempfile::TempDir;

const SHIPPED: &str = include_str!("../../config/oncegate.toml");

/// A file of the given text, and its directory.
fn file(text: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("gate.toml");
    fs::write(&path, text).unwrap();
    (dir, path)
}

fn vars(env: &[(&str, &str)]) -> Vec<(String, String)> {
    env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

fn load(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let (_dir, path) = file(text);
    Config::load(Some(&path), vars(env))
}

fn good(text: &str, env: &[(&str, &str)]) -> Config {
    load(text, env).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The names of the settings refused, in order.
fn refused(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    match load(text, env) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.problems().iter().map(|p| p.setting.clone()).collect(),
    }
}

/// The whole message, for files that must be refused.
fn told(text: &str, env: &[(&str, &str)]) -> String {
    load(text, env).expect_err(text).to_string()
}

/// `section.name` = value as a file.
fn one(setting: &str, value: &str) -> String {
    match setting.split_once('.') {
        Some((section, name)) => format!("[{section}]\n{name} = {value}\n"),
        None => format!("{setting} = {value}\n"),
    }
}

/// A path as a TOML text.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}
