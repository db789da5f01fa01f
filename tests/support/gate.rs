//! The worker as a process: its configuration, its directory, its end.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use super::http::{self, Metrics};
use super::server::{signal, stand_still};
use super::{free_port, wait_for, wait_until};

/// The program, in this directory, with nothing of this shell's settings in its environment.
pub fn oncegate(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncegate"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("ONCEGATE") || name == "NATS_URL" || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.current_dir(dir).stdin(Stdio::null());
    command
}

/// Settings as dotted names and TOML values; the last word on a name counts.
#[derive(Debug, Clone, Default)]
pub struct Settings(Vec<(String, String)>);

impl Settings {
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.set(name, value);
        self
    }

    /// A setting whose value is a string.
    pub fn text(self, name: &str, value: &str) -> Self {
        self.with(name, format!("{value:?}"))
    }

    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.retain(|(own, _)| own != name);
        self.0.push((name.into(), value.into()));
    }

    /// All of these too.
    pub fn extend(&mut self, more: &Self) {
        more.0.iter().for_each(|(name, value)| self.set(name, value));
    }

    pub fn unset(&mut self, name: &str) {
        self.0.retain(|(own, _)| own != name);
    }

    pub fn to_toml(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name} = {value}\n")).collect()
    }
}

/// How a process ended and what it said.
#[derive(Debug)]
pub struct Ending {
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ending {
    /// The text must hold each of these words, in whatever case.
    #[track_caller]
    pub fn says(&self, words: &[&str]) {
        let text = self.stderr.to_lowercase();
        for word in words {
            assert!(text.contains(&word.to_lowercase()), "{word:?} is not said:\n{self:#?}");
        }
    }
}

impl From<Output> for Ending {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            signal: output.status.signal(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub struct Gate {
    dir: TempDir,
    port: u16,
    pub settings: Settings,
    pub flags: Vec<String>,
    pub env: Vec<(String, String)>,
    child: Option<Child>,
    starts: u32,
}

impl Gate {
    /// A worker for this server, not started yet.
    pub fn on(url: &str) -> Self {
        let port = free_port();
        let settings = Settings::default()
            .with("nats.servers", format!("[{url:?}]"))
            .text("http.listen", &format!("127.0.0.1:{port}"));
        Self {
            dir: tempfile::tempdir().unwrap(),
            port,
            settings,
            flags: Vec::new(),
            env: Vec::new(),
            child: None,
            starts: 0,
        }
    }

    /// Another worker with the same settings, and its own directory and port.
    pub fn twin(&self) -> Self {
        let mut twin = Self::on("");
        let listen = format!("\"127.0.0.1:{}\"", twin.port);
        twin.settings = self.settings.clone();
        twin.settings.set("http.listen", listen);
        twin
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The key table's directory.
    pub fn table(&self) -> PathBuf {
        self.dir.path().join("data/keys")
    }

    /// Any command of the program, with this worker's configuration and environment. Without
    /// settings there is no file either.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = oncegate(self.dir.path());
        command.args(arguments).envs(self.env.clone());
        let text = self.settings.to_toml();
        if !text.is_empty() {
            let config = self.dir.path().join("oncegate.toml");
            std::fs::write(&config, text).unwrap();
            command.arg("--config").arg(config);
        }
        command
    }

    /// From here on configured by the environment alone.
    pub fn without_file(&mut self, env: &[(&str, &str)]) {
        self.settings = Settings::default();
        self.env = env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let listen = format!("127.0.0.1:{}", self.port);
        self.env.push(("ONCEGATE__HTTP__LISTEN".into(), listen));
    }

    /// Runs a command to its end.
    pub fn call(&self, arguments: &[&str]) -> Ending {
        self.command(arguments).output().unwrap().into()
    }

    /// `oncegate run`, without waiting for anything.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        self.starts += 1;
        let mut command = self.command(&["run"]);
        command.args(&self.flags);
        command.stdout(File::create(self.output("out")).unwrap());
        command.stderr(File::create(self.output("err")).unwrap());
        self.child = Some(command.spawn().unwrap());
    }

    /// `oncegate run`, until it says that it is ready.
    pub fn start(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    pub fn wait_ready(&mut self) {
        wait_until("the worker to be ready", || {
            self.must_run();
            self.ready() == Some(200)
        });
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it does not run").id()
    }

    /// Whether there is a process of it, running or frozen.
    pub fn is_started(&self) -> bool {
        self.child.is_some()
    }

    /// Waits until the worker leads.
    pub fn wait_leading(&mut self) {
        wait_until("the worker to lead", || {
            self.must_run();
            self.leads()
        });
    }

    pub fn leads(&self) -> bool {
        self.try_metrics().is_some_and(|metrics| metrics.sum("oncegate_leading", &[]) == 1.0)
    }

    /// The status of `/readyz`, if it answers.
    pub fn ready(&self) -> Option<u16> {
        self.get("/readyz").map(|(status, _)| status)
    }

    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        http::get(self.port, path)
    }

    pub fn metrics(&self) -> Metrics {
        wait_for("the metrics", || self.try_metrics())
    }

    pub fn try_metrics(&self) -> Option<Metrics> {
        let (status, text) = self.get("/metrics")?;
        (status == 200).then(|| Metrics::parse(&text))
    }

    /// SIGKILL.
    pub fn kill9(&mut self) {
        let mut child = self.child.take().expect("it does not run");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, without waiting for its end.
    pub fn ask_to_stop(&self) {
        signal(self.child.as_ref().expect("it does not run"), "TERM");
    }

    /// SIGTERM, and how it ended.
    pub fn term(&mut self) -> Ending {
        self.ask_to_stop();
        self.ending()
    }

    /// SIGINT, and how it ended.
    pub fn interrupt(&mut self) -> Ending {
        signal(self.child.as_ref().expect("it does not run"), "INT");
        self.ending()
    }

    /// SIGTERM, and it must end well.
    pub fn stop(&mut self) {
        let ending = self.term();
        assert_eq!(ending.code, Some(0), "{ending:#?}");
    }

    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// SIGSTOP, until it stands still.
    pub fn freeze(&self) {
        stand_still(self.child.as_ref().unwrap());
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        signal(self.child.as_ref().unwrap(), "CONT");
    }

    /// Whether it has ended; [`Gate::ending`] then tells how.
    pub fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut().expect("it was not started");
        child.try_wait().unwrap().is_some()
    }

    /// Waits until it ends by itself.
    pub fn ending(&mut self) -> Ending {
        let child = self.child.as_mut().expect("it does not run");
        let status = wait_for("the worker to end", || child.try_wait().unwrap());
        self.child = None;
        Ending {
            code: status.code(),
            signal: status.signal(),
            stdout: std::fs::read_to_string(self.output("out")).unwrap(),
            stderr: self.log(),
        }
    }

    /// `oncegate run` that must refuse to work: exit 1, with a text that holds these words.
    #[track_caller]
    pub fn refuses(&mut self, words: &[&str]) -> Ending {
        self.spawn();
        let ending = self.ending();
        assert_eq!(ending.code, Some(1), "{ending:#?}");
        ending.says(words);
        ending
    }

    /// What the present run has written to standard error.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.output("err")).unwrap_or_default()).into_owned()
    }

    /// Fails the test at once if the worker has ended, with its last words.
    pub fn must_run(&mut self) {
        let child = self.child.as_mut().expect("it was not started");
        if let Some(status) = child.try_wait().unwrap() {
            self.child = None;
            panic!("the worker ended with {status}:\n{}", self.log());
        }
    }

    fn output(&self, kind: &str) -> PathBuf {
        self.dir.path().join(format!("run-{}.{kind}", self.starts))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
        if std::thread::panicking() && self.starts > 0 {
            eprintln!("--- oncegate, start {}\n{}", self.starts, tail(&self.output("err")));
        }
    }
}

/// The last lines of a file.
pub fn tail(path: &Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
