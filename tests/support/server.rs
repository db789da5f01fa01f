//! A real nats-server: its own port, its own directory, JetStream in files; stopped by its id.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::raw::{Client, Login};
use super::{free_port, wait_for, wait_until};

/// The versions that tests ask for by name, as `./scripts/test` provides them.
pub const V2_15: &str = "2.15.1";
pub const V2_14: &str = "2.14.6";
pub const V2_12: &str = "2.12.8";

const HOW: &str = "run ./scripts/test once: it puts the servers under ~/.cache/oncegate/nats";

pub struct Server {
    name: String,
    binary: PathBuf,
    dir: TempDir,
    port: u16,
    /// More of its `jetstream` block.
    jetstream: String,
    /// More of its configuration.
    extra: String,
    login: Login,
    child: Option<Child>,
}

impl Server {
    /// The default server, open to everyone on this machine.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// The default server with more lines in its configuration.
    pub fn start_with(extra: &str) -> Self {
        Self::launch(default_binary(), "", extra, Login::default())
    }

    /// The default server where the tests themselves must log in.
    pub fn start_guarded(extra: &str, login: Login) -> Self {
        Self::launch(default_binary(), "", extra, login)
    }

    /// The default server with its JetStream in a domain.
    pub fn start_in_domain(domain: &str) -> Self {
        Self::launch(default_binary(), &format!("domain: {domain}"), "", Login::default())
    }

    /// A server of this very version.
    pub fn start_version(version: &str) -> Self {
        Self::start_version_with(version, "")
    }

    /// A server of this very version with more in its `jetstream` block.
    pub fn start_version_with(version: &str, jetstream: &str) -> Self {
        Self::launch(cached_binary(version), jetstream, "", Login::default())
    }

    /// The default server as a node of a cluster, under a name of its own.
    pub fn start_node(name: &str, extra: &str) -> Self {
        Self::launch_as(name, default_binary(), "", extra, Login::default())
    }

    fn launch(binary: PathBuf, jetstream: &str, extra: &str, login: Login) -> Self {
        Self::launch_as("itest", binary, jetstream, extra, login)
    }

    fn launch_as(name: &str, binary: PathBuf, jetstream: &str, extra: &str, login: Login) -> Self {
        let mut server = Self {
            name: name.into(),
            binary,
            dir: tempfile::tempdir().unwrap(),
            port: free_port(),
            jetstream: jetstream.into(),
            extra: extra.into(),
            login,
            child: None,
        };
        while !server.try_spawn() {
            server.port = free_port();
        }
        server
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Where JetStream keeps its files.
    pub fn store(&self) -> PathBuf {
        self.dir.path().join("store/jetstream")
    }

    /// Where this stream keeps its files.
    pub fn stream_files(&self, stream: &str) -> PathBuf {
        self.store().join("$G/streams").join(stream)
    }

    /// A connection of the test's own.
    pub fn client(&self) -> Client {
        wait_for("a connection to the server", || Client::try_connect(self.port, &self.login))
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and waits for its end.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(&child, "TERM");
            wait_until("the server to stop", || child.try_wait().unwrap().is_some());
        }
    }

    /// Starts it again on its port and its files.
    pub fn restart(&mut self) {
        self.kill();
        wait_until("the server to start again", || self.try_spawn());
    }

    /// Starts it again with another configuration.
    pub fn restart_with(&mut self, extra: &str, login: Login) {
        self.extra = extra.into();
        self.login = login;
        self.restart();
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn freeze(&self) {
        stand_still(self.child.as_ref().unwrap());
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        signal(self.child.as_ref().unwrap(), "CONT");
    }

    /// One attempt; false if the server ended at once, as it does when the port is taken.
    fn try_spawn(&mut self) -> bool {
        let config = self.dir.path().join("server.conf");
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\nserver_name: {name}\n\
             jetstream {{ store_dir: {store:?}, {jetstream} }}\nlog_file: {log:?}\n{extra}\n",
            jetstream = self.jetstream,
            extra = self.extra,
            port = self.port,
            name = self.name,
            store = self.dir.path().join("store"),
            log = self.log(),
        );
        std::fs::write(&config, text).unwrap();
        let mut child = Command::new(&self.binary)
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.dir.path().join("server.err")).unwrap())
            .spawn()
            .unwrap();
        let ended = wait_for("the server to listen", || match child.try_wait().unwrap() {
            Some(_) => Some(true),
            None => self.greets_with_jetstream().then_some(false),
        });
        if ended {
            let error = std::fs::read_to_string(self.dir.path().join("server.err")).unwrap();
            let log = std::fs::read_to_string(self.log()).unwrap_or_default();
            assert!(
                log.contains("address already in use"),
                "the server does not start: {error}\n{log}"
            );
            return false;
        }
        self.child = Some(child);
        true
    }

    fn greets_with_jetstream(&self) -> bool {
        let Ok(stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).is_ok() && line.contains("\"jetstream\":true")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = super::gate::tail(&self.log());
            for line in log.lines().filter(|line| !line.contains("[INF]")) {
                eprintln!("nats-server: {line}");
            }
        }
    }
}

/// Sends a signal by process id.
pub fn signal(child: &Child, name: &str) {
    let done =
        Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
    assert!(done.success());
}

/// SIGSTOP. It is not heeded at once: returns when every thread stands still.
pub fn stand_still(child: &Child) {
    signal(child, "STOP");
    let threads = PathBuf::from(format!("/proc/{}/task", child.id()));
    wait_until("a process to stand still", || {
        let mut threads = std::fs::read_dir(&threads).into_iter().flatten().flatten();
        threads.all(|thread| {
            let state = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            state.is_empty() || state.contains(") T ") || state.contains(") Z ")
        })
    });
}

/// Copies a directory and all files below it; a socket is nothing to copy.
pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_tree(&entry.path(), &target);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// `$ONCEGATE_NATS_SERVER`, else a new enough one on PATH, else the one in the cache.
fn default_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("ONCEGATE_NATS_SERVER") {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "ONCEGATE_NATS_SERVER names no file: {path:?}; {HOW}");
        return path;
    }
    on_path().unwrap_or_else(|| cached_binary(V2_15))
}

fn cached_binary(version: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty());
    let cache = cache.map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"),
        PathBuf::from,
    );
    let path = cache.join("oncegate/nats").join(version).join("nats-server");
    assert!(path.is_file(), "no nats-server {version} at {path:?}; {HOW}");
    path
}

fn on_path() -> Option<PathBuf> {
    let output = Command::new("nats-server").arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.trim().rsplit('v').next()?.to_string();
    let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
    let (major, minor) = (parts.next()??, parts.next()??);
    ((major, minor) >= (2, 14)).then(|| PathBuf::from("nats-server"))
}
