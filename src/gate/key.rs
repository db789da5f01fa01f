//! An idempotency key in its scope.

use std::fmt;
use std::sync::Arc;

use super::codec::{Damaged, Reader, put_text, put_u64};

/// Scope parts and key, in the exact encoding that the table is keyed by: the number of scope parts,
/// each part with its length, the key with its length. Never joined by a delimiter, never a hash: two
/// different (scope, key) pairs never share an encoding.
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

    /// From the exact encoding; anything else is refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Damaged> {
        split(bytes)?;
        Ok(Self(bytes.into()))
    }

    /// The key without its scope.
    pub fn key(&self) -> &str {
        split(&self.0).map_or("", |(_, key)| key)
    }

    /// The scope parts, in the order of `key.scope`.
    pub fn scope(&self) -> Vec<&str> {
        split(&self.0).map_or_else(|_| Vec::new(), |(scope, _)| scope)
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
            assert_eq!(ActionKey::from_bytes(one.as_bytes()).as_ref(), Ok(one));
            assert!(all.iter().skip(i + 1).all(|other| other != one));
        }
        assert_eq!(all.last().unwrap().scope(), ["a"]);
        assert_eq!(all.last().unwrap().key(), "bc");
    }
}
