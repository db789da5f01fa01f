//! Connections: what is sent arrives, later, or not.

use oncegate::gate::engine::InputKind;

use crate::agenda::{MILLISECOND, SECOND};
use crate::link::{Link, State};
use crate::messages::{Down, Id, Role, Up};
use crate::worker::Happening;
use crate::world::{What, World};

impl World {
    pub fn latency_ns(&mut self) -> i64 {
        let (least, most) = self.plan.latency_ns;
        self.rng.i64(least..=most)
    }

    pub fn role(role: Role) -> usize {
        match role {
            Role::Ledger => 0,
            Role::Lease => 1,
            Role::Feed(InputKind::Actions) => 2,
            Role::Feed(InputKind::Reports) => 3,
        }
    }

    pub fn open(&mut self, worker: usize, role: Role) {
        let life = self.workers[worker].life;
        self.roles[worker][Self::role(role)] = Some(self.links.len());
        self.links.push(Link::new(worker, life, role));
    }

    pub fn close(&mut self, link: usize) {
        let sent = self.links[link].to_server.queue.len();
        let arriving =
            if self.links[link].state == State::Up { self.rng.usize(..=sent) } else { 0 };
        self.links[link].close(arriving);
        for inbox in std::mem::take(&mut self.links[link].inboxes) {
            self.inboxes.remove(&inbox);
        }
        self.forget_link(link);
    }

    fn forget_link(&mut self, link: usize) {
        for input in InputKind::ALL {
            self.inputs[input].forget_link(link);
        }
    }

    pub fn send(&mut self, worker: usize, role: Role, up: Up) {
        let Some(link) = self.roles[worker][Self::role(role)] else { return };
        let latency_ns = self.latency_ns();
        let is_up = self.links[link].state == State::Up;
        let at_ns = self.links[link].to_server.push(up, self.now_ns, latency_ns);
        if is_up {
            self.agenda.plan(at_ns, What::ToServer(link));
        }
    }

    pub fn send_down(&mut self, link: usize, down: Down) {
        let latency_ns = self.latency_ns();
        let to = &mut self.links[link];
        if to.state == State::Up && !to.closed {
            let at_ns = to.to_client.push(down, self.now_ns, latency_ns);
            self.agenda.plan(at_ns, What::ToClient(link));
        }
    }

    pub fn link_of(&self, inbox: Id) -> Option<usize> {
        self.inboxes.get(&inbox).copied()
    }

    pub fn arrive_at_server(&mut self, link: usize) {
        let pipe = &mut self.links[link].to_server;
        if pipe.stalled_until_ns > self.now_ns {
            let until_ns = pipe.stalled_until_ns;
            return self.agenda.plan(until_ns, What::ToServer(link));
        }
        if self.links[link].state == State::Up
            && let Some(up) = self.links[link].to_server.queue.pop_front()
        {
            self.serve(link, up);
        }
    }

    pub fn arrive_at_client(&mut self, link: usize) {
        let pipe = &mut self.links[link].to_client;
        if pipe.stalled_until_ns > self.now_ns {
            let until_ns = pipe.stalled_until_ns;
            return self.agenda.plan(until_ns, What::ToClient(link));
        }
        let Link { worker, life, .. } = self.links[link];
        if self.links[link].closed || self.workers[worker].life != life {
            return;
        }
        let Some(down) = self.links[link].to_client.queue.pop_front() else { return };
        let happening = match down {
            Down::Answer { id, found } => Happening::Answer(id, found),
            Down::Ledger(reply) => Happening::Ledger(reply),
            Down::Delivery { inbox, delivery } => Happening::Delivery(inbox, delivery),
            Down::PullEnded { inbox } => Happening::PullEnded(inbox),
            Down::Heartbeat { inbox, idle } => Happening::Heartbeat(inbox, idle),
        };
        self.happen(worker, happening);
    }

    /// The client hears of it after a while, and connects again after another.
    pub fn cut(&mut self, link: usize, notice_ns: i64) {
        self.links[link].cut();
        self.forget_link(link);
        self.plan(notice_ns, What::Notice(link));
    }

    pub fn notice(&mut self, link: usize) {
        if self.links[link].closed {
            return;
        }
        // What was written before is lost, or still in the client's queue.
        let queued = self.links[link].to_server.queue.len();
        let lost = if self.rng.bool() { queued } else { self.rng.usize(..=queued) };
        self.links[link].to_server.queue.drain(..lost);
        self.links[link].state = State::Down;
        let Link { worker, life, role, .. } = self.links[link];
        if let Role::Feed(input) = role
            && self.workers[worker].life == life
        {
            self.happen(worker, Happening::FeedBroken(input));
        }
        let again_ns = self.rng.i64(MILLISECOND..2 * SECOND);
        self.plan(again_ns, What::Reconnect(link));
    }

    pub fn reconnect(&mut self, link: usize) {
        self.links[link].state = State::Up;
        for _ in 0..self.links[link].to_server.queue.len() {
            let latency_ns = self.latency_ns();
            self.plan(latency_ns, What::ToServer(link));
        }
    }
}
