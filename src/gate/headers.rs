//! The header block of a message, by the rule of NATS ADR-4.

use std::fmt;

/// Name and value pairs in the order they came; a name may come more than once.
///
/// White space around values is not kept: `async-nats` hands values over trimmed, so trimmed is what
/// every path gives.
///
/// Every message of either stream has some, so they are kept in two allocations, however many they are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// Each name and its value, one after the other.
    text: String,
    /// How many bytes of it each name and its value take.
    lengths: Vec<(usize, usize)>,
}

/// A header block that is not `NATS/1.0`, CRLF, lines of `name: value` each ended by CRLF, CRLF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header block is malformed: {0}")]
pub struct MalformedHeaders(pub &'static str);

const VERSION_LINE: &str = "NATS/1.0\r\n";
/// More than an entry has whose publisher sent none.
const PAIRS_EXPECTED: usize = 8;

impl Headers {
    /// Reads a raw header block as the server stored it; an empty one is no headers.
    pub fn parse(block: &[u8]) -> Result<Self, MalformedHeaders> {
        if block.is_empty() {
            return Ok(Self::default());
        }
        let text = std::str::from_utf8(block).map_err(|_| MalformedHeaders("it is not UTF-8"))?;
        let mut rest = text
            .strip_prefix(VERSION_LINE)
            .ok_or(MalformedHeaders("it does not begin with the line NATS/1.0"))?;
        let mut headers = Self { text: String::with_capacity(rest.len()), lengths: Vec::new() };
        while rest != "\r\n" {
            let (line, next) = rest
                .split_once("\r\n")
                .ok_or(MalformedHeaders("it does not end with an empty line"))?;
            let (name, value) =
                line.split_once(':').ok_or(MalformedHeaders("a line has no colon"))?;
            check(name, value)?;
            headers.push(name, value.trim());
            rest = next;
        }
        Ok(headers)
    }

    /// From pairs that a client library read, and the length of the block they stood in.
    ///
    /// A library is laxer than the rule (it takes bare line feeds, continued lines, a status, a missing
    /// end) and does not say so, but all of these change the length. `None`: the block is not what
    /// every client writes for these pairs, so read it raw to know.
    pub fn from_library<'a>(
        pairs: impl Iterator<Item = (&'a str, &'a str)>,
        block_bytes: usize,
    ) -> Option<Self> {
        let text = String::with_capacity(block_bytes);
        let mut headers = Self { text, lengths: Vec::with_capacity(PAIRS_EXPECTED) };
        for (name, value) in pairs {
            check(name, value).ok()?;
            headers.push(name, value);
        }
        let pairs = headers.lengths.len();
        let plain = VERSION_LINE.len() + headers.text.len() + pairs * ":\r\n".len() + "\r\n".len();
        let as_written = block_bytes == plain + pairs || block_bytes == plain;
        as_written.then_some(headers)
    }

    fn push(&mut self, name: &str, value: &str) {
        self.text.push_str(name);
        self.text.push_str(value);
        self.lengths.push((name.len(), value.len()));
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.lengths.iter().scan(self.text.as_str(), |rest, (name_bytes, value_bytes)| {
            let (name, after) = rest.split_at_checked(*name_bytes)?;
            let (value, after) = after.split_at_checked(*value_bytes)?;
            *rest = after;
            Some((name, value))
        })
    }

    /// All values under `name`, compared without regard to case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.iter().filter(move |(n, _)| is_same_name(n, name)).map(|(_, value)| value)
    }

    /// The value under `name` if there is exactly one.
    pub fn one(&self, name: &str) -> Option<&str> {
        let [value] = self.each([name]);
        value
    }

    /// What [`Headers::one`] gives for each of `names`, which must be different, in one go.
    pub fn each<const N: usize>(&self, names: [&str; N]) -> [Option<&str>; N] {
        let mut wanted = names.map(|name| (name, None, 0_usize));
        for (name, value) in self.iter() {
            let found = wanted.iter_mut().find(|(wanted, ..)| is_same_name(name, wanted));
            if let Some((_, found, times)) = found {
                *found = Some(value);
                *times += 1;
            }
        }
        wanted.map(|(_, value, times)| value.filter(|_| times == 1))
    }

    /// What of a publisher's headers may be forwarded: none that the server takes for a command
    /// (`Nats-*`) and none that only the gate may write (`Oncegate-*`).
    pub fn forwardable(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter(|(name, _)| !reserved(name))
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut headers = Self::default();
        for (name, value) in pairs {
            headers.push(name.as_ref(), value.as_ref());
        }
        headers
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Without regard to case. From the end, since names that begin alike (`Oncegate-`) are told apart there.
pub(super) fn is_same_name(one: &str, other: &str) -> bool {
    let mut bytes = one.bytes().rev().zip(other.bytes().rev());
    one.len() == other.len() && bytes.all(|(one, other)| one.eq_ignore_ascii_case(&other))
}

fn reserved(name: &str) -> bool {
    ["nats-", "oncegate-"].iter().any(|prefix| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    })
}

fn check(name: &str, value: &str) -> Result<(), MalformedHeaders> {
    if name.is_empty() || !all_bytes(name, |b| b.is_ascii_graphic() && b != b':') {
        return Err(MalformedHeaders("a name is not printable ASCII"));
    }
    let is_plain = all_bytes(value, |b| matches!(b, b' '..=b'~'));
    if !is_plain && value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(MalformedHeaders("a value holds a control character"));
    }
    Ok(())
}

/// Looks at every byte even after one that is not `fit`: many at once that way.
pub(super) fn all_bytes(text: &str, fit: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(true, |all, byte| all & fit(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed_blocks() {
        let check = |block: &str, pairs: &[(&str, &str)]| {
            let read = Headers::parse(block.as_bytes()).unwrap();
            assert!(read.iter().eq(pairs.iter().copied()), "{read:?}");
            assert_eq!(read, pairs.iter().copied().collect());
        };
        check("", &[]);
        check("NATS/1.0\r\n\r\n", &[]);
        check("NATS/1.0\r\nA: b\r\nA:\tc d:e \r\n\r\n", &[("A", "b"), ("A", "c d:e")]);
        check("NATS/1.0\r\nA:\r\n\r\n", &[("A", "")]);
        check("NATS/1.0\r\nA: \u{e9}\tb\r\n\r\n", &[("A", "\u{e9}\tb")]);
    }

    #[test]
    fn malformed_blocks() {
        let odd: [&[u8]; 16] = [
            b"NATS/1.0",
            b"NATS/1.0\r\n",
            b"NATS/1.0\n\n",
            b"NATS/1.0 \r\n\r\n",
            b"NATS/1.0 503\r\n\r\n",
            b"NATS/1.0\r\nA: b\r\n",
            b"NATS/1.0\r\nA: b\n\r\n",
            b"NATS/1.0\r\nA: b\r\n continued\r\n\r\n",
            b"NATS/1.0\r\nno colon\r\n\r\n",
            b"NATS/1.0\r\nA: b\rc\r\n\r\n",
            b"NATS/1.0\r\n: b\r\n\r\n",
            b"NATS/1.0\r\nA b: c\r\n\r\n",
            b"NATS/1.0\r\nA: \xff\r\n\r\n",
            b"NATS/1.0\r\nA: \x7f\r\n\r\n",
            b"NATS/1.0\r\nA: \xc2\x85\r\n\r\n",
            b"NATS/1.0\r\nA: b\r\n\r\nrest\r\n\r\n",
        ];
        for block in odd {
            assert!(Headers::parse(block).is_err(), "{}", block.escape_ascii());
        }
    }

    #[test]
    fn a_library_s_reading_is_believed_only_where_the_length_fits() {
        let length =
            |block: &str| Headers::from_library([("A", "b")].into_iter(), block.len()).is_some();
        assert!(length("NATS/1.0\r\nA: b\r\n\r\n"));
        assert!(length("NATS/1.0\r\nA:b\r\n\r\n"));
        assert!(!length("NATS/1.0\r\nA:  b\r\n\r\n"));
        assert!(!length("NATS/1.0 503\r\nA: b\r\n\r\n"));
        assert!(!length("NATS/1.0\nA: b\n\n"));
    }

    #[test]
    fn reserved_names_are_not_forwarded() {
        let block =
            b"NATS/1.0\r\nnats-TTL: 1\r\nOncegate-Run-Id: 2\r\nX-Nats: 3\r\nNats: 4\r\n\r\n";
        let headers = Headers::parse(block).unwrap();
        let names: Vec<_> = headers.forwardable().map(|(name, _)| name).collect();
        assert_eq!(names, ["X-Nats", "Nats"]);
    }
}
