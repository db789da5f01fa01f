//! What the table keeps of a key, and its bytes.
//!
//! Layout of version 2: one byte with the version (bits 5-7), whether the digest is over bytes (bit 0), the
//! state (bits 1-2), whether an index is not 0 (bit 3), and whether the key lives for whole seconds (bit 4);
//! the digest, 16 B; the source time (ns), 8 B, big-endian; then varints: rules index and stream index, if
//! one of them is not 0; stream sequence; expiry - source time, in s or ns; ledger sequence - stream
//! sequence; and, unless the run is pending, result sequence - ledger sequence. The indices point into the
//! lists of [`super::cursor::Cursors`]. The run id is derived, not stored. One record, one spelling.

use super::codec::{Damaged, Reader, put_i64, put_u64};
use super::digest::{Digest, Form};
use super::source::{NS_PER_S, TimeNs};

const VERSION: u8 = 2;
const VERSION_SHIFT: u8 = 5;
const OVER_BYTES: u8 = 1;
const STATE_SHIFT: u8 = 1;
const HAS_INDEX: u8 = 1 << 3;
const WHOLE_SECONDS: u8 = 1 << 4;

/// What became of a run, as far as its executor told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// No result yet.
    Pending,
    /// A result stands in the ledger at this sequence.
    Succeeded(u64),
    /// A failure stands in the ledger at this sequence.
    Failed(u64),
}

/// An accepted action, as its key remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Of its payload, under the rules it was accepted by.
    pub digest: Digest,
    /// Which rules; index into the cursors' list.
    pub rules: u32,
    /// Which input stream; index into the cursors' list.
    pub stream: u32,
    /// Its sequence there.
    pub sequence: u64,
    /// When that stream stored it.
    pub time_ns: TimeNs,
    /// The key is seen by actions whose *now* is before this.
    pub expires_ns: TimeNs,
    /// Where the accepted entry stands.
    pub ledger_sequence: u64,
    /// What became of the run.
    pub state: RunState,
}

impl KeyRecord {
    /// Appends the bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (state, result) = match self.state {
            RunState::Pending => (0, None),
            RunState::Succeeded(at) => (1, Some(at)),
            RunState::Failed(at) => (2, Some(at)),
        };
        let mut kind = (VERSION << VERSION_SHIFT) | (state << STATE_SHIFT);
        if self.digest.form == Form::Bytes {
            kind |= OVER_BYTES;
        }
        let has_index = (self.rules, self.stream) != (0, 0);
        if has_index {
            kind |= HAS_INDEX;
        }
        let mut life = self.expires_ns.wrapping_sub(self.time_ns);
        if life % NS_PER_S == 0 {
            kind |= WHOLE_SECONDS;
            life /= NS_PER_S;
        }
        out.push(kind);
        out.extend_from_slice(&self.digest.hash.to_le_bytes());
        out.extend_from_slice(&self.time_ns.to_be_bytes());
        if has_index {
            put_u64(out, self.rules.into());
            put_u64(out, self.stream.into());
        }
        put_u64(out, self.sequence);
        put_i64(out, life);
        put_i64(out, self.ledger_sequence.wrapping_sub(self.sequence) as i64);
        if let Some(at) = result {
            put_i64(out, at.wrapping_sub(self.ledger_sequence) as i64);
        }
    }

    /// Reads what [`KeyRecord::encode`] wrote, and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader(bytes);
        let kind = reader.u8()?;
        if kind >> VERSION_SHIFT != VERSION {
            return Err(Damaged("a record of an unknown version"));
        }
        let form = if kind & OVER_BYTES == 0 { Form::Json } else { Form::Bytes };
        let hash = u128::from_le_bytes(reader.array()?);
        let time_ns = TimeNs::from_be_bytes(reader.array()?);
        let (rules, stream) = match kind & HAS_INDEX {
            0 => (0, 0),
            _ => indices(&mut reader)?,
        };
        let sequence = reader.u64()?;
        let life_ns = life_ns(reader.i64()?, kind & WHOLE_SECONDS != 0)?;
        let ledger_sequence = sequence.wrapping_add_signed(reader.i64()?);
        let mut result = || reader.i64().map(|after| ledger_sequence.wrapping_add_signed(after));
        let state = match (kind >> STATE_SHIFT) & 0b11 {
            0 => RunState::Pending,
            1 => RunState::Succeeded(result()?),
            2 => RunState::Failed(result()?),
            _ => return Err(Damaged("an unknown state")),
        };
        reader.end()?;
        let expires_ns = time_ns.wrapping_add(life_ns);
        let digest = Digest { form, hash };
        Ok(Self { digest, rules, stream, sequence, time_ns, expires_ns, ledger_sequence, state })
    }

    /// The expiry alone, for whoever collects what is expired.
    pub fn expiry(bytes: &[u8]) -> Result<TimeNs, Damaged> {
        Self::decode(bytes).map(|record| record.expires_ns)
    }
}

fn indices(reader: &mut Reader<'_>) -> Result<(u32, u32), Damaged> {
    let index = |value: u64| u32::try_from(value).map_err(|_| Damaged("an index out of range"));
    match (index(reader.u64()?)?, index(reader.u64()?)?) {
        (0, 0) => Err(Damaged("indices that are 0")),
        indices => Ok(indices),
    }
}

fn life_ns(life: i64, in_seconds: bool) -> Result<TimeNs, Damaged> {
    match (in_seconds, life % NS_PER_S) {
        (true, _) => life.checked_mul(NS_PER_S).ok_or(Damaged("a life that is too long")),
        (false, 0) => Err(Damaged("whole seconds in nanoseconds")),
        (false, _) => Ok(life),
    }
}
