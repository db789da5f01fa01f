//! A run. `scripts/soak` sets the environment that this reads; without it the run is as long as it takes
//! for everything to happen once.

use std::time::{Duration, Instant};

use crate::events::EVENTS;
use crate::report::{self, Csv};
use crate::samples::Handles;
use crate::stage::Stage;
use crate::support::compare::Counts;
use crate::support::model::Rules;
use crate::support::wait_until;
use crate::{flat, stage::Ended};

const SAMPLE_EVERY: Duration = Duration::from_secs(3);
const EVENT_EVERY: Duration = Duration::from_secs(20);

pub struct Plan {
    pub seed: u64,
    /// Actions a second.
    pub rate: u64,
    pub window: Duration,
    length: Duration,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn number(name: &str) -> Option<u64> {
    variable(name).map(|value| value.parse().expect(name))
}

#[test]
fn a_long_life() {
    match number("SOAK_MINUTES") {
        Some(minutes) => long(&Plan {
            seed: number("SOAK_SEED").unwrap(),
            rate: number("SOAK_RATE").unwrap(),
            window: Duration::from_secs(number("SOAK_WINDOW").unwrap()),
            length: Duration::from_mins(minutes),
        }),
        None => short(),
    }
}

/// Everything happens once, and leaves no handle open.
fn short() {
    let window = 2;
    let mut stage = Stage::begin(&Rules::window(window), 1, 400);
    stage.wait_for_verdicts(1);
    let before = open_for_good(&stage);
    for event in EVENTS {
        event(&mut stage);
        stage.sample();
    }
    wait_until("handles to be closed", || {
        let now = open_for_good(&stage);
        now.sockets <= before.sockets && now.others <= before.others
    });
    let Ended { counts, .. } = stage.end();
    let Counts { accepted, duplicates, rejected, completed, released, .. } = counts.decided;
    for count in [accepted, duplicates, rejected, completed, released] {
        assert!(count > 0, "{counts:?}");
    }
}

fn open_for_good(stage: &Stage) -> Handles {
    Handles::of(stage.steady.pid(), &stage.steady.table())
}

fn long(plan: &Plan) {
    let rules = Rules { window: plan.window, ..Rules::default() };
    let mut csv = Csv::create(variable("SOAK_CSV"));
    let mut stage = Stage::begin(&rules, plan.seed, plan.rate);
    let started = Instant::now();
    let mut told = Instant::now();
    let mut events = EVENTS.iter();
    let mut next_event = EVENT_EVERY;
    while started.elapsed() < plan.length {
        std::thread::sleep(SAMPLE_EVERY);
        stage.sample();
        let sample = stage.samples.last().unwrap();
        csv.add(sample);
        if told.elapsed() > Duration::from_secs(15) {
            told = Instant::now();
            report::progress(sample);
        }
        if started.elapsed() > next_event {
            let by_dice = stage.dice.roll(EVENTS.len() as u64) as usize;
            let event = events.next().unwrap_or(&EVENTS[by_dice]);
            event(&mut stage);
            next_event = started.elapsed() + EVENT_EVERY;
        }
    }
    let ended = stage.end();
    let figures = flat::figures(&ended.samples);
    let summary = report::summary(plan, &ended, &figures);
    eprint!("{summary}");
    if let Some(path) = variable("SOAK_REPORT") {
        std::fs::write(path, summary).unwrap();
    }
    let grew: Vec<_> = figures.iter().filter(|figure| !figure.is_flat()).collect();
    assert!(grew.is_empty(), "not flat: {grew:#?}");
}
