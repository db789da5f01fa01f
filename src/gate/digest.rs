//! What stands for a payload when two are compared.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Copying so much is less work than setting up a hash that takes its input in parts.
const JOINED_BYTES_MAX: usize = 1024;

/// Which form of the payload was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The canonical form of a JSON value.
    Json,
    /// The bytes as they are.
    Bytes,
}

/// XXH3-128 over the subject (length-prefixed) and the payload's canonical form; written
/// `json:<32 hex>` or `bytes:<32 hex>` and compared as an opaque string.
///
/// XXH3 can be forged. A forger can only make its own second payload look like its first, and so get
/// it dropped as a duplicate; keys, where a forgery would suppress somebody else's action, are never
/// hashed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// What was hashed.
    pub form: Form,
    /// The hash.
    pub hash: u128,
}

impl Digest {
    /// The digest of a payload (in `form`) that was published on `subject`.
    pub fn of(subject: &str, form: Form, payload: &[u8]) -> Self {
        let subject_bytes = (subject.len() as u64).to_le_bytes();
        let parts = [&subject_bytes, subject.as_bytes(), payload];
        if payload.len() <= JOINED_BYTES_MAX {
            return Self { form, hash: xxh3_128(&parts.concat()) };
        }
        let mut hash = Xxh3::new();
        parts.into_iter().for_each(|part| hash.update(part));
        Self { form, hash: hash.digest128() }
    }

    /// Its text behind what is in `text`.
    pub(super) fn put(&self, text: &mut String) {
        text.push_str(match self.form {
            Form::Json => "json:",
            Form::Bytes => "bytes:",
        });
        // 128 bits in hexadecimal, which a UUID without hyphens writes three times as fast as a number.
        let hex = Uuid::from_u128(self.hash).simple();
        text.push_str(hex.encode_lower(&mut Uuid::encode_buffer()));
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.put(&mut text);
        f.write_str(&text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (form, hex) = text.split_once(':').ok_or(())?;
        let form = match form {
            "json" => Form::Json,
            "bytes" => Form::Bytes,
            _ => return Err(()),
        };
        if hex.len() != 32 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(());
        }
        Ok(Self { form, hash: u128::from_str_radix(hex, 16).map_err(|_| ())? })
    }
}
