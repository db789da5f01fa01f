//! The real worker on a damaged table: it stops and says why, or it goes on and every retry of every key is
//! answered as if nothing had been.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::numbered::{flip, put_raw};
use crate::support::gate::Ending;
use crate::support::model::Rules;
use crate::support::model::Verdict::Accepted;
use crate::support::raw::Outgoing;
use crate::support::server::copy_tree;
use crate::support::world::{World, action};
use crate::support::{streams, wait_for};

const KEYS: u64 = 1_200;

fn actions(numbers: impl IntoIterator<Item = u64>) -> Vec<Outgoing> {
    let one = |n: u64| action("actions.pay", &format!("k{n}"), &format!("{{\"n\":{n}}}"));
    numbers.into_iter().map(one).collect()
}

/// A gate that was killed, and its table as it was then: several files of keys, and a log with more.
struct Scene {
    world: World,
    table: TempDir,
}

/// What the worker made of a damaged table.
#[derive(Debug, PartialEq, Eq)]
enum Course {
    /// It stopped before it led, and changed nothing.
    Refused,
    /// It stopped at a look-up or a commit.
    FoundLate,
    /// It went on.
    Harmless,
}

impl Scene {
    fn new() -> Self {
        let mut world = World::started(Rules::default());
        for part in 0..4 {
            world.publish_all(&actions(part * KEYS / 4..(part + 1) * KEYS / 4));
            world.settle();
            match part {
                3 => {
                    wait_for("the log to be written", || has_log(&world).then_some(()));
                    world.gate.kill9();
                }
                _ => world.gate.restart(),
            }
        }
        let table = tempfile::tempdir().unwrap();
        copy_tree(&world.gate.table(), table.path());
        Self { world, table }
    }

    fn put_back(&self) {
        fs::remove_dir_all(self.world.gate.table()).unwrap();
        copy_tree(self.table.path(), &self.world.gate.table());
    }

    /// RocksDB's files of this kind in the worker's table, the largest last.
    fn files(&self, kind: &str) -> Vec<PathBuf> {
        let mut found = crate::numbered::files(&self.world.gate.table(), kind);
        found.sort_by_key(|file| fs::metadata(file).unwrap().len());
        found
    }

    fn file(&self, kind: &str) -> PathBuf {
        self.files(kind).pop().unwrap()
    }

    /// Runs the worker on a table that `damage` was done to, while every key is tried again; then on the
    /// undamaged one. The ledger must be the model's.
    #[track_caller]
    fn after(&mut self, what: &str, damage: impl FnOnce(&Self)) -> Course {
        self.put_back();
        damage(self);
        let before = content(&self.world.gate.table());
        let entries = streams::last_sequence(&mut self.world.client, "ONCEGATE");
        self.world.publish_all(&actions(0..KEYS));
        self.world.capture();
        self.world.gate.spawn();
        let ended =
            wait_for("the worker to end, or to judge", || match self.world.gate.has_ended() {
                true => Some(true),
                false => self.world.is_settled().then_some(false),
            });
        let course = if ended {
            explains(&self.world.gate.ending(), what);
            let led = streams::last_sequence(&mut self.world.client, "ONCEGATE") > entries;
            let is_unchanged = before == content(&self.world.gate.table());
            if !led && is_unchanged { Course::Refused } else { Course::FoundLate }
        } else {
            self.world.gate.kill9();
            Course::Harmless
        };
        self.put_back();
        self.world.gate.start();
        let report = self.world.check();
        assert_eq!(report.count(|verdict| verdict == Accepted), KEYS as usize, "{what}");
        self.world.gate.kill9();
        course
    }
}

/// Of the keys of a part, most.
fn has_log(world: &World) -> bool {
    let logs = crate::numbered::files(&world.gate.table(), ".log");
    logs.iter().any(|log| length(log) > 10_000)
}

fn content(table: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let copy = tempfile::tempdir().unwrap();
    copy_tree(table, copy.path());
    let mut found = BTreeMap::new();
    for folder in [copy.path().to_owned(), copy.path().join("db")] {
        for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if entry.path().is_file() && !name.starts_with("LO") {
                let below = entry.path().strip_prefix(copy.path()).unwrap().to_owned();
                found.insert(below, fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}

/// Status 1, and a last paragraph that says what, where, and what to do.
#[track_caller]
fn explains(ending: &Ending, what: &str) {
    assert_eq!(ending.code, Some(1), "{what}: {ending:#?}");
    let last = ending.stderr.trim().lines().last().unwrap_or_default();
    for part in ["key table", "data/keys"] {
        assert!(last.contains(part), "{what}: {part:?} is not said at the end: {ending:#?}");
    }
    let ways_out = [
        "oncegate rebuild",
        "oncegate restore",
        "correct `name`",
        "`table.path`",
        "run the version",
    ];
    assert!(ways_out.iter().any(|way| last.contains(way)), "{what}: {ending:#?}");
}

fn cut(file: &Path, kept: u64) {
    File::options().write(true).open(file).unwrap().set_len(kept).unwrap();
}

fn length(file: &Path) -> usize {
    fs::metadata(file).unwrap().len() as usize
}

#[test]
fn flipped_bytes() {
    let mut scene = Scene::new();
    let mut flips = |kind: &str, at: &dyn Fn(usize) -> usize| {
        let what = format!("{kind} flipped");
        scene.after(&what, |scene| {
            let file = scene.file(kind);
            flip(&file, at(length(&file)));
        })
    };
    assert_eq!(flips(".sst", &|_| 100), Course::FoundLate, "a data block");
    assert_eq!(flips(".sst", &|length| length - 20), Course::Refused, "the footer");
    flips(".sst", &|length| length - 1_000);
    flips(".sst", &|length| length - 400);
    assert_eq!(flips("MANIFEST-", &|_| 30), Course::Refused);
    flips("MANIFEST-", &|length| length / 2);
    flips("MANIFEST-", &|length| length - 2);
    assert_eq!(flips("CURRENT", &|_| 4), Course::Refused);
    assert_eq!(flips(".log", &|length| length / 2), Course::Harmless, "what is lost is replayed");
    assert_eq!(flips(".log", &|length| length - 3), Course::Harmless);
    assert_eq!(flips("OPTIONS-", &|length| length / 2), Course::Harmless);
}

#[test]
fn missing_and_cut_files() {
    let mut scene = Scene::new();
    for (kind, course) in [
        (".sst", Course::Refused),
        ("MANIFEST-", Course::Refused),
        ("CURRENT", Course::Refused),
        (".log", Course::Harmless),
    ] {
        let removed = |scene: &Scene| {
            scene.files(kind).iter().for_each(|file| fs::remove_file(file).unwrap());
        };
        assert_eq!(scene.after(&format!("{kind} missing"), removed), course, "{kind} missing");
        let course = if kind == "MANIFEST-" { None } else { Some(course) };
        let halved = |scene: &Scene| cut(&scene.file(kind), length(&scene.file(kind)) as u64 / 2);
        let found = scene.after(&format!("{kind} cut"), halved);
        assert!(course.is_none_or(|course| course == found), "{kind} cut: {found:?}");
    }
}

#[test]
fn a_database_that_is_empty_or_none() {
    let mut scene = Scene::new();
    let db = |scene: &Scene| scene.world.gate.table().join("db");
    let emptied = scene.after("an empty directory", |scene| {
        fs::remove_dir_all(db(scene)).unwrap();
        fs::create_dir(db(scene)).unwrap();
    });
    assert_eq!(emptied, Course::Harmless, "it is filled from the ledger");
    let replaced = scene.after("a file", |scene| {
        fs::remove_dir_all(db(scene)).unwrap();
        fs::write(db(scene), "?").unwrap();
    });
    assert_eq!(replaced, Course::Refused);
}

#[test]
fn what_belongs_to_another_or_a_later_gate() {
    let mut scene = Scene::new();
    let mut strange = |family: &str, name: &[u8], value: &[u8]| {
        let what = format!("{family} {}", String::from_utf8_lossy(name));
        scene.after(&what, |scene| put_raw(&scene.world.gate.table(), family, name, Some(value)))
    };
    assert_eq!(strange("meta", b"gate", b"payments"), Course::Refused);
    assert_eq!(strange("meta", b"format", &[3, 0, 0, 0]), Course::Refused);
    assert_eq!(
        strange("meta", b"cursors", &[9; 60]),
        Course::Refused,
        "cursors of a later version"
    );
    let record = crate::numbered::key_bytes(&[], "k7");
    assert_eq!(
        strange("keys", &record, &[9; 60]),
        Course::FoundLate,
        "a record of a later version"
    );
}

/// The bytes go bad while the worker runs, in blocks that it has not read yet.
#[test]
fn a_file_that_goes_bad_under_the_running_worker() {
    let mut scene = Scene::new();
    scene.put_back();
    scene.world.gate.start();
    for file in scene.files(".sst") {
        let open = File::options().read(true).write(true).open(&file).unwrap();
        let data = length(&file) as u64 / 2;
        for at in (0..data).step_by(512) {
            let mut byte = [0];
            open.read_exact_at(&mut byte, at).unwrap();
            open.write_all_at(&[byte[0] ^ 0x5A], at).unwrap();
        }
    }
    scene.world.publish_all(&actions((0..KEYS).chain(KEYS..KEYS + 50)));
    explains(&scene.world.gate.ending(), "a file that goes bad");
    scene.put_back();
    scene.world.gate.start();
    let report = scene.world.check();
    assert_eq!(report.count(|verdict| verdict == Accepted), KEYS as usize + 50);
}
