//! What is wrong is told all at once, where it stands, a line each.

use oncegate::config::Config;

use crate::{file, one, refused, told, vars};

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
