//! What goes wrong while a backup is made hurts neither the gate nor the earlier backups.

use std::process::Stdio;

use crate::support::gate::Ending;
use crate::support::load;
use crate::support::model::Rules;
use crate::support::server::Server;
use crate::support::wait_until;
use crate::support::world::World;
use crate::{BACKUPS, back_up, backups, json, lose_table, restore, with_a_backup};

/// Stops the worker in the middle of its next backup, whose number is told. It is quick: not every try
/// comes in time.
fn frozen_in_a_backup(world: &mut World) -> (u64, std::process::Child) {
    let directory = backups(&world.gate);
    for id in 2.. {
        assert!(id < 200, "no backup was caught in the middle");
        world.publish_all(&load::mixed(500, &format!("more{id}-"), id));
        let mut command = world.gate.command(&["backup", BACKUPS]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut asking = command.spawn().unwrap();
        let own = directory.join(format!("private/{id}"));
        wait_until("the backup to begin", || own.exists() || asking.try_wait().unwrap().is_some());
        world.gate.freeze();
        if !directory.join(format!("meta/{id}")).exists() {
            return (id, asking);
        }
        world.gate.thaw();
        assert!(asking.wait().unwrap().success());
    }
    unreachable!()
}

#[test]
fn killed_in_the_middle_of_a_backup() {
    let mut world = World::started(Rules::default());
    world.publish_all(&load::mixed(1_000, "k", 1));
    world.settle();
    back_up(&world.gate);
    let (id, asking) = frozen_in_a_backup(&mut world);
    world.gate.kill9();
    let ending = Ending::from(asking.wait_with_output().unwrap());
    assert_eq!(ending.code, Some(1), "{ending:#?}");
    ending.says(&["the worker ended before it answered"]);
    let whole = json(&world.gate, &["backup", BACKUPS, "--verify"]);
    assert_eq!(whole.len() as u64, id - 1);

    lose_table(&world.gate);
    assert_eq!(restore(&world.gate)["id"], id - 1);
    world.gate.start();
    world.publish_all(&load::mixed(1_000, "k", 1));
    world.check();
    // What was left of it is in nobody's way.
    assert_eq!(back_up(&world.gate)["id"], id);
    let whole = json(&world.gate, &["backup", BACKUPS, "--verify"]);
    assert_eq!(whole.len() as u64, id);
}

#[test]
fn asked_to_stop_in_the_middle_of_a_backup() {
    let mut world = World::started(Rules::default());
    world.publish_all(&load::mixed(1_000, "k", 1));
    back_up(&world.gate);
    let (_, asking) = frozen_in_a_backup(&mut world);
    world.gate.ask_to_stop();
    world.gate.thaw();
    let ending = world.gate.ending();
    assert_eq!(ending.code, Some(0), "{ending:#?}");
    asking.wait_with_output().unwrap();
    json(&world.gate, &["backup", BACKUPS, "--verify"]);
    world.gate.start();
    world.check();
}

#[test]
fn several_at_once() {
    let mut world = World::started(Rules::default());
    world.publish_all(&load::mixed(5_000, "k", 1));
    world.settle();
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let mut command = world.gate.command(&["backup", BACKUPS]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let endings = asking.into_iter().map(|child| Ending::from(child.wait_with_output().unwrap()));
    let (made, refused): (Vec<_>, Vec<_>) = endings.partition(|ending| ending.code == Some(0));
    assert!(!made.is_empty(), "{refused:#?}");
    for ending in refused {
        assert_eq!(ending.code, Some(1), "{ending:#?}");
        ending.says(&["the worker is making a backup already"]);
    }
    let whole = json(&world.gate, &["backup", BACKUPS, "--verify"]);
    assert_eq!(whole.len(), made.len());
    world.check();
}

#[test]
fn a_full_disk_under_the_backups() {
    let mut world = World::prepared(Server::start(), Rules::default());
    let directory = backups(&world.gate);
    std::fs::create_dir(&directory).unwrap();
    let mount = format!("mount -t tmpfs -o size=120k tmpfs '{}'", directory.display());
    world.gate.mounts = Some(mount);
    world.gate.start();
    let mut made = 0;
    let ending = loop {
        world.publish_all(&load::mixed(300, &format!("k{made}-"), made));
        let ending = world.gate.call(&["backup", BACKUPS]);
        if ending.code != Some(0) {
            break ending;
        }
        made += 1;
        assert!(made < 50, "the disk does not get full");
    };
    ending.says(&["No space left on device", "The earlier backups are as they were"]);
    let metrics = world.gate.metrics();
    assert_eq!(metrics.sum("oncegate_backups_total", &[("outcome", "ok")]), made as f64);
    assert_eq!(metrics.sum("oncegate_backups_total", &[("outcome", "failed")]), 1.0);
    world.publish_all(&load::mixed(300, "after", 99));
    world.check();
    assert_eq!(world.gate.ready(), Some(200));
    // The mount is the worker's own; its root shows it.
    let seen = format!("/proc/{}/root{}", world.gate.pid(), directory.display());
    let whole = json(&world.gate, &["backup", &seen, "--verify"]);
    assert!(made > 0 && whole.len() as u64 == made, "{made}: {whole:#?}");
    assert!(whole.iter().all(|backup| backup["state"] == "whole"), "{whole:#?}");
}

/// A restore that is killed leaves no table, and the next one makes it.
#[test]
fn a_restore_that_is_killed_leaves_no_table() {
    let mut world = with_a_backup();
    let table = world.gate.table();
    let (unfinished, whole) = (table.join("db.new"), table.join("db"));
    // One that is done before it is killed shows nothing, and is done again.
    wait_until("a restore to be killed between its beginning and its end", || {
        if whole.exists() {
            lose_table(&world.gate);
        }
        let mut child =
            world.gate.command(&["restore", BACKUPS]).stdout(Stdio::null()).spawn().unwrap();
        while !unfinished.exists() && !whole.exists() && child.try_wait().unwrap().is_none() {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        unfinished.exists() && !whole.exists()
    });
    assert_eq!(restore(&world.gate)["id"], 1);
    assert!(!unfinished.exists());
    world.gate.start();
    world.act("later", "{}");
    world.check();
}
