//! The core's recovery, carried out.

use oncegate::gate::engine::recovery::{Answer, Ask, LedgerMessage, Recovered, Recovery, Step};
use oncegate::gate::engine::{InputKind, Unsettled};
use oncegate::table::KeyTable;

use super::{Core, Io, Purpose};
use crate::inputs;
use crate::messages::{Call, Found, Id, Role};
use crate::wrong::Wrong;

pub struct Recovering {
    recovery: Recovery,
    asked: Ask,
    id: Id,
}

pub enum Progress {
    Stay,
    Done(Box<Recovered>),
    /// Try again.
    Wait,
    Refused(String),
}

impl Recovering {
    pub fn begin(core: &mut Core, io: &mut Io) -> Box<Self> {
        let cursors = core.table.cursors().unwrap();
        let window_ns = core.setup.window_ns;
        let inputs = InputKind::ALL.map(|input| inputs::name(input).into());
        let (recovery, asked) = Recovery::new("oncegate", inputs, cursors, window_ns);
        let id = core.ask(io, Role::Ledger, call(&asked), Purpose::Task);
        Box::new(Self { recovery, asked, id })
    }

    pub fn on_answer(
        &mut self,
        core: &mut Core,
        io: &mut Io,
        id: Id,
        found: Option<Found>,
        unsettled: &mut Unsettled,
    ) -> Progress {
        if id != self.id {
            return Progress::Stay;
        }
        let Some(mut answer) = answer(found) else { return Progress::Wait };
        if core.is(Wrong::IgnoreTail)
            && let Answer::LedgerTail(messages) = &mut answer
        {
            messages.iter_mut().for_each(make_foreign);
        }
        loop {
            match self.recovery.next(answer) {
                Err(refusal) => return Progress::Refused(refusal.to_string()),
                Ok(Step::Ask(Ask::Records(keys))) => answer = Answer::Records(core.records(keys)),
                Ok(Step::Ask(ask)) => {
                    let call = call(&ask);
                    self.id = core.ask(io, Role::Ledger, call, Purpose::Task);
                    self.asked = ask;
                    return Progress::Stay;
                }
                Ok(Step::Commit { commit, decided, .. }) => {
                    unsettled.read(&decided);
                    core.apply(io, commit);
                    answer = Answer::Committed;
                }
                Ok(Step::Done(recovered)) => {
                    return Progress::Done(Box::new(self.trust(core, recovered)));
                }
            }
        }
    }

    /// A worker that goes by the creation time alone, or knows one position only.
    fn trust(&self, core: &Core, mut recovered: Recovered) -> Recovered {
        for input in &mut recovered.inputs {
            let created_ns = input.created_ns;
            let cursor = recovered.cursors.input(&input.stream).1;
            let trusts = core.is(Wrong::TrustCreated) && cursor.created_ns != created_ns;
            if trusts && cursor.sequence > 0 {
                (cursor.sequence, cursor.time_ns) = (0, 0);
                input.is_new = true;
            }
            if core.is(Wrong::LoseReportCursor)
                && &*input.stream == inputs::name(InputKind::Reports)
            {
                (cursor.sequence, cursor.time_ns) = (0, 0);
            }
        }
        recovered
    }
}

fn make_foreign(message: &mut LedgerMessage) {
    if let Ok(headers) = &mut message.headers {
        let kept =
            |(name, _): &(&str, &str)| !["Oncegate-Digest", "Oncegate-Reason"].contains(name);
        *headers = headers.iter().filter(kept).collect();
    }
}

fn call(ask: &Ask) -> Call {
    match ask {
        Ask::LedgerState => Call::LedgerState,
        Ask::LedgerEntry(at) => Call::LedgerEntry(*at),
        Ask::LedgerTail { from, to } => Call::LedgerTail { from: *from, to: *to },
        Ask::InputState(stream) => Call::InputState(inputs::named(stream).unwrap()),
        Ask::InputFrom(stream, at) => Call::InputFrom(inputs::named(stream).unwrap(), *at),
        Ask::Records(_) => unreachable!("the table is at hand"),
    }
}

fn answer(found: Option<Found>) -> Option<Answer> {
    Some(match found? {
        Found::LedgerState { first, last } => Answer::LedgerState { first, last },
        Found::LedgerEntry(entry) => Answer::LedgerEntry(entry),
        Found::LedgerTail(messages) if !messages.is_empty() => Answer::LedgerTail(messages),
        Found::InputState { created_ns, last } => Answer::InputState { created_ns, last },
        Found::InputMessage(found) => {
            Answer::InputFrom(found.map(|raw| (raw.source.sequence, raw.source.time_ns)))
        }
        _ => return None,
    })
}
