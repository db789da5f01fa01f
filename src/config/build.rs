//! Every setting: its name, its default, and the rule it obeys by itself.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::reader::Reader;
use super::{
    Answers, Backup, Compare, Config, Ha, Http, Input, Key, Ledger, MissingKey, Nats, Payload,
    Retention, Table, syntax,
};
use crate::gate::key::{KEY_BYTES_MAX, SCOPE_PARTS_MAX};

/// A year as humantime counts it.
const YEAR: Duration = Duration::from_hours(8766);
/// Where no shorter limit makes sense; fits a server's signed nanoseconds.
const LONG: Duration = Duration::from_secs(100 * YEAR.as_secs());
/// The shortest duplicate window a server takes, and so the shortest age limit.
const TICK: Duration = Duration::from_millis(100);

const WINDOW: RangeInclusive<Duration> = TICK..=Duration::from_secs(10 * YEAR.as_secs());
const TAKEOVER: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_mins(5);
/// Each begins with a flush of the table: small files, if there are many of them.
const BACKUP_EVERY: RangeInclusive<Duration> = Duration::from_secs(10)..=YEAR;
const REPLICAS: RangeInclusive<usize> = 1..=5;

pub(super) fn config(r: &mut Reader) -> Config {
    Config {
        name: r.text("name", "oncegate", syntax::name),
        manage: r.flag("manage", true),
        nats: nats(r),
        input: input(r),
        key: key(r),
        payload: payload(r),
        retention: Retention {
            window: r.duration("retention.window", "7d", &WINDOW),
            clock_skew: r.duration("retention.clock_skew", "10m", &(Duration::ZERO..=LONG)),
        },
        ledger: Ledger {
            replicas: r.count("ledger.replicas", 1, &REPLICAS),
            max_age: r.optional("ledger.max_age", "", |text| syntax::limit(text, &(TICK..=LONG))),
        },
        table: Table {
            path: r.parse("table.path", "data/keys", syntax::path),
            memory_mb: r.count("table.memory_mb", 450, &(64..=1_000_000)),
        },
        backup: Backup {
            path: r.optional("backup.path", "", syntax::path),
            every: r.duration("backup.every", "1h", &BACKUP_EVERY),
            keep: r.count("backup.keep", 24, &(1..=10_000)),
        },
        http: Http { listen: r.optional("http.listen", "127.0.0.1:8687", syntax::listen) },
        ha: Ha { takeover: r.duration("ha.takeover", "3s", &TAKEOVER) },
        answers: Answers {
            reply_prefixes: r.list("answers.reply_prefixes", &["_INBOX."], syntax::reply_prefix),
        },
    }
}

fn nats(r: &mut Reader) -> Nats {
    Nats {
        servers: r.some_list("nats.servers", &["nats://127.0.0.1:4222"], syntax::server),
        credentials_file: r.readable_file("nats.credentials_file"),
        nkey_seed_file: r.readable_file("nats.nkey_seed_file"),
        user: r.optional("nats.user", "", |text| Ok(text.to_owned())),
        password_file: r.readable_file("nats.password_file"),
        token_file: r.readable_file("nats.token_file"),
        tls_ca: r.readable_file("nats.tls_ca"),
        tls_cert: r.readable_file("nats.tls_cert"),
        tls_key: r.readable_file("nats.tls_key"),
        tls_required: r.flag("nats.tls_required", false),
        domain: r.optional("nats.domain", "", syntax::domain),
        inbox_prefix: r.text("nats.inbox_prefix", "_ONCEGATE", syntax::inbox_prefix),
        password: r.secret("nats.password", "nats.password_file"),
        token: r.secret("nats.token", "nats.token_file"),
    }
}

fn input(r: &mut Reader) -> Input {
    Input {
        stream: r.text("input.stream", "ACTIONS", syntax::stream),
        subjects: r.some_list("input.subjects", &["actions.>"], syntax::subject),
        replicas: r.count("input.replicas", 1, &REPLICAS),
        max_age: r.parse("input.max_age", "30d", |text| syntax::limit(text, &(TICK..=LONG))),
    }
}

fn key(r: &mut Reader) -> Key {
    let sources = ["header:Idempotency-Key", "json:/idempotency_key"];
    let missing = [("reject", MissingKey::Reject), ("forward", MissingKey::Forward)];
    let key = Key {
        from: r.some_list("key.from", &sources, syntax::key_source),
        scope: r.list("key.scope", &[], syntax::scope_part),
        max_bytes: r.count("key.max_bytes", KEY_BYTES_MAX, &(1..=KEY_BYTES_MAX)),
        missing: r.parse("key.missing", "reject", |text| syntax::one_of(text, &missing)),
    };
    refuse_repeats(r, "key.from", &key.from);
    refuse_repeats(r, "key.scope", &key.scope);
    if key.scope.len() > SCOPE_PARTS_MAX {
        let found = format!("{} parts", key.scope.len());
        r.refuse(
            "key.scope",
            &found,
            "too many",
            "at most 16, so that a dead letter can carry them",
        );
    }
    key
}

fn payload(r: &mut Reader) -> Payload {
    let compare = [("auto", Compare::Auto), ("json", Compare::Json), ("bytes", Compare::Bytes)];
    let payload = Payload {
        compare: r.parse("payload.compare", "auto", |text| syntax::one_of(text, &compare)),
        ignore: r.list("payload.ignore", &[], syntax::pointer),
    };
    refuse_repeats(r, "payload.ignore", &payload.ignore);
    payload
}

/// A header's name counts as the same in any case.
fn refuse_repeats(r: &mut Reader, setting: &'static str, items: &[String]) {
    let mut seen = BTreeSet::new();
    for item in items {
        let same =
            if item.starts_with("header:") { item.to_ascii_lowercase() } else { item.clone() };
        if !seen.insert(same) {
            r.refuse(setting, &format!("{item:?}"), "named twice", "each one once");
        }
    }
}
