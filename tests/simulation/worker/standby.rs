//! A standby: recovers as a leader would, then applies what the ledger brings.

use oncegate::gate::engine::Unsettled;
use oncegate::gate::engine::follow::Follow;
use oncegate::table::KeyTable;

use super::recovering::{Progress, Recovering};
use super::term::Doubts;
use super::{Core, Io, Purpose, Timer};
use crate::agenda::MILLISECOND;
use crate::messages::{Call, Found, Id, Role};

const LOOK_EVERY_NS: i64 = 300 * MILLISECOND;

enum State {
    Recovering(Box<Recovering>),
    Pausing,
    Following { follow: Box<Follow>, asked: Option<Id> },
}

pub struct Standby {
    state: State,
    timer: Id,
    doubts: Doubts,
}

impl Standby {
    pub fn begin(core: &mut Core, io: &mut Io) -> Self {
        let state = State::Recovering(Recovering::begin(core, io));
        Self { state, timer: 0, doubts: Doubts::default() }
    }

    pub fn on_timer(&mut self, core: &mut Core, io: &mut Io, id: Id) {
        if id != self.timer {
            return;
        }
        match &mut self.state {
            State::Pausing => self.state = State::Recovering(Recovering::begin(core, io)),
            State::Following { asked, .. } => {
                let from = core.table.cursors().unwrap().ledger.sequence + 1;
                let call = Call::LedgerTail { from, to: u64::MAX };
                *asked = Some(core.ask(io, Role::Ledger, call, Purpose::Task));
            }
            State::Recovering(_) => {}
        }
    }

    /// Why the worker must stop.
    pub fn on_answer(
        &mut self,
        core: &mut Core,
        io: &mut Io,
        id: Id,
        found: Option<Found>,
    ) -> Option<String> {
        match &mut self.state {
            State::Recovering(recovering) => {
                match recovering.on_answer(core, io, id, found, &mut Unsettled::default()) {
                    Progress::Stay => return None,
                    Progress::Done(_) => {
                        self.doubts = Doubts::default();
                        let cursors = core.table.cursors().unwrap();
                        let follow = Box::new(Follow::new("oncegate", cursors));
                        self.state = State::Following { follow, asked: None };
                    }
                    Progress::Wait => self.state = State::Pausing,
                    Progress::Refused(why) => {
                        if let Some(why) = self.doubts.settle(core, io, why) {
                            return Some(why);
                        }
                        self.state = State::Pausing;
                    }
                }
            }
            State::Following { follow, asked } if *asked == Some(id) => {
                let read = match found {
                    Some(Found::LedgerTail(entries)) => follow.read(&entries, u64::MAX).ok(),
                    _ => None,
                };
                let applied = read.map(|read| {
                    let records = core.records(read.keys());
                    follow.apply_all(read, records)
                });
                match applied {
                    Some(applied) => core.apply(io, applied.commit),
                    None => self.state = State::Pausing,
                }
            }
            _ => return None,
        }
        self.timer = io.fresh();
        io.after(LOOK_EVERY_NS, Timer::Task(self.timer));
        None
    }
}
