//! The lease: tried for, renewed at a third of its time, given back.

use super::{Core, Io, Purpose, Timer};
use crate::agenda::MILLISECOND;
use crate::messages::{Call, Found, Id, Role, Up};
use crate::plan::TAKEOVER_NS;

const TRY_EVERY_NS: i64 = 350 * MILLISECOND;

enum State {
    Idle,
    Getting(Id),
    Taking { id: Id, asked_ns: i64 },
    Held { revision: u64, renewed_ns: i64, renewal: Option<Renewal> },
}

struct Renewal {
    id: Id,
    begun_ns: i64,
    confirms: bool,
}

pub struct Lease {
    state: State,
    timer: Id,
    /// Somebody waits for a renewal that is yet to begin.
    confirm: bool,
}

pub enum LeaseNext {
    Stay,
    Held,
    Confirmed,
    Lost,
}

impl Lease {
    pub fn new() -> Self {
        Self { state: State::Idle, timer: 0, confirm: false }
    }

    pub fn waits_for(&self, timer: Id) -> bool {
        self.timer == timer
    }

    fn arm(&mut self, io: &mut Io, ns: i64) {
        self.timer = io.fresh();
        io.after(ns, Timer::Lease(self.timer));
    }

    pub fn on_timer(&mut self, core: &mut Core, io: &mut Io) {
        match self.state {
            State::Idle => {
                self.state =
                    State::Getting(core.ask(io, Role::Lease, Call::LeaseGet, Purpose::Lease));
            }
            State::Held { renewal: None, .. } => self.renew(core, io),
            _ => {}
        }
    }

    /// Renews now: perhaps another leads.
    pub fn confirm(&mut self, core: &mut Core, io: &mut Io) {
        self.confirm = true;
        if let State::Held { renewal: None, .. } = self.state {
            self.renew(core, io);
        }
    }

    fn renew(&mut self, core: &mut Core, io: &mut Io) {
        let confirms = std::mem::take(&mut self.confirm);
        if let State::Held { revision, renewed_ns, renewal } = &mut self.state {
            let call = Call::LeaseUpdate { holder: core.instance, revision: *revision };
            let left_ns = TAKEOVER_NS - (io.now_ns - *renewed_ns);
            let id = core.ask_within(io, Role::Lease, call, Purpose::Lease, left_ns);
            *renewal = Some(Renewal { id, begun_ns: io.now_ns, confirms });
        }
    }

    pub fn on_answer(
        &mut self,
        core: &mut Core,
        io: &mut Io,
        id: Id,
        found: Option<Found>,
    ) -> LeaseNext {
        match &self.state {
            State::Getting(asked) if *asked == id => self.on_entry(core, io, found),
            State::Taking { id: asked, asked_ns } if *asked == id => match found {
                Some(Found::LeaseRevision(revision)) => {
                    let renewed_ns = *asked_ns;
                    self.state = State::Held { revision, renewed_ns, renewal: None };
                    let due_ns = renewed_ns + TAKEOVER_NS / 3 - io.now_ns;
                    self.arm(io, due_ns.max(0));
                    return LeaseNext::Held;
                }
                _ => self.try_later(io),
            },
            State::Held { renewal: Some(renewal), .. } if renewal.id == id => {
                return self.on_renewal(core, io, found);
            }
            _ => {}
        }
        LeaseNext::Stay
    }

    fn on_entry(&mut self, core: &mut Core, io: &mut Io, found: Option<Found>) {
        let holder = core.instance;
        let call = match found {
            Some(Found::Lease(None)) => Call::LeaseCreate { holder },
            // The lock on the table's directory proves that the process before is gone.
            Some(Found::Lease(Some((known, revision)))) if known == holder => {
                Call::LeaseUpdate { holder, revision }
            }
            _ => return self.try_later(io),
        };
        let id = core.ask(io, Role::Lease, call, Purpose::Lease);
        self.state = State::Taking { id, asked_ns: io.now_ns };
    }

    fn on_renewal(&mut self, core: &mut Core, io: &mut Io, found: Option<Found>) -> LeaseNext {
        let State::Held { revision, renewed_ns, renewal } = &mut self.state else {
            return LeaseNext::Stay;
        };
        let (Some(renewal), Some(Found::LeaseRevision(new))) = (renewal.take(), found) else {
            self.confirm = false;
            self.try_later(io);
            return LeaseNext::Lost;
        };
        (*revision, *renewed_ns) = (new, renewal.begun_ns);
        if self.confirm {
            self.renew(core, io);
        } else {
            self.arm(io, TAKEOVER_NS / 3);
        }
        if renewal.confirms { LeaseNext::Confirmed } else { LeaseNext::Stay }
    }

    fn try_later(&mut self, io: &mut Io) {
        self.state = State::Idle;
        self.arm(io, TRY_EVERY_NS);
    }

    pub fn give_back(&mut self, io: &mut Io) {
        if let State::Held { revision, renewal: None, .. } = self.state {
            let id = io.fresh();
            io.send(Role::Lease, Up::Ask { id, call: Call::LeaseDelete { revision } });
        }
        self.state = State::Idle;
    }
}
