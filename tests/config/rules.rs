//! The rule of each setting alone.

use std::path::Path;
use std::time::Duration;

use crate::{file, good, one, quoted, refused, told};

/// A setting, values as TOML that are taken, and some that are not.
type Rule = (&'static str, &'static [&'static str], &'static [&'static str]);

const RULES: &[Rule] = &[
    ("name", &["'a'", "'a-b_9'"], &["''", "'A'", "'9a'", "'a.b'", "'é'", "'_a'"]),
    (
        "nats.servers",
        &[
            "['h']",
            "['h:1']",
            "['nats://h']",
            "['tls://h.example:65535']",
            "['[::1]:4222']",
            "['nats://[::1]']",
            "['nats://h:1/']",
            "['10.0.0.1']",
            "['my_host', 'my-host']",
        ],
        &[
            "[]",
            "['']",
            "['ws://h']",
            "['wss://h']",
            "['http://h']",
            "['nats://']",
            "['h:']",
            "['h:0']",
            "['h:65536']",
            "['h:+1']",
            "['::1']",
            "['[::1']",
            "['[x]']",
            "['h/p']",
            "['h h']",
            "['h:1:2']",
        ],
    ),
    ("nats.domain", &["''", "'hub'", "'a.b'"], &["'a b'", "'*'", "'a.'"]),
    ("nats.inbox_prefix", &["'_X'", "'a.b'"], &["''", "'a.'", "'*'", "'a.>'", "'$a'", "'a b'"]),
    (
        "input.stream",
        &["'A'", "'a-b'", "'é'"],
        &["''", "'a b'", "'a.b'", "'*'", "'a>'", "'a/b'", r"'a\b'"],
    ),
    (
        "input.subjects",
        &["['a']", "['a.*.b']", "['a.>']", "['a.$x']", "['a', 'b.*']", "['*']"],
        &[
            "[]",
            "['']",
            "['a..b']",
            "['.a']",
            "['a.']",
            "['a b']",
            "['a*']",
            "['a.>.b']",
            "['a>']",
            "['$JS.a']",
            r#"["a\u0000"]"#,
            "['>']",
            "['*.x']",
            "['a.>.>']",
            "['>.>']",
        ],
    ),
    ("input.replicas", &["1", "5"], &["0", "6", "-1"]),
    ("ledger.replicas", &["1", "3"], &["0", "6"]),
    ("input.max_age", &["'0s'", "'100ms'", "'1y'"], &["''", "'99ms'", "'1'", "'101y'", "'-1s'"]),
    (
        "key.from",
        &["['header:X']", "['json:/a']", "['json:/']", "['json:/a~0b~1c', 'json:/a']"],
        &[
            "[]",
            "['']",
            "['header:']",
            "['header:a b']",
            "['header:a:b']",
            "['header:é']",
            "['json:']",
            "['json:a']",
            "['json:/a~2']",
            "['json:/a~']",
            "['subject:1']",
            "['X']",
            "['Header:X']",
            "['header:X', 'header:x']",
            "['json:/a', 'json:/a']",
        ],
    ),
    (
        "key.scope",
        &["[]", "['subject:1', 'subject:12', 'header:X', 'json:/t']", "['json:/a', 'json:/A']"],
        &[
            "['subject:0']",
            "['subject:']",
            "['subject:01']",
            "['subject:+1']",
            "['subject:1', 'subject:1']",
            "['x']",
        ],
    ),
    ("key.max_bytes", &["1", "255"], &["0", "256"]),
    ("key.missing", &["'reject'", "'forward'"], &["''", "'Reject'"]),
    ("payload.compare", &["'auto'", "'json'", "'bytes'"], &["''", "'text'"]),
    (
        "payload.ignore",
        &["[]", "['/a', '/b/*/c', '/*']"],
        &["['']", "['a']", "['/~']", "['/a', '/a']"],
    ),
    (
        "retention.window",
        &["'100ms'", "'1h 30m'", "'1h30m'", "'10y'"],
        &["''", "'99ms'", "'10y 1s'", "'7'", "'x'"],
    ),
    ("retention.clock_skew", &["'0s'", "'1d'"], &["''", "'1'", "'1000y'"]),
    ("ledger.max_age", &["''", "'0s'", "'8d'", "'9d'"], &["'7d 23h'", "'1ms'", "'x'", "'101y'"]),
    ("table.memory_mb", &["64", "1000000"], &["63", "1000001", "'400MB'"]),
    ("table.path", &["'x'", "'/var/lib/x y'"], &["''"]),
    ("backup.path", &["''", "'x'", "'/var/lib/x y'"], &["1"]),
    ("backup.every", &["'10s'", "'1d'", "'1y'"], &["''", "'9s'", "'1y 1s'", "'x'"]),
    ("backup.keep", &["1", "10000"], &["0", "10001", "'x'"]),
    (
        "http.listen",
        &["''", "'0.0.0.0:80'", "'[::]:0'"],
        &["'80'", "'localhost:80'", "':80'", "' '"],
    ),
    ("ha.takeover", &["'500ms'", "'5m'"], &["'499ms'", "'5m 1ms'", "'0s'"]),
    (
        "answers.reply_prefixes",
        &["[]", "['_R.']", "['a.b.', 'a.']"],
        &[
            "['']",
            "['.']",
            "['a']",
            "['a..']",
            "['*.']",
            "['a b.']",
            "['>.']",
            "['$JS.']",
            "['_ONCEGATE.']",
        ],
    ),
];

#[test]
fn each_setting_obeys_its_rule() {
    let long = "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'"; // 33
    let fits = "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'"; // 32
    assert_eq!(refused(&one("name", long), &[]), ["name"]);
    assert!(refused(&one("name", fits), &[]).is_empty());
    for (setting, good, bad) in RULES {
        for value in *good {
            let text = one(setting, value);
            assert_eq!(refused(&text, &[]), Vec::<String>::new(), "{text}");
        }
        for value in *bad {
            let names = refused(&one(setting, value), &[]);
            assert!(
                !names.is_empty() && names.iter().all(|name| name == setting),
                "{setting} = {value}: {names:?}"
            );
        }
    }
}

#[test]
fn an_empty_optional_setting_is_absent() {
    let text = "[nats]\nuser = 'u'\ndomain = 'd'\n[http]\nlisten = ''\n[ledger]\nmax_age = '0s'";
    let c = good(text, &[("ONCEGATE__NATS__USER", ""), ("ONCEGATE__NATS__DOMAIN", "")]);
    assert_eq!((c.nats.user, c.nats.domain, c.http.listen), (None, None, None));
    assert_eq!(c.ledger.max_age, Some(Duration::ZERO));
}

#[test]
fn named_files_must_be_readable() {
    let (dir, path) = file("x");
    let settings = ["tls_ca", "tls_cert", "tls_key", "credentials_file"];
    let all = |value: &Path| {
        let lines = settings.map(|s| format!("{s} = {}\n", quoted(value)));
        format!("[nats]\n{}", lines.concat())
    };
    let c = good(&all(&path), &[]);
    assert_eq!(c.nats.tls_cert, Some(path.clone()));
    assert_eq!(refused(&all(&dir.path().join("none")), &[]).len(), settings.len());
    assert!(told(&all(dir.path()), &[]).contains("not a file"));
}
