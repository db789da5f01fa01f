//! Those that are measured, each as a process of its own, so that what they use can be told apart.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tokio::process::{Child, Command};

use super::process::{self, Usage};

/// A process that has not stopped by then is killed.
const STOPS_WITHIN: Duration = Duration::from_secs(15);
/// Of what it said, shown when it ended early.
const LINES_SHOWN: usize = 12;

/// What forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Contender {
    /// `oncegate run`.
    Gate,
    /// A plain forwarder, which knows nothing of keys.
    Forwarder,
    /// The same, with the key as `Nats-Msg-Id`: the stream's own de-duplication.
    Native,
}

impl Contender {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Gate => &["run"],
            Self::Forwarder => &["bench", "forward"],
            Self::Native => &["bench", "forward", "--message-ids"],
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Gate => "gate",
            Self::Forwarder => "forwarder",
            Self::Native => "native",
        })
    }
}

/// How a contender's process is started.
#[derive(Clone, Debug)]
pub struct Program {
    /// Ourselves.
    pub path: PathBuf,
    /// `--config`, if it was given.
    pub config: Option<PathBuf>,
    /// What the measurement sets besides, as variables.
    pub settings: Vec<(String, String)>,
}

/// A contender at work; killed when dropped.
#[derive(Debug)]
pub struct Running {
    who: Contender,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts it; it writes its log into `dir`.
    pub fn start(program: &Program, who: Contender, dir: &Path) -> anyhow::Result<Self> {
        let log = dir.join(format!("{who}.log"));
        let mut command = Command::new(&program.path);
        command.args(who.arguments()).envs(program.settings.iter().cloned());
        if let Some(config) = &program.config {
            command.arg("--config").arg(config);
        }
        let output = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        // Out of the terminal's reach: an interruption is ours to handle.
        command.process_group(0).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("starting {}", program.path.display()));
        Ok(Self { who, child: child?, log })
    }

    /// An error with its last words, if it has ended.
    pub fn must_run(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.child.try_wait()? else {
            return Ok(());
        };
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let shown = lines.get(lines.len().saturating_sub(LINES_SHOWN)..).unwrap_or_default();
        anyhow::bail!("the {} ended by itself ({status}):\n{}", self.who, shown.join("\n"))
    }

    /// What it has used so far.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        let usage = self.pid().and_then(|pid| process::usage(pid.as_raw_nonzero().get()));
        usage.with_context(|| format!("/proc does not tell what the {} uses", self.who))
    }

    /// SIGTERM, and waits for its end.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.pid() {
            kill_process(pid, Signal::TERM)?;
        }
        if tokio::time::timeout(STOPS_WITHIN, self.child.wait()).await.is_err() {
            self.kill().await?;
        }
        Ok(())
    }

    /// SIGKILL, and waits for its end.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()?).ok()?)
    }
}
