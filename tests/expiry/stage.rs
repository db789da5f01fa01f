//! A table that collects, crashes and recovers, beside a twin that forgets nothing. Both are asked about
//! every action, and the same must come of it.

use std::collections::HashMap;
use std::fs;
use std::thread;

use bytes::Bytes;
use oncegate::gate::action::{Action, RawAction};
use oncegate::gate::cursor::Cursors;
use oncegate::gate::digest::{Digest, Form};
use oncegate::gate::engine::{Commit, fold};
use oncegate::gate::entry::{Entry, Leading};
use oncegate::gate::headers::Headers;
use oncegate::gate::key::ActionKey;
use oncegate::gate::record::KeyRecord;
use oncegate::gate::source::Source;
use oncegate::gate::verdict::{self, Verdict};
use oncegate::table::{KeyTable, MemoryTable, RocksTable};
use tempfile::TempDir;

use crate::support::term::leading_of;

/// An action: which key, which payload, how long after the one before by its source time.
#[derive(Clone, Copy, Debug)]
pub struct Deed {
    pub key: u8,
    pub payload: u8,
    pub later_ms: i16,
}

pub struct Stage {
    dir: TempDir,
    /// `None` only while it is opened anew.
    table: Option<RocksTable>,
    twin: MemoryTable,
    /// Everything ever decided; the table can always be brought up to it.
    ledger: Vec<Entry>,
    cursors: Cursors,
    /// Sequence and source time of the last action.
    last: (u64, i64),
    /// Records that the twin still has, and the table was asked for in vain.
    pub forgotten: usize,
}

impl Stage {
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let mut stage = Self {
            table: Some(open(&dir)),
            dir,
            twin: MemoryTable::new(),
            ledger: Vec::new(),
            cursors: Cursors::default(),
            last: (0, 1_000_000_000),
            forgotten: 0,
        };
        stage.lead(1_000);
        stage
    }

    pub fn table(&self) -> &RocksTable {
        self.table.as_ref().unwrap()
    }

    /// Later keys are accepted under this window.
    pub fn lead(&mut self, window_ms: u16) {
        let source_time_max_ns = self.cursors.ledger.source_time_max_ns;
        let leading = Leading { source_time_max_ns, ..leading_of(window_ms.into()) };
        self.append(&Entry::Leading(Box::new(leading)));
        self.commit(self.table(), HashMap::new());
    }

    /// Judges actions by what the table knows and by what the twin knows, and commits what came of it.
    pub fn judge(&mut self, deeds: &[Deed]) {
        let table = self.table.take().unwrap();
        self.judge_by(&table, deeds);
        self.table = Some(table);
    }

    /// Judges actions while the table is collected.
    pub fn judge_meanwhile(&mut self, commits: &[Vec<Deed>]) {
        let table = self.table.take().unwrap();
        thread::scope(|scope| {
            let collecting = scope.spawn(|| table.collect_expired().unwrap());
            commits.iter().for_each(|deeds| self.judge_by(&table, deeds));
            collecting.join().unwrap();
        });
        self.table = Some(table);
    }

    fn judge_by(&mut self, table: &RocksTable, deeds: &[Deed]) {
        let keys: Vec<_> = deeds.iter().map(|deed| key(deed.key)).collect();
        let asked: Vec<_> = keys.iter().collect();
        let found = table.load_many(&asked).unwrap();
        let kept = self.twin.load_many(&asked).unwrap();
        let mut puts = HashMap::new();
        for ((deed, key), (found, kept)) in deeds.iter().zip(&keys).zip(found.iter().zip(&kept)) {
            self.forgotten += usize::from(found.is_none() && kept.is_some());
            let action = self.action(*deed, key);
            let now_ns = self.last.1.max(self.cursors.ledger.source_time_max_ns);
            let rules = self.cursors.in_force.unwrap().rules;
            let fresh = puts.get(key);
            let verdict = verdict::judge(&action, fresh.or(found.as_ref()), now_ns, rules);
            let wanted = verdict::judge(&action, fresh.or(kept.as_ref()), now_ns, rules);
            assert_eq!(verdict, wanted, "{deed:?}: the table has {found:?}, the twin {kept:?}");
            puts.extend(entry(action, verdict).and_then(|entry| self.append(&entry)));
        }
        self.commit(table, puts);
    }

    /// The next message of the input.
    fn action(&mut self, deed: Deed, key: &ActionKey) -> Action {
        self.last = (self.last.0 + 1, self.last.1 + i64::from(deed.later_ms) * 1_000_000);
        let (sequence, time_ns) = self.last;
        let raw = RawAction {
            source: Source { stream: "ACTIONS".into(), sequence, time_ns },
            subject: "actions.pay".into(),
            subject_exact: true,
            headers: Headers::parse(b""),
            payload: Bytes::new(),
        };
        let digest = Some(Digest { form: Form::Bytes, hash: deed.payload.into() });
        Action { raw, key: Some(key.clone()), digest, fault: None, reply_to: None }
    }

    fn append(&mut self, entry: &Entry) -> Option<(ActionKey, KeyRecord)> {
        self.ledger.push(entry.clone());
        apply(&mut self.cursors, self.ledger.len() as u64, entry)
    }

    fn commit(&self, table: &RocksTable, puts: HashMap<ActionKey, KeyRecord>) {
        let changes = puts.into_iter().map(|(key, record)| (key, Some(record))).collect();
        let commit = Commit { changes, cursors: self.cursors.clone() };
        table.commit(commit.clone()).unwrap();
        self.twin.commit(commit).unwrap();
    }

    /// The process ends at once, a collection under way or not. `log_kept`: how much of a hundred of the
    /// newest log a power failure leaves; all of it if only the process died.
    pub fn crash(&mut self, collecting: bool, log_kept: Option<u64>) {
        let table = self.table.take().unwrap();
        if collecting {
            thread::scope(|scope| {
                scope.spawn(|| table.collect_expired());
                table.interrupt();
            });
        }
        drop(table);
        if let Some(percent) = log_kept {
            tear_logs(&self.dir, percent);
        }
        self.recover();
    }

    /// As at every start: the table is brought up to the ledger before anything is judged.
    fn recover(&mut self) {
        let table = open(&self.dir);
        let mut cursors = table.cursors().unwrap();
        let position = cursors.ledger.sequence as usize;
        for (entries, first) in self.ledger[position..].chunks(3).zip((position + 1..).step_by(3)) {
            let changes = entries.iter().zip(first..).filter_map(|(entry, sequence)| {
                let (key, record) = apply(&mut cursors, sequence as u64, entry)?;
                Some((key, Some(record)))
            });
            let changes = changes.collect();
            table.commit(Commit { changes, cursors: cursors.clone() }).unwrap();
        }
        assert_eq!(cursors, self.cursors, "recovered to where the ledger ends");
        self.table = Some(table);
    }
}

fn apply(cursors: &mut Cursors, sequence: u64, entry: &Entry) -> Option<(ActionKey, KeyRecord)> {
    fold::advance(cursors, sequence, sequence, entry);
    let (key, record) = fold::change(cursors, entry, None)?;
    Some((key, record?))
}

fn open(dir: &TempDir) -> RocksTable {
    RocksTable::open(dir.path(), "expiry").unwrap()
}

fn key(number: u8) -> ActionKey {
    ActionKey::new::<&str>(&[], &format!("key-{number}"))
}

/// What the ledger takes of it; a duplicate leaves no entry.
fn entry(action: Action, verdict: Verdict) -> Option<Entry> {
    let source = action.raw.source;
    match verdict {
        Verdict::Accepted => {
            Some(Entry::Accepted { source, key: action.key, digest: action.digest.unwrap() })
        }
        Verdict::Rejected(rejection) => {
            Some(Entry::Rejected { source, reason: rejection.reason, judged: None })
        }
        Verdict::Duplicate => None,
        Verdict::OriginalNeeded => panic!("the rules never change"),
    }
}

/// A power failure takes the end of the newest log, or all logs.
fn tear_logs(dir: &TempDir, kept_percent: u64) {
    let files = fs::read_dir(dir.path().join("db")).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|ending| ending == "log")).collect();
    logs.sort();
    let torn = if kept_percent == 0 { 0 } else { logs.len().saturating_sub(1) };
    for log in &logs[torn..] {
        let log = fs::File::options().write(true).open(log).unwrap();
        let length = log.metadata().unwrap().len();
        log.set_len(length * kept_percent / 100).unwrap();
    }
}
