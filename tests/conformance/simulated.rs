//! A script against the simulated server.

use bytes::Bytes;

use crate::ledger_server::{LedgerServer, Publish, Release, ReplyTo};
use crate::{FLOW_ASKED, Outcome, Step};

const IDLE_NS: i64 = 11_000_000_000;

pub fn run(release: Release, script: &[Step]) -> Outcome {
    let mut server = LedgerServer::new(release);
    let mut now_ns = 1;
    let mut answers = Vec::new();
    for (index, step) in script.iter().enumerate() {
        let publish = |reply, expected_last_sequence| Publish {
            subject: "s.x".into(),
            headers: Vec::new(),
            payload: Bytes::from(index.to_string()),
            expected_last_sequence,
            reply,
        };
        let replies = match *step {
            Step::Send { batch, number, op, expected } => {
                let reply = ReplyTo::Batch { inbox: 0, batch, flow: FLOW_ASKED, number, op };
                server.publish(publish(reply, expected), now_ns)
            }
            Step::Plain { expected } => {
                server.publish(publish(ReplyTo::Plain { inbox: 0 }, expected), now_ns)
            }
            Step::Idle => {
                now_ns += IDLE_NS;
                server.tick(now_ns)
            }
            Step::Restart => server.restart(),
        };
        answers.push(replies.into_iter().map(|reply| (reply.batch, reply.kind)).collect());
    }
    let text =
        |sequence| String::from_utf8(server.get(sequence).unwrap().payload.to_vec()).unwrap();
    Outcome { answers, stored: (1..=server.last_sequence()).map(text).collect() }
}
