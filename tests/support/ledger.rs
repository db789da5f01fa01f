//! The ledger, read raw: entries as the contract describes them.

use jiff::Timestamp;

use super::model::parse_block;
use super::raw::Client;
use super::streams::{self, Stored};

/// A place in an input stream, as `Oncegate-Source` and `Oncegate-Judged` write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub stream: String,
    pub sequence: u64,
    pub time: Timestamp,
}

impl Position {
    /// `<stream> <sequence> <RFC 3339 time, nanoseconds, Z>`, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let [stream, sequence, time] = text.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let (_, fraction) = time.strip_suffix('Z')?.split_once('.')?;
        (fraction.len() == 9).then_some(())?;
        Some(Self {
            stream: stream.into(),
            sequence: sequence.parse().ok()?,
            time: time.parse().ok()?,
        })
    }
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub sequence: u64,
    pub subject: String,
    pub headers: Vec<(String, String)>,
    pub payload: Vec<u8>,
}

impl Entry {
    fn new(stored: Stored) -> Self {
        let block = stored.headers.as_deref().unwrap_or(b"NATS/1.0\r\n\r\n");
        Self {
            sequence: stored.sequence,
            subject: stored.subject,
            headers: parse_block(block).unwrap_or_default(),
            payload: stored.payload,
        }
    }

    /// The value of a header that stands there once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(own, _)| own == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} stands twice in {self:?}");
        value
    }

    pub fn source(&self) -> Option<Position> {
        self.header("Oncegate-Source").and_then(Position::parse)
    }

    pub fn judged(&self) -> Option<Position> {
        self.header("Oncegate-Judged").and_then(Position::parse)
    }

    pub fn reason(&self) -> Option<&str> {
        self.header("Oncegate-Reason")
    }

    /// The last token of the part that says what kind of entry it is: `accepted`, `rejected`, ...
    pub fn kind(&self) -> &str {
        self.subject.split('.').nth(1).unwrap_or_default()
    }
}

/// Every entry of the ledger.
pub fn read_all(client: &mut Client, stream: &str) -> Vec<Entry> {
    let last = streams::last_sequence(client, stream);
    read_from(client, stream, 1, last)
}

/// The entries of these sequences.
pub fn read_from(client: &mut Client, stream: &str, from: u64, to: u64) -> Vec<Entry> {
    streams::read(client, stream, from..=to).into_iter().map(Entry::new).collect()
}

/// The furthest action that the ledger's last entries name.
pub fn last_named(client: &mut Client, stream: &str) -> Option<Position> {
    let reports = format!("{stream}_REPORTS");
    last_of(client, stream, |named| named.stream != reports)
}

/// The furthest report.
pub fn last_reported(client: &mut Client, stream: &str) -> Option<Position> {
    let reports = format!("{stream}_REPORTS");
    last_of(client, stream, |named| named.stream == reports)
}

fn last_of(
    client: &mut Client,
    stream: &str,
    fits: impl Fn(&Position) -> bool,
) -> Option<Position> {
    let mut to = streams::last_sequence(client, stream);
    let mut many = 8;
    while to > 0 {
        let from = (to + 1).saturating_sub(many).max(1);
        let entries = read_from(client, stream, from, to);
        let named = |entry: &Entry| {
            [entry.source(), entry.judged()].into_iter().flatten().find(|named| fits(named))
        };
        if let Some(named) = entries.iter().rev().find_map(named) {
            return Some(named);
        }
        (to, many) = (from - 1, many * 4);
    }
    None
}
