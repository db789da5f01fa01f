//! Rounds of a thousand new keys, whose window holds as many keys as asked for.

use uuid::Uuid;

use crate::gate::cursor::{Cursors, InForce, InputCursor, LedgerCursor};
use crate::gate::digest::{Digest, Form};
use crate::gate::engine::Commit;
use crate::gate::key::ActionKey;
use crate::gate::record::{KeyRecord, RunState};
use crate::gate::rules::RulesFingerprint;
use crate::gate::source::{NS_PER_S, TimeNs};

/// Keys that are looked up and committed together, as the worker does it under load.
pub const ROUND: u64 = 1_000;
/// The fewest keys that a window may hold: a hundred rounds.
pub const KEYS_MIN: u64 = 100 * ROUND;
/// How long a key lives, in source time.
pub const WINDOW_NS: TimeNs = 7 * 24 * 3_600 * NS_PER_S;
/// Where source time begins, in 2026.
const START_NS: TimeNs = 1_770_000_000 * NS_PER_S;

/// Actions that are all new, under keys of their own, evenly spread over source time.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    keys: u64,
}

impl Load {
    /// With so many live keys, in whole rounds and [`KEYS_MIN`] at least.
    pub fn new(keys: u64) -> Self {
        Self { keys: keys.max(KEYS_MIN).next_multiple_of(ROUND) }
    }

    /// How many keys live at once.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// How many rounds fill the window.
    pub fn rounds_a_window(&self) -> u64 {
        self.keys / ROUND
    }

    /// The n-th key: a random UUID, as text.
    pub fn key(&self, n: u64) -> ActionKey {
        let id = Uuid::from_u64_pair(mixed(2 * n), mixed(2 * n + 1));
        ActionKey::new::<&str>(&[], &id.hyphenated().to_string())
    }

    /// Its source time.
    pub fn time_ns(&self, n: u64) -> TimeNs {
        START_NS + n as TimeNs * (WINDOW_NS / self.keys as TimeNs)
    }

    /// What a ledger of nothing but accepted actions commits.
    pub fn round(&self, round: u64) -> Commit {
        let numbers = round * ROUND..(round + 1) * ROUND;
        let last = numbers.end - 1;
        Commit {
            changes: numbers.map(|n| (self.key(n), Some(self.record(n)))).collect(),
            cursors: cursors(last + 1, self.time_ns(last)),
        }
    }

    /// No new key, and source time went on to that of the n-th.
    pub fn pause(&self, n: u64) -> Commit {
        Commit { changes: Vec::new(), cursors: cursors(n + 1, self.time_ns(n)) }
    }

    /// What the table keeps of the n-th key.
    pub fn record(&self, n: u64) -> KeyRecord {
        let time_ns = self.time_ns(n);
        let hash = u128::from(mixed(!n)) << 64 | u128::from(mixed(!n - 1));
        KeyRecord {
            digest: Digest { form: Form::Json, hash },
            rules: 0,
            stream: 0,
            sequence: n + 1,
            time_ns,
            expires_ns: time_ns + WINDOW_NS,
            ledger_sequence: n + 1,
            state: RunState::Pending,
        }
    }
}

fn cursors(sequence: u64, time_ns: TimeNs) -> Cursors {
    let input = InputCursor { stream: "ACTIONS".into(), sequence, time_ns, created_ns: START_NS };
    Cursors {
        ledger: LedgerCursor {
            sequence,
            fingerprint: 1,
            anchor: None,
            source_time_max_ns: time_ns,
        },
        inputs: vec![input],
        rules: vec![RulesFingerprint(1)],
        in_force: Some(InForce { window_ns: WINDOW_NS, rules: 0 }),
        filling: None,
    }
}

/// `splitmix64`: every number becomes another one that looks random.
fn mixed(n: u64) -> u64 {
    let n = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}
