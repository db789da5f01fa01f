//! Logs, and the HTTP port.

use crate::object;
use crate::support::free_port;
use crate::support::model::Rules;
use crate::support::server::Server;
use crate::support::wait_until;
use crate::support::world::World;

#[test]
fn logs_go_to_standard_error_as_text_or_json() {
    let mut world = World::prepared(Server::start(), Rules::default());
    world.gate.flags = ["--log-format", "json", "--log-level", "debug"].map(String::from).to_vec();
    world.gate.start();
    world.act("k", "1");
    world.check();
    let ending = world.gate.term();
    assert_eq!(ending.code, Some(0), "{ending:#?}");
    assert!(ending.stdout.is_empty(), "{ending:#?}");
    assert!(ending.stderr.lines().count() > 2, "{ending:#?}");
    for line in ending.stderr.lines() {
        object(line);
    }
    world.gate.flags = ["--log-format", "text", "--log-level", "error"].map(String::from).to_vec();
    world.gate.start();
    world.act("k", "1");
    world.check();
    let ending = world.gate.term();
    assert_eq!(ending.code, Some(0), "{ending:#?}");
    assert!(ending.stdout.is_empty() && ending.stderr.is_empty(), "{ending:#?}");
}

#[test]
fn at_debug_it_is_told_when_the_keys_of_the_table_are_learnt() {
    let mut world = World::prepared(Server::start(), Rules::default());
    world.gate.flags = ["--log-level", "debug"].map(String::from).to_vec();
    world.gate.start();
    wait_until("the keys to be learnt", || world.gate.log().contains("keys learnt"));
}

#[test]
fn actions_leave_no_lines_in_the_log() {
    let mut world = World::started(Rules::default());
    let before = world.gate.log().lines().count();
    for number in 0..50 {
        world.act(&format!("key-{number}"), "{}");
    }
    world.check();
    let log = world.gate.log();
    assert!(!log.contains("key-"), "{log}");
    assert!(log.lines().count() < before + 25, "{log}");
}

#[test]
fn the_http_port_can_be_turned_off_and_may_be_taken() {
    let mut world = World::prepared(Server::start(), Rules::default());
    world.gate.settings.set("http.listen", "\"\"");
    world.gate.spawn();
    world.act_when_input_is_there();
    world.check();
    world.gate.stop();
    let port = free_port();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let listen = format!("127.0.0.1:{port}");
    world.gate.settings.set("http.listen", format!("{listen:?}"));
    world.gate.refuses(&[&listen]);
}
