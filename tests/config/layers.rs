//! Defaults, file and environment, and which goes before which.

use std::path::Path;
use std::time::Duration;

use oncegate::config::{Compare, Config, MissingKey, Origin};

use crate::{SHIPPED, file, good, load, refused, told, vars};

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

pub const EVERY_SETTING: [&str; 38] = [
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
