//! Ways to a server: credentials, TLS, permissions, domains, the environment.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and each file uses its own part of the support"
)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use support::identity::{Nkey, Operator, write_certificates};
use support::load;
use support::model::Rules;
use support::raw::Login;
use support::server::Server;
use support::world::World;

const ADMIN: &str = "{ user: admin, password: admin }";

fn admin() -> Login {
    Login::user("admin", "admin")
}

/// The worker must do its work with these settings, whose secrets stand in the file `secret`.
fn works(server: Server, secret: &str, settings: &[(&str, &str)]) {
    let mut world = World::prepared(server, Rules::default());
    std::fs::write(world.gate.dir().join("secret"), secret).unwrap();
    for (name, value) in settings {
        world.gate.settings.set(name, format!("{value:?}"));
    }
    world.gate.flags = vec!["--log-level".into(), "trace".into()];
    world.gate.start();
    world.publish_all(&load::mixed(200, "k", 1));
    world.check();
    let check = world.gate.call(&["check"]);
    assert_eq!(check.code, Some(0), "{check:#?}");
    world.gate.stop();
    for line in secret.lines().filter(|line| !line.starts_with('-') && line.len() > 5) {
        assert!(!world.gate.log().contains(line), "a secret is in the log");
        assert!(!check.stdout.contains(line), "{check:#?}");
        assert!(!check.stderr.contains(line), "{check:#?}");
    }
}

#[test]
fn user_and_password() {
    let gate = "{ user: gate, password: \"p4ss word\" }";
    let config = format!("authorization {{ users = [ {ADMIN}, {gate} ] }}");
    let server = Server::start_guarded(&config, admin());
    let settings = [("nats.user", "gate"), ("nats.password_file", "secret")];
    works(server, "p4ss word\n", &settings);
}

#[test]
fn a_token() {
    let login = Login::token("t0ken-of-all");
    let server = Server::start_guarded("authorization { token: t0ken-of-all }", login);
    works(server, "t0ken-of-all\n", &[("nats.token_file", "secret")]);
}

#[test]
fn an_nkey() {
    let nkey = Nkey::user();
    let users = format!("{ADMIN}, {{ nkey: {} }}", nkey.public());
    let config = format!("authorization {{ users = [ {users} ] }}");
    let server = Server::start_guarded(&config, admin());
    works(server, &nkey.seed(), &[("nats.nkey_seed_file", "secret")]);
}

#[test]
fn a_credentials_file() {
    let operator = Operator::new();
    let server = Server::start_guarded(&operator.config, Login::bearer(operator.bearer()));
    let settings = [("nats.credentials_file", "secret")];
    works(server, &operator.credentials(), &settings);
}

#[test]
fn tls_with_an_authority_of_its_own_and_a_client_certificate() {
    let keys = tempfile::tempdir().unwrap();
    write_certificates(keys.path());
    let path = |name: &str| format!("{:?}", keys.path().join(name));
    let secured = format!(
        "tls {{ cert_file: {}, key_file: {}, ca_file: {}, verify: true }}",
        path("server.pem"),
        path("server.key"),
        path("ca.pem")
    );
    let mut world = World::prepared(Server::start(), Rules::default());
    world.server.restart_with(&secured, Login::default());
    for (setting, file) in
        [("tls_ca", "ca.pem"), ("tls_cert", "client.pem"), ("tls_key", "client.key")]
    {
        world.gate.settings.set(&format!("nats.{setting}"), path(file));
    }
    world.gate.settings.set("nats.tls_required", "true");
    world.gate.start();
    for (key, payload) in [("k1", "1"), ("k1", "1.0"), ("k1", "2"), ("k2", "1")] {
        let subject = ["publish", "--subject", "actions.pay", "--key", key, payload];
        let published = world.gate.call(&subject);
        assert_eq!(published.code, Some(0), "{published:#?}");
    }
    let check = world.gate.call(&["check"]);
    assert_eq!(check.code, Some(0), "{check:#?}");
    let settings = world.gate.settings.clone();
    world.gate.settings.unset("nats.tls_ca");
    let stranger = world.gate.call(&["check"]);
    assert_eq!(stranger.code, Some(1), "{stranger:#?}");
    world.gate.settings = settings;
    world.gate.settings.unset("nats.tls_cert");
    world.gate.settings.unset("nats.tls_key");
    let anonymous = world.gate.call(&["check"]);
    assert_eq!(anonymous.code, Some(1), "{anonymous:#?}");
    // What it did is read without TLS: the test's own client knows none.
    world.gate.stop();
    world.server.restart_with("", Login::default());
    world.reconnect();
    world.gate.settings.set("nats.tls_required", "false");
    world.gate.settings.unset("nats.tls_ca");
    world.gate.start();
    let report = world.check();
    assert_eq!(report.judged.len(), 4);
}

#[test]
fn tls_that_is_required_is_not_done_without() {
    let mut world = World::prepared(Server::start(), Rules::default());
    world.gate.settings.set("nats.tls_required", "true");
    let check = world.gate.call(&["check"]);
    assert_eq!(check.code, Some(1), "{check:#?}");
}

#[test]
fn a_jetstream_domain() {
    let mut world = World::prepared(Server::start_in_domain("hub"), Rules::default());
    world.gate.settings.set("nats.domain", "\"hub\"");
    world.gate.start();
    world.publish_all(&load::mixed(200, "k", 1));
    world.check();
    world.gate.stop();
    world.gate.settings.set("nats.domain", "\"elsewhere\"");
    let check = world.gate.call(&["check"]);
    assert_eq!(check.code, Some(1), "{check:#?}");
}

#[test]
fn the_next_server_when_the_first_is_away() {
    let mut world = World::prepared(Server::start(), Rules::default());
    let dead = format!("nats://127.0.0.1:{}", support::free_port());
    let servers = format!("{:?}", [dead, world.server.url()]);
    world.gate.settings.set("nats.servers", servers);
    world.gate.start();
    world.act("k", "1");
    world.check();
}

#[test]
fn another_inbox_prefix() {
    let gate = r#"{ user: gate, password: gate, permissions: { subscribe: ["_MINE.>"] } }"#;
    let config = format!("authorization {{ users = [ {ADMIN}, {gate} ] }}");
    let server = Server::start_guarded(&config, admin());
    let settings =
        [("nats.user", "gate"), ("nats.password_file", "secret"), ("nats.inbox_prefix", "_MINE")];
    works(server, "gate\n", &settings);
}

#[test]
fn the_environment_alone() {
    let mut world = World::prepared(Server::start(), Rules::default());
    let url = world.server.url();
    let servers = format!("nats://127.0.0.1:{},{url}", support::free_port());
    world.gate.without_file(&[("ONCEGATE__NATS__SERVERS", &servers)]);
    world.gate.start();
    world.act("k", "1");
    world.check();
    world.gate.stop();
    world.gate.without_file(&[("NATS_URL", &url), ("ONCEGATE__TABLE__PATH", "elsewhere/keys")]);
    world.gate.start();
    world.act("k", "1.0");
    world.check();
    assert!(world.gate.dir().join("elsewhere/keys").is_dir());
    world.gate.stop();
    let nowhere = format!("nats://127.0.0.1:{}", support::free_port());
    let both = [("NATS_URL", nowhere.as_str()), ("ONCEGATE__NATS__SERVERS", &url)];
    world.gate.without_file(&both);
    world.gate.start();
    world.act("k", "1.0");
    world.check();
}

/// The README's server configuration, with an administrator for the test's own client.
fn readme_permissions() -> String {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let text = std::fs::read_to_string(readme).expect("README.md");
    let (_, rest) = text.split_once("<!-- permissions:begin -->").expect("begin");
    let (part, _) = rest.split_once("<!-- permissions:end -->").expect("end");
    let (_, fenced) = part.split_once("```").expect("a fence");
    let (_, fenced) = fenced.split_once('\n').expect("a first line");
    fenced.split_once("```").expect("the fence's end").0.into()
}

/// The word behind this name, without quotes: `user: gate`, `password = "x"`.
fn word_after(text: &str, name: &str) -> String {
    let mut words = text
        .split(|c: char| c.is_whitespace() || "{},:=\"".contains(c))
        .filter(|word| !word.is_empty());
    words.find(|word| *word == name).expect(name);
    words.next().expect(name).into()
}

/// A server with the README's users, and the snippet.
fn readme_server() -> (Server, String) {
    let snippet = readme_permissions();
    let users = ["users: [", "users = [", "users ["];
    let open = users.iter().find(|open| snippet.contains(**open)).expect("users");
    let config = snippet.replacen(open, &format!("{open} {ADMIN}, "), 1);
    (Server::start_guarded(&config, admin()), snippet)
}

/// The password of one of the README's users.
fn password_of(user: &str, snippet: &str) -> String {
    let (_, rest) = snippet.split_once(&format!("user: {user:?}")).expect(user);
    word_after(rest, "password")
}

#[test]
fn the_permissions_of_the_readme_are_enough() {
    let (server, snippet) = readme_server();
    let user = word_after(&snippet, "user");
    let password = password_of(&user, &snippet);
    let mut world = World::prepared(server, Rules::default());
    std::fs::write(world.gate.dir().join("secret"), &password).unwrap();
    world.gate.settings.set("nats.user", format!("{user:?}"));
    world.gate.settings.set("nats.password_file", "\"secret\"");
    world.gate.start();
    world.publish_all(&load::mixed(500, "k", 1));
    world.check();
    let check = world.gate.call(&["check"]);
    assert_eq!(check.code, Some(0), "{check:#?}");
    let mut second = world.gate.twin();
    std::fs::write(second.dir().join("secret"), &password).unwrap();
    second.spawn();
    world.gate.kill9();
    second.wait_leading();
    std::mem::swap(&mut world.gate, &mut second);
    world.publish_all(&load::mixed(500, "k", 2));
    world.check();
    world.act("asked for", "1");
    world.check();
    an_operator_asks_forgets_and_audits(&world, &password_of("operator", &snippet));
}

/// The answers come through, too.
fn an_operator_asks_forgets_and_audits(world: &World, password: &str) {
    let call = |arguments: &[&str]| {
        let mut command = world.gate.command(arguments);
        command.env("ONCEGATE__NATS__USER", "operator").env("ONCEGATE__NATS__PASSWORD", password);
        command.env("ONCEGATE__NATS__PASSWORD_FILE", "");
        command.env("ONCEGATE__NATS__INBOX_PREFIX", "_OPERATOR");
        command.env("ONCEGATE__ANSWERS__REPLY_PREFIXES", "_INBOX.operator.");
        command.output().unwrap()
    };
    let known = call(&["lookup", "asked for", "--wait", "10s", "--json"]);
    assert!(known.status.success(), "{known:?}");
    let forgotten = call(&["forget", "asked for", "--reason", "a test"]);
    assert!(forgotten.status.success(), "{forgotten:?}");
    let audited = call(&["audit"]);
    assert!(audited.status.success(), "{audited:?}");
}

#[test]
fn the_readme_lets_nobody_else_report_forget_or_ask() {
    let (server, snippet) = readme_server();
    for (subject, may) in [
        ("oncegate.results.x", vec!["executor"]),
        ("oncegate.operator.forget", vec!["operator"]),
        ("oncegate.svc.lookup", vec!["executor", "operator"]),
        ("oncegate.accepted.x", vec!["oncegate"]),
        ("oncegate.completed.succeeded", vec!["oncegate"]),
        ("actions.x", vec!["publisher", "operator"]),
    ] {
        let mut found = vec!["oncegate", "publisher", "executor", "operator"];
        found.retain(|user| may_publish(&server, user, &password_of(user, &snippet), subject));
        assert_eq!(found, may, "{subject}");
    }
}

/// Whether the server lets this user publish there.
fn may_publish(server: &Server, user: &str, password: &str, subject: &str) -> bool {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    let login = format!(r#"{{"verbose":false,"user":{user:?},"pass":{password:?}}}"#);
    write!(stream, "CONNECT {login}\r\nPUB {subject} 0\r\n\r\nPING\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(|line| line.unwrap());
    let mut said = lines.by_ref().skip(1).take_while(|line| line != "PONG");
    match said.next() {
        None => true,
        Some(error) => {
            assert!(error.starts_with("-ERR 'Permissions Violation for Publish"), "{error}");
            false
        }
    }
}
