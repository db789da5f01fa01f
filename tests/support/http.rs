//! The worker's HTTP port: one request, and the metrics as a table.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::time::Duration;

use super::tcp::Connection;

/// A worker that stands still takes a connection, or not even that, and answers nothing.
const PATIENCE: Duration = Duration::from_secs(3);

/// `GET`: status and body, or `None` when nothing answers.
pub fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut connection = Connection::open(port, PATIENCE).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Some((status, if chunked { unchunk(body) } else { body.into() }))
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        whole.push_str(&rest[..size]);
        body = &rest[size + 2..];
    }
    whole
}

/// One reading of `/metrics`, strictly parsed.
#[derive(Debug, Clone)]
pub struct Metrics {
    samples: BTreeMap<(String, BTreeMap<String, String>), f64>,
    types: BTreeMap<String, String>,
}

impl Metrics {
    /// Parses the Prometheus text format; a line that is not of it fails the test.
    pub fn parse(text: &str) -> Self {
        let mut metrics = Self { samples: BTreeMap::new(), types: BTreeMap::new() };
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix("# ") {
                let words: Vec<&str> = comment.splitn(3, ' ').collect();
                if words[0] == "TYPE" {
                    let kinds = ["counter", "gauge", "histogram", "summary", "untyped"];
                    assert!(kinds.contains(&words[2]), "no such type: {line}");
                    metrics.types.insert(words[1].into(), words[2].into());
                }
                continue;
            }
            let (series, value) = line.rsplit_once(' ').expect(line);
            let value: f64 = value.parse().expect(line);
            let series = parse_series(series).unwrap_or_else(|| panic!("not a sample: {line}"));
            let again = metrics.samples.insert(series, value);
            assert!(again.is_none(), "a sample stands there twice: {line}");
        }
        metrics
    }

    /// The sum of all series of this name that carry these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |of: &BTreeMap<String, String>| {
            labels.iter().all(|(label, value)| of.get(*label).is_some_and(|own| own == value))
        };
        self.samples
            .iter()
            .filter(|((own, of), _)| own == name && fits(of))
            .map(|(_, value)| value)
            .sum()
    }

    /// Whether there is any series of this name.
    pub fn has(&self, name: &str) -> bool {
        self.samples.keys().any(|(own, _)| own == name)
    }

    /// The declared type of a metric.
    pub fn kind(&self, name: &str) -> Option<&str> {
        self.types.get(name).map(String::as_str)
    }

    pub fn accepted(&self) -> f64 {
        self.sum("oncegate_actions_total", &[("verdict", "accepted")])
    }

    pub fn duplicates(&self) -> f64 {
        self.sum("oncegate_actions_total", &[("verdict", "duplicate")])
    }

    pub fn rejected(&self) -> f64 {
        self.sum("oncegate_actions_total", &[("verdict", "rejected")])
    }
}

fn parse_series(series: &str) -> Option<(String, BTreeMap<String, String>)> {
    let (name, rest) = match series.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}')?),
        None => (series, ""),
    };
    let word = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
    };
    word(name).then_some(())?;
    let mut labels = BTreeMap::new();
    let mut rest = rest;
    while !rest.is_empty() {
        let (label, tail) = rest.split_once("=\"")?;
        let (value, tail) = tail.split_once('"')?;
        word(label).then_some(())?;
        labels.insert(label.to_string(), value.to_string());
        rest = tail.strip_prefix(',').unwrap_or(tail);
    }
    Some((name.to_string(), labels))
}
