//! How far the table is, in the ledger and in every input it ever read. Changes in the same write as
//! the keys, so the two never disagree.

use std::sync::Arc;

use super::codec::{Damaged, Reader, put_i64, put_text, put_u64};
use super::rules::RulesFingerprint;
use super::source::{NS_PER_S, Source, TimeNs};

const VERSION: u8 = 1;
/// The same, and at the end the [`Filling`].
const VERSION_FILLING: u8 = 2;

/// How far a server's clock may step back without a later message being taken for one of another
/// stream, where the message at the cursor is gone and only order is left to go by. JetStream stamps
/// with the leader's clock as it is: a correction, or a new leader, may set it back a little.
pub const CLOCK_STEP_NS: TimeNs = NS_PER_S;

/// Position in the ledger: everything up to `sequence` is in the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerCursor {
    /// Ledger sequence, 0 before the first entry.
    pub sequence: u64,
    /// [`super::entry::fingerprint`] of the entry there.
    pub fingerprint: u64,
    /// A sequence at or before `sequence` whose server time is known, and that time: the two tell this
    /// ledger from one that was rolled back and grew again.
    pub anchor: Option<(u64, TimeNs)>,
    /// Highest source time that accepted and rejected entries up to `sequence` name.
    pub source_time_max_ns: TimeNs,
}

/// Position in one input stream: everything up to `sequence` is judged and in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputCursor {
    /// Name of the stream.
    pub stream: Arc<str>,
    /// Stream sequence, 0 before the first action.
    pub sequence: u64,
    /// Source time of the message there.
    pub time_ns: TimeNs,
    /// When the server says that the stream was created; 0 while unknown. Proves nothing alone (a
    /// restore changes it, a rolled back store keeps it).
    pub created_ns: TimeNs,
}

/// Under what the ledger's next entries are judged, as its last `leading` entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The window.
    pub window_ns: TimeNs,
    /// Index into [`Cursors::rules`].
    pub rules: u32,
}

/// All positions and the lists that records point into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursors {
    /// In the ledger.
    pub ledger: LedgerCursor,
    /// In each input stream ever read; entries are never removed, records hold their index.
    pub inputs: Vec<InputCursor>,
    /// Fingerprints of all rules ever in force; never removed, records hold their index.
    pub rules: Vec<RulesFingerprint>,
    /// `None` before the first `leading` entry.
    pub in_force: Option<InForce>,
    /// The table was empty and is filled from a ledger already trimmed; until a later action proves that
    /// the lost entries are expired, the gate may not lead.
    pub filling: Option<Filling>,
}

/// What the lost entries of a trimmed ledger may still hold. Kept in the table, since a gate that is
/// started again does not read again what it has applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filling {
    /// Server time of the first entry that counts.
    pub from_ns: TimeNs,
    /// The largest window that was in force since.
    pub window_ns: TimeNs,
}

impl Cursors {
    /// The cursor of `stream`, which begins at 0 if it was never read.
    pub fn input(&mut self, stream: &Arc<str>) -> (u32, &mut InputCursor) {
        let found = self.inputs.iter().position(|cursor| cursor.stream == *stream);
        let index = found.unwrap_or_else(|| {
            let stream = stream.clone();
            self.inputs.push(InputCursor { stream, sequence: 0, time_ns: 0, created_ns: 0 });
            self.inputs.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "found or pushed just above")]
        (index as u32, &mut self.inputs[index])
    }

    /// Which of [`Cursors::inputs`] is `stream`.
    pub fn index(&self, stream: &str) -> Option<u32> {
        let found = self.inputs.iter().position(|cursor| *cursor.stream == *stream)?;
        u32::try_from(found).ok()
    }

    /// The position judged last in `stream`.
    pub fn position(&self, stream: &str) -> Option<Source> {
        let cursor = self.inputs.iter().find(|cursor| *cursor.stream == *stream)?;
        let InputCursor { stream, sequence, time_ns, .. } = cursor.clone();
        (sequence > 0).then_some(Source { stream, sequence, time_ns })
    }

    /// The index of `fingerprint`, added if new.
    pub fn rules_index(&mut self, fingerprint: RulesFingerprint) -> u32 {
        let found = self.rules.iter().position(|known| *known == fingerprint);
        found.unwrap_or_else(|| {
            self.rules.push(fingerprint);
            self.rules.len() - 1
        }) as u32
    }

    /// The bytes, version first.
    pub fn encode(&self) -> Vec<u8> {
        let version = if self.filling.is_some() { VERSION_FILLING } else { VERSION };
        let mut out = vec![version];
        let LedgerCursor { sequence, fingerprint, anchor, source_time_max_ns } = &self.ledger;
        put_u64(&mut out, *sequence);
        put_u64(&mut out, *fingerprint);
        let (anchor_sequence, anchor_time) = anchor.unwrap_or_default();
        put_u64(&mut out, anchor_sequence);
        put_i64(&mut out, anchor_time);
        put_i64(&mut out, *source_time_max_ns);
        put_u64(&mut out, self.inputs.len() as u64);
        for cursor in &self.inputs {
            put_text(&mut out, &cursor.stream);
            put_u64(&mut out, cursor.sequence);
            put_i64(&mut out, cursor.time_ns);
            put_i64(&mut out, cursor.created_ns);
        }
        put_u64(&mut out, self.rules.len() as u64);
        for RulesFingerprint(fingerprint) in &self.rules {
            out.extend_from_slice(&fingerprint.to_le_bytes());
        }
        out.push(u8::from(self.in_force.is_some()));
        if let Some(in_force) = &self.in_force {
            put_i64(&mut out, in_force.window_ns);
            put_u64(&mut out, in_force.rules.into());
        }
        match &self.filling {
            Some(Filling { from_ns, window_ns }) => {
                put_i64(&mut out, *from_ns);
                put_i64(&mut out, *window_ns);
            }
            None => put_i64(&mut out, 0),
        }
        out
    }

    /// Reads what [`Cursors::encode`] wrote, and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader(bytes);
        let version = reader.u8()?;
        if !matches!(version, VERSION | VERSION_FILLING) {
            return Err(Damaged("cursors of an unknown version"));
        }
        let mut ledger = LedgerCursor {
            sequence: reader.u64()?,
            fingerprint: reader.u64()?,
            ..LedgerCursor::default()
        };
        ledger.anchor = match (reader.u64()?, reader.i64()?) {
            (0, 0) => None,
            (0, _) => return Err(Damaged("a time of no entry")),
            anchor => Some(anchor),
        };
        ledger.source_time_max_ns = reader.i64()?;
        let mut inputs = Vec::new();
        for _ in 0..reader.u64()? {
            inputs.push(InputCursor {
                stream: reader.text()?.into(),
                sequence: reader.u64()?,
                time_ns: reader.i64()?,
                created_ns: reader.i64()?,
            });
        }
        let mut rules = Vec::new();
        for _ in 0..reader.u64()? {
            rules.push(RulesFingerprint(u64::from_le_bytes(reader.array()?)));
        }
        let in_force = match reader.u8()? {
            0 => None,
            1 => Some(InForce {
                window_ns: reader.i64()?,
                rules: u32::try_from(reader.u64()?)
                    .map_err(|_| Damaged("an index out of range"))?,
            }),
            _ => return Err(Damaged("neither a term nor none")),
        };
        let filling = match (version, reader.i64()?) {
            (VERSION_FILLING, from_ns) => Some(Filling { from_ns, window_ns: reader.i64()? }),
            (_, 0) => None,
            _ => return Err(Damaged("it was being filled, and the largest window is not known")),
        };
        reader.end()?;
        Ok(Self { ledger, inputs, rules, in_force, filling })
    }
}
