//! A term: recover, begin to lead, take actions until something is in doubt, and again.

use oncegate::gate::engine::lead::{self, Beginning, Leader};
use oncegate::gate::engine::recovery::Recovered;
use oncegate::gate::engine::{Commit, InputKind, Unsettled};

use super::pump::{End, Happened, Pump};
use super::recovering::{Progress, Recovering};
use super::{Core, Effect, Io, Purpose, Timer};
use crate::agenda::{MILLISECOND, SECOND};
use crate::inputs::{self, Both};
use crate::messages::{Call, Found, Id, Role};

/// As `worker::CERTAIN_AFTER`.
const CERTAIN_AFTER_NS: i64 = 30 * SECOND;

/// Since when every try has found that going on would be wrong.
#[derive(Default)]
pub struct Doubts(Option<i64>);

impl Doubts {
    /// What to stop with.
    pub fn settle(&mut self, core: &Core, io: &Io, why: String) -> Option<String> {
        let since_ns = *self.0.get_or_insert(io.now_ns);
        (!core.setup.replicated || io.now_ns - since_ns > CERTAIN_AFTER_NS).then_some(why)
    }
}

/// What one recovery hands to the next.
#[derive(Default)]
pub struct Memory {
    doubts: Doubts,
    pub feeds: Both<FeedMemory>,
    unsettled: Unsettled,
    tries: u32,
}

/// Of one input.
#[derive(Clone, Copy, Default)]
pub struct FeedMemory {
    pub highest_seen: u64,
    pub breaks_in_a_row: u32,
}

enum Stage {
    Recovering(Box<Recovering>),
    Leading { beginning: Option<Box<Beginning>>, recovered: Box<Recovered>, id: Id },
    Pumping(Box<Pump>),
    Pausing(Id),
    Confirming,
}

pub struct Term {
    stage: Stage,
    led_since_ns: Option<i64>,
    memory: Memory,
}

pub enum TermNext {
    Stay,
    /// The lease is to be renewed before another try.
    Confirm,
    Stopped,
    Refused(String),
}

impl Term {
    pub fn begin(core: &mut Core, io: &mut Io) -> Self {
        let stage = Stage::Recovering(Recovering::begin(core, io));
        Self { stage, led_since_ns: None, memory: Memory::default() }
    }

    pub fn pumps(&self) -> bool {
        matches!(self.stage, Stage::Pumping(_))
    }

    /// Nothing is in flight.
    pub fn is_idle(&self) -> bool {
        matches!(&self.stage, Stage::Pumping(pump) if pump.is_idle())
    }

    pub fn take_writing(&mut self) -> Option<Commit> {
        match &mut self.stage {
            Stage::Pumping(pump) => pump.take_writing(),
            _ => None,
        }
    }

    pub fn close(&mut self, core: &mut Core, io: &mut Io) {
        if let Stage::Pumping(pump) = std::mem::replace(&mut self.stage, Stage::Confirming) {
            pump.close(core, io, false);
        }
    }

    pub fn on(&mut self, core: &mut Core, io: &mut Io, happened: Happened) -> TermNext {
        match (&mut self.stage, happened) {
            (Stage::Pumping(pump), happened) => match pump.on(core, io, happened) {
                Some(end) => self.ended(core, io, end),
                None => TermNext::Stay,
            },
            (_, Happened::Stop) => TermNext::Stopped,
            (Stage::Recovering(recovering), Happened::Answer(id, found)) => {
                match recovering.on_answer(core, io, id, found, &mut self.memory.unsettled) {
                    Progress::Stay => TermNext::Stay,
                    Progress::Wait => self.try_again(io),
                    Progress::Refused(why) => match self.memory.doubts.settle(core, io, why) {
                        Some(why) => TermNext::Refused(why),
                        None => self.try_again(io),
                    },
                    Progress::Done(recovered) => self.recovered(core, io, recovered),
                }
            }
            (Stage::Leading { id, .. }, Happened::Answer(answered, found)) if *id == answered => {
                self.on_stored(core, io, found)
            }
            (Stage::Pausing(timer), Happened::Timer(id)) if *timer == id => {
                self.stage = Stage::Confirming;
                TermNext::Confirm
            }
            (Stage::Confirming, Happened::Confirmed) => {
                self.stage = Stage::Recovering(Recovering::begin(core, io));
                TermNext::Stay
            }
            _ => TermNext::Stay,
        }
    }

    fn try_again(&mut self, io: &mut Io) -> TermNext {
        self.memory.tries += 1;
        let wait_ns = ((100 * MILLISECOND) << self.memory.tries.min(5)).min(3 * SECOND);
        self.pause(io, wait_ns)
    }

    fn pause(&mut self, io: &mut Io, ns: i64) -> TermNext {
        let timer = io.fresh();
        self.stage = Stage::Pausing(timer);
        io.after(ns, Timer::Task(timer));
        TermNext::Stay
    }

    fn recovered(&mut self, core: &mut Core, io: &mut Io, recovered: Box<Recovered>) -> TermNext {
        let is_new = recovered.inputs.iter().any(|input| input.is_new);
        if is_new {
            self.memory = Memory::default();
        }
        let judged = |input| recovered.cursors.position(inputs::name(input));
        let judged = |input| judged(input).map_or(0, |source| source.sequence);
        let decided = self.memory.unsettled.take_settled(judged);
        io.effects.push(Effect::Settled { decided, at_once: false });
        let leader = Leader {
            instance: core.instance.to_string(),
            host: "simulated".to_owned(),
            version: "0".to_owned(),
            window_ms: (core.setup.window_ns / MILLISECOND) as u64,
            rules: core.setup.rules.clone(),
        };
        let goes_on = self.led_since_ns.is_some() && lead::in_force(&recovered.cursors, &leader);
        if goes_on && !is_new {
            return self.pump(core, io, *recovered);
        }
        let beginning = Beginning::new("oncegate", &leader, &recovered);
        let (message, expected) = (beginning.message.clone(), beginning.expected);
        let call = Call::AppendAlone { message, expected };
        let id = core.ask(io, Role::Ledger, call, Purpose::Task);
        self.stage = Stage::Leading { beginning: Some(Box::new(beginning)), recovered, id };
        TermNext::Stay
    }

    fn on_stored(&mut self, core: &mut Core, io: &mut Io, found: Option<Found>) -> TermNext {
        let Stage::Leading { beginning, recovered, .. } = &mut self.stage else {
            return TermNext::Stay;
        };
        let commit = match (found, beginning.take()) {
            (Some(Found::Stored(sequence)), Some(beginning)) => beginning.stored_at(sequence),
            _ => None,
        };
        let Some(commit) = commit else { return self.try_again(io) };
        recovered.cursors = commit.cursors.clone();
        let recovered = recovered.clone();
        core.apply(io, commit);
        io.effects.push(Effect::Leads);
        self.led_since_ns = Some(io.now_ns);
        self.pump(core, io, *recovered)
    }

    fn pump(&mut self, core: &mut Core, io: &mut Io, recovered: Recovered) -> TermNext {
        self.memory.doubts = Doubts::default();
        let led_since_ns = self.led_since_ns.unwrap_or(io.now_ns);
        let ends_ns = led_since_ns + core.setup.term_max_ns;
        self.stage =
            Stage::Pumping(Box::new(Pump::begin(core, io, recovered, &self.memory, ends_ns)));
        TermNext::Stay
    }

    fn ended(&mut self, core: &mut Core, io: &mut Io, end: End) -> TermNext {
        let Stage::Pumping(pump) = std::mem::replace(&mut self.stage, Stage::Confirming) else {
            return TermNext::Stay;
        };
        let settled_any = pump.settled_any();
        let closed = pump.close(core, io, matches!(end, End::Stopped));
        self.memory.unsettled = closed.unsettled;
        let mut got_on = false;
        for input in InputKind::ALL {
            let (feed, seen) = (&mut self.memory.feeds[input], closed.highest_seen[input]);
            got_on |= seen > feed.highest_seen;
            feed.highest_seen = seen;
            feed.breaks_in_a_row +=
                u32::from(matches!(&end, End::FeedBroken(of, _) if *of == input));
        }
        match end {
            End::Stopped => TermNext::Stopped,
            End::Refused(why) => TermNext::Refused(why),
            End::TermOver => {
                self.led_since_ns = None;
                self.stage = Stage::Recovering(Recovering::begin(core, io));
                TermNext::Stay
            }
            End::Recover(cause) | End::FeedBroken(_, cause) => {
                io.effects.push(Effect::Recovering(cause));
                if settled_any || got_on {
                    self.memory.tries = 0;
                    self.pause(io, 0)
                } else {
                    self.try_again(io)
                }
            }
        }
    }
}
