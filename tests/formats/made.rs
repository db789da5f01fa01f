//! A fixture of what this version writes: two inputs, several rules and windows, keys of every kind.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::fixture::{Place, Retry, STREAMS, Setting, message};
use crate::support::ledger::Entry;
use crate::support::model::Rules;
use crate::support::raw::Outgoing;
use crate::support::server::{Server, V2_14, copy_tree};
use crate::support::wait_until;

/// The window of keys that have expired when they are retried.
const SHORT: Duration = Duration::from_secs(1);

/// Writes it into this directory, which is made.
pub fn make(to: &Path) {
    // The oldest server there is support for: later ones read what it has stored.
    let mut place = Place::new(Server::start_version(V2_14));
    place.create_inputs();
    let retries = fill(&mut place);
    place.gate.stop();
    place.server.stop();
    for stream in STREAMS {
        let copy = to.join("streams").join(stream);
        copy_tree(&place.server.stream_files(stream), &copy);
        // Consumers are the gate's to make.
        std::fs::remove_dir_all(copy.join("obs")).unwrap();
    }
    copy_tree(&place.gate.table(), &to.join("table"));
    forget_logs(&to.join("table/db"));
    let lines: Vec<String> =
        retries.iter().map(|retry| serde_json::to_string(retry).unwrap() + "\n").collect();
    std::fs::write(to.join("expected.jsonl"), lines.concat()).unwrap();
}

/// RocksDB's own notes on what it does.
fn forget_logs(db: &Path) {
    for file in std::fs::read_dir(db).unwrap().flatten() {
        if file.file_name().to_string_lossy().starts_with("LOG") {
            std::fs::remove_file(file.path()).unwrap();
        }
    }
}

fn fill(place: &mut Place) -> Vec<Retry> {
    let mut retries = Vec::new();
    let plain = Setting::Plain.rules();
    let term = |place: &mut Place, setting: Setting, rules: &Rules, messages: &[Outgoing]| {
        if place.gate.is_started() {
            place.gate.stop();
        }
        place.start(setting, rules);
        let from = place.ledger_ends_at();
        place.publish(setting, messages);
        place.entries_after(from)
    };

    let rules = Rules { ignore: Vec::new(), ..plain.clone() };
    let entries = term(place, Setting::Plain, &rules, &of_every_kind());
    retries.extend(of_early_keys(&entries));

    let short = Rules { window: SHORT, ..plain.clone() };
    let expiring: Vec<_> = (0..20).map(|n| keyed("actions.pay", "short", n, "1")).collect();
    term(place, Setting::Plain, &short, &expiring);
    let published = Instant::now();
    let gone = (0..20).map(|n| retry(Setting::Plain, "actions.pay", "short", n, "2", "accepted"));
    retries.extend(gone);

    let messages: Vec<_> =
        (0..40).map(|n| keyed("actions.pay", "late", n, &amount(n, "1"))).collect();
    let entries = term(place, Setting::Plain, &plain, &messages);
    let same = |n| retry(Setting::Plain, "actions.pay", "late", n, &amount(n, "2"), "duplicate");
    retries.extend((0..30).map(same));
    retries.extend((30..40).map(|n| {
        mismatch(&entries, Setting::Plain, "actions.pay", "late", n, &amount(n + 1, "1"))
    }));

    let rules = Setting::Scoped.rules();
    let messages: Vec<_> =
        (0..40).map(|n| keyed("actions.eu", "scoped", n, &amount(n, "1"))).collect();
    let entries = term(place, Setting::Scoped, &rules, &messages);
    let same = |n| retry(Setting::Scoped, "actions.eu", "scoped", n, &amount(n, "2"), "duplicate");
    let other = |n| retry(Setting::Scoped, "actions.us", "scoped", n, &amount(n, "1"), "accepted");
    retries.extend((0..30).map(same));
    retries.extend((0..10).map(other));
    retries.extend((30..40).map(|n| {
        mismatch(&entries, Setting::Scoped, "actions.eu", "scoped", n, &amount(n + 1, "1"))
    }));

    let messages: Vec<_> =
        (0..40).map(|n| keyed("orders.new", "order", n, &amount(n, "1"))).collect();
    let entries = term(place, Setting::Orders, &plain, &messages);
    let same = |n| retry(Setting::Orders, "orders.new", "order", n, &amount(n, "2"), "duplicate");
    retries.extend((0..30).map(same));
    retries.extend((30..40).map(|n| {
        mismatch(&entries, Setting::Orders, "orders.new", "order", n, &amount(n + 1, "1"))
    }));

    let messages: Vec<_> =
        (0..20).map(|n| keyed("actions.pay", "run", n, &amount(n, "1"))).collect();
    let entries = term(place, Setting::Plain, &plain, &messages);
    place.report(&reports_on(&entries));
    let ended = |n| retry(Setting::Plain, "actions.pay", "run", n, &amount(n, "2"), "duplicate");
    let given_back = |n| retry(Setting::Plain, "actions.pay", "run", n, "{}", "accepted");
    retries.extend((0..10).map(ended));
    retries.extend((10..18).map(given_back));

    // The last entry is a marker.
    let again: Vec<_> = (0..5).map(|n| keyed("actions.pay", "late", n, &amount(n, "3"))).collect();
    term(place, Setting::Plain, &plain, &again);
    wait_until("the short window to be over", || published.elapsed() > SHORT);
    retries
}

/// First uses, retries, rejections.
fn of_every_kind() -> Vec<Outgoing> {
    let mut messages = Vec::new();
    messages.extend((0..60).map(|n| keyed("actions.pay", "early", n, &amount(n, "1"))));
    messages.extend((0..30).map(|n| keyed("actions.log", "line", n, &format!("line {n}"))));
    messages.extend((0..20).map(|n| message("actions.book", None, &with_key_inside(n))));
    messages.extend((0..20).map(|n| keyed("actions.pay", "early", n, &amount(n, "1"))));
    messages.extend((0..20).map(|n| keyed("actions.pay", "early", n, &amount(n + 1, "1"))));
    messages.extend((0..5).map(|_| message("actions.pay", None, "{}")));
    messages.push(message("actions.pay", Some(" "), "{}"));
    messages.push(message("actions.a\u{a0}b", Some("odd"), "{}"));
    messages
}

/// Results of the first ten runs, one of them twice, and one that is not known; then five keys are given back by
/// their executor, and three by an operator.
fn reports_on(entries: &[Entry]) -> Vec<Outgoing> {
    let runs = entries.iter().filter(|entry| entry.kind() == "accepted");
    let runs: Vec<_> = runs
        .map(|entry| ["Idempotency-Key", "Oncegate-Run-Id"].map(|n| entry.header(n).unwrap()))
        .collect();
    let result = |[key, run]: [&str; 2], status, payload: &str| {
        let headers =
            [("Idempotency-Key", key), ("Oncegate-Run-Id", run), ("Oncegate-Status", status)];
        Outgoing::new("oncegate.results.pay", &headers, payload.as_bytes())
    };
    let mut reports: Vec<_> = runs[..10]
        .iter()
        .zip(["succeeded", "failed"].into_iter().cycle())
        .map(|(run, status)| result(*run, status, "{\"id\":1}"))
        .collect();
    reports.push(result(runs[0], "succeeded", "{\"id\":1.0}"));
    reports.push(result([runs[0][0], runs[1][1]], "succeeded", "{}"));
    reports.extend(runs[10..15].iter().map(|run| result(*run, "retry", "busy")));
    reports.extend(runs[15..18].iter().map(|[key, _]| {
        let headers = [("Idempotency-Key", *key), ("Oncegate-Detail", "by hand")];
        Outgoing::new("oncegate.operator.forget", &headers, b"")
    }));
    reports
}

/// Under other rules than those they were made under, and other spellings.
fn of_early_keys(entries: &[Entry]) -> Vec<Retry> {
    let plain = Setting::Plain;
    let spelled = |n: u64| format!("{{ \"sent_at\": 2, \"amount\": {n}.0 }}");
    let mut retries = Vec::new();
    retries
        .extend((0..40).map(|n| retry(plain, "actions.pay", "early", n, &spelled(n), "duplicate")));
    retries.extend(
        (40..60).map(|n| mismatch(entries, plain, "actions.pay", "early", n, &amount(n + 1, "1"))),
    );
    let line = |n| retry(plain, "actions.log", "line", n, &format!("line {n}"), "duplicate");
    retries.extend((0..20).map(line));
    retries.extend((20..30).map(|n| mismatch(entries, plain, "actions.log", "line", n, "other")));
    retries.extend((0..20).map(|n| Retry {
        key: None,
        ..retry(plain, "actions.book", "inside", n, &with_key_inside(n), "duplicate")
    }));
    retries.extend((0..10).map(|n| retry(plain, "actions.pay", "new", n, "{}", "accepted")));
    retries.push(retry(plain, "actions.pay", "odd", 0, "{}", "accepted"));
    retries.push(Retry { key: None, ..retry(plain, "actions.pay", "", 0, "{}", "missing_key") });
    // Keys are one gate's, whatever stream they come from.
    retries.push(mismatch(entries, Setting::Orders, "orders.new", "early", 0, &amount(0, "1")));
    retries
}

fn name(kind: &str, n: u64) -> String {
    format!("{kind}-{n}")
}

fn keyed(subject: &str, kind: &str, n: u64, payload: &str) -> Outgoing {
    message(subject, Some(&name(kind, n)), payload)
}

fn amount(n: u64, sent_at: &str) -> String {
    format!("{{\"amount\":{n},\"sent_at\":{sent_at}}}")
}

fn with_key_inside(n: u64) -> String {
    format!("{{\"idempotency_key\":\"inside-{n}\",\"room\":{n}}}")
}

fn retry(
    setting: Setting,
    subject: &str,
    kind: &str,
    n: u64,
    payload: &str,
    verdict: &str,
) -> Retry {
    Retry {
        setting,
        subject: subject.into(),
        key: Some(name(kind, n)),
        payload: payload.into(),
        verdict: verdict.into(),
        first_run_id: None,
        first_sequence: None,
    }
}

/// Of a key that one of these entries has accepted.
fn mismatch(
    entries: &[Entry],
    setting: Setting,
    subject: &str,
    kind: &str,
    n: u64,
    payload: &str,
) -> Retry {
    let key = name(kind, n);
    let of_key = |entry: &&Entry| {
        entry.kind() == "accepted" && entry.header("Idempotency-Key") == Some(&key)
    };
    let first = entries.iter().find(of_key).unwrap();
    Retry {
        first_run_id: first.header("Oncegate-Run-Id").map(String::from),
        first_sequence: Some(first.sequence),
        ..retry(setting, subject, kind, n, payload, "payload_mismatch")
    }
}
