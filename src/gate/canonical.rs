//! Strict JSON (RFC 8259) to a canonical form, in one pass over the text.
//!
//! The canonical form is a byte string that two JSON texts share exactly when they are the same
//! *value*. It is made to be hashed and is not JSON. Digests of it are stored, so it never changes:
//!
//! | value | bytes |
//! |---|---|
//! | `null`, `true`, `false` | `n`, `t`, `f` |
//! | number | sign, significant digits, then `e` and the decimal exponent unless that is zero |
//! | string | `"`, the text in UTF-8 with no escapes, `FF` |
//! | array | `[`, the elements, `]` |
//! | object | `{`, per member its name as a string and its value, sorted by name, `}` |
//! | all of it ignored | `*` |
//!
//! No two values meet, because the bytes can be read back: the first byte tells the kind; `FF`
//! occurs in no UTF-8 text, so a string ends at its first `FF`; no kind begins with a digit or `e`,
//! so a number ends where they end (a `-` goes on only right after the `e`).
//!
//! Instead of a tree of values there is one output buffer. An object notes where each of its
//! members was written, and when it closes it puts those stretches in the order of their names.

use super::number;
use super::plain::{SHORT_WORDS, WORD, ending_bytes, plain_length};
use super::pointer::{Pattern, Pointer, Reached, Trail, Tree};

/// How many arrays and objects may stand inside one another (RFC 8259 section 9 lets a reader set
/// this limit). It also bounds the stack, and how often a byte is moved to sort members.
const MAX_DEPTH: usize = 128;

/// Ends a string; a byte that UTF-8 never uses.
const END_OF_STRING: u8 = 0xFF;

const TOO_SHORT: &str = "the text ends too early";
const LONE_SURROGATE: &str = "an escaped surrogate without its other half";

/// What to leave out of the canonical form and what to read on the way, compiled for [`scan`].
#[derive(Clone, Debug, Default)]
pub struct Plan {
    tree: Tree,
    captures: usize,
}

impl Plan {
    /// `ignore` names the values to leave out, `capture` those to read.
    ///
    /// A captured value is left out only if `ignore` names it too, and it is read either way, also
    /// from inside a value that is left out.
    pub fn new(ignore: Vec<Pattern>, capture: Vec<Pointer>) -> Self {
        Self { tree: Tree::new(&ignore, &capture), captures: capture.len() }
    }

    /// What it leaves out, by the way there.
    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }
}

/// What stands at a captured pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Captured {
    /// Nothing; a `null` is [`Captured::NotText`].
    Absent,
    /// A string, with its escapes decoded.
    Text(String),
    /// A value of another kind.
    NotText,
}

/// What [`scan`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Equal for two texts exactly when they are the same value but for the ignored parts.
    pub canonical: Vec<u8>,
    /// In the order of the plan's list.
    pub captured: Vec<Captured>,
}

/// Why a text is not strict JSON. Nothing of the text itself is in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not strict JSON at byte {offset}: {why}")]
pub struct NotStrict {
    /// Counted from 0; for a repeated member name, the end of the object that holds both.
    pub offset: usize,
    /// The rule that was broken.
    pub why: &'static str,
}

/// Reads one strict JSON text.
///
/// Strict is the grammar of RFC 8259 in valid UTF-8, with what the RFC leaves open closed: no byte
/// order mark (section 8.1), no repeated member name once escapes are decoded (section 4), no
/// escaped lone surrogate (section 8.2), no more than 128 levels (section 9). That holds for
/// ignored parts too.
///
/// Numbers are exact decimals of any size (`1`, `1.0` and `1e0` are equal, `-0` is `0`), strings
/// are compared code point by code point without Unicode normalisation, arrays keep their order,
/// and `null` is not absence.
///
/// An ignored member leaves no trace: the object is equal to one without it. An ignored element is
/// left out of its array and the rest closes up: with `/0` ignored, `[1,2]`, `[5,2]` are equal (as
/// are `[]` and `[1]`), and with `/*` all arrays. Patterns count the elements as the text does. If
/// the whole text is ignored, all texts are equal.
///
/// Takes time O(n log n) at most and memory O(n), whatever the text says.
pub fn scan(text: &[u8], plan: &Plan) -> Result<Scan, NotStrict> {
    let refuse = |offset, why| Err(NotStrict { offset, why });
    if text.starts_with(b"\xEF\xBB\xBF") {
        return refuse(0, "a byte order mark");
    }
    if simdutf8::basic::from_utf8(text).is_err() {
        let valid = std::str::from_utf8(text).map_or_else(|error| error.valid_up_to(), str::len);
        return refuse(valid, "not valid UTF-8");
    }
    let (trail, root) = Trail::new(&plan.tree);
    let mut scanner = Scanner {
        text,
        at: 0,
        depth: 0,
        // The form is rarely longer than the text; where it is, the vector grows.
        out: Vec::with_capacity(text.len() + 8),
        members: Vec::new(),
        scratch: Vec::new(),
        trail,
        captured: vec![Captured::Absent; plan.captures],
    };
    scanner.white_space();
    scanner.value(root)?;
    scanner.white_space();
    if scanner.at < text.len() {
        return scanner.refuse("something follows the value");
    }
    if scanner.out.is_empty() {
        scanner.out.push(b'*');
    }
    Ok(Scan { canonical: scanner.out, captured: scanner.captured })
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    out: Vec<u8>,
    /// The members of all objects that are open, those of the innermost last.
    members: Vec<Member>,
    /// Kept from one object to the next for its memory alone.
    scratch: Vec<u8>,
    trail: Trail<'a>,
    captured: Vec<Captured>,
}

/// Where a member stands in the output. An ignored one has a name and zero bytes of value, which no
/// value really has.
#[derive(Clone, Copy)]
struct Member {
    start: usize,
    name_end: usize,
    end: usize,
}

impl Member {
    fn is_ignored(self) -> bool {
        self.end == self.name_end
    }

    fn name(self, out: &[u8]) -> &[u8] {
        // Less the quote, and less the end mark, which would sort a name after its continuations.
        let name = self.start + 1..self.name_end.saturating_sub(1);
        out.get(name).unwrap_or_default()
    }
}

type Step = Result<(), NotStrict>;

impl<'a> Scanner<'a> {
    fn value(&mut self, reached: Reached) -> Step {
        let start = self.out.len();
        let first = self.peek();
        match first {
            Some(b'"') => self.string(),
            Some(b'{') => self.object(reached),
            Some(b'[') => self.array(reached),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(_) => self.refuse("a value is missing"),
            None => self.refuse(TOO_SHORT),
        }?;
        self.answer(reached, start, first == Some(b'"'));
        Ok(())
    }

    fn object(&mut self, reached: Reached) -> Step {
        let first = self.members.len();
        self.open(b'{')?;
        let body = self.out.len();
        let mut in_place = true;
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                let member = self.member(reached)?;
                in_place = in_place && self.stays(first, member);
                self.members.push(member);
                if !self.goes_on(b'}')? {
                    break;
                }
            }
        }
        if !in_place {
            self.arrange(first, body)?;
        }
        self.members.truncate(first);
        self.close(b'}');
        Ok(())
    }

    fn member(&mut self, reached: Reached) -> Result<Member, NotStrict> {
        let start = self.out.len();
        if self.peek() != Some(b'"') {
            return self.refuse("a member name is missing");
        }
        self.string()?;
        let name_end = self.out.len();
        self.white_space();
        if self.peek() != Some(b':') {
            return self.refuse("a colon is missing after a member name");
        }
        self.at += 1;
        self.white_space();

        let mut member = Member { start, name_end, end: name_end };
        let inner = self.trail.enter_member(reached, member.name(&self.out));
        self.value(inner)?;
        member.end = self.out.len();
        Ok(member)
    }

    /// Whether a member may stay where it was written, if its elder siblings may.
    fn stays(&self, first: usize, member: Member) -> bool {
        let siblings = self.members.get(first..).unwrap_or_default();
        let name = member.name(&self.out);
        let sorted = siblings.last().is_none_or(|last| {
            let before = last.name(&self.out);
            // The first byte alone tells most names apart.
            before.first().cmp(&name.first()).then_with(|| before.cmp(name)).is_lt()
        });
        sorted && !member.is_ignored()
    }

    /// Sorts the members of the object whose body begins at `body`, and drops the ignored ones.
    fn arrange(&mut self, first: usize, body: usize) -> Step {
        let members = self.members.get_mut(first..).unwrap_or_default();
        let out = &self.out;
        members.sort_unstable_by(|a, b| a.name(out).cmp(b.name(out)));
        if members.array_windows().any(|[a, b]| a.name(out) == b.name(out)) {
            return self.refuse("a member name is repeated");
        }
        self.scratch.clear();
        self.scratch.reserve(self.text.len() + 8);
        // What is smaller is copied once more: what comes before the body, or the body.
        let before = out.get(..body).filter(|before| before.len() < out.len() - body);
        self.scratch.extend_from_slice(before.unwrap_or_default());
        for member in members.iter().filter(|member| !member.is_ignored()) {
            let bytes = out.get(member.start..member.end).unwrap_or_default();
            self.scratch.extend_from_slice(bytes);
        }
        if before.is_some() {
            std::mem::swap(&mut self.out, &mut self.scratch);
        } else {
            self.out.truncate(body);
            self.out.extend_from_slice(&self.scratch);
        }
        Ok(())
    }

    fn array(&mut self, reached: Reached) -> Step {
        self.open(b'[')?;
        if self.peek() == Some(b']') {
            self.at += 1;
        } else {
            for index in 0_usize.. {
                let inner = self.trail.enter_element(reached, index);
                self.value(inner)?;
                if !self.goes_on(b']')? {
                    break;
                }
            }
        }
        self.close(b']');
        Ok(())
    }

    fn open(&mut self, bracket: u8) -> Step {
        if self.depth == MAX_DEPTH {
            return self.refuse("more than 128 levels");
        }
        self.depth += 1;
        self.out.push(bracket);
        self.at += 1;
        self.white_space();
        Ok(())
    }

    fn close(&mut self, bracket: u8) {
        self.depth -= 1;
        self.out.push(bracket);
    }

    /// Reads what follows a member or an element: whether there is another one.
    fn goes_on(&mut self, bracket: u8) -> Result<bool, NotStrict> {
        self.white_space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.white_space();
                Ok(true)
            }
            Some(byte) if byte == bracket => {
                self.at += 1;
                Ok(false)
            }
            Some(_) => self.refuse("a comma or the closing bracket is missing"),
            None => self.refuse(TOO_SHORT),
        }
    }

    fn number(&mut self) -> Step {
        match number::normalise(self.rest(), &mut self.out) {
            Ok(length) => {
                self.at += length;
                Ok(())
            }
            Err(malformed) => {
                self.at += malformed.offset;
                self.refuse(malformed.why)
            }
        }
    }

    fn literal(&mut self, word: &[u8]) -> Step {
        if !self.rest().starts_with(word) {
            return self.refuse("neither true, false nor null");
        }
        self.at += word.len();
        self.out.extend(word.first());
        Ok(())
    }

    fn string(&mut self) -> Step {
        self.out.push(b'"');
        self.at += 1;
        loop {
            self.plain_text();
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    self.at += 1;
                    let decoded = self.escape()?;
                    let bytes = &mut [0; 4];
                    let decoded = decoded.encode_utf8(bytes);
                    self.out.extend_from_slice(decoded.as_bytes());
                }
                Some(_) => return self.refuse("a control character in a string"),
                None => return self.refuse(TOO_SHORT),
            }
        }
        self.out.push(END_OF_STRING);
        self.at += 1;
        Ok(())
    }

    /// Takes what comes before the first quote, backslash or control character. Most of a payload is read here.
    fn plain_text(&mut self) {
        // Most strings are short: they end before a longer search has begun.
        for word in self.rest().as_chunks().0.iter().take(SHORT_WORDS) {
            self.out.extend_from_slice(word);
            let ends = ending_bytes(u64::from_le_bytes(*word));
            if ends != 0 {
                let plain = ends.trailing_zeros() as usize / 8;
                self.out.truncate(self.out.len() - (WORD - plain));
                self.at += plain;
                return;
            }
            self.at += WORD;
        }
        let rest = self.rest();
        let plain = plain_length(rest);
        self.out.extend_from_slice(rest.get(..plain).unwrap_or_default());
        self.at += plain;
    }

    /// Reads what follows a backslash.
    fn escape(&mut self) -> Result<char, NotStrict> {
        let decoded = match self.peek() {
            Some(b'u') => return self.escaped_unicode(),
            Some(same @ (b'"' | b'\\' | b'/')) => char::from(same),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{C}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            _ => return self.refuse("an unknown escape in a string"),
        };
        self.at += 1;
        Ok(decoded)
    }

    /// Reads `uXXXX`, or `uXXXX\uXXXX` where RFC 8259 section 7 asks for a pair of surrogates.
    fn escaped_unicode(&mut self) -> Result<char, NotStrict> {
        let mut code = self.code_unit()?;
        if matches!(code, 0xD800..0xDC00) && self.rest().starts_with(b"\\u") {
            self.at += 1;
            let low = self.code_unit()?;
            if !matches!(low, 0xDC00..0xE000) {
                return self.refuse(LONE_SURROGATE);
            }
            code = 0x1_0000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
        match char::from_u32(code) {
            Some(decoded) => Ok(decoded),
            None => self.refuse(LONE_SURROGATE),
        }
    }

    fn code_unit(&mut self) -> Result<u32, NotStrict> {
        self.at += 1;
        let mut code = 0;
        for _ in 0..4 {
            let byte = self.peek().map(char::from);
            let Some(digit) = byte.and_then(|byte| byte.to_digit(16)) else {
                return self.refuse("\\u without four hexadecimal digits");
            };
            code = code << 4 | digit;
            self.at += 1;
        }
        Ok(code)
    }

    /// Does what the plan asks of the value just read, which begins at `start` of the output.
    fn answer(&mut self, reached: Reached, start: usize, is_text: bool) {
        let mut ignored = false;
        for node in self.trail.asked(reached) {
            ignored |= node.ignored;
            for &place in &node.captures {
                let Some(captured) = self.captured.get_mut(place) else {
                    continue;
                };
                *captured = Captured::NotText;
                if is_text {
                    let inside = start + 1..self.out.len() - 1;
                    let text = self.out.get(inside).unwrap_or_default();
                    *captured = Captured::Text(String::from_utf8_lossy(text).into_owned());
                }
            }
        }
        if ignored {
            self.out.truncate(start);
        }
    }

    fn white_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn refuse<T>(&self, why: &'static str) -> Result<T, NotStrict> {
        Err(NotStrict { offset: self.at, why })
    }
}
