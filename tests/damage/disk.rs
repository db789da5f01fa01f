//! A disk that is full or read-only: a small file system of the test's own, which nobody else sees.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use oncegate::gate::engine::Commit;
use oncegate::gate::key::ActionKey;
use oncegate::table::{KeyTable as _, TableError, WriteBehind};
use tempfile::TempDir;

use crate::numbered::{commit, cursors, files, open, record};
use crate::support::gate::Ending;
use crate::support::model::Rules;
use crate::support::raw::Outgoing;
use crate::support::server::Server;
use crate::support::wait_for;
use crate::support::world::{World, action};

const INSIDE: &str = "ONCEGATE_TEST_IN_OWN_MOUNTS";

/// Runs a test in a process whose mounts are its own; it needs no more rights than a user has.
fn in_own_mounts(test: &str, body: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let output = Command::new("unshare")
        .arg(if is_root { "-m" } else { "-Urm" })
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("`unshare` (util-linux) is needed to mount a small disk");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "in mounts of its own (this needs root, or user namespaces: sysctl kernel.unprivileged_userns_clone=1):\n{said}"
    );
}

/// A file system in memory, mounted where the worker keeps its table.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, mib: u32) -> Self {
        fs::create_dir_all(at).unwrap();
        let disk = Self(at.to_owned());
        disk.run("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m"), "oncegate-test"]);
        disk
    }

    fn remount(&self, options: &str) {
        self.run("mount", &["-o", &format!("remount,{options}")]);
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let done = Command::new(program).args(arguments).arg(&self.0).status().unwrap();
        assert!(done.success(), "{program} {arguments:?}");
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Leaves so many bytes free.
    fn fill(&self, free: u64) {
        let mut file = File::create(self.filler()).unwrap();
        let block = vec![0xA5; 4096];
        while file.write_all(&block).is_ok() {}
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(free)).unwrap();
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

/// It stopped, and said that the disk is full and what to do.
#[track_caller]
fn is_full(ending: &Ending) {
    assert_eq!(ending.code, Some(1), "{ending:#?}");
    let last = ending.stderr.trim().lines().last().unwrap_or_default();
    for part in ["No space left on device", "data/keys", "full", "start again"] {
        assert!(last.contains(part), "{part:?} is not said at the end: {ending:#?}");
    }
}

/// Kills it where it goes on.
#[track_caller]
fn start_or_say_full(world: &mut World) {
    world.gate.spawn();
    let goes_on = wait_for("the worker to end or to be ready", || {
        let ended = world.gate.has_ended();
        (ended || world.gate.ready() == Some(200)).then_some(!ended)
    });
    match goes_on {
        true => world.gate.kill9(),
        false => is_full(&world.gate.ending()),
    }
}

fn actions(prefix: &str, count: usize) -> Vec<Outgoing> {
    (0..count).map(|n| action("actions.pay", &format!("{prefix}{n}"), "{}")).collect()
}

#[test]
fn a_full_disk_while_running() {
    in_own_mounts("disk::a_full_disk_while_running", || {
        let mut world = World::prepared(Server::start(), Rules::default());
        let disk = Disk::mount(&world.gate.table(), 8);
        world.gate.start();
        world.publish_all(&actions("a", 2_000));
        world.check();
        disk.fill(0);
        world.publish_all(&actions("b", 4_000));
        is_full(&world.gate.ending());
        // Wherever the room ends, an opening that fails for it leaves the table as good as it was.
        for free in [0, 1, 2, 3, 5, 8, 16, 40, 80] {
            disk.make_room();
            disk.fill(free * 4096);
            start_or_say_full(&mut world);
        }
        disk.make_room();
        world.gate.start();
        world.publish_all(&actions("a", 2_000));
        world.publish_all(&actions("b", 4_000));
        let report = world.check();
        assert_eq!(report.entries_of("accepted"), 6_000);
        world.gate.stop();
    });
}

/// Keys of about two kilobytes, no two alike at their start: some thirty thousand of them fill a write buffer.
fn wide(numbers: std::ops::Range<usize>) -> Vec<Outgoing> {
    let part = "s".repeat(240);
    let one = |n: usize| {
        let first = format!("{n:08}{part}");
        let mut headers = vec![("Idempotency-Key", first.as_str()), ("S1", first.as_str())];
        headers.extend(SCOPE.iter().skip(1).map(|name| (&name["header:".len()..], part.as_str())));
        Outgoing::new("actions.pay", &headers, b"")
    };
    numbers.map(one).collect()
}

const SCOPE: [&str; 7] =
    ["header:S1", "header:S2", "header:S3", "header:S4", "header:S5", "header:S6", "header:S7"];

/// The log still has room when RocksDB begins to write a full buffer to a file, in the background.
#[test]
fn a_disk_that_is_full_for_a_flush_in_the_background() {
    in_own_mounts("disk::a_disk_that_is_full_for_a_flush_in_the_background", || {
        let rules = Rules { scope: SCOPE.to_vec(), ..Rules::default() };
        let mut world = World::prepared(Server::start(), rules);
        let disk = Disk::mount(&world.gate.table(), 100);
        world.gate.start();
        let mut published = 0;
        while !world.gate.has_ended() {
            assert!(published < 60_000, "the disk was not full");
            world.publish_all(&wide(published..published + 2_000));
            published += 2_000;
            wait_for("the worker to end or to judge", || {
                world.capture();
                (world.gate.has_ended() || world.is_settled()).then_some(())
            });
        }
        is_full(&world.gate.ending());
        let log = fs::read_to_string(world.gate.table().join("db/LOG")).unwrap();
        assert!(log.contains("background flush error"), "it was no flush that failed:\n{log}");
        // What the failed flush left is gone at the next opening: there may be room again, for a while.
        for _ in 0..2 {
            start_or_say_full(&mut world);
        }
        disk.remount("size=400m");
        world.gate.start();
        world.publish_all(&wide(0..published));
        let report = world.check();
        assert_eq!(report.entries_of("accepted"), published);
        world.gate.stop();
    });
}

/// What fails behind the last commit, RocksDB tells only to who writes: a gate that is idle must not stay so.
#[test]
fn a_flush_that_fails_behind_the_last_commit() {
    in_own_mounts("disk::a_flush_that_fails_behind_the_last_commit", || {
        let dir = TempDir::new().unwrap();
        let disk = Disk::mount(dir.path(), 60);
        let table = WriteBehind::new(open(dir.path()));
        let logs = || files(dir.path(), ".log").len();
        let mut last = 0;
        while logs() < 2 {
            table.check().unwrap();
            last += 1;
            let wide = ActionKey::new(&["x".repeat(50_000)], &format!("key-{last}"));
            let changes = vec![(wide, Some(record(last)))];
            table.commit(Commit { changes, cursors: cursors(last) }).unwrap();
            table.write_out().unwrap();
        }
        let found = wait_for("the failure to be found", || table.check().err());
        assert!(found.to_string().contains("No space left on device"), "{found}");
        let first = table.commit(commit(last + 1, last + 1)).unwrap_err();
        assert!(matches!(first, TableError::Poisoned { .. }), "{first}");
        drop(table);
        disk.remount("size=200m");
        let table = open(dir.path());
        assert_eq!(table.cursors().unwrap(), cursors(last));
    });
}

#[test]
fn a_directory_that_is_read_only() {
    in_own_mounts("disk::a_directory_that_is_read_only", || {
        let mut world = World::prepared(Server::start(), Rules::default());
        let disk = Disk::mount(&world.gate.table(), 16);
        world.gate.start();
        world.publish_all(&actions("a", 500));
        world.check();
        world.gate.stop();
        disk.remount("ro");
        world.publish_all(&actions("a", 600));
        for _ in 0..2 {
            world.gate.refuses(&["data/keys", "Read-only file system", "table.path"]);
        }
        disk.remount("rw");
        world.gate.start();
        let report = world.check();
        assert_eq!(report.entries_of("accepted"), 600);
        world.gate.stop();
    });
}
