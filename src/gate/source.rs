//! A position in an input stream, and the time the stream gave it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::fmt::StdFmtWrite;
use jiff::fmt::temporal::DateTimePrinter;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use super::key::ActionKey;

/// Nanoseconds since the Unix epoch, as JetStream stamps a message when it stores it.
pub type TimeNs = i64;

/// Nanoseconds in a second.
pub const NS_PER_S: TimeNs = 1_000_000_000;

const TO_THE_NS: DateTimePrinter = DateTimePrinter::new().precision(Some(9));

/// Where an action (or report) stands: written `<stream> <sequence> <RFC 3339 time, ns, Z>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name of the input stream.
    pub stream: Arc<str>,
    /// Its stream sequence, from 1.
    pub sequence: u64,
    /// When the stream stored it (source time).
    pub time_ns: TimeNs,
}

/// A text that is not a source position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not of the form `<stream> <sequence> <RFC 3339 time>`")]
pub struct BadSource;

/// A stream's name and a UUID with a scope.
const HASHED_BYTES_EXPECTED: usize = 128;

impl Source {
    /// The run id of the action accepted here: a UUID of version 7 layout (RFC 9562) whose time is the
    /// source time and whose other bits are a hash of position, scope and key. The same however often
    /// the decision is made; another for every acceptance.
    pub fn run_id(&self, key: Option<&ActionKey>) -> Uuid {
        let stream_bytes = (self.stream.len() as u64).to_le_bytes();
        let (sequence, time) = (self.sequence.to_le_bytes(), self.time_ns.to_le_bytes());
        let mut hashed = Vec::with_capacity(HASHED_BYTES_EXPECTED);
        for part in [&stream_bytes, self.stream.as_bytes(), &sequence, &time] {
            hashed.extend_from_slice(part);
        }
        if let Some(key) = key {
            key.put_texts(&mut hashed);
        }
        let bits = xxh3_128(&hashed);
        let millis = u128::from((self.time_ns.max(0) / 1_000_000).unsigned_abs());
        let version_and_variant = (0x7_u128 << 76) | (0b10_u128 << 62);
        let random = (bits & (0xFFF << 64)) | (bits & ((1 << 62) - 1));
        Uuid::from_u128((millis << 80) | version_and_variant | random)
    }

    /// Its text behind what is in `text`.
    pub(super) fn put(&self, text: &mut String) {
        text.push_str(&self.stream);
        text.push(' ');
        text.push_str(&self.sequence.to_string());
        text.push(' ');
        put_rfc3339(text, self.time_ns);
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.put(&mut text);
        f.write_str(&text)
    }
}

impl FromStr for Source {
    type Err = BadSource;

    fn from_str(text: &str) -> Result<Self, BadSource> {
        let mut parts = text.split(' ');
        let (Some(stream), Some(sequence), Some(time), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadSource);
        };
        if stream.is_empty() {
            return Err(BadSource);
        }
        Ok(Self {
            stream: stream.into(),
            sequence: sequence.parse().map_err(|_| BadSource)?,
            time_ns: parse_rfc3339(time).ok_or(BadSource)?,
        })
    }
}

/// RFC 3339 with nine digits of a second and `Z`.
pub fn rfc3339(time_ns: TimeNs) -> impl fmt::Display {
    fmt::from_fn(move |f| put(time_ns, StdFmtWrite(f)).map_err(|_| fmt::Error))
}

/// The same at the end of a text, without the way through a formatter.
pub(super) fn put_rfc3339(text: &mut String, time_ns: TimeNs) {
    // A string takes everything.
    put(time_ns, text).ok();
}

fn put(time_ns: TimeNs, to: impl jiff::fmt::Write) -> Result<(), jiff::Error> {
    let time = Timestamp::from_nanosecond(i128::from(time_ns)).unwrap_or(Timestamp::UNIX_EPOCH);
    TO_THE_NS.print_timestamp(&time, to)
}

/// The inverse of [`rfc3339`]; any RFC 3339 time that fits 64 bits of nanoseconds.
pub fn parse_rfc3339(text: &str) -> Option<TimeNs> {
    let time: Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read_back() {
        let text = "ACTIONS 42 2026-11-24T20:39:40.123456789Z";
        let source: Source = text.parse().unwrap();
        assert_eq!(source.sequence, 42);
        assert_eq!(source.to_string(), text);
        for bad in
            ["", "A 1", "A x 2026-11-24T20:39:40Z", "A 1 yesterday", "A 1 2026-11-24T20:39:40Z x"]
        {
            assert_eq!(bad.parse::<Source>(), Err(BadSource), "{bad}");
        }
    }

    #[test]
    fn run_ids_have_version_7_layout_and_the_source_time() {
        let source: Source = "ACTIONS 42 2026-11-24T20:39:40.123456789Z".parse().unwrap();
        let id = source.run_id(None);
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
        let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
        assert_eq!((seconds, nanos), (1_795_552_780, 123_000_000));
        assert_eq!(id, source.run_id(None));
        let next = Source { sequence: 43, ..source.clone() };
        assert_ne!(id, next.run_id(None));
    }
}
