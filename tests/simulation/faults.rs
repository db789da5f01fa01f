//! What goes wrong.

use bytes::Bytes;
use oncegate::gate::engine::InputKind;

use crate::agenda::{MILLISECOND, SECOND};
use crate::inputs::Both;
use crate::ledger_server::{Publish, ReplyTo};
use crate::link::State;
use crate::plan::{CLOCK_SKEW_NS, STEP_NS, TAKEOVER_NS, pick};
use crate::worker::{Happening, Process};
use crate::world::{Heal, Lag, What, World};

/// The server's code for a stream that takes no more.
const STREAM_FULL: u64 = 10_077;
const STRANGER: usize = 9_999;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    WorkerKilled,
    /// The table's last writes are lost too.
    PowerFailed,
    TableLost,
    WorkerFrozen,
    WorkerStopped,
    LinkCut,
    LinkStalled,
    ServerRestarted,
    LedgerLeaderChanged,
    FlowLimited,
    /// Appends are taken, and stored when there is a quorum again.
    QuorumLost,
    LedgerFull,
    /// A replica that lags answers.
    AnswersLag,
    /// Somebody else writes into the ledger.
    Stranger,
    /// Somebody else has a batch open there.
    StrangersBatch,
    LeaseDeleted,
    LeaseOverwritten,
    ConsumerDeleted,
    ConsumerMoved,
    ConsumerPulled,
    InputTrimmed,
    InputRecreated,
    InputRestored,
    ClockStepped,
}

impl Fault {
    pub const ALL: [Self; 24] = [
        Self::WorkerKilled,
        Self::PowerFailed,
        Self::TableLost,
        Self::WorkerFrozen,
        Self::WorkerStopped,
        Self::LinkCut,
        Self::LinkStalled,
        Self::ServerRestarted,
        Self::LedgerLeaderChanged,
        Self::FlowLimited,
        Self::QuorumLost,
        Self::LedgerFull,
        Self::AnswersLag,
        Self::Stranger,
        Self::StrangersBatch,
        Self::LeaseDeleted,
        Self::LeaseOverwritten,
        Self::ConsumerDeleted,
        Self::ConsumerMoved,
        Self::ConsumerPulled,
        Self::InputTrimmed,
        Self::InputRecreated,
        Self::InputRestored,
        Self::ClockStepped,
    ];
}

impl World {
    pub fn inflict(&mut self, fault: Fault) {
        self.note(|| format!("-- {fault:?}"));
        match fault {
            Fault::WorkerKilled | Fault::PowerFailed | Fault::TableLost => self.kill(fault),
            Fault::WorkerFrozen => self.freeze(),
            Fault::WorkerStopped => self.stop(),
            Fault::LinkCut => {
                if let Some(link) = self.some_link() {
                    let notice_ns = self.rng.i64(0..3 * SECOND);
                    self.cut(link, notice_ns);
                }
            }
            Fault::LinkStalled => self.stall(),
            Fault::ServerRestarted => self.restart_server(),
            Fault::LedgerLeaderChanged => {
                let replies = self.ledger.leader_change(self.now_ns);
                self.reply_all(replies);
            }
            Fault::FlowLimited => {
                let most = self.rng.u64(1..20);
                self.ledger.limit_flow(most);
            }
            Fault::QuorumLost => {
                self.held.get_or_insert_default();
                self.heal_later(Heal::Quorum, 9 * SECOND);
            }
            Fault::LedgerFull => {
                self.ledger.refuse(Some(STREAM_FULL));
                self.heal_later(Heal::LedgerFull, 9 * SECOND);
            }
            Fault::AnswersLag => {
                let inputs = Both::new(|input| self.inputs[input].last_sequence());
                self.lag = Some(Lag { ledger: self.ledger.last_sequence(), inputs });
                self.heal_later(Heal::Lag, 8 * SECOND);
            }
            Fault::Stranger => self.write_as_stranger(ReplyTo::Plain { inbox: 0 }),
            Fault::StrangersBatch => {
                let batch = self.fresh();
                let reply = ReplyTo::Batch { inbox: 0, batch, flow: 100, number: 1, op: 0 };
                self.write_as_stranger(reply);
            }
            Fault::LeaseDeleted => self.lease.remove(),
            Fault::LeaseOverwritten => {
                self.lease.put(STRANGER, self.now_ns, TAKEOVER_NS);
            }
            Fault::ConsumerDeleted => {
                let input = self.some_input();
                let ended = self.inputs[input].delete_consumer();
                self.pulls_end(ended);
            }
            Fault::ConsumerMoved => {
                let input = self.some_input();
                let to = self.rng.u64(1..=self.inputs[input].last_sequence() + 10);
                self.inputs[input].reset_consumer(to);
                self.deliver();
            }
            Fault::ConsumerPulled => {
                let (input, messages) = (self.some_input(), self.rng.u64(1..6));
                self.inputs[input].steal(messages);
            }
            Fault::InputTrimmed => {
                let input = self.some_input();
                let to = self.rng.u64(1..=self.inputs[input].last_sequence() + 1);
                for sequence in self.inputs[input].trim_to(to) {
                    self.truth.dropped(input, sequence);
                }
            }
            Fault::InputRecreated => {
                let input = self.some_input();
                let created_ns = self.input_clock_ns(input);
                let ended = self.inputs[input].recreate(created_ns);
                self.truth.recreated(input);
                self.lag = None;
                self.pulls_end(ended);
            }
            Fault::InputRestored => {
                let input = self.some_input();
                let created_ns = self.input_clock_ns(input);
                let ended = self.inputs[input].restore(created_ns);
                self.pulls_end(ended);
            }
            Fault::ClockStepped => {
                let (back_ns, ahead_ns) = self.plan.clock_ns;
                self.clock_offset_ns = self.rng.i64(-back_ns..=ahead_ns);
            }
        }
    }

    fn some_worker(&mut self, wanted: &[Process]) -> Option<usize> {
        let fit = |worker: &usize| wanted.contains(&self.workers[*worker].process);
        let fitting: Vec<_> = (0..self.workers.len()).filter(fit).collect();
        (!fitting.is_empty()).then(|| *pick(&mut self.rng, &fitting))
    }

    fn some_link(&mut self) -> Option<usize> {
        let up = |link: &usize| !self.links[*link].closed && self.links[*link].state == State::Up;
        let fitting: Vec<_> = (0..self.links.len()).filter(up).collect();
        (!fitting.is_empty()).then(|| *pick(&mut self.rng, &fitting))
    }

    fn kill(&mut self, fault: Fault) {
        let Some(worker) = self.some_worker(&[Process::Running, Process::Frozen]) else { return };
        self.kill_worker(worker);
        if fault == Fault::PowerFailed {
            self.workers[worker].lose_unflushed(&mut self.rng);
        }
        if fault == Fault::TableLost {
            let instance = self.fresh() as usize + 100;
            self.workers[worker].lose_table(instance);
        }
        let back_ns = self.rng.i64(10 * MILLISECOND..5 * SECOND);
        self.plan(back_ns, What::Start(worker));
    }

    fn freeze(&mut self) {
        let Some(worker) = self.some_worker(&[Process::Running]) else { return };
        self.workers[worker].process = Process::Frozen;
        let thaw_ns = self.rng.i64(100 * MILLISECOND..12 * SECOND);
        let life = self.workers[worker].life;
        self.plan(thaw_ns, What::Thaw { worker, life });
    }

    fn stop(&mut self) {
        let Some(worker) = self.some_worker(&[Process::Running]) else { return };
        self.happen(worker, Happening::Stop);
        let back_ns = self.rng.i64(10 * MILLISECOND..5 * SECOND);
        self.plan(back_ns, What::Start(worker));
    }

    fn stall(&mut self) {
        let Some(link) = self.some_link() else { return };
        let until_ns = self.now_ns + self.rng.i64(10 * MILLISECOND..8 * SECOND);
        let direction = self.rng.u8(..3);
        let link = &mut self.links[link];
        if direction != 0 {
            link.to_server.stalled_until_ns = until_ns;
        }
        if direction != 1 {
            link.to_client.stalled_until_ns = until_ns;
        }
    }

    fn restart_server(&mut self) {
        let replies = self.ledger.restart();
        self.reply_all(replies);
        for link in 0..self.links.len() {
            if self.links[link].state == State::Up {
                let notice_ns = self.rng.i64(0..200 * MILLISECOND);
                self.cut(link, notice_ns);
            }
        }
    }

    fn write_as_stranger(&mut self, reply: ReplyTo) {
        let subjects = ["oncegate.judged", "oncegate.accepted.actions.pay", "oncegate.leading"];
        let publish = Publish {
            subject: (*pick(&mut self.rng, &subjects)).to_owned(),
            headers: Vec::new(),
            payload: Bytes::new(),
            expected_last_sequence: None,
            reply,
        };
        let before = self.ledger.last_sequence();
        if self.held.is_none() {
            self.ledger.publish(publish, self.now_ns);
        }
        if self.ledger.last_sequence() > before {
            self.truth.on_stranger();
        }
    }

    fn some_input(&mut self) -> InputKind {
        *pick(&mut self.rng, &InputKind::ALL)
    }

    /// The clock of an input, which stamps what is published.
    pub fn input_clock_ns(&self, input: InputKind) -> i64 {
        let offset_ns = match input {
            InputKind::Actions => self.clock_offset_ns,
            // Of a work queue only the order of times is left to go by.
            InputKind::Reports => self.clock_offset_ns.clamp(-STEP_NS, STEP_NS),
        };
        self.now_ns + offset_ns
    }
}

/// How far ahead a clock may step: beyond what the gate takes, but not for long.
pub const AHEAD_NS: i64 = 3 * CLOCK_SKEW_NS;
