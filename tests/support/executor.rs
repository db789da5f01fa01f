//! An executor that makes every mistake, the same for the same seed and ledger: it reports results, the same
//! again in another spelling, others than before; gives runs back, twice too; reports on runs that never were;
//! says nothing usable; and an operator is there who lets it forget keys.

use uuid::Uuid;

use super::ledger;
use super::load::Dice;
use super::raw::{Client, Outgoing, header_block};
use super::streams;

/// Runs that it remembers.
const RUNS: usize = 400;

pub struct Executor {
    dice: Dice,
    /// Up to where it has read the ledger.
    read: u64,
    /// The latest.
    runs: Vec<Run>,
    told: u64,
}

#[derive(Clone)]
struct Run {
    /// The key was given back, perhaps.
    gone: bool,
    key: String,
    scope: Option<String>,
    id: String,
    result: Option<(&'static str, u64)>,
}

impl Executor {
    pub fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), read: 0, runs: Vec::new(), told: 0 }
    }

    /// So many reports, most of them on runs that this ledger holds; fewer while it holds none.
    pub fn reports(&mut self, client: &mut Client, ledger: &str, count: usize) -> Vec<Outgoing> {
        self.read_ledger(client, ledger);
        if self.runs.is_empty() {
            return Vec::new();
        }
        (0..count).map(|_| self.report()).collect()
    }

    fn read_ledger(&mut self, client: &mut Client, ledger: &str) {
        let last = streams::last_sequence(client, ledger);
        if last < self.read {
            self.read = 0;
        }
        // No need to know what is older than what it remembers.
        let from = (self.read + 1).max((last + 1).saturating_sub(2 * RUNS as u64));
        for entry in ledger::read_from(client, ledger, from, last) {
            let header = |name| entry.header(name).map(String::from);
            if entry.kind() == "accepted"
                && let Some((key, id)) = header("Idempotency-Key").zip(header("Oncegate-Run-Id"))
            {
                self.runs.push(Run {
                    key,
                    scope: header("Oncegate-Scope"),
                    id,
                    result: None,
                    gone: false,
                });
            }
        }
        self.read = last;
        self.runs.drain(..self.runs.len().saturating_sub(RUNS));
    }

    /// First results of as many of the latest runs.
    pub fn results(&mut self, client: &mut Client, ledger: &str, count: usize) -> Vec<Outgoing> {
        self.read_ledger(client, ledger);
        let pending = self.runs.iter_mut().rev().filter(|run| run.result.is_none() && !run.gone);
        let some = pending.take(count).map(|run| {
            self.told += 1;
            run.result = Some(("succeeded", self.told));
            on_run(run, "succeeded", self.told.to_string().as_bytes())
        });
        some.collect()
    }

    fn report(&mut self) -> Outgoing {
        // Half of them on the latest runs, so that some are told twice.
        let among = if self.dice.roll(2) == 0 { 20 } else { self.runs.len() };
        let back = self.dice.roll(among.min(self.runs.len()) as u64) as usize;
        let index = self.runs.len() - 1 - back;
        let run = self.runs[index].clone();
        self.told += 1;
        match (self.dice.roll(100), run.result) {
            (0..50, None) => {
                let status = if self.dice.roll(4) == 0 { "failed" } else { "succeeded" };
                self.runs[index].result = Some((status, self.told));
                on_run(&run, status, &self.payload(self.told))
            }
            (0..40, Some((status, number))) => on_run(&run, status, &self.payload(number)),
            (40..60, Some((status, _))) => on_run(&run, status, &self.payload(self.told)),
            (50..60, _) => on_run(&run, "failed", b"it did not work"),
            (60..75, _) => {
                self.runs[index].gone = true;
                on_run(&run, "retry", b"busy")
            }
            (75..83, _) => {
                let same = self.runs.iter_mut().filter(|other| other.key == run.key);
                same.for_each(|other| other.gone = true);
                forget(&run)
            }
            (83..90, _) => {
                let id = Uuid::from_u128(u128::from(self.dice.roll(u64::MAX))).to_string();
                on_run(&Run { id, ..run }, "succeeded", b"{}")
            }
            (90..94, _) => on_run(&run, "perhaps", b"{}"),
            (94..97, _) => {
                Outgoing::new("oncegate.operator.reset", &[("Idempotency-Key", &run.key)], b"")
            }
            _ => {
                let mut odd = on_run(&run, "succeeded", b"{}");
                let block = odd.headers.get_or_insert_default();
                block.truncate(block.len() - 2);
                block.extend(b"no colon\r\n\r\n");
                odd
            }
        }
    }

    /// A result, in one of two spellings; some are no JSON.
    fn payload(&mut self, number: u64) -> Vec<u8> {
        let text = match (number % 5, self.dice.roll(2)) {
            (0, _) => format!("\u{0}{number}"),
            (_, 0) => format!("{{\"charge\":{number},\"fee\":1}}"),
            _ => format!("{{ \"fee\": 1.0, \"charge\": {number} }}"),
        };
        text.into_bytes()
    }
}

fn on_run(run: &Run, status: &str, payload: &[u8]) -> Outgoing {
    let mut headers = vec![
        ("Idempotency-Key", run.key.as_str()),
        ("Oncegate-Run-Id", &run.id),
        ("Oncegate-Status", status),
        ("X-Executor", "itest"),
    ];
    headers.extend(run.scope.as_deref().map(|scope| ("Oncegate-Scope", scope)));
    Outgoing::with_block("oncegate.results.pay", &header_block(&headers), payload)
}

fn forget(run: &Run) -> Outgoing {
    let mut headers =
        vec![("Idempotency-Key", run.key.as_str()), ("Oncegate-Detail", "a wrong one")];
    headers.extend(run.scope.as_deref().map(|scope| ("Oncegate-Scope", scope)));
    Outgoing::with_block("oncegate.operator.forget", &header_block(&headers), b"")
}
