//! Whether an output is what it must be: every message that the load leads to, in order, whole, once, and nothing else.

use std::slice;

use anyhow::Context as _;

use super::contender::Contender;
use super::load;
use super::plan::{Kind, Plan, Step};
use super::stage::Stage;
use crate::gate::source::TimeNs;
use crate::nats::raw::RawMessage;
use crate::nats::walk::{Route, Walk};
use crate::progress::Progress;

/// What was found in an output that is right.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// Actions forwarded.
    pub accepted: u64,
    /// Actions rejected.
    pub rejected: u64,
    /// Other entries of the gate: that it leads, how far it judged.
    pub other: u64,
    /// When the first action was stored, and the last.
    pub stored_ns: Option<(TimeNs, TimeNs)>,
}

struct Check<'a> {
    plan: &'a Plan,
    stage: &'a Stage,
    who: Contender,
    left: slice::Iter<'a, Step>,
    found: Found,
}

/// Reads the output from end to end.
pub async fn output(stage: &Stage, plan: &Plan, who: Contender) -> anyhow::Result<Found> {
    let info = stage.output().await?.context("the output stream is gone")?;
    let (from, to) = (info.state.first_seq, info.state.last_seq);
    let stream = stage.config.ledger_stream();
    let route = Route { stream, subjects: Vec::new(), from, to, is_work_queue: false };
    let mut messages = Walk::new(stage.config.clone(), stage.connection.clone(), route).ahead();
    let mut check = Check { plan, stage, who, left: plan.steps().iter(), found: Found::default() };
    let progress = Progress::of_command("checking the output");
    loop {
        let chunk = messages.next().await?;
        let Some(last) = chunk.last() else {
            break;
        };
        progress.at(last.sequence, to);
        for message in &chunk {
            check.take(message).with_context(|| {
                format!("the output of the {who} is wrong at its message {}", message.sequence)
            })?;
        }
    }
    let missing = check.left.filter(|step| leaves_a_message(who, step.kind)).count();
    anyhow::ensure!(missing == 0, "the output of the {who} lacks its last {missing} messages");
    Ok(check.found)
}

fn leaves_a_message(who: Contender, kind: Kind) -> bool {
    match who {
        Contender::Gate => kind != Kind::Duplicate,
        Contender::Forwarder => true,
        Contender::Native => kind == Kind::New,
    }
}

impl Check<'_> {
    fn take(&mut self, message: &RawMessage) -> anyhow::Result<()> {
        let name = &self.stage.config.name;
        let subject = message.subject.strip_prefix(&format!("{name}.")).unwrap_or(&message.subject);
        if self.who == Contender::Gate && ["leading", "judged"].contains(&subject) {
            self.found.other += 1;
            return Ok(());
        }
        let who = self.who;
        let step = self.left.find(|step| leaves_a_message(who, step.kind));
        let step = *step.context("there is a message too many")?;
        let is_last = self.left.as_slice().is_empty();
        let rejected = self.who == Contender::Gate && step.kind == Kind::Mismatch;
        let verdict = if rejected { "rejected.payload_mismatch" } else { "accepted" };
        let expected = format!("{verdict}.{}", self.stage.action_subject(is_last));
        anyhow::ensure!(subject == expected, "its subject is {subject}, expected: {expected}");
        load::must_be(message, self.plan, step)?;
        match rejected {
            true => self.found.rejected += 1,
            false => self.found.accepted += 1,
        }
        let first = self.found.stored_ns.map_or(message.time_ns, |(first, _)| first);
        self.found.stored_ns = Some((first, message.time_ns));
        Ok(())
    }
}
