//! How an entry changes positions and keys: the ledger's meaning, in one place.

use uuid::Uuid;

use crate::gate::cursor::{Cursors, InForce};
use crate::gate::entry::{Entry, Leading};
use crate::gate::key::ActionKey;
use crate::gate::record::{KeyRecord, RunState};
use crate::gate::rules::RulesFingerprint;
use crate::gate::source::{Source, TimeNs};

/// What an entry does to its key: the record it leaves, or none, and the key is new again.
pub type Change = (ActionKey, Option<KeyRecord>);

/// Moves the positions on by the entry at `sequence`.
///
/// Deterministic in `cursors` and `entry`, as [`change`] is: a commit, a recovery and a rebuild end with the
/// same table.
pub fn advance(cursors: &mut Cursors, sequence: u64, fingerprint: u64, entry: &Entry) {
    pass_over(cursors, sequence, fingerprint);
    match entry {
        Entry::Accepted { source, .. } => decided(cursors, source),
        Entry::Rejected { source, judged: up_to, .. }
        | Entry::Completed { source, judged: up_to, .. }
        | Entry::Released { source, judged: up_to, .. } => {
            if let Some(up_to) = up_to {
                judged(cursors, up_to);
            }
            decided(cursors, source);
        }
        Entry::Judged { up_to, .. } => judged(cursors, up_to),
        Entry::Leading(leading) => begin_term(cursors, leading),
    }
}

/// What the entry does to its key, if anything, once [`advance`] has moved `cursors` on by it. `before`: what
/// is known of the key that [`Entry::changes`] names.
pub fn change(cursors: &Cursors, entry: &Entry, before: Option<&KeyRecord>) -> Option<Change> {
    let sequence = cursors.ledger.sequence;
    match entry {
        Entry::Accepted { source, key, digest } => {
            let key = key.clone()?;
            let in_force = cursors.in_force?;
            let now_ns = cursors.ledger.source_time_max_ns;
            let record = KeyRecord {
                digest: *digest,
                rules: in_force.rules,
                stream: cursors.index(&source.stream)?,
                sequence: source.sequence,
                time_ns: source.time_ns,
                expires_ns: now_ns.saturating_add(in_force.window_ns),
                ledger_sequence: sequence,
                state: RunState::Pending,
            };
            Some((key, Some(record)))
        }
        Entry::Completed { key, run_id, status, .. } => {
            let before = before.filter(|before| run_of(cursors, key, before) == Some(*run_id))?;
            let state = status.state(sequence);
            Some((key.clone(), Some(KeyRecord { state, ..before.clone() })))
        }
        Entry::Released { key, .. } => Some((key.clone(), None)),
        Entry::Rejected { .. } | Entry::Judged { .. } | Entry::Leading(_) => None,
    }
}

/// The run that a record stands for.
pub fn run_of(cursors: &Cursors, key: &ActionKey, record: &KeyRecord) -> Option<Uuid> {
    let stream = cursors.inputs.get(record.stream as usize)?.stream.clone();
    let source = Source { stream, sequence: record.sequence, time_ns: record.time_ns };
    Some(source.run_id(Some(key)))
}

/// A message that is no entry only moves the position.
pub fn pass_over(cursors: &mut Cursors, sequence: u64, fingerprint: u64) {
    cursors.ledger.sequence = sequence;
    cursors.ledger.fingerprint = fingerprint;
}

/// Only what was decided moves *now*, not a marker: where markers stand depends on pauses, and a
/// verdict must not.
fn decided(cursors: &mut Cursors, source: &Source) {
    judged(cursors, source);
    let now_ns = &mut cursors.ledger.source_time_max_ns;
    *now_ns = source.time_ns.max(*now_ns);
}

fn judged(cursors: &mut Cursors, source: &Source) {
    let (_, cursor) = cursors.input(&source.stream);
    if source.sequence > cursor.sequence {
        (cursor.sequence, cursor.time_ns) = (source.sequence, source.time_ns);
    }
}

/// The positions of a term's first entry hold as they stand there: that is how an input stream that was
/// made anew begins at its first message again.
fn begin_term(cursors: &mut Cursors, leading: &Leading) {
    for input in &leading.inputs {
        let (_, cursor) = cursors.input(&input.stream.as_str().into());
        cursor.sequence = input.sequence;
        cursor.time_ns = input.time_ns;
        cursor.created_ns = input.created_ns;
    }
    let now_ns = &mut cursors.ledger.source_time_max_ns;
    *now_ns = leading.source_time_max_ns.max(*now_ns);
    let fingerprint = u64::from_str_radix(&leading.rules_fingerprint, 16).unwrap_or_default();
    let rules = cursors.rules_index(RulesFingerprint(fingerprint));
    let window_ns = window_ns(leading);
    cursors.in_force = Some(InForce { window_ns, rules });
    if let Some(filling) = &mut cursors.filling {
        filling.window_ns = filling.window_ns.max(window_ns);
    }
}

fn window_ns(leading: &Leading) -> TimeNs {
    i64::try_from(leading.window_ms).unwrap_or(i64::MAX).saturating_mul(1_000_000)
}
