//! Where settings come from, and how what is wrong with them is told.

use crate::run;
use crate::support::gate::{Ending, Gate, oncegate};
use crate::support::model::Rules;
use crate::support::server::Server;
use crate::support::world::World;

#[test]
fn all_bad_settings_are_reported_at_once() {
    let mut gate = Gate::on("nats://127.0.0.1:4222");
    let bad = [
        ("name", r#""Bad Name""#, "Bad Name"),
        ("input.replicas", "0", "0"),
        ("input.max_age", r#""never""#, "never"),
        ("input.subjects", "[]", ""),
        ("key.from", r#"["cookie:x"]"#, "cookie:x"),
        ("key.scope", r#"["subject:0"]"#, "subject:0"),
        ("key.max_bytes", "0", "0"),
        ("key.missing", r#""guess""#, "guess"),
        ("payload.compare", r#""xml""#, "xml"),
        ("payload.ignore", r#"["sent_at"]"#, "sent_at"),
        ("retention.window", r#""soon""#, "soon"),
        ("retention.clock_skew", r#""-1s""#, "-1s"),
        ("ha.takeover", r#""0s""#, "0s"),
        ("http.listen", r#""nowhere""#, "nowhere"),
        ("nats.servers", r#"["ftp://host"]"#, "ftp://host"),
        ("nats.serverz", "1", ""),
        ("tabel.path", r#""x""#, ""),
    ];
    for (name, value, _) in bad {
        gate.settings.set(name, value);
    }
    for command in ["run", "check", "rejections"] {
        let ending = gate.call(&[command]);
        assert_eq!(ending.code, Some(2), "{ending:#?}");
        assert!(ending.stdout.is_empty(), "{ending:#?}");
        for (name, _, shown) in bad {
            let name = name.strip_prefix("tabel.").map_or(name, |_| "tabel");
            ending.says(&[name, shown]);
        }
    }
    assert!(!gate.table().exists(), "nothing was made");
}

#[test]
fn a_configuration_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let missing = run(dir.path(), &["check", "--config", "nowhere.toml"]);
    assert_eq!(missing.code, Some(2), "{missing:#?}");
    missing.says(&["nowhere.toml"]);
    std::fs::write(dir.path().join("broken.toml"), "name = \n").unwrap();
    let broken = run(dir.path(), &["check", "--config", "broken.toml"]);
    assert_eq!(broken.code, Some(2), "{broken:#?}");
    broken.says(&["broken.toml"]);
    std::fs::write(dir.path().join("types.toml"), "name = 1\nmanage = \"yes\"\n").unwrap();
    let types = run(dir.path(), &["check", "--config", "types.toml"]);
    assert_eq!(types.code, Some(2), "{types:#?}");
    types.says(&["name", "manage"]);
    let secret = "[nats]\nuser = \"u\"\npassword_file = \"gone\"\n";
    std::fs::write(dir.path().join("secret.toml"), secret).unwrap();
    let secret = run(dir.path(), &["check", "--config", "secret.toml"]);
    assert_eq!(secret.code, Some(2), "{secret:#?}");
    secret.says(&["nats.password_file", "gone"]);
}

#[test]
fn the_file_is_looked_for_in_the_order_of_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let named = |name: &str| format!("name = \"Bad {name}\"\n");
    std::fs::create_dir(dir.path().join("config")).unwrap();
    for file in ["config/oncegate.toml", "by-env.toml", "by-flag.toml"] {
        std::fs::write(dir.path().join(file), named(file)).unwrap();
    }
    let check = |env: Option<&str>, flags: &[&str]| -> Ending {
        let mut command = oncegate(dir.path());
        command.arg("check").args(flags);
        command.envs(env.map(|file| ("ONCEGATE_CONFIG", file)));
        command.output().unwrap().into()
    };
    check(None, &[]).says(&["Bad config/oncegate.toml"]);
    check(Some("by-env.toml"), &[]).says(&["Bad by-env.toml"]);
    check(Some("by-env.toml"), &["--config", "by-flag.toml"]).says(&["Bad by-flag.toml"]);
}

#[test]
fn bad_settings_of_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = oncegate(dir.path());
    command.arg("check");
    command.env("ONCEGATE__RETENTION__WINDOW", "soon");
    command.env("ONCEGATE__KEY__MAX_BYTES", "many");
    command.env("ONCEGATE__NO__SUCH", "1");
    let ending = Ending::from(command.output().unwrap());
    assert_eq!(ending.code, Some(2), "{ending:#?}");
    ending.says(&["retention", "window", "soon", "max_bytes", "many", "no", "such"]);
}

#[test]
fn the_shipped_configuration_is_the_default_one() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/config/oncegate.toml");
    let server = Server::start();
    let mut world = World::prepared(server, Rules::default());
    let url = world.server.url();
    world.gate.without_file(&[("ONCEGATE__NATS__SERVERS", &url), ("ONCEGATE_CONFIG", shipped)]);
    world.gate.start();
    world.act("k", "1");
    world.act("k", "1.0");
    world.check();
    let text = std::fs::read_to_string(shipped).unwrap();
    for section in ["nats", "input", "key", "payload", "retention", "ledger", "table", "http", "ha"]
    {
        assert!(text.contains(&format!("[{section}]")), "{section}");
    }
}
