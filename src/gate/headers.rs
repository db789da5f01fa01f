//! The header block of a message, by the rule of NATS ADR-4.

/// Name and value pairs in the order they came; a name may come more than once.
///
/// White space around values is not kept: `async-nats` hands values over trimmed, so trimmed is what
/// every path gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

/// A header block that is not `NATS/1.0`, CRLF, lines of `name: value` each ended by CRLF, CRLF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header block is malformed: {0}")]
pub struct MalformedHeaders(pub &'static str);

const VERSION_LINE: &str = "NATS/1.0\r\n";

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
        let mut pairs = Vec::new();
        while rest != "\r\n" {
            let (line, next) = rest
                .split_once("\r\n")
                .ok_or(MalformedHeaders("it does not end with an empty line"))?;
            pairs.push(Self::pair(line)?);
            rest = next;
        }
        Ok(Self(pairs))
    }

    fn pair(line: &str) -> Result<(String, String), MalformedHeaders> {
        let (name, value) = line.split_once(':').ok_or(MalformedHeaders("a line has no colon"))?;
        check(name, value)?;
        Ok((name.to_owned(), value.trim().to_owned()))
    }

    /// From pairs that a client library read, and the length of the block they stood in.
    ///
    /// A library is laxer than the rule (it takes bare line feeds, continued lines, a status, a missing
    /// end) and does not say so, but all of these change the length. `None`: the block is not what
    /// every client writes for these pairs, so read it raw to know.
    pub fn from_library(pairs: Vec<(String, String)>, block_bytes: usize) -> Option<Self> {
        let lines: usize = pairs.iter().map(|(name, value)| name.len() + 1 + value.len() + 2).sum();
        let plain = VERSION_LINE.len() + lines + 2;
        let as_written = block_bytes == plain + pairs.len() || block_bytes == plain;
        let clean = || pairs.iter().all(|(name, value)| check(name, value).is_ok());
        (as_written && clean()).then_some(Self(pairs))
    }

    /// All values under `name`, compared without regard to case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The value under `name` if there is exactly one.
    pub fn one<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (Some(value), None) => Some(value),
            _ => None,
        }
    }

    /// What of a publisher's headers may be forwarded: none that the server takes for a command
    /// (`Nats-*`) and none that only the gate may write (`Oncegate-*`).
    pub fn forwardable(&self) -> impl Iterator<Item = &(String, String)> {
        self.0.iter().filter(|(name, _)| !reserved(name))
    }
}

fn reserved(name: &str) -> bool {
    ["nats-", "oncegate-"].iter().any(|prefix| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    })
}

fn check(name: &str, value: &str) -> Result<(), MalformedHeaders> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
        return Err(MalformedHeaders("a name is not printable ASCII"));
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(MalformedHeaders("a value holds a control character"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed_blocks() {
        let read = |block: &str| Headers::parse(block.as_bytes()).map(|headers| headers.0);
        assert_eq!(read(""), Ok(vec![]));
        assert_eq!(read("NATS/1.0\r\n\r\n"), Ok(vec![]));
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        assert_eq!(
            read("NATS/1.0\r\nA: b\r\nA:\tc d:e \r\n\r\n"),
            Ok(vec![pair("A", "b"), pair("A", "c d:e")])
        );
        assert_eq!(read("NATS/1.0\r\nA:\r\n\r\n"), Ok(vec![pair("A", "")]));
    }

    #[test]
    fn malformed_blocks() {
        let odd: [&[u8]; 14] = [
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
            b"NATS/1.0\r\nA: b\r\n\r\nrest\r\n\r\n",
        ];
        for block in odd {
            assert!(Headers::parse(block).is_err(), "{}", block.escape_ascii());
        }
    }

    #[test]
    fn a_library_s_reading_is_believed_only_where_the_length_fits() {
        let pairs = vec![("A".to_owned(), "b".to_owned())];
        let length = |block: &str| Headers::from_library(pairs.clone(), block.len()).is_some();
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
        let names: Vec<_> = headers.forwardable().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["X-Nats", "Nats"]);
    }
}
