//! An entry beside what must stand in it, by section 3 of the contract.

use std::fmt::{self, Display, Write as _};

use bytes::Bytes;

use super::book::Known;
use super::finding::Difference;
use crate::gate::action::Action;
use crate::gate::entry::{
    DETAIL, DIGEST, FIRST_DIGEST, FIRST_RUN_ID, FIRST_SEQUENCE, FIRST_SOURCE, KEY, REASON, RUN_ID,
    SCOPE, SOURCE, SOURCE_SUBJECT,
};
use crate::gate::headers::Headers;
use crate::gate::verdict::Reason;

/// The server takes no larger header block.
const HEADER_BLOCK_BYTES_MAX: usize = 65_535;
/// Each append also carries `Nats-Expected-Last-Sequence`, which may have so many bytes.
const EXPECTED_SEQUENCE_BYTES: usize = 51;
/// The longest subject that the gate gives an entry.
const SUBJECT_BYTES_MAX: usize = 3840;
/// The longest subject that it puts into a header.
const SUBJECT_HEADER_BYTES_MAX: usize = 4096;

/// An entry as the ledger holds it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Ledger sequence.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// Its headers; none if they can't be read.
    pub headers: Headers,
    /// Its payload.
    pub payload: Bytes,
}

impl Stored {
    /// Headers and payload together, as an append of it was.
    pub fn bytes(&self) -> usize {
        let own = self.headers.iter().filter(|(name, _)| !is_of(name, "nats-"));
        block_bytes(own) + self.payload.len()
    }
}

/// What a comparison is made for.
pub struct Wanted<'a> {
    /// The gate's name.
    pub name: &'a str,
    /// What was decided.
    pub action: &'a Action,
    /// The ledger took an entry of so many bytes in this term.
    pub proven_bytes: usize,
}

impl Wanted<'_> {
    /// How an accepted entry differs from what it must be.
    pub fn accepted(&self, found: &Stored) -> Vec<Difference> {
        let (key, source) = (self.action.key.as_ref(), &self.action.raw.source);
        let mut compared = Compared::new(found);
        compared.subject(&self.accepted_subject());
        self.common(&mut compared);
        compared.header(RUN_ID, Some(source.run_id(key).hyphenated()));
        for name in [SOURCE_SUBJECT, REASON, DETAIL] {
            compared.header(name, None::<&str>);
        }
        self.first(&mut compared, None);
        compared.publishers(self.publisher_headers());
        compared.payload(&self.action.raw.payload);
        compared.differences
    }

    /// How a dead letter differs from what it must be. `first`: the accepted original, with a mismatch.
    pub fn rejected(&self, reason: Reason, first: First<'_>, found: &Stored) -> Vec<Difference> {
        let raw = &self.action.raw;
        let bare = format!("{}.rejected.{}", self.name, reason.as_str());
        let whole = format!("{bare}.{}", raw.subject);
        let routable = reason != Reason::Unroutable && self.fits_a_subject(&whole);
        let mut compared = Compared::new(found);
        compared.subject(if routable { &whole } else { &bare });
        self.common(&mut compared);
        compared.header(SOURCE_SUBJECT, (!routable).then(|| as_header_value(&raw.subject)));
        compared.header(REASON, Some(reason.as_str()));
        compared.header(RUN_ID, None::<&str>);
        if found.headers.one(DETAIL).is_none_or(str::is_empty) {
            compared.push("detail", "one sentence", "none");
        }
        match first {
            First::Is(known) => self.first(&mut compared, Some(known)),
            First::None => self.first(&mut compared, None),
            First::NotKnown => {}
        }
        self.what_fits(&mut compared);
        compared.differences
    }

    /// What a dead letter keeps of the publisher: the payload, if it fits, and the headers, if they do.
    fn what_fits(&self, compared: &mut Compared<'_>) {
        let payload = &self.action.raw.payload;
        let found = compared.found;
        let is_own = |name: &str| is_of(name, "oncegate-") || name.eq_ignore_ascii_case(KEY);
        let own = block_bytes(found.headers.iter().filter(|(name, _)| is_own(name)));
        let theirs = self.publisher_headers().into_iter();
        let block = own + theirs.map(|(name, value)| name.len() + value.len() + 4).sum::<usize>();
        let fits = |bytes| block <= HEADER_BLOCK_BYTES_MAX && bytes <= self.proven_bytes;
        if !found.payload.is_empty() || fits(block + payload.len()) {
            compared.payload(payload);
        }
        let none = compared.publishers_found().is_empty();
        if !none || !found.payload.is_empty() || fits(block) {
            compared.publishers(self.publisher_headers());
        }
    }

    /// Key, scope, digest and source.
    fn common(&self, compared: &mut Compared<'_>) {
        let key = self.action.key.as_ref();
        if let Some(key) = key {
            compared.header(KEY, Some(key.key()));
        }
        let scope = key.map(|key| key.scope()).filter(|scope| !scope.is_empty());
        compared.header(SCOPE, scope.map(|scope| serde_json::json!(scope)));
        compared.header(DIGEST, self.action.digest);
        compared.header(SOURCE, Some(&self.action.raw.source));
        compared.keyed = key.is_some();
    }

    fn first(&self, compared: &mut Compared<'_>, known: Option<&Known>) {
        let key = self.action.key.as_ref();
        compared.header(FIRST_DIGEST, known.map(|known| known.digest));
        compared.header(FIRST_SOURCE, known.map(|known| &known.source));
        let run_id = known.zip(key).map(|(known, key)| known.run_id(key));
        compared.header(FIRST_RUN_ID, run_id.map(|id| id.hyphenated()));
        match known.map(|known| known.ledger_sequence) {
            // The original's own entry is missing.
            Some(None) => {}
            sequence => compared.header(FIRST_SEQUENCE, sequence.flatten()),
        }
    }

    /// The publisher's headers, less what only the server and the gate may say.
    fn publisher_headers(&self) -> Vec<(&str, &str)> {
        let headers = self.action.raw.headers.as_ref();
        headers.map_or_else(|_| Vec::new(), |headers| theirs(headers, self.action.key.is_some()))
    }

    fn accepted_subject(&self) -> String {
        format!("{}.accepted.{}", self.name, self.action.raw.subject)
    }

    fn fits_a_subject(&self, subject: &str) -> bool {
        self.action.raw.subject_exact
            && subject.len() <= SUBJECT_BYTES_MAX
            && !subject.contains(char::is_whitespace)
    }

    /// Whether the ledger can carry its subject.
    pub fn is_routable(&self) -> bool {
        self.fits_a_subject(&self.accepted_subject())
    }

    /// Whether the ledger certainly had room for it, as accepted.
    pub fn has_room(&self) -> bool {
        let (key, raw) = (self.action.key.as_ref(), &self.action.raw);
        let key_text = key.map(|key| key.key());
        let run_id = raw.source.run_id(key).hyphenated().to_string();
        let (digest, source) = (self.action.digest.map(|d| d.to_string()), raw.source.to_string());
        let scope = key.map(|key| key.scope()).filter(|scope| !scope.is_empty());
        let scope = scope.map(|scope| serde_json::json!(scope).to_string());
        let own = [
            (KEY, key_text.as_deref()),
            (SCOPE, scope.as_deref()),
            (RUN_ID, Some(run_id.as_str())),
            (DIGEST, digest.as_deref()),
            (SOURCE, Some(source.as_str())),
        ];
        let own = own.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let block = block_bytes(own.chain(self.publisher_headers()));
        block <= HEADER_BLOCK_BYTES_MAX && block + raw.payload.len() <= self.proven_bytes
    }
}

/// The accepted original that a dead letter names.
pub enum First<'a> {
    /// It names none.
    None,
    /// It names this one.
    Is(&'a Known),
    /// It names one that nothing else is known of.
    NotKnown,
}

struct Compared<'a> {
    found: &'a Stored,
    /// The key's header is the gate's.
    keyed: bool,
    differences: Vec<Difference>,
}

impl<'a> Compared<'a> {
    fn new(found: &'a Stored) -> Self {
        Self { found, keyed: false, differences: Vec::new() }
    }

    fn push(&mut self, what: &str, expected: impl Display, found: impl Display) {
        self.differences.push(Difference::new(what, expected, found));
    }

    fn subject(&mut self, expected: &str) {
        if self.found.subject != expected {
            self.push("subject", expected, &self.found.subject);
        }
    }

    fn header(&mut self, name: &str, expected: Option<impl Display>) {
        let mut values = self.found.headers.all(name);
        let (value, more) = (values.next(), values.next());
        if more.is_none() && spells(value, expected.as_ref()) {
            return;
        }
        // Outer white space of a value is not kept.
        let expected = expected.map(|value| value.to_string().trim().to_owned());
        if value != expected.as_deref() || more.is_some() {
            let found: Vec<&str> = self.found.headers.all(name).collect();
            let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
            self.push(name, expected.as_deref().unwrap_or("none"), found);
        }
    }

    fn payload(&mut self, expected: &Bytes) {
        let found = &self.found.payload;
        if found == expected {
            return;
        }
        let same = found.iter().zip(expected).take_while(|(found, expected)| found == expected);
        let at = same.count();
        self.push(
            "payload",
            format_args!("{} bytes", expected.len()),
            format_args!("{} bytes, which differ from byte {at} on", found.len()),
        );
    }

    fn publishers_found(&self) -> Vec<(&'a str, &'a str)> {
        theirs(&self.found.headers, self.keyed)
    }

    /// Their order is not kept.
    fn publishers(&mut self, mut expected: Vec<(&str, &str)>) {
        let mut found = self.publishers_found();
        expected.sort_unstable();
        found.sort_unstable();
        if expected != found {
            let show = |these: &[(&str, &str)], those: &[(&str, &str)]| {
                let only = these.iter().filter(|pair| !those.contains(pair));
                let only: Vec<String> =
                    only.map(|(name, value)| format!("{name}: {value}")).collect();
                if only.is_empty() { "none".to_owned() } else { only.join("; ") }
            };
            let (wanted, there) = (show(&expected, &found), show(&found, &expected));
            self.push("publisher's headers", wanted, there);
        }
    }
}

/// Whether a text is exactly how a value is written, without writing it anywhere.
fn spells(text: Option<&str>, value: Option<&impl Display>) -> bool {
    struct Rest<'a>(&'a str);

    impl fmt::Write for Rest<'_> {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(part).ok_or(fmt::Error)?;
            Ok(())
        }
    }

    match (text, value) {
        (Some(text), Some(value)) => {
            let mut rest = Rest(text);
            write!(rest, "{value}").is_ok() && rest.0.is_empty()
        }
        (text, value) => text.is_none() && value.is_none(),
    }
}

fn theirs(headers: &Headers, keyed: bool) -> Vec<(&str, &str)> {
    let is_theirs = |name: &str| {
        let the_gates = keyed && name.eq_ignore_ascii_case(KEY);
        !is_of(name, "nats-") && !is_of(name, "oncegate-") && !the_gates
    };
    headers.iter().filter(|(name, _)| is_theirs(name)).collect()
}

fn is_of(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn block_bytes<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> usize {
    let lines: usize = headers.map(|(name, value)| name.len() + value.len() + 4).sum();
    "NATS/1.0\r\n\r\n".len() + lines + EXPECTED_SEQUENCE_BYTES
}

/// As much of a subject as a header takes; no header value may hold a control character.
fn as_header_value(subject: &str) -> String {
    let mut value = String::new();
    for c in subject.chars() {
        let c = if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        if value.len() + c.len_utf8() > SUBJECT_HEADER_BYTES_MAX {
            break;
        }
        value.push(c);
    }
    value
}
