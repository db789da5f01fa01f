//! Rules between settings.

use crate::{file, good, quoted, refused, told};

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
