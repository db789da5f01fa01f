//! How a bad setting is told: one line, with its name, its value, its origin and what is allowed.

use std::fmt;
use std::path::PathBuf;

use super::syntax::Unfit;

/// Every setting that is not usable; shown as one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub(super) Vec<Problem>);

impl ConfigErrors {
    /// The problems, in the order of the settings; never empty.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "1 setting is not usable:")?,
            n => write!(f, "{n} settings are not usable:")?,
        }
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// One setting that is not usable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Full name, `retention.window`; `configuration file` where the file itself is the trouble.
    pub setting: String,
    /// The value as it may be shown; `None` where it is, or may be, a secret.
    pub value: Option<String>,
    /// Where the value came from.
    pub origin: Origin,
    /// What is wrong with it.
    pub what: String,
    /// What would be right; empty where `what` says so.
    pub allowed: String,
}

impl Problem {
    pub(super) fn new(
        setting: impl Into<String>,
        value: Option<String>,
        origin: Origin,
        bad: Unfit,
    ) -> Self {
        Self { setting: setting.into(), value, origin, what: bad.what, allowed: bad.allowed }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.setting.escape_debug())?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, " ({}): {}", self.origin, self.what.replace('\n', " "))?;
        if !self.allowed.is_empty() {
            write!(f, "; allowed: {}", self.allowed)?;
        }
        Ok(())
    }
}

/// The layer that a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// No layer names the setting.
    Default,
    /// The command line.
    Argument,
    /// The configuration file.
    File(PathBuf),
    /// This environment variable.
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("built-in default"),
            Self::Argument => f.write_str("--config"),
            Self::File(path) => path.display().to_string().escape_debug().fmt(f),
            Self::Variable(name) => write!(f, "environment variable {}", name.escape_debug()),
        }
    }
}
