//! An idempotency key in its scope.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};

use smallvec::SmallVec;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::codec::{Damaged, Reader, put_text, put_u64};
use super::headers::all_bytes;

/// The most bytes that `key.max_bytes` may allow a key, and each scope part.
pub const KEY_BYTES_MAX: usize = 255;
/// The most parts that `key.scope` may have. With these bounds a bare dead letter fits any ledger.
pub const SCOPE_PARTS_MAX: usize = 16;

/// Scope parts and key, in an exact encoding, which is also what the table is keyed by: the number of scope parts,
/// then each part and the key, with its length + 1; or 0 and 16 bytes where it is a UUID as it is usually written
/// (RFC 9562: lower case, with hyphens). Never joined by a delimiter, never a hash: two different (scope, key) pairs
/// never share an encoding.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct ActionKey(Bytes);

/// A UUID without a scope takes 18, and no memory elsewhere.
type Bytes = SmallVec<[u8; 24]>;

/// A key or a part of its scope.
#[derive(Clone, Copy)]
enum Part<'a> {
    Text(&'a str),
    Uuid(Uuid),
}

/// Why a text can't be a key or a scope part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Zero bytes.
    #[error("is empty")]
    Empty,
    /// More bytes than `key.max_bytes`.
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    /// C0, DEL or C1 inside.
    #[error("holds a control character")]
    Control,
    /// White space at an end.
    #[error("begins or ends with white space")]
    Space,
}

/// The rule for keys and scope parts: 1..=`max_bytes` bytes of UTF-8, no control character (C0, DEL,
/// C1), no leading or trailing white space.
pub fn check(text: &str, max_bytes: usize) -> Result<(), BadKey> {
    if text.is_empty() {
        return Err(BadKey::Empty);
    }
    if text.len() > max_bytes {
        return Err(BadKey::TooLong(max_bytes));
    }
    // Nearly every key, and quickly seen.
    if all_bytes(text, |byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    if text.chars().any(char::is_control) {
        return Err(BadKey::Control);
    }
    if text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
        return Err(BadKey::Space);
    }
    Ok(())
}

impl ActionKey {
    /// Of texts that passed [`check`].
    pub fn new<S: AsRef<str>>(scope: &[S], key: &str) -> Self {
        let mut bytes = Bytes::new();
        put_u64(&mut bytes, scope.len() as u64);
        for part in scope {
            put_part(&mut bytes, part.as_ref());
        }
        put_part(&mut bytes, key);
        Self(bytes)
    }

    /// The exact encoding.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads what [`ActionKey::as_bytes`] gave, and nothing else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Damaged> {
        let parts = read(bytes)?;
        for part in &parts {
            if let Part::Text(text) = part
                && plain_uuid(text).is_some()
            {
                return Err(Damaged("a UUID in full"));
            }
        }
        Ok(Self(Bytes::from_slice(bytes)))
    }

    /// The key without its scope.
    pub fn key(&self) -> Cow<'_, str> {
        self.parts().1
    }

    /// The scope parts, in the order of `key.scope`.
    pub fn scope(&self) -> Vec<Cow<'_, str>> {
        self.parts().0
    }

    /// Scope and key.
    pub fn parts(&self) -> (Vec<Cow<'_, str>>, Cow<'_, str>) {
        let mut parts = read(&self.0).unwrap_or_default();
        let key = parts.pop().unwrap_or(Part::Text(""));
        (parts.into_iter().map(Part::into_text).collect(), key.into_text())
    }

    /// Puts the number of scope parts, and each part and the key as its text behind its length: what run ids are
    /// made of.
    pub(super) fn put_texts(&self, out: &mut Vec<u8>) {
        let parts = read(&self.0).unwrap_or_default();
        put_u64(out, parts.len().saturating_sub(1) as u64);
        for part in parts {
            part.with_text(|text| put_text(out, text));
        }
    }
}

fn put_part(out: &mut Bytes, text: &str) {
    match plain_uuid(text) {
        Some(uuid) => {
            out.push(0);
            out.extend_from_slice(uuid.as_bytes());
        }
        None => {
            put_u64(out, text.len() as u64 + 1);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

fn plain_uuid(text: &str) -> Option<Uuid> {
    if text.len() != Hyphenated::LENGTH {
        return None;
    }
    let uuid = Uuid::try_parse(text).ok()?;
    Part::Uuid(uuid).with_text(|plain| plain == text).then_some(uuid)
}

/// Scope parts and key, which is the last.
fn read(bytes: &[u8]) -> Result<SmallVec<[Part<'_>; 1]>, Damaged> {
    let mut reader = Reader(bytes);
    let scope = reader.u64()?;
    let mut parts = SmallVec::new();
    for _ in 0..=scope {
        parts.push(Part::read(&mut reader)?);
    }
    reader.end()?;
    Ok(parts)
}

impl<'a> Part<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Damaged> {
        let length =
            usize::try_from(reader.u64()?).map_err(|_| Damaged("a length out of range"))?;
        let Some(length) = length.checked_sub(1) else {
            return Ok(Self::Uuid(Uuid::from_bytes(reader.array()?)));
        };
        let text = std::str::from_utf8(reader.bytes(length)?);
        text.map(Self::Text).map_err(|_| Damaged("a text that is not UTF-8"))
    }

    fn with_text<T>(self, then: impl FnOnce(&str) -> T) -> T {
        match self {
            Self::Text(text) => then(text),
            Self::Uuid(uuid) => then(uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer())),
        }
    }

    fn into_text(self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Uuid(_) => Cow::Owned(self.with_text(str::to_owned)),
        }
    }
}

/// Its bytes in one piece, which the list itself would copy one by one.
impl Clone for ActionKey {
    fn clone(&self) -> Self {
        Self(Bytes::from_slice(&self.0))
    }
}

/// Numbers are hashed with fewer instructions than bytes, and nearly every key is a UUID behind two of them.
impl Hash for ActionKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.0.split_last_chunk::<16>() {
            Some(([parts, length], last)) => {
                state.write_u16(u16::from_le_bytes([*parts, *length]));
                state.write_u128(u128::from_le_bytes(*last));
            }
            _ => self.0.hash(state),
        }
    }
}

impl fmt::Debug for ActionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scope, key) = self.parts();
        write!(f, "{scope:?}/{key:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_for_keys() {
        assert_eq!(check("k 1", 255), Ok(()));
        assert_eq!(check("", 255), Err(BadKey::Empty));
        assert_eq!(check("abc", 2), Err(BadKey::TooLong(2)));
        assert_eq!(check("é", 1), Err(BadKey::TooLong(1)));
        for control in ["a\u{1}", "a\u{7f}b", "a\u{85}b", "a\tb"] {
            assert_eq!(check(control, 255), Err(BadKey::Control), "{control:?}");
        }
        for space in [" a", "a ", "a\u{a0}", "\u{3000}a"] {
            assert_eq!(check(space, 255), Err(BadKey::Space), "{space:?}");
        }
    }

    #[test]
    fn scope_and_key_never_run_into_each_other() {
        let all = [
            ActionKey::new::<&str>(&[], "ab"),
            ActionKey::new(&["a"], "b"),
            ActionKey::new(&["ab"], "b"),
            ActionKey::new(&["a", "b"], "c"),
            ActionKey::new(&["a"], "bc"),
        ];
        for (i, one) in all.iter().enumerate() {
            assert_eq!(ActionKey::from_bytes(one.as_bytes()).as_ref(), Ok(one));
            assert!(all.iter().skip(i + 1).all(|other| other != one));
        }
        let stored: std::collections::BTreeSet<_> = all.iter().map(ActionKey::as_bytes).collect();
        assert_eq!(stored.len(), all.len());
        let (scope, key) = all.last().unwrap().parts();
        assert_eq!((&*scope[0], scope.len(), &*key), ("a", 1, "bc"));
    }

    #[test]
    fn only_a_uuid_as_it_is_usually_written_is_stored_in_16_bytes() {
        let plain = "0199b2f0-7c1e-7000-8000-0123456789ab";
        let length = |key: &str| ActionKey::new::<&str>(&[], key).as_bytes().len();
        assert_eq!(length(plain), 18);
        let others = [
            plain.to_uppercase(),
            plain.replace('-', ""),
            format!("{{{plain}}}"),
            format!("urn:uuid:{plain}"),
            plain.replacen('a', "g", 1),
        ];
        for other in others {
            assert_eq!(length(&other), other.len() + 2, "{other}");
            let key = ActionKey::new(&[plain], &other);
            assert_eq!(ActionKey::from_bytes(key.as_bytes()).as_ref(), Ok(&key));
        }
        let in_full = [&[0, 37], plain.as_bytes()].concat();
        assert!(ActionKey::from_bytes(&in_full).is_err());
    }
}
