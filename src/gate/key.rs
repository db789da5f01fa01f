//! An idempotency key in its scope.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::codec::{Damaged, Reader, put_text, put_u64};
use super::headers::all_bytes;

/// The most bytes that `key.max_bytes` may allow a key, and each scope part.
pub const KEY_BYTES_MAX: usize = 255;
/// The most parts that `key.scope` may have. With these bounds a bare dead letter fits any ledger.
pub const SCOPE_PARTS_MAX: usize = 16;

/// Scope parts and key, in an exact encoding: the number of scope parts, each part with its length, the key
/// with its length. Never joined by a delimiter, never a hash: two different (scope, key) pairs never share
/// an encoding.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActionKey(Arc<[u8]>);

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
        let mut bytes = Vec::with_capacity(key.len() + 8);
        put_u64(&mut bytes, scope.len() as u64);
        for part in scope {
            put_text(&mut bytes, part.as_ref());
        }
        put_text(&mut bytes, key);
        Self(bytes.into())
    }

    /// The exact encoding.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The encoding that the table is keyed by, as exact and shorter: the number of scope parts, then each
    /// part and the key, with its length + 1; or 0 and 16 bytes where it is a UUID as it is usually written
    /// (RFC 9562: lower case, with hyphens).
    pub fn to_stored(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.len() + 1);
        self.put_stored(&mut out);
        out
    }

    /// The same behind what is in `out`.
    pub fn put_stored(&self, out: &mut Vec<u8>) {
        let Ok((scope, key)) = split(&self.0) else {
            return;
        };
        put_u64(out, scope.len() as u64);
        for text in scope.into_iter().chain([key]) {
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
    }

    /// Reads what [`ActionKey::to_stored`] wrote, and nothing else.
    pub fn from_stored(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader(bytes);
        let parts = reader.u64()?;
        let mut scope = Vec::new();
        for _ in 0..parts {
            scope.push(stored_text(&mut reader)?);
        }
        let key = stored_text(&mut reader)?;
        reader.end()?;
        Ok(Self::new(&scope, &key))
    }

    /// The key without its scope.
    pub fn key(&self) -> &str {
        self.parts().1
    }

    /// The scope parts, in the order of `key.scope`.
    pub fn scope(&self) -> Vec<&str> {
        self.parts().0
    }

    /// Scope and key.
    pub fn parts(&self) -> (Vec<&str>, &str) {
        split(&self.0).unwrap_or_default()
    }
}

fn plain_uuid(text: &str) -> Option<Uuid> {
    let uuid = Uuid::try_parse(text).ok()?;
    let mut plain = [0; Hyphenated::LENGTH];
    (uuid.hyphenated().encode_lower(&mut plain) == text).then_some(uuid)
}

fn stored_text(reader: &mut Reader<'_>) -> Result<String, Damaged> {
    let length = usize::try_from(reader.u64()?).map_err(|_| Damaged("a length out of range"))?;
    let Some(length) = length.checked_sub(1) else {
        return Ok(Uuid::from_bytes(reader.array()?).hyphenated().to_string());
    };
    let text = std::str::from_utf8(reader.bytes(length)?);
    let text = text.map_err(|_| Damaged("a text that is not UTF-8"))?;
    match plain_uuid(text) {
        Some(_) => Err(Damaged("a UUID in full")),
        None => Ok(text.to_owned()),
    }
}

fn split(bytes: &[u8]) -> Result<(Vec<&str>, &str), Damaged> {
    let mut reader = Reader(bytes);
    let parts = reader.u64()?;
    let mut scope = Vec::new();
    for _ in 0..parts {
        scope.push(reader.text()?);
    }
    let key = reader.text()?;
    reader.end()?;
    Ok((scope, key))
}

impl fmt::Debug for ActionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:?}", self.scope(), self.key())
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
            assert_eq!(ActionKey::from_stored(&one.to_stored()).as_ref(), Ok(one));
            assert!(all.iter().skip(i + 1).all(|other| other != one));
        }
        let stored: std::collections::BTreeSet<_> = all.iter().map(ActionKey::to_stored).collect();
        assert_eq!(stored.len(), all.len());
        assert_eq!(all.last().unwrap().scope(), ["a"]);
        assert_eq!(all.last().unwrap().key(), "bc");
    }

    #[test]
    fn only_a_uuid_as_it_is_usually_written_is_stored_in_16_bytes() {
        let plain = "0199b2f0-7c1e-7000-8000-0123456789ab";
        let length = |key: &str| ActionKey::new::<&str>(&[], key).to_stored().len();
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
            assert_eq!(ActionKey::from_stored(&key.to_stored()), Ok(key));
        }
        let in_full = [&[0, 37], plain.as_bytes()].concat();
        assert!(ActionKey::from_stored(&in_full).is_err());
    }
}
