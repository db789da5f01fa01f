//! A server, a worker, and what must happen to them for a point to be reached.

use std::path::{Path, PathBuf};

use oncegate::worker::kill::{Point, Step};
use serde_json::{Value, json};

use crate::support::executor::Executor;
use crate::support::gate::Gate;
use crate::support::load::{self, Dice};
use crate::support::model::{Rules, parse_block};
use crate::support::raw::{Login, Outgoing};
use crate::support::server::Server;
use crate::support::world::{World, action};
use crate::support::{streams, wait_until};
use crate::{Kind, Stage, frozen, killer};

const LEDGER: &str = "ONCEGATE";

pub struct Scene {
    pub world: World,
    pub kind: Kind,
    pub stage: Stage,
    dice: Dice,
    executor: Executor,
    bursts: usize,
    /// Something is forbidden.
    denied: bool,
    /// A library that makes the process's clock wrong.
    clock: Option<PathBuf>,
    /// Leads, while the world's own stands by.
    leader: Option<Gate>,
}

impl Scene {
    pub fn new(stage: Stage, kind: Kind, seed: u64, takeover: &str) -> Self {
        let server = match stage {
            Stage::LedgerDenied | Stage::InputDenied => {
                Server::start_guarded(&permitting("{}"), Login::user("admin", "admin"))
            }
            _ => Server::start(),
        };
        let mut world = World::prepared(server, Rules::default());
        make_input(&mut world, kind);
        let takeover = if stage == Stage::TermEnding { "5m" } else { takeover };
        world.gate.settings.set("ha.takeover", format!("{takeover:?}"));
        if matches!(stage, Stage::LedgerDenied | Stage::InputDenied) {
            world.gate.settings.set("nats.user", "\"gate\"");
            world.gate.settings.set("nats.password_file", "\"password\"");
            std::fs::write(world.gate.dir().join("password"), "gate-secret").unwrap();
        }
        let clock = matches!(stage, Stage::WrongClock | Stage::TermEnding)
            .then(|| wrong_clock(world.gate.dir()));
        let mut scene = Self {
            world,
            kind,
            stage,
            dice: Dice::new(seed),
            executor: Executor::new(seed),
            bursts: 0,
            denied: false,
            clock,
            leader: None,
        };
        scene.set();
        scene
    }

    /// What must have been once.
    fn set(&mut self) {
        if self.stage == Stage::Following {
            let leader = self.leader.insert(self.world.gate.twin());
            leader.start();
            leader.wait_leading();
        }
        if matches!(self.stage, Stage::Tail | Stage::Redelivery | Stage::Reporting) {
            // Runs to report on.
            self.publish_burst(400);
            self.judge_all();
        }
        if self.stage == Stage::OtherRules {
            let originals: Vec<Outgoing> = (0..30).map(|key| dated(key, 1, 1)).collect();
            self.publish(&originals);
            self.world.gate.start();
            let ignoring = Rules { ignore: vec!["/sent_at"], ..Rules::default() };
            self.world.change_rules(ignoring, &[]);
            self.world.gate.stop();
        }
    }

    pub fn spawn(&mut self, env: &[(&str, &str)]) {
        let env = env.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        self.world.gate.env = env.collect();
        if let Some(clock) = &self.clock {
            let preload = ("LD_PRELOAD".to_string(), clock.to_str().unwrap().to_string());
            self.world.gate.env.push(preload);
        }
        self.world.gate.spawn();
    }

    /// While the worker is down.
    pub fn prepare(&mut self) {
        self.prepare_to_live();
        match self.stage {
            Stage::Draining => self.publish_burst(1_500),
            Stage::Appending => self.publish_burst(700),
            Stage::Settling => self.publish_burst(300),
            Stage::FeedBreaking | Stage::Recovering | Stage::LeaseLosing | Stage::Reporting => {
                self.publish_burst(100);
            }
            Stage::Tail => self.leave_a_tail(),
            Stage::Redelivery => self.leave_judged_messages(),
            Stage::OtherRules => self.publish_retries(),
            Stage::WrongClock => {
                self.publish_burst(10);
                self.clock_is_wrong(true);
            }
            Stage::Fenced
            | Stage::Full
            | Stage::TermEnding
            | Stage::LedgerDenied
            | Stage::InputDenied
            | Stage::InputAnew
            | Stage::Following => self.publish_burst(20),
        }
    }

    /// Takes back what an earlier stage did to the surroundings.
    pub fn prepare_to_live(&mut self) {
        match self.stage {
            Stage::Full => self.ledger_takes_more(None),
            Stage::WrongClock => self.clock_is_wrong(false),
            Stage::TermEnding => self.no_day_has_gone_by(),
            Stage::LedgerDenied | Stage::InputDenied if self.denied => self.permit("{}"),
            _ => {}
        }
    }

    /// Lets happen what the point needs, once more, and waits for the effect, or the worker's end.
    pub fn provoke(&mut self) {
        match self.stage {
            Stage::Appending | Stage::Settling => self.work(),
            Stage::FeedBreaking | Stage::Recovering => self.break_feed(),
            Stage::LeaseLosing => self.take_lease_away(),
            Stage::Draining => self.drain(),
            Stage::Tail | Stage::Redelivery => self.await_settled(),
            Stage::Fenced => self.intrude(),
            Stage::Full => self.fill_ledger(),
            Stage::OtherRules => {
                self.await_settled();
                self.publish_retries();
            }
            Stage::WrongClock => self.correct_clock(),
            Stage::TermEnding => self.let_a_day_go_by(),
            Stage::LedgerDenied => self.deny("oncegate.rejected.>"),
            Stage::InputDenied => self.deny("$JS.API.CONSUMER.>"),
            Stage::InputAnew => self.make_input_anew(),
            Stage::Reporting => self.report(),
            Stage::Following => self.follow(),
        }
    }

    // ---- what is published ------------------------------------------------------------------

    /// Publishes. A queue loses its messages when they are judged, and so does the stream of reports: the
    /// worker stands still until they are captured. So it does where it must find them all at once.
    fn publish(&mut self, messages: &[Outgoing]) {
        let captures = self.kind == Kind::WorkQueue
            || self.stage == Stage::LedgerDenied
            || messages.iter().any(is_report);
        let gate = self.leader.as_mut().unwrap_or(&mut self.world.gate);
        let held = captures && gate.is_started() && !gate.has_ended();
        if held {
            gate.freeze();
        }
        self.world.publish_all(messages);
        self.world.capture();
        let gate = self.leader.as_ref().unwrap_or(&self.world.gate);
        if held && !is_at_its_point(gate) {
            gate.thaw();
        }
    }

    /// New actions of all sorts, retries of the burst before, and reports on runs that are in the ledger.
    pub fn publish_burst(&mut self, count: usize) {
        let messages = self.burst(count);
        self.publish(&messages);
    }

    /// The same, where whoever may judge them stands still.
    pub fn publish_unheld_burst(&mut self, count: usize) {
        let messages = self.burst(count);
        self.world.publish_all(&messages);
        self.world.capture();
    }

    fn burst(&mut self, count: usize) -> Vec<Outgoing> {
        let seed = self.dice.roll(1 << 30);
        let mut messages = load::mixed(count / 4, &format!("{}-", self.bursts), seed);
        self.bursts += 1;
        messages.extend(load::mixed(count, &format!("{}-", self.bursts), seed + 1));
        messages.extend(self.executor.reports(&mut self.world.client, LEDGER, 5 + count / 8));
        if matches!(self.stage, Stage::Draining | Stage::Redelivery) {
            // Those that break the feed would come between.
            messages.retain(well_made);
        }
        messages
    }

    /// Retries of what was accepted under other rules: the same, and changed.
    fn publish_retries(&mut self) {
        let now = self.dice.roll(1 << 30);
        let retries: Vec<Outgoing> = (0..6)
            .map(|turn| dated(self.dice.roll(30), 1 + u64::from(turn % 3 == 0), now))
            .collect();
        self.publish(&retries);
    }

    // ---- what is waited for -----------------------------------------------------------------

    /// Waits for a condition; the worker's end is one too.
    fn wait(&mut self, what: &str, mut holds: impl FnMut(&mut World) -> bool) {
        let world = &mut self.world;
        wait_until(what, || world.gate.has_ended() || is_frozen(&world.gate) || holds(world));
    }

    /// Whether the worker stands still where it was told to.
    pub fn is_frozen(&self) -> bool {
        is_frozen(&self.world.gate)
    }

    fn await_settled(&mut self) {
        self.wait("all to be judged", World::is_settled);
    }

    fn await_leading(&mut self) {
        self.wait("the worker to lead", |world| world.gate.leads());
    }

    // ---- what happens -----------------------------------------------------------------------

    fn work(&mut self) {
        self.await_settled();
        // A lone duplicate is closed by a batch of one message, its marker.
        self.publish(&[action("actions.pay", "the same", "1")]);
        self.await_settled();
        self.publish(&[action("actions.pay", "the same", "1")]);
        self.await_settled();
        self.publish_burst(700);
    }

    fn follow(&mut self) {
        self.wait("it to stand by, warm", |world| world.gate.ready() == Some(200));
        self.publish_burst(50);
        self.await_settled();
    }

    fn break_feed(&mut self) {
        self.await_leading();
        self.publish_burst(100);
        let names = self.world.client.api("CONSUMER.NAMES.ACTIONS", &Value::Null);
        for name in names["consumers"].as_array().into_iter().flatten() {
            let call = format!("CONSUMER.DELETE.ACTIONS.{}", name.as_str().unwrap());
            self.world.client.api(&call, &Value::Null);
        }
        self.await_settled();
    }

    fn take_lease_away(&mut self) {
        self.await_leading();
        self.await_settled();
        let terms = terms(&mut self.world);
        let deleted = Outgoing::new("$KV.oncegate.leader", &[("KV-Operation", "DEL")], b"");
        self.publish_burst(100);
        self.world.client.publish(&deleted);
        self.wait("another term", |world| self::terms(world) > terms);
    }

    fn drain(&mut self) {
        let sequence = streams::last_sequence(&mut self.world.client, LEDGER);
        let sequence = sequence + 1 + self.dice.roll(500);
        self.wait("the ledger to grow", |world| {
            streams::last_sequence(&mut world.client, LEDGER) >= sequence
        });
        self.world.gate.ask_to_stop();
        self.wait("its end", |_| false);
    }

    /// Results that the table lacks, and more entries that are nobody's, in more than one reading.
    fn leave_a_tail(&mut self) {
        self.judge_all();
        self.publish_results();
        self.die_before(Step::Commit);
        let stray = Outgoing::new("oncegate.accepted.actions.pay", &[], b"{}");
        for ack in self.world.client.publish_all(&vec![stray; 1_100]) {
            self.world.foreign(ack.sequence);
        }
        self.publish_burst(100);
    }

    /// In the table, and not acknowledged.
    fn leave_judged_messages(&mut self) {
        match self.kind {
            Kind::WorkQueue => self.publish_burst(600),
            Kind::Limits => {
                self.judge_all();
                self.publish_results();
            }
        }
        self.die_before(Step::Settle);
    }

    /// By a worker that is neither killed nor frozen.
    fn judge_all(&mut self) {
        self.spawn(&[]);
        self.await_leading();
        self.await_settled();
        self.world.gate.stop();
    }

    fn publish_results(&mut self) {
        let results = self.executor.results(&mut self.world.client, LEDGER, 20);
        self.publish(&results);
    }

    /// Some of it was told before, and stands in the ledger.
    fn report(&mut self) {
        self.await_settled();
        self.publish_burst(20);
        let reports = self.executor.reports(&mut self.world.client, LEDGER, 40);
        self.publish(&reports);
        self.await_settled();
    }

    fn die_before(&mut self, step: Step) {
        self.spawn(&[(killer::KILL_AT, &Point::Before(step).to_string())]);
        self.wait("its end", |_| false);
        assert!(self.world.gate.ending().signal.is_some());
    }

    fn intrude(&mut self) {
        self.await_leading();
        self.await_settled();
        let stray = Outgoing::new("oncegate.accepted.actions.pay", &[], b"{}");
        let ack = self.world.client.publish(&stray);
        self.world.foreign(ack.sequence);
        self.publish_burst(20);
        self.await_settled();
    }

    fn fill_ledger(&mut self) {
        self.await_leading();
        self.await_settled();
        self.ledger_takes_more(Some(5));
        self.publish_burst(40);
        self.wait("it to say that the ledger is full", |world| world.gate.ready() == Some(503));
        self.ledger_takes_more(None);
        self.await_settled();
    }

    fn ledger_takes_more(&mut self, messages: Option<u64>) {
        let client = &mut self.world.client;
        let state = streams::info(client, LEDGER)["state"]["messages"].as_u64();
        let (Some(held), most) = (state, messages) else {
            return;
        };
        let most = most.map_or(json!(-1), |more| json!(held + more));
        streams::update(client, LEDGER, &json!({ "max_msgs": most }));
    }

    fn correct_clock(&mut self) {
        self.wait("it to wait for the clock", |world| {
            world.gate.get("/readyz").is_some_and(|(_, why)| why.contains("clock"))
        });
        self.clock_is_wrong(false);
        self.await_settled();
        self.clock_is_wrong(true);
        self.publish_burst(10);
    }

    fn clock_is_wrong(&self, wrong: bool) {
        let file = self.world.gate.dir().join("clock-is-wrong");
        if wrong {
            std::fs::write(file, "").unwrap();
        } else {
            std::fs::remove_file(file).ok();
        }
    }

    fn let_a_day_go_by(&mut self) {
        self.await_leading();
        self.await_settled();
        let terms = terms(&mut self.world);
        let days = (1..).map(|day| self.day(day));
        let tomorrow = days.into_iter().find(|day| !day.exists()).unwrap();
        std::fs::write(tomorrow, "").unwrap();
        self.wait("another term", |world| self::terms(world) > terms);
        self.publish_burst(20);
    }

    fn no_day_has_gone_by(&self) {
        let days = (1..).map(|day| self.day(day)).take_while(|day| day.exists());
        days.for_each(|day| std::fs::remove_file(day).unwrap());
    }

    fn day(&self, number: u32) -> PathBuf {
        self.world.gate.dir().join(format!("day-{number}"))
    }

    fn deny(&mut self, subject: &str) {
        self.await_leading();
        self.await_settled();
        self.permit(&format!("{{ publish: {{ deny: [{subject:?}] }} }}"));
        // One that is rejected among others, so that a batch lacks one in its middle.
        self.bursts += 1;
        let key = |number: usize| format!("{}-{number}", self.bursts);
        let mut messages: Vec<Outgoing> =
            (0..40).map(|number| action("actions.pay", &key(number), "1")).collect();
        messages.insert(20, Outgoing::new("actions.pay", &[], b"no key"));
        self.publish(&messages);
        self.wait("its end", |_| false);
    }

    fn permit(&mut self, permissions: &str) {
        let login = Login::user("admin", "admin");
        self.world.server.restart_with(&permitting(permissions), login);
        self.world.reconnect();
        self.denied = permissions != "{}";
    }

    fn make_input_anew(&mut self) {
        self.await_settled();
        if self.world.is_settled() {
            streams::delete(&mut self.world.client, "ACTIONS");
            make_input(&mut self.world, self.kind);
            self.world.input_is_new();
        }
        self.publish_burst(50);
        self.await_settled();
    }
}

/// Whether this worker, which stands still, is where it was told to, or about to say so: the one process that
/// it ever starts is the one that stops it.
fn is_at_its_point(gate: &Gate) -> bool {
    let is_child = |stat: String| {
        let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok();
        Some(parent == Some(gate.pid()))
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut stats =
        processes.filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok());
    is_frozen(gate) || stats.any(|stat| is_child(stat) == Some(true))
}

/// Whether this worker stands still where it was told to.
pub fn is_frozen(gate: &Gate) -> bool {
    gate.is_started()
        && gate.env.iter().any(|(name, _)| name == frozen::FREEZE_AT)
        && gate.log().contains("frozen at ")
}

fn make_input(world: &mut World, kind: Kind) {
    let retention = match kind {
        Kind::Limits => "limits",
        Kind::WorkQueue => "workqueue",
    };
    let config = streams::input_config(&json!({ "retention": retention }));
    streams::create(&mut world.client, &config);
}

/// An action whose payload names when it was sent.
fn dated(key: u64, amount: u64, sent_at: u64) -> Outgoing {
    let payload = format!("{{\"amount\":{amount},\"sent_at\":{sent_at}}}");
    action("actions.pay", &format!("dated-{key}"), &payload)
}

fn is_report(message: &Outgoing) -> bool {
    !message.subject.starts_with(b"actions.")
}

fn well_made(message: &Outgoing) -> bool {
    message.headers.as_deref().is_none_or(|block| parse_block(block).is_some())
}

/// How many terms the ledger knows.
fn terms(world: &mut World) -> u64 {
    let ask = json!({ "subjects_filter": "oncegate.leading" });
    let info = world.client.api(&format!("STREAM.INFO.{LEDGER}"), &ask);
    info["state"]["subjects"]["oncegate.leading"].as_u64().unwrap_or(0)
}

/// A server's configuration where the gate's user has these permissions.
fn permitting(permissions: &str) -> String {
    format!(
        "authorization {{ users = [ {{ user: admin, password: admin }}, \
         {{ user: gate, password: gate-secret, permissions: {permissions} }} ] }}"
    )
}

/// A library for a process whose clock is twenty minutes late while there is a file `clock-is-wrong`, and
/// for which 25 hours have gone by for each file `day-1`, `day-2`, ... in its directory.
fn wrong_clock(dir: &Path) -> PathBuf {
    let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
    std::fs::write(&source, include_str!("clock.c")).unwrap();
    let done = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status()
        .unwrap();
    assert!(done.success());
    library
}
