//! Everything at once, by a seed: two workers that are killed, stopped and frozen, a server that is
//! killed and frozen, strangers in the ledger, consumers that vanish, poison.

use serde_json::{Value, json};

use crate::support::gate::Gate;
use crate::support::load::{self, Dice};
use crate::support::model::Rules;
use crate::support::raw::Outgoing;
use crate::support::wait_until;
use crate::support::world::World;

struct Chaos {
    world: World,
    gates: [Gate; 2],
    dice: Dice,
    prefix: String,
}

impl Chaos {
    fn begin(seed: u64) -> Self {
        let mut world = World::with_input(Rules::default(), &json!({}));
        world.gate.settings.set("ha.takeover", "\"500ms\"");
        let mut gates = [world.gate.twin(), world.gate.twin()];
        gates[0].start();
        gates[1].spawn();
        Self { world, gates, dice: Dice::new(seed), prefix: format!("{seed}-") }
    }

    fn publish(&mut self) {
        let count = 50 + self.dice.roll(600) as usize;
        let seed = self.dice.roll(1 << 30);
        self.world.publish_all(&load::mixed(count, &self.prefix, seed));
    }

    fn something_happens(&mut self) {
        let gate = self.dice.roll(2) as usize;
        match self.dice.roll(10) {
            0..3 => {
                self.gates[gate].kill9();
                self.gates[gate].spawn();
            }
            3 => {
                wait_until("it to heed signals", || self.gates[gate].ready().is_some());
                self.gates[gate].stop();
                self.gates[gate].spawn();
            }
            4 => {
                self.gates[gate].freeze();
                self.publish();
                wait_until("the other to lead", || self.gates[1 - gate].leads());
                self.publish();
                self.gates[gate].thaw();
            }
            5 => {
                self.world.server.restart();
                self.world.reconnect();
            }
            6 => {
                self.world.server.freeze();
                wait_until("a worker to notice", || {
                    self.gates.iter().all(|gate| gate.ready() != Some(200))
                });
                self.world.server.thaw();
            }
            7 => self.delete_consumers(),
            8 => {
                let stray = Outgoing::new("oncegate.accepted.actions.pay", &[], b"{}");
                let ack = self.world.client.publish(&stray);
                self.world.foreign(ack.sequence);
            }
            _ => {
                let broken =
                    Outgoing::with_block("actions.odd", b"NATS/1.0\r\nX: \xff\r\n\r\n", b"");
                self.world.publish_all(&vec![broken; 5]);
            }
        }
        self.gates.iter_mut().for_each(Gate::must_run);
    }

    fn delete_consumers(&mut self) {
        let names = self.world.client.api("CONSUMER.NAMES.ACTIONS", &Value::Null);
        for name in names["consumers"].as_array().into_iter().flatten() {
            let call = format!("CONSUMER.DELETE.ACTIONS.{}", name.as_str().unwrap());
            self.world.client.api(&call, &Value::Null);
        }
    }

    fn end(mut self) {
        self.gates[0].kill9();
        self.gates[1].wait_leading();
        std::mem::swap(&mut self.world.gate, &mut self.gates[1]);
        self.publish();
        self.world.check();
    }
}

/// `CHAOS_SEEDS=8,9,10` tries others.
#[test]
fn whatever_goes_wrong_by_seed() {
    let seeds = std::env::var("CHAOS_SEEDS").unwrap_or("1,2,3".into());
    for seed in seeds.split(',').map(|seed| seed.parse().unwrap()) {
        eprintln!("seed {seed}");
        let mut chaos = Chaos::begin(seed);
        for _ in 0..15 {
            chaos.publish();
            chaos.something_happens();
        }
        chaos.end();
    }
}
