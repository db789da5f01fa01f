//! Frozen at a point, the worker wakes up after another has led: with what it had in its hands, and with
//! no word yet that it was replaced. The ledger equals the model all the same.

use std::time::Instant;

use oncegate::worker::kill::{Point, Step, points};
use serde_json::json;

use crate::killer::check;
use crate::scene::{Scene, is_frozen};
use crate::support::gate::Gate;
use crate::support::load::Dice;
use crate::support::model::Rules;
use crate::support::raw::Outgoing;
use crate::support::server::Server;
use crate::support::world::World;
use crate::support::{DEADLINE, streams, wait_until};
use crate::{Kind, Stage, plan};

pub const FREEZE_AT: &str = "ONCEGATE_FREEZE_AT";
/// Points that share a server.
const POINTS_PER_SCENE: usize = 6;

/// Freezes at each point that this stage reaches.
pub fn every_point_of(stage: Stage) {
    let here: Vec<Point> =
        points().into_iter().filter(|point| plan::stage(*point) == Ok(stage)).collect();
    let (mut dice, started) = (Dice::new(1), Instant::now());
    for some in here.chunks(POINTS_PER_SCENE) {
        let mut scene = Scene::new(stage, Kind::Limits, dice.roll(1 << 30), "500ms");
        for point in some {
            let (first, last) =
                (plan::first_time(stage, *point), plan::last_time((stage, Kind::Limits), *point));
            freeze(&mut scene, *point, first + dice.roll(last - first + 1));
        }
        check(&mut scene, some);
    }
    eprintln!("{} times frozen {stage:?} ({:.1?})", here.len(), started.elapsed());
}

/// Runs the worker until it stands still at this point.
fn freeze_at(scene: &mut Scene, point: Point, nth: u64) {
    let started = Instant::now();
    while !scene.is_frozen() {
        let waited = started.elapsed();
        assert!(waited < DEADLINE, "{point} was not reached {nth} times within {waited:?}");
        if !scene.world.gate.is_started() {
            scene.prepare();
            scene.spawn(&[(FREEZE_AT, &format!("{point}:{nth}"))]);
        } else if scene.stage == Stage::Draining && scene.world.gate.has_ended() {
            // All was settled before there was anything to drain: once more.
            assert_eq!(scene.world.gate.ending().code, Some(0), "before {point}");
        } else {
            scene.world.gate.must_run();
            scene.provoke();
        }
    }
}

fn freeze(scene: &mut Scene, point: Point, nth: u64) {
    freeze_at(scene, point, nth);
    let mut other = scene.world.gate.twin();
    other.start();
    other.wait_leading();
    judge_more(scene, &mut other, false);
    scene.world.gate.thaw();
    let what = format!("both to be ready and one to lead, after {point}");
    wait_until(&what, || {
        let leads = other.leads();
        // It was told to end, perhaps.
        let gone = scene.world.gate.has_ended();
        other.ready() == Some(200)
            && (gone && leads
                || scene.world.gate.ready() == Some(200) && leads != scene.world.gate.leads())
    });
    let alive = !scene.world.gate.has_ended();
    judge_more(scene, &mut other, alive);
    match scene.world.gate.has_ended() {
        true => assert_eq!(scene.world.gate.ending().code, Some(0), "after {point}"),
        false => scene.world.gate.kill9(),
    }
    other.kill9();
}

/// `both`: either of them may lead.
fn judge_more(scene: &mut Scene, other: &mut Gate, both: bool) {
    other.freeze();
    if both {
        scene.world.gate.freeze();
    }
    scene.publish_unheld_burst(50);
    other.thaw();
    if both {
        scene.world.gate.thaw();
    }
    wait_until("all to be judged", || {
        other.must_run();
        scene.world.is_settled()
    });
}

/// What was read raw is deleted by its sequence: not from a queue that was made anew since.
#[test]
fn a_queue_made_anew_before_what_was_judged_is_deleted() {
    let mut world = World::prepared(Server::start(), Rules::default());
    let config = streams::input_config(&json!({ "retention": "workqueue" }));
    streams::create(&mut world.client, &config);
    world.publish(&Outgoing::with_block("actions.odd", b"NATS/1.0\r\nX: a\rb\r\n\r\n", b""));
    world.capture();
    let point = Point::Before(Step::Acknowledge).to_string();
    world.gate.env = vec![(FREEZE_AT.into(), point)];
    world.gate.spawn();
    wait_until("it to be frozen", || is_frozen(&world.gate));
    world.settle();
    streams::delete(&mut world.client, "ACTIONS");
    streams::create(&mut world.client, &config);
    world.input_is_new();
    world.act("a", "1");
    world.act("b", "1");
    world.capture();
    world.gate.thaw();
    world.check();
}
