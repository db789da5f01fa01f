//! Kills at a point, sees that it was there, and compares the ledger with the model.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use oncegate::worker::kill::{Point, points};

use crate::scene::Scene;
use crate::support::gate::Ending;
use crate::support::load::Dice;
use crate::support::{DEADLINE, streams, wait_until};
use crate::{Kind, Stage, plan};

pub const KILL_AT: &str = "ONCEGATE_KILL_AT";
const KILLS_PER_POINT: u64 = 3;
/// Points that share a server; then a new one, so that the ledgers stay short.
const POINTS_PER_SCENE: usize = 6;
/// How often a worker may be done before it is told to stop.
const DRAINS_MAX: u32 = 10;
const SIGABRT: i32 = 6;

static KILLS: AtomicUsize = AtomicUsize::new(0);

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Kills at each point that this stage reaches; the ledger must equal the model after each few.
pub fn every_point_of(stage: Stage, kind: Kind) {
    let (rounds, seed) = (setting("KILL_ROUNDS", 1), setting("KILL_SEED", 1));
    let only = std::env::var("KILL_ONLY").ok();
    let mut here: Vec<Point> =
        points().into_iter().filter(|point| plan::stage(*point) == Ok(stage)).collect();
    here.extend(plan::more_points(stage));
    here.retain(|point| only.as_ref().is_none_or(|only| point.to_string() == *only));
    let (mut dice, started) = (Dice::new(seed), Instant::now());
    for some in here.chunks(POINTS_PER_SCENE) {
        let mut scene = Scene::new(stage, kind, dice.roll(1 << 30), "1s");
        for point in some {
            let (first, last) =
                (plan::first_time(stage, *point), plan::last_time((stage, kind), *point));
            for round in 0..KILLS_PER_POINT * rounds {
                let later = first + dice.roll(last - first + 1);
                kill(&mut scene, *point, if round == 0 { first } else { later });
            }
        }
        check(&mut scene, some);
    }
    let (kills, time) = (KILLS.load(Ordering::Relaxed), started.elapsed());
    eprintln!("{kills} kills so far, after {stage:?} on {kind:?} ({time:.1?})");
}

/// The worker must die at this point, reached for the nth time.
pub fn kill(scene: &mut Scene, point: Point, nth: u64) {
    let mut tries = 0;
    let ending = loop {
        let ending = run_to_its_end(scene, point, nth);
        tries += 1;
        // Where it is told to stop, all may be settled before there was anything to drain.
        let stopped = ending.code == Some(0) && scene.stage == Stage::Draining;
        if !stopped || tries == DRAINS_MAX {
            break ending;
        }
    };
    assert_eq!(
        ending.signal,
        Some(SIGABRT),
        "it ended without reaching {point}:{nth}: {ending:#?}"
    );
    let said = format!("killed at {point}");
    assert!(ending.stderr.lines().any(|line| line == said), "{said}: {ending:#?}");
    KILLS.fetch_add(1, Ordering::Relaxed);
}

fn run_to_its_end(scene: &mut Scene, point: Point, nth: u64) -> Ending {
    scene.prepare();
    scene.spawn(&[(KILL_AT, &format!("{point}:{nth}"))]);
    let started = Instant::now();
    while !scene.world.gate.has_ended() {
        let waited = started.elapsed();
        assert!(waited < DEADLINE, "{point} was not reached {nth} times within {waited:?}");
        scene.provoke();
    }
    scene.world.gate.ending()
}

/// Started again without a kill, it leaves nothing undone and nothing done twice.
pub fn check(scene: &mut Scene, killed_at: &[Point]) {
    let _told = Told(killed_at);
    scene.prepare_to_live();
    scene.spawn(&[]);
    scene.world.check();
    let world = &mut scene.world;
    let mut queues = vec![world.reports_stream()];
    queues.extend((scene.kind == Kind::WorkQueue).then(|| world.input.clone()));
    wait_until("the queues to be empty", || {
        world.gate.must_run();
        queues.iter().all(|queue| streams::info(&mut world.client, queue)["state"]["messages"] == 0)
    });
    scene.world.gate.stop();
}

/// Says where the worker was killed or frozen, should the comparison fail.
struct Told<'a>(&'a [Point]);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let points: Vec<String> = self.0.iter().map(Point::to_string).collect();
            eprintln!("killed or frozen before at {}", points.join(", "));
        }
    }
}
