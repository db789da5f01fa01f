//! What others write: into the ledger, and odd things into the input.

use crate::stage::Stage;
use crate::support::raw::Outgoing;
use crate::support::world::Site;

/// A message in the ledger that the gate did not write.
pub fn stranger<S: Site>(stage: &mut Stage<S>) {
    let strays = [
        Outgoing::new("oncegate.accepted.actions.pay", &[], b"{}"),
        Outgoing::new("oncegate.judged", &[("X", "1")], b""),
        Outgoing::with_block("oncegate.accepted.x", b"NATS/1.0\r\nX: \xff\r\n\r\n", b""),
    ];
    for _ in 0..=stage.dice.roll(3) {
        let stray = &strays[stage.dice.roll(3) as usize];
        let ack = stage.world.client.publish(stray);
        stage.world.foreign(ack.sequence);
        stage.publish();
    }
}

/// Actions that client libraries can't read, or not as they are.
pub fn poison<S: Site>(stage: &mut Stage<S>) {
    let blocks: [&[u8]; 4] = [
        b"NATS/1.0\r\nX: \xff\r\n\r\n",
        b"NATS/1.0\r\nX: a\rb\r\n\r\n",
        b"NATS/1.0\r\nX\r\n\r\n",
        b"NATS/1.0\r\nX:  outer \r\n\r\n",
    ];
    let block = blocks[stage.dice.roll(4) as usize];
    let broken = Outgoing::with_block("actions.odd", block, b"");
    stage.publish_these(vec![broken; 5]);
    stage.publish();
}
