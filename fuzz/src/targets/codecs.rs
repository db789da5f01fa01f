//! What the table keeps: bytes are read back as they were written, and nothing else is read at all.

use std::fmt::Debug;

use super::choices::Choices;
use super::cursors::cursors;
use crate::gate::cursor::Cursors;
use crate::gate::digest::{Digest, Form};
use crate::gate::key::ActionKey;
use crate::gate::record::{KeyRecord, RunState};

/// The first byte says what the others are: stored bytes, or choices of what to store.
pub fn check(data: &[u8]) {
    let mut choices = Choices(data);
    match choices.byte() {
        b'r' => stored(&RECORD, choices.0),
        b'c' => stored(&CURSORS, choices.0),
        b'k' => stored(&KEY, choices.0),
        b'R' => written(&RECORD, &record(&mut choices)),
        b'C' => written(&CURSORS, &cursors(&mut choices, |choices| choices.text().into(), 4)),
        b'K' => written(&KEY, &key(&mut choices)),
        _ => {
            stored(&RECORD, choices.0);
            stored(&CURSORS, choices.0);
            stored(&KEY, choices.0);
        }
    }
}

struct Codec<T> {
    encode: fn(&T) -> Vec<u8>,
    decode: fn(&[u8]) -> Option<T>,
}

const RECORD: Codec<KeyRecord> = Codec {
    encode: |record| {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        bytes
    },
    decode: |bytes| {
        let record = KeyRecord::decode(bytes).ok();
        let expiry = KeyRecord::expiry(bytes).ok();
        assert_eq!(expiry, record.as_ref().map(|record| record.expires_ns));
        record
    },
};

const CURSORS: Codec<Cursors> =
    Codec { encode: Cursors::encode, decode: |bytes| Cursors::decode(bytes).ok() };

const KEY: Codec<ActionKey> = Codec {
    encode: |key| key.as_bytes().to_vec(),
    decode: |bytes| {
        let key = ActionKey::from_bytes(bytes).ok()?;
        assert_eq!(ActionKey::new(&key.scope(), &key.key()), key);
        Some(key)
    },
};

/// Any bytes: refused, or the only ones for their value.
fn stored<T: PartialEq + Debug>(codec: &Codec<T>, bytes: &[u8]) {
    if let Some(value) = (codec.decode)(bytes) {
        assert_eq!((codec.encode)(&value), bytes, "{value:?} has two spellings");
        written(codec, &value);
    }
}

fn written<T: PartialEq + Debug>(codec: &Codec<T>, value: &T) {
    let mut bytes = (codec.encode)(value);
    assert_eq!((codec.decode)(&bytes).as_ref(), Some(value));
    for end in 0..bytes.len() {
        let read = (codec.decode)(&bytes[..end]);
        assert_eq!(read, None, "{end} of {} bytes", bytes.len());
    }
    bytes.push(0);
    assert_eq!((codec.decode)(&bytes), None, "bytes left over");
}

fn record(choices: &mut Choices) -> KeyRecord {
    let form = choices.pick(&[Form::Json, Form::Bytes]);
    let hash = u128::from(choices.number()) << 64 | u128::from(choices.number());
    let state = match choices.below(3) {
        0 => RunState::Pending,
        1 => RunState::Succeeded(choices.number()),
        _ => RunState::Failed(choices.number()),
    };
    KeyRecord {
        digest: Digest { form, hash },
        rules: choices.number() as u32,
        stream: choices.number() as u32,
        sequence: choices.number(),
        time_ns: choices.signed(),
        expires_ns: choices.signed(),
        ledger_sequence: choices.number(),
        state,
    }
}

fn key(choices: &mut Choices) -> ActionKey {
    let scope: Vec<String> = (0..choices.below(18)).map(|_| choices.text()).collect();
    let key = choices.text();
    let one = ActionKey::new(&scope, &key);
    let (read_scope, read_key) = one.parts();
    assert_eq!((read_scope, &*read_key), (scope.iter().map(Into::into).collect(), &*key));
    one
}
