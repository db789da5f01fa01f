//! Secrets come from the environment, and are never shown.

use oncegate::config::Secret;

use crate::{good, refused, told};

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
