//! What the table keeps of a key, and its bytes.
//!
//! Layout of version 1: `1`, kind (bit 0: digest over bytes, bits 1-2: state), digest 16 B, then
//! varints: rules index, stream index, sequence, source time (ns), expiry - source time (ns), ledger
//! sequence, and, unless the run is pending, the ledger sequence of its result. The indices point into
//! the lists of [`super::cursor::Cursors`]. The run id is derived, not stored.

use super::codec::{Damaged, Reader, put_i64, put_u64};
use super::digest::{Digest, Form};
use super::source::TimeNs;

const VERSION: u8 = 1;

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
        let form = u8::from(self.digest.form == Form::Bytes);
        let (state, result) = match self.state {
            RunState::Pending => (0, None),
            RunState::Succeeded(at) => (1, Some(at)),
            RunState::Failed(at) => (2, Some(at)),
        };
        out.extend_from_slice(&[VERSION, form | (state << 1)]);
        out.extend_from_slice(&self.digest.hash.to_le_bytes());
        put_u64(out, self.rules.into());
        put_u64(out, self.stream.into());
        put_u64(out, self.sequence);
        put_i64(out, self.time_ns);
        put_i64(out, self.expires_ns.wrapping_sub(self.time_ns));
        put_u64(out, self.ledger_sequence);
        if let Some(at) = result {
            put_u64(out, at);
        }
    }

    /// Reads what [`KeyRecord::encode`] wrote, and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader(bytes);
        if reader.u8()? != VERSION {
            return Err(Damaged("a record of an unknown version"));
        }
        let kind = reader.u8()?;
        let form = if kind & 1 == 0 { Form::Json } else { Form::Bytes };
        let hash = u128::from_le_bytes(reader.array()?);
        let index = |value: u64| u32::try_from(value).map_err(|_| Damaged("an index out of range"));
        let mut record = Self {
            digest: Digest { form, hash },
            rules: index(reader.u64()?)?,
            stream: index(reader.u64()?)?,
            sequence: reader.u64()?,
            time_ns: reader.i64()?,
            expires_ns: reader.i64()?,
            ledger_sequence: reader.u64()?,
            state: RunState::Pending,
        };
        record.expires_ns = record.time_ns.wrapping_add(record.expires_ns);
        record.state = match kind >> 1 {
            0 => RunState::Pending,
            1 => RunState::Succeeded(reader.u64()?),
            2 => RunState::Failed(reader.u64()?),
            _ => return Err(Damaged("an unknown state")),
        };
        reader.end()?;
        Ok(record)
    }

    /// The expiry alone, for whoever collects what is expired.
    pub fn expiry(bytes: &[u8]) -> Result<TimeNs, Damaged> {
        Self::decode(bytes).map(|record| record.expires_ns)
    }
}
