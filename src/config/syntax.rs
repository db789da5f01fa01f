//! What the text of a setting may look like, each rule by itself.

use std::fs::File;
use std::net::{Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use humantime::{format_duration, parse_duration};

/// Why a text is not usable, and what would be.
#[derive(Debug)]
pub(super) struct Unfit {
    pub(super) what: String,
    pub(super) allowed: String,
}

/// A value read from text.
pub(super) type Read<T> = Result<T, Unfit>;

pub(super) fn unfit<T>(what: impl Into<String>, allowed: impl Into<String>) -> Read<T> {
    Err(Unfit { what: what.into(), allowed: allowed.into() })
}

fn must(holds: bool, what: &str, allowed: &str) -> Read<()> {
    if holds { Ok(()) } else { unfit(what, allowed) }
}

/// The gate's name.
pub(super) fn name(text: &str) -> Read<()> {
    let tail = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    must(
        text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(tail)
            && text.len() <= 32,
        "not a name",
        "[a-z][a-z0-9_-]*, at most 32 characters",
    )
}

/// A stream's name, as the server takes it.
pub(super) fn stream(text: &str) -> Read<()> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c);
    must(
        !text.is_empty() && !text.contains(bad) && text.len() <= 255,
        "not a stream name",
        r"1 to 255 bytes without white space and . * > / \",
    )
}

fn is_token(token: &str) -> bool {
    !token.is_empty() && !token.contains(|c: char| c.is_whitespace() || c.is_control())
}

fn is_literal(subject: &str) -> bool {
    let plain = |token: &str| is_token(token) && !token.contains(['*', '>']);
    subject.split('.').all(plain)
}

/// A subject to subscribe to, outside the server's own `$...`.
pub(super) fn subject(text: &str) -> Read<()> {
    let body = text.strip_suffix(".>").unwrap_or(text);
    let token = |token: &str| is_token(token) && (token == "*" || !token.contains(['*', '>']));
    must(
        text == ">" || body.split('.').all(token),
        "not a subject",
        "tokens joined by dots, none empty or with white space; * and > only as whole tokens, > only last",
    )?;
    not_the_servers(text)
}

fn not_the_servers(subject: &str) -> Read<()> {
    must(
        !subject.starts_with('$'),
        "subjects under $ are the server's own",
        "one that does not start with $",
    )
}

/// A `JetStream` domain.
pub(super) fn domain(text: &str) -> Read<String> {
    must(
        is_literal(text),
        "not a domain",
        "tokens joined by dots, without white space and wildcards",
    )?;
    Ok(text.to_owned())
}

/// The subject that inboxes are put under.
pub(super) fn inbox_prefix(text: &str) -> Read<()> {
    must(
        is_literal(text),
        "not a subject without wildcards",
        "tokens joined by dots, without white space and wildcards, no dot at the end",
    )?;
    // Subject and reply share a protocol line of 4096 bytes.
    must(text.len() <= 64, "too long", "at most 64 bytes")?;
    not_the_servers(text)
}

/// What a reply subject must start with.
pub(super) fn reply_prefix(text: &str) -> Read<()> {
    must(
        text.strip_suffix('.').is_some_and(is_literal),
        "not a subject prefix",
        "tokens without white space and wildcards, each followed by a dot, like \"_INBOX.\"",
    )?;
    not_the_servers(text)
}

/// Whether some subject matches both patterns.
pub(crate) fn overlap(a: &str, b: &str) -> bool {
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    loop {
        match (left.next(), right.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(x), Some(y)) if x == y || x == "*" || y == "*" => {}
            _ => return false,
        }
    }
}

/// A source of the key: `header:NAME` or `json:/POINTER`.
pub(super) fn key_source(text: &str) -> Read<()> {
    const ALLOWED: &str = "header:NAME or json:/POINTER";
    match text.split_once(':') {
        Some(("header", name)) => header(name),
        Some(("json", path)) => pointer(path),
        Some(("subject", _)) => unfit(
            "a subject token says where an action goes, not which one it is; it can only be a scope",
            ALLOWED,
        ),
        _ => unfit("not a source of a key", ALLOWED),
    }
}

/// A part of the scope: `subject:N`, `header:NAME` or `json:/POINTER`.
pub(super) fn scope_part(text: &str) -> Read<()> {
    match text.split_once(':') {
        Some(("header", name)) => header(name),
        Some(("json", path)) => pointer(path),
        Some(("subject", n)) => must(
            n.starts_with(|c: char| ('1'..='9').contains(&c))
                && n.len() <= 4
                && n.chars().all(|c| c.is_ascii_digit()),
            "not the number of a subject token",
            "subject:N, N from 1, without leading zeros",
        ),
        _ => unfit("not a part of a scope", "subject:N, header:NAME or json:/POINTER"),
    }
}

fn header(name: &str) -> Read<()> {
    must(
        !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic() && c != ':'),
        "not a header name",
        "header:NAME, printable ASCII without colon and space",
    )
}

/// An RFC 6901 pointer to a part of a document (the empty pointer is the whole).
pub(super) fn pointer(text: &str) -> Read<()> {
    let escapes_end_well = |rest: &str| rest.starts_with(['0', '1']);
    must(
        text.starts_with('/') && text.split('~').skip(1).all(escapes_end_well),
        "not a JSON pointer",
        "RFC 6901: segments each after a /, with ~0 for ~ and ~1 for /",
    )
}

/// The address of a server.
pub(super) fn server(text: &str) -> Read<()> {
    const ALLOWED: &str = "nats://HOST[:PORT], tls://HOST[:PORT] or HOST[:PORT]";
    if text.contains('@') {
        return unfit(
            "a login does not belong in an address; use nats.user with nats.password_file or \
             ONCEGATE__NATS__PASSWORD, nats.token_file or ONCEGATE__NATS__TOKEN",
            ALLOWED,
        );
    }
    let address = match text.split_once("://") {
        None => text,
        Some(("nats" | "tls", address)) => address.strip_suffix('/').unwrap_or(address),
        Some(("ws" | "wss", _)) => return unfit("web sockets are not supported", ALLOWED),
        Some(_) => return unfit("unknown scheme", ALLOWED),
    };
    must(is_host_and_port(address), "not the address of a server", ALLOWED)
}

fn is_host_and_port(address: &str) -> bool {
    let host = |text: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        !text.is_empty() && text.chars().all(fits)
    };
    let port = |text: &str| {
        text.chars().all(|c| c.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|n| n != 0)
    };
    if let Some(bracketed) = address.strip_prefix('[') {
        let Some((ip, rest)) = bracketed.split_once(']') else {
            return false;
        };
        let rest_fits = rest.is_empty() || rest.strip_prefix(':').is_some_and(port);
        return ip.parse::<Ipv6Addr>().is_ok() && rest_fits;
    }
    match address.split_once(':') {
        None => host(address),
        Some((name, number)) => host(name) && port(number),
    }
}

/// A server's address as it may be shown: what is, or may be, a password or token is `***`.
pub(super) fn masked(server: &str) -> String {
    // Anything else before a `://` may be a user name whose password begins with slashes.
    let is_scheme = |text: &str| match server.contains('@') {
        true => ["nats", "tls", "ws", "wss"].contains(&text),
        false => text.chars().all(|c| c.is_ascii_alphanumeric()),
    };
    let (scheme, rest) = match server.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => (format!("{scheme}://"), rest),
        _ => (String::new(), server),
    };
    let shown = match (rest.rsplit_once('@'), rest.split_once(':')) {
        (Some((login, host)), _) => match login.split_once(':') {
            Some((user, _)) => format!("{user}:***@{host}"),
            None => format!("***@{host}"),
        },
        // No port: it may be a password that a comma cut off from its `@`.
        (None, Some((host, port))) if !rest.starts_with('[') && port.parse::<u16>().is_err() => {
            format!("{host}:***")
        }
        _ => rest.to_owned(),
    };
    scheme + &shown
}

/// A length of time, in humantime's notation.
pub(super) fn duration(text: &str, range: &RangeInclusive<Duration>) -> Read<Duration> {
    let allowed = || {
        format!(
            "a duration like \"7d\", \"1h 30m\" or \"500ms\", from {} to {}",
            format_duration(*range.start()),
            format_duration(*range.end())
        )
    };
    match parse_duration(text) {
        Ok(duration) if range.contains(&duration) => Ok(duration),
        Ok(duration) if duration < *range.start() => unfit("too short", allowed()),
        Ok(_) => unfit("too long", allowed()),
        Err(error) => unfit(format!("not a duration: {error}"), allowed()),
    }
}

/// A length of time whose zero means that there is no limit.
pub(super) fn limit(text: &str, range: &RangeInclusive<Duration>) -> Read<Duration> {
    match duration(text, range) {
        Err(_) if parse_duration(text) == Ok(Duration::ZERO) => Ok(Duration::ZERO),
        Err(Unfit { what, allowed }) => unfit(what, format!("\"0s\" for no limit, or {allowed}")),
        fits => fits,
    }
}

/// An address to listen on.
pub(super) fn listen(text: &str) -> Read<SocketAddr> {
    text.parse().or_else(|_| {
        unfit(
            "not an address to listen on",
            "IP:PORT like 127.0.0.1:8687 or [::1]:8687, or \"\" for none",
        )
    })
}

/// A file that can be read.
pub(super) fn readable_file(text: &str) -> Read<PathBuf> {
    const ALLOWED: &str = "a file that exists and that this user may read";
    let path = PathBuf::from(text);
    match path.metadata() {
        Ok(about) if !about.is_file() => return unfit("not a file", ALLOWED),
        Ok(_) => File::open(&path).map(|_| ()),
        Err(error) => Err(error),
    }
    .or_else(|error| unfit(format!("cannot be read: {error}"), ALLOWED))?;
    Ok(path)
}

/// A path to something that need not exist yet.
pub(super) fn path(text: &str) -> Read<PathBuf> {
    must(!text.is_empty(), "empty", "the path of a directory")?;
    Ok(PathBuf::from(text))
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Read<T> {
    let quoted = || words.iter().map(|(word, _)| format!("\"{word}\""));
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, meaning)) => Ok(*meaning),
        None => unfit("unknown word", quoted().collect::<Vec<_>>().join(", ")),
    }
}

/// A text on one line, in quotes, not too long.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 120;
    match text.char_indices().nth(LONGEST).and_then(|(end, _)| text.get(..end)) {
        Some(start) => format!("{:?}", format!("{start}...")),
        None => format!("{text:?}"),
    }
}
