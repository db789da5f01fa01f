//! The configuration: layers, rules, and how what is wrong is told.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oncegate::config::{Compare, Config, ConfigErrors, MissingKey, Origin, Secret};
use proptest::prelude::*;
use tempfile::TempDir;

const SHIPPED: &str = include_str!("../config/oncegate.toml");

/// A file of the given text, and its directory.
fn file(text: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("gate.toml");
    fs::write(&path, text).unwrap();
    (dir, path)
}

fn vars(env: &[(&str, &str)]) -> Vec<(String, String)> {
    env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

fn load(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let (_dir, path) = file(text);
    Config::load(Some(&path), vars(env))
}

fn good(text: &str, env: &[(&str, &str)]) -> Config {
    load(text, env).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The names of the settings refused, in order.
fn refused(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    match load(text, env) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.problems().iter().map(|p| p.setting.clone()).collect(),
    }
}

/// The whole message, for files that must be refused.
fn told(text: &str, env: &[(&str, &str)]) -> String {
    load(text, env).expect_err(text).to_string()
}

/// `section.name` = value as a file.
fn one(setting: &str, value: &str) -> String {
    match setting.split_once('.') {
        Some((section, name)) => format!("[{section}]\n{name} = {value}\n"),
        None => format!("{setting} = {value}\n"),
    }
}

/// A path as a TOML text.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}

// ---------------------------------------------------------------------------------------- layers

#[test]
fn defaults_are_those_of_the_contract() {
    let c = good("", &[]);
    assert_eq!((c.name.as_str(), c.manage), ("oncegate", true));
    assert_eq!(c.nats.servers, ["nats://127.0.0.1:4222"]);
    assert_eq!(c.nats.inbox_prefix, "_ONCEGATE");
    assert!(!c.nats.tls_required);
    assert_eq!((c.input.stream.as_str(), c.input.replicas), ("ACTIONS", 1));
    assert_eq!(c.input.subjects, ["actions.>"]);
    assert_eq!(c.input.max_age, Duration::from_hours(30 * 24));
    assert_eq!(c.key.from, ["header:Idempotency-Key", "json:/idempotency_key"]);
    assert!(c.key.scope.is_empty() && c.payload.ignore.is_empty());
    assert_eq!((c.key.max_bytes, c.key.missing), (255, MissingKey::Reject));
    assert_eq!(c.payload.compare, Compare::Auto);
    assert_eq!(c.retention.window, Duration::from_hours(7 * 24));
    assert_eq!(c.retention.clock_skew, Duration::from_mins(10));
    assert_eq!((c.ledger.replicas, c.ledger.max_age), (1, None));
    assert_eq!((c.table.path, c.table.memory_mb), ("data/keys".into(), 450));
    assert_eq!((c.backup.path, c.backup.keep), (None, 24));
    assert_eq!(c.backup.every, Duration::from_hours(1));
    assert_eq!(c.http.listen, Some("127.0.0.1:8687".parse().unwrap()));
    assert_eq!(c.ha.takeover, Duration::from_secs(3));
    assert_eq!(c.answers.reply_prefixes, ["_INBOX."]);
}

#[test]
fn the_shipped_file_says_what_the_defaults_are() {
    assert_eq!(good(SHIPPED, &[]), good("", &[]));
}

const EVERY_SETTING: [&str; 38] = [
    "answers.reply_prefixes",
    "backup.every",
    "backup.keep",
    "backup.path",
    "ha.takeover",
    "http.listen",
    "input.max_age",
    "input.replicas",
    "input.stream",
    "input.subjects",
    "key.from",
    "key.max_bytes",
    "key.missing",
    "key.scope",
    "ledger.max_age",
    "ledger.replicas",
    "manage",
    "name",
    "nats.credentials_file",
    "nats.domain",
    "nats.inbox_prefix",
    "nats.nkey_seed_file",
    "nats.password_file",
    "nats.servers",
    "nats.tls_ca",
    "nats.tls_cert",
    "nats.tls_key",
    "nats.tls_required",
    "nats.token_file",
    "nats.user",
    "payload.compare",
    "payload.ignore",
    "retention.clock_skew",
    "retention.window",
    "table.memory_mb",
    "table.path",
    // From the environment only.
    "nats.password",
    "nats.token",
];

#[test]
fn the_shipped_file_shows_every_setting() {
    let (mut section, mut shown) = (String::new(), Vec::new());
    for line in SHIPPED.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = format!("{name}.");
        } else if let Some((name, _)) = line.split_once(" = ")
            && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            shown.push(format!("{section}{name}"));
        }
    }
    shown.sort();
    let mut in_file = EVERY_SETTING[..36].to_vec();
    in_file.sort_unstable();
    assert_eq!(shown, in_file);
}

#[test]
fn every_setting_has_a_variable() {
    for setting in EVERY_SETTING {
        let variable = format!("ONCEGATE__{}", setting.replace('.', "__").to_uppercase());
        let shown = load("", &[(&variable, " ")]).err().map(|e| e.to_string());
        assert!(!shown.unwrap_or_default().contains("no such setting"), "{variable}");
    }
}

#[test]
fn environment_over_file_over_defaults() {
    let text = "name = 'a'\n[input]\nreplicas = 3\nstream = 'FROM_FILE'\n";
    let c = good(text, &[("ONCEGATE__INPUT__REPLICAS", "5"), ("ONCEGATE__MANAGE", "false")]);
    assert_eq!((c.name.as_str(), c.manage), ("a", false));
    assert_eq!((c.input.replicas, c.input.stream.as_str()), (5, "FROM_FILE"));
    assert_eq!(c.ledger.replicas, 1);
}

#[test]
fn lists_in_variables_are_split_at_commas() {
    let c = good(
        "[key]\nscope = ['subject:1']",
        &[
            ("ONCEGATE__NATS__SERVERS", "a, tls://b:1"),
            ("ONCEGATE__KEY__FROM", "header:X,json:/y"),
            ("ONCEGATE__KEY__SCOPE", ""),
        ],
    );
    assert_eq!(c.nats.servers, ["a", "tls://b:1"]);
    assert_eq!(c.key.from, ["header:X", "json:/y"]);
    assert!(c.key.scope.is_empty());
    assert_eq!(refused("", &[("ONCEGATE__KEY__FROM", "header:X,")]), ["key.from"]);
}

#[test]
fn nats_url_is_used_where_nothing_else_names_a_server() {
    let url = ("NATS_URL", "nats://u:1");
    let set = ("ONCEGATE__NATS__SERVERS", "e");
    assert_eq!(good("", &[url]).nats.servers, ["nats://u:1"]);
    assert_eq!(good("[nats]\ndomain = 'd'", &[url]).nats.servers, ["nats://u:1"]);
    assert_eq!(good("[nats]\nservers = ['f']", &[url]).nats.servers, ["f"]);
    assert_eq!(good("", &[url, set]).nats.servers, ["e"]);
    assert_eq!(good("", &[("NATS_URL", "")]).nats.servers, ["nats://127.0.0.1:4222"]);
    assert!(told("", &[("NATS_URL", "http://x")]).contains("(environment variable NATS_URL)"));
}

#[test]
fn the_argument_goes_before_the_variable_that_names_a_file() {
    let (_a, argument) = file("name = 'argument'");
    let (_b, variable) = file("name = 'variable'");
    let env = vars(&[("ONCEGATE_CONFIG", variable.to_str().unwrap())]);
    assert_eq!(Config::load(Some(&argument), env.clone()).unwrap().name, "argument");
    assert_eq!(Config::load(None, env).unwrap().name, "variable");
    // Tests run in the package's directory, where the shipped file is.
    assert_eq!(Config::load(None, vars(&[])).unwrap(), good("", &[]));
}

#[test]
fn a_file_that_is_named_must_exist() {
    let missing = "no/such/file.toml";
    let by_argument = Config::load(Some(Path::new(missing)), vars(&[])).unwrap_err();
    let by_variable = Config::load(None, vars(&[("ONCEGATE_CONFIG", missing)])).unwrap_err();
    assert_eq!(by_argument.problems()[0].origin, Origin::Argument);
    assert_eq!(by_variable.problems()[0].origin, Origin::Variable("ONCEGATE_CONFIG".into()));
    for errors in [by_argument, by_variable] {
        assert_eq!(errors.problems().len(), 1);
        let text = errors.to_string();
        assert!(text.contains("configuration file = \"no/such/file.toml\" ("), "{text}");
        assert!(text.contains("cannot be read: No such file"), "{text}");
    }
    let (dir, _path) = file("");
    assert!(Config::load(Some(dir.path()), vars(&[])).is_err());
}

#[test]
fn foreign_variables_are_left_alone() {
    let env = [
        ("ONCEGATE_PORT_8687_TCP", "x"),
        ("ONCEGATE_", "x"),
        ("PATH", "x"),
        ("oncegate__name", "x"),
    ];
    assert!(load("", &env).is_ok());
}

// ------------------------------------------------------------------------------- how it is told

#[test]
fn a_syntax_error_tells_line_and_column_and_never_the_line_itself() {
    for (text, place) in [
        ("name = 'a'\n[nats]\npassword = hunter2\n", "line 3, column 12"),
        ("name = 'é' hunter2", "line 1, column 12"),
        ("a = 1\na = 'hunter2'", "line 2, column 1"),
    ] {
        let told = told(text, &[]);
        assert!(told.contains(place), "{told}");
        assert!(told.contains("gate.toml"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
        assert_eq!(told.lines().count(), 2, "{told}");
    }
}

#[test]
fn where_the_file_cannot_be_read_the_environment_is_still_checked() {
    let env = [("ONCEGATE__NAME", "Bad"), ("ONCEGATE__NAMES", "x"), ("ONCEGATE__NATS__USER", "u")];
    assert_eq!(refused("]", &env), ["configuration file", "name", "names"]);
}

#[test]
fn all_that_is_wrong_is_told_at_once_a_line_each() {
    let text = "[retention]\nwindow = '7x'\nclock_skew = 3\n[input]\nreplicas = 6\nsubjects = ['a..b', 'c d']\n";
    let (_dir, path) = file(text);
    let env = vars(&[("ONCEGATE__MANAGE", "yes"), ("ONCEGATE__KEY__MISSING", "drop\nit")]);
    let told = Config::load(Some(&path), env).unwrap_err().to_string();
    let path = path.display();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 8, "{told}");
    assert_eq!(lines[0], "7 settings are not usable:");
    assert_eq!(
        lines[1],
        "  manage = \"yes\" (environment variable ONCEGATE__MANAGE): unknown word; allowed: \"true\", \"false\""
    );
    for begin in [
        format!(
            "  input.subjects = \"a..b\" ({path}): not a subject; allowed: tokens joined by dots"
        ),
        format!("  input.subjects = \"c d\" ({path}): not a subject; allowed: "),
        format!("  input.replicas = 6 ({path}): out of range; allowed: a whole number from 1 to 5"),
        format!("  retention.window = \"7x\" ({path}): not a duration: "),
        format!("  retention.clock_skew = 3 ({path}): not a text; allowed: "),
        r#"  key.missing = "drop\nit" (environment variable ONCEGATE__KEY__MISSING): "#.to_owned(),
    ] {
        assert!(lines.iter().any(|line| line.starts_with(&begin)), "{begin}\nin {told}");
    }
    assert!(told.contains("from 100ms to 10years"), "{told}");
    assert!(self::told("name = ''", &[]).starts_with("1 setting is not usable:\n"));
}

#[test]
fn unknown_settings_are_refused_with_the_name_that_was_meant() {
    for (text, line) in [
        ("nmae = 'a'", "nmae ("),
        ("[retention]\nwidow = '7d'", "retention.widow ("),
        ("[natz]\nservers = ['a']", "natz ("),
        ("window = '7d'", "window ("),
        ("[key]\nwindow = '7d'", "key.window ("),
    ] {
        let told = told(text, &[]);
        assert!(told.contains(&format!("  {line}")) && told.contains("did you mean"), "{told}");
    }
    for (text, meant) in [
        ("nmae = 'a'", "did you mean name?"),
        ("[retention]\nwidow = '7d'", "did you mean retention.window?"),
        ("[natz]\nservers = ['a']", "no such section; did you mean nats?"),
        ("[nats]\nwindow = '7d'", "did you mean retention.window?"),
        ("nats = 3", "a section, not a setting"),
        ("[zzzzz]\na = 1", "no such section"),
    ] {
        let told = told(text, &[]);
        assert!(told.contains(meant), "{told}");
    }
    assert!(!told("zzzzz = 1", &[]).contains("did you mean"));
    for (variable, meant) in [
        ("ONCEGATE__RETENTION__WIDOW", "ONCEGATE__RETENTION__WINDOW"),
        ("ONCEGATE__nats__servers", "ONCEGATE__NATS__SERVERS"),
        ("ONCEGATE__NATS_SERVERS", "ONCEGATE__NATS__SERVERS"),
        ("ONCEGATE__WINDOW", "ONCEGATE__RETENTION__WINDOW"),
    ] {
        let told = told("", &[(variable, "hunter2")]);
        assert!(told.contains(&format!("environment variable {variable}")), "{told}");
        assert!(told.contains(&format!("did you mean {meant}?")), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    assert_eq!(refused("", &[("ONCEGATE__", "x")]), [""]);
}

#[test]
fn a_value_of_another_type_is_refused() {
    for (setting, values) in [
        ("name", ["1", "['a']", "{ a = 1 }", "true"]),
        ("manage", ["1", "'true'", "[]", "1.5"]),
        ("nats.servers", ["'a'", "[1]", "[['a']]", "{}"]),
        ("key.max_bytes", ["'10'", "1.0", "[]", "-1"]),
        ("retention.window", ["7", "1979-05-27", "['7d']", "false"]),
        ("http.listen", ["8687", "false", "[]", "{}"]),
    ] {
        for value in values {
            assert_eq!(refused(&one(setting, value), &[]), [setting], "{setting} = {value}");
        }
    }
}

// --------------------------------------------------------------------------------------- secrets

#[test]
fn secrets_come_from_the_environment_and_are_never_shown() {
    let c = good("", &[("ONCEGATE__NATS__USER", "u"), ("ONCEGATE__NATS__PASSWORD", "hunter2")]);
    assert_eq!(c.nats.password.as_ref().map(Secret::expose), Some("hunter2"));
    assert!(!format!("{c:?}").contains("hunter2"));
    assert_eq!(format!("{0} {0:?}", c.nats.password.unwrap()), "*** ***");
    let c = good("", &[("ONCEGATE__NATS__TOKEN", "t"), ("ONCEGATE__NATS__PASSWORD", "")]);
    assert_eq!((c.nats.token, c.nats.password), (Some(Secret::new("t")), None));
}

#[test]
fn secrets_in_the_file_are_refused_even_if_a_variable_overrides_them() {
    let text = "[nats]\nuser = 'u'\npassword = 'hunter2'\ntoken = 'hunter2'";
    let env = [("ONCEGATE__NATS__PASSWORD", "hunter2")];
    let told = told(text, &env);
    assert_eq!(refused(text, &env), ["nats.password", "nats.token"]);
    for part in [
        "nats.password_file",
        "ONCEGATE__NATS__PASSWORD",
        "nats.token_file",
        "ONCEGATE__NATS__TOKEN",
    ] {
        assert!(told.contains(part), "{told}");
    }
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn a_login_in_an_address_is_refused_and_masked() {
    for (server, shown) in [
        ("nats://bob:hunter2@host:4222", "\"nats://bob:***@host:4222\""),
        ("bob:hunter2@host", "\"bob:***@host\""),
        ("nats://hunter2@host", "\"nats://***@host\""),
        ("nats://bob:hunter2/@x@host", "\"nats://bob:***@host\""),
        ("bob:hunter2://@host", "\"bob:***@host\""),
        ("bob:hunter2,hunter2@host", "\"bob:***\""),
    ] {
        for told in [
            told("", &[("NATS_URL", server)]),
            told("", &[("ONCEGATE__NATS__SERVERS", server)]),
            told(&format!("[nats]\nservers = '{server}'"), &[]),
        ] {
            assert!(!told.contains("hunter2"), "{told}");
        }
        let told = told("", &[("NATS_URL", server)]);
        assert!(told.contains(shown), "{told}");
    }
}

// ----------------------------------------------------------------------------------- single rules

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

// ---------------------------------------------------------------------------- rules between them

/// Variables, and the settings refused.
type Login<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

#[test]
fn at_most_one_login_and_a_whole_one() {
    let (_dir, path) = file("x");
    let path = path.to_str().unwrap();
    let creds = ("ONCEGATE__NATS__CREDENTIALS_FILE", path);
    let nkey = ("ONCEGATE__NATS__NKEY_SEED_FILE", path);
    let user = ("ONCEGATE__NATS__USER", "u");
    let password = ("ONCEGATE__NATS__PASSWORD", "p");
    let password_file = ("ONCEGATE__NATS__PASSWORD_FILE", path);
    let token = ("ONCEGATE__NATS__TOKEN", "t");
    let token_file = ("ONCEGATE__NATS__TOKEN_FILE", path);
    let cert = ("ONCEGATE__NATS__TLS_CERT", path);
    let key = ("ONCEGATE__NATS__TLS_KEY", path);
    let cases: &[Login] = &[
        (&[creds], &[]),
        (&[nkey], &[]),
        (&[user, password], &[]),
        (&[user, password_file], &[]),
        (&[token], &[]),
        (&[token_file, cert, key], &[]),
        (&[user], &["nats.user"]),
        (&[password], &["nats.password"]),
        (&[password_file], &["nats.password_file"]),
        (&[user, password, password_file], &["nats.password"]),
        (&[token, token_file], &["nats.token"]),
        (&[creds, nkey], &["nats.nkey_seed_file"]),
        (&[creds, user, password, token], &["nats.user", "nats.token"]),
        (&[creds, user], &["nats.user", "nats.user"]),
        (&[cert], &["nats.tls_cert"]),
        (&[key], &["nats.tls_key"]),
    ];
    for (env, expected) in cases {
        assert_eq!(refused("", env), *expected, "{env:?}");
    }
}

#[test]
fn what_is_itself_bad_brings_no_second_complaint() {
    for (text, expected) in [
        ("[nats]\nuser = 'u'\npassword_file = '/no/such'", "nats.password_file"),
        ("[nats]\ntls_cert = '/no/such'", "nats.tls_cert"),
        ("[retention]\nwindow = 'x'\n[ledger]\nmax_age = '1d'", "retention.window"),
        ("name = 'ACTIONS'", "name"),
        ("[nats]\ninbox_prefix = '_INBOX.'", "nats.inbox_prefix"),
    ] {
        assert_eq!(refused(text, &[]), [expected], "{text}");
    }
    let (_dir, path) = file("x");
    let text = format!("[nats]\ntls_cert = {}\ntls_key = '/no/such'", quoted(&path));
    assert_eq!(refused(&text, &[]), ["nats.tls_key"]);
}

#[test]
fn streams_and_subjects_are_kept_apart() {
    let cases: &[(&str, &[&str])] = &[
        ("[input]\nstream = 'ONCEGATE'", &["input.stream"]),
        ("[input]\nstream = 'ONCEGATE_REPORTS'", &["input.stream"]),
        ("[input]\nstream = 'KV_oncegate'", &["input.stream"]),
        ("name = 'x'\n[input]\nstream = 'ONCEGATE'", &[]),
        ("name = 'actions'", &["input.stream", "name"]),
        ("[input]\nsubjects = ['oncegate.accepted.a']", &["input.subjects"]),
        ("[input]\nsubjects = ['oncegate.>']", &["input.subjects"]),
        ("[input]\nsubjects = ['oncegate']", &[]),
        ("[input]\nsubjects = ['oncegated.>']", &[]),
        ("[input]\nsubjects = ['a.*', 'a.b']", &["input.subjects"]),
        ("[input]\nsubjects = ['a.>', 'a.*.c']", &["input.subjects"]),
        ("[input]\nsubjects = ['a.*.c', 'a.b.*']", &["input.subjects"]),
        ("[input]\nsubjects = ['a', 'a']", &["input.subjects"]),
        ("[input]\nsubjects = ['a', 'a.>', 'b.*', 'b.c.d']", &[]),
        ("[input]\nsubjects = ['_ONCEGATE.x']", &["input.subjects"]),
        ("[input]\nsubjects = ['_INBOX.x.>']", &["input.subjects"]),
        ("[nats]\ninbox_prefix = 'oncegate'", &["nats.inbox_prefix"]),
        ("[nats]\ninbox_prefix = 'oncegate.inbox'", &["nats.inbox_prefix"]),
        ("[nats]\ninbox_prefix = '_INBOX'", &["nats.inbox_prefix"]),
        ("[nats]\ninbox_prefix = '_INBOX.gate'", &["nats.inbox_prefix"]),
        ("[nats]\ninbox_prefix = '_INBOXES'", &[]),
        ("[answers]\nreply_prefixes = ['_ONCEGATE.a.']", &["answers.reply_prefixes"]),
        ("[answers]\nreply_prefixes = ['oncegate.']", &["answers.reply_prefixes"]),
        ("[answers]\nreply_prefixes = ['oncegate.svc.']", &["answers.reply_prefixes"]),
        ("[answers]\nreply_prefixes = ['actions.replies.']", &["answers.reply_prefixes"]),
        // Where both are given, the later one in the order of the sections.
        (
            "[input]\nsubjects = ['r.a']\n[answers]\nreply_prefixes = ['r.']",
            &["answers.reply_prefixes"],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refused(text, &[]), *expected, "{text}");
    }
}

#[test]
fn table_and_backups_are_kept_apart() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("data/keys", "data/backups", &[]),
        ("data/keys", "data/keys-backups", &[]),
        ("data/keys", "data/keys", &["backup.path"]),
        ("data/keys", "./data/keys/", &["backup.path"]),
        ("data/keys", "data/keys/backups", &["backup.path"]),
        ("data/keys", "data", &["backup.path"]),
        ("/var/lib/x", "/var/lib/x/y", &["backup.path"]),
        ("", "data/keys", &["table.path"]),
    ];
    for (table, backups, expected) in cases {
        let text = format!("[table]\npath = '{table}'\n[backup]\npath = '{backups}'");
        assert_eq!(refused(&text, &[]), *expected, "{text}");
    }
}

#[test]
fn the_ledger_outlives_the_window() {
    let text = "[retention]\nwindow = '1h'\n[ledger]\nmax_age = ";
    assert!(refused(&format!("{text}'1d 1h'"), &[]).is_empty());
    let told = told(&format!("{text}'1d'"), &[]);
    assert!(told.contains("ledger.max_age = \"1day\""), "{told}");
    assert!(told.contains("at least 1day 1h"), "{told}");
}

#[test]
fn names_follow_from_the_name() {
    let c = good("name = 'pay-gate_2'", &[]);
    assert_eq!(c.ledger_stream(), "PAY-GATE_2");
    assert_eq!(c.reports_stream(), "PAY-GATE_2_REPORTS");
    assert_eq!((c.consumer(), c.bucket()), ("pay-gate_2", "pay-gate_2"));
}

// -------------------------------------------------------------------------------------- whatever

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// No text makes it panic, every complaint is a line, and no password in an address is shown.
    #[test]
    fn any_value_is_taken_or_told_on_one_line(setting in prop::sample::select(&EVERY_SETTING[..]), value in any::<String>()) {
        let variable = format!("ONCEGATE__{}", setting.replace('.', "__").to_uppercase());
        if let Err(errors) = load("", &[(&variable, &value)]) {
            prop_assert_eq!(errors.to_string().lines().count(), errors.problems().len() + 1);
        }
    }

    #[test]
    fn any_file_is_taken_or_told_on_lines(text in r#"[a-z\[\]='". \n#{},0-9]{0,60}"#) {
        if let Err(errors) = load(&text, &[]) {
            prop_assert_eq!(errors.to_string().lines().count(), errors.problems().len() + 1);
        }
    }

    #[test]
    fn no_password_in_an_address_is_shown(around in "[a-z:/@?#.]{0,8}", after in "[a-z:/@?#.]{0,8}") {
        for url in [format!("nats://u:{around}SECRET{after}@h"), format!("u:{around}SECRET{after}@h:1")] {
            let told = told("", &[("NATS_URL", &url)]);
            prop_assert!(!told.contains("SECRET"), "{}", told);
        }
    }

    /// Two subject patterns that match the same subject are refused beside each other.
    #[test]
    fn patterns_that_share_a_subject_overlap(
        subject in prop::collection::vec("[ab]", 1..5),
        masks in prop::collection::vec((any::<bool>(), any::<bool>()), 5),
        cuts in (1_usize..6, 1_usize..6),
    ) {
        let pattern = |stars: Vec<bool>, cut: usize| {
            let mut tokens = vec!["x".to_owned()];
            for (i, (token, star)) in subject.iter().zip(stars).enumerate() {
                if i + 1 == cut {
                    tokens.push(">".to_owned());
                    break;
                }
                tokens.push(if star { "*".to_owned() } else { token.clone() });
            }
            tokens.join(".")
        };
        let a = pattern(masks.iter().map(|m| m.0).collect(), cuts.0);
        let b = pattern(masks.iter().map(|m| m.1).collect(), cuts.1);
        let text = format!("[input]\nsubjects = ['{a}', '{b}']");
        prop_assert_eq!(refused(&text, &[]), ["input.subjects"], "{}", text);
    }
}
