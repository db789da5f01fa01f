//! What every message must obey that the gate puts into the ledger.

use std::borrow::Cow;

use crate::gate::entry::{self, Message};
use crate::gate::headers::Headers;

/// The server's own limit.
const HEADER_BLOCK_BYTES_MAX: usize = 65_535;
/// What the append adds: `Nats-Expected-Last-Sequence` and twenty digits.
const APPENDED: &str = "Nats-Expected-Last-Sequence: 18446744073709551615\r\n";

/// The header block as the client library writes it.
pub fn block_of(pairs: &[(Cow<'static, str>, String)]) -> Vec<u8> {
    let lines: String = pairs.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("NATS/1.0\r\n{lines}\r\n").into_bytes()
}

/// With what the append adds; headers and payload together.
pub fn bytes_of(message: &Message) -> (usize, usize) {
    let block = block_of(&message.headers).len() + APPENDED.len();
    (block, block + message.payload.len())
}

pub fn fits(message: &Message, message_bytes_max: usize) -> bool {
    let (block, all) = bytes_of(message);
    block <= HEADER_BLOCK_BYTES_MAX && all <= message_bytes_max
}

/// A message that the server takes and any client can read, without commands to the server; its headers
/// as they are read back.
pub fn sound(message: &Message, message_bytes_max: usize) -> Headers {
    assert_eq!(message.bytes(), bytes_of(message).1);
    assert!(fits(message, message_bytes_max), "{:?} bytes", bytes_of(message));
    assert!(!message.subject.contains(char::is_whitespace), "{:?}", message.subject);
    assert!(message.subject.len() <= 4096 - 256, "no room for the rest of the protocol line");
    let headers = Headers::parse(&block_of(&message.headers)).expect("well-formed headers");
    let sent = message.headers.iter().map(|(name, value)| (name.as_ref(), value.trim()));
    assert!(headers.iter().eq(sent), "headers are read back as they were sent");
    for (name, _) in headers.iter() {
        let lower = name.to_ascii_lowercase();
        assert!(!lower.starts_with("nats-"), "{name} is a command to the server");
        assert!(!lower.starts_with("oncegate-") || headers.one(name).is_some(), "{name} twice");
    }
    assert_eq!(message.fingerprint(), entry::fingerprint(&message.subject, &headers));
    headers
}
