//! Where a delivery stands, and what a subject filter takes.

use crate::gate::source::TimeNs;

/// Where a delivery stands, from its reply subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Stream sequence.
    pub sequence: u64,
    /// Delivery sequence of the consumer.
    pub delivery: u64,
    /// When the stream stored it.
    pub time_ns: TimeNs,
    /// Messages behind it.
    pub pending: u64,
}

impl Place {
    /// `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<tries>.<stream seq>.<delivery>.<time>.<pending>`.
    pub(super) fn read(reply: &str) -> Option<Self> {
        let rest = reply.strip_prefix("$JS.ACK.")?.as_bytes();
        // One for every message: dots are found many bytes at once.
        let dots = memchr::memchr_iter(b'.', rest);
        let count = dots.clone().count() + 1;
        let mut start = 0;
        let tokens = dots.chain([rest.len()]).map(|end| {
            let token = rest.get(start..end).unwrap_or_default();
            start = end + 1;
            token
        });
        let mut parts = tokens.skip(if count >= 9 { 5 } else { 3 });
        let mut number = || number(parts.next()?);
        Some(Self {
            sequence: number()?,
            delivery: number()?,
            time_ns: i64::try_from(number()?).ok()?,
            pending: number()?,
        })
    }
}

/// Digits and nothing else.
fn number(token: &[u8]) -> Option<u64> {
    let add = |sum: u64, byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    };
    token.iter().try_fold(0, add).filter(|_| !token.is_empty())
}

/// Whether the subject filter takes `subject` (NATS wildcards).
pub(super) fn matches(filter: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in filter.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_both_forms_of_the_reply() {
        let place = Place { sequence: 20, delivery: 10, time_ns: 1_500_000_000_000, pending: 3 };
        assert_eq!(Place::read("$JS.ACK.ACTIONS.oncegate.1.20.10.1500000000000.3"), Some(place));
        let long = "$JS.ACK.hub.ACCHASH.ACTIONS.oncegate.1.20.10.1500000000000.3.tok";
        assert_eq!(Place::read(long), Some(place));
        assert_eq!(Place::read("_INBOX.a.b"), None);
        for odd in ["", "-1", "+1", "x", "18446744073709551616"] {
            let reply = format!("$JS.ACK.ACTIONS.oncegate.1.20.{odd}.1500000000000.3");
            assert_eq!(Place::read(&reply), None, "{odd}");
        }
    }

    #[test]
    fn filters() {
        assert!(matches("actions.>", "actions.a.b"));
        assert!(!matches("actions.>", "actions"));
        assert!(matches("a.*.c", "a.b.c"));
        assert!(!matches("a.*", "a.b.c"));
        assert!(matches(">", "a"));
    }
}
