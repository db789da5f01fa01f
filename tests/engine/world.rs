//! An engine, the ledger that it writes, and the table that it keeps.

use std::sync::Arc;

use bytes::Bytes;
use oncegate::gate::action::{self, Action, RawAction};
use oncegate::gate::cursor::Cursors;
use oncegate::gate::engine::lead::{Beginning, Leader};
use oncegate::gate::engine::recovery::{LedgerMessage, Recovered, RecoveredInput};
use oncegate::gate::engine::session::{Append, Op, Reply, ReplyKind};
use oncegate::gate::engine::{Bounds, Command, Commit, Decided, Engine, Event, InputKind, Outcome};
use oncegate::gate::engine::{Setting, Unsettled};
use oncegate::gate::entry::{Limits, Message};
use oncegate::gate::headers::Headers;
use oncegate::gate::key::ActionKey;
use oncegate::gate::record::KeyRecord;
use oncegate::gate::report::{self, Report};
use oncegate::gate::rules::{RuleTexts, Rules};
use oncegate::gate::source::Source;
use oncegate::table::{KeyTable, MemoryTable};

pub const ACTIONS: &str = "ACTIONS";
pub const REPORTS: &str = "ONCEGATE_REPORTS";
const WINDOW_MS: u64 = 1_000;

pub struct World {
    pub engine: Engine,
    rules: Arc<Rules>,
    pub table: MemoryTable,
    /// Messages stored; the first begins the term.
    pub ledger: Vec<LedgerMessage>,
    in_batch: u64,
    /// What each batch asked for.
    pub flows: Vec<u64>,
    pub settled: Vec<Decided>,
    /// What the engine wants to read back; it is told by hand.
    pub reads: Vec<Command>,
    /// Sources that the engine waits for the clock with.
    pub awaits: Vec<Source>,
    /// The ledger stores, and says nothing.
    pub is_silent: bool,
}

pub fn key(text: &str) -> ActionKey {
    ActionKey::new::<&str>(&[], text)
}

fn source(stream: &str, sequence: u64) -> Source {
    Source { stream: stream.into(), sequence, time_ns: 1 }
}

/// Of the action at this sequence.
pub fn run_id(sequence: u64, of: &str) -> String {
    source(ACTIONS, sequence).run_id(Some(&key(of))).to_string()
}

fn raw(stream: &str, subject: &str, sequence: u64, lines: &str, payload: &Bytes) -> RawAction {
    let block = format!("NATS/1.0\r\n{lines}\r\n\r\n");
    RawAction {
        source: source(stream, sequence),
        subject: subject.into(),
        subject_exact: true,
        headers: Headers::parse(block.as_bytes()),
        payload: payload.clone(),
    }
}

/// What an executor says of the run of `of` that was accepted at sequence `run`.
pub fn told(sequence: u64, run: u64, of: &str, status: &str, payload: &'static str) -> Report {
    let run_id = run_id(run, of);
    let lines = format!(
        "Idempotency-Key: {of}\r\nOncegate-Run-Id: {run_id}\r\nOncegate-Status: {status}\r\n\
         Oncegate-Reply-To: _INBOX.r{sequence}"
    );
    let payload = Bytes::from_static(payload.as_bytes());
    report::decode(raw(REPORTS, "oncegate.results.w", sequence, &lines, &payload), "oncegate")
}

/// What an operator says.
pub fn forget(sequence: u64, of: &str) -> Report {
    let lines = format!("Idempotency-Key: {of}\r\nOncegate-Detail: it never ran");
    let raw = raw(REPORTS, "oncegate.operator.forget", sequence, &lines, &Bytes::new());
    report::decode(raw, "oncegate")
}

impl World {
    pub fn new() -> Self {
        let texts = RuleTexts {
            key_from: vec!["header:Idempotency-Key".into()],
            key_scope: Vec::new(),
            key_max_bytes: 255,
            key_missing: "reject".into(),
            payload_compare: "bytes".into(),
            payload_ignore: Vec::new(),
        };
        let rules = Arc::new(Rules::new(texts).unwrap());
        let (table, mut ledger) = (MemoryTable::new(), Vec::new());
        let cursors = begin_term(&rules, &table, &mut ledger);
        let engine = Engine::new(setting(&rules), cursors, 0, 7);
        Self {
            engine,
            rules,
            table,
            ledger,
            in_batch: 0,
            settled: Vec::new(),
            reads: Vec::new(),
            awaits: Vec::new(),
            is_silent: false,
            flows: Vec::new(),
        }
    }

    pub fn action(&self, sequence: u64, key: &str, payload: &Bytes) -> Action {
        let lines = format!("Idempotency-Key: {key}\r\nOncegate-Reply-To: _INBOX.a{sequence}");
        action::decode(raw(ACTIONS, "actions.a", sequence, &lines, payload), &self.rules)
    }

    fn look_up(&self, key: Option<&ActionKey>) -> Option<KeyRecord> {
        self.table.load_many(&[key?]).unwrap().pop().flatten()
    }

    /// Actions with one payload, from this sequence on.
    pub fn act(&mut self, from: u64, keys: &[&str]) {
        let payload = Bytes::from_static(b"x");
        let actions = (from..).zip(keys).map(|(at, key)| self.action(at, key, &payload));
        let looked = actions.map(|action| {
            let record = self.look_up(action.key.as_ref());
            (Box::new(action), record)
        });
        let event = Event::Actions(looked.collect());
        self.tell(event);
    }

    pub fn report(&mut self, reports: impl IntoIterator<Item = Report>) {
        let looked = reports.into_iter().map(|report| {
            let record = self.look_up(report.key());
            (Box::new(report), record)
        });
        let event = Event::Reports(looked.collect());
        self.tell(event);
    }

    pub fn pause(&mut self) {
        self.tell(Event::Pause);
    }

    pub fn tell(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for command in self.engine.on(event) {
                events.extend(self.obey(command));
            }
        }
    }

    /// The server's part: what it grants, an ack every flow window, an answer at the end of a batch, nothing else.
    fn obey(&mut self, command: Command) -> Option<Event> {
        match command {
            Command::Append(append) => self.append(append).filter(|_| !self.is_silent),
            Command::Commit(commit) => {
                self.table.commit(commit).unwrap();
                Some(Event::Committed)
            }
            Command::Settle(settled) => {
                self.settled.extend(settled.decided);
                None
            }
            Command::ReadResult(_) | Command::ReadOriginal(_) => {
                self.reads.push(command);
                None
            }
            Command::AwaitClock(source) => {
                self.awaits.push(source);
                None
            }
            Command::ClockCaughtUp => None,
            other => panic!("not expected: {other:?}"),
        }
    }

    fn append(&mut self, append: Append) -> Option<Event> {
        let Append { batch, op, expected, number, flow, message } = append;
        self.flows.extend((number == 1).then_some(flow));
        if let Some(message) = message {
            assert_eq!(expected, self.ledger.len() as u64, "the fence");
            store(&mut self.ledger, &message);
            self.in_batch += 1;
            assert_eq!(number, self.in_batch);
        }
        let kind = match op {
            Op::Commit | Op::End => {
                let count = Some(std::mem::take(&mut self.in_batch));
                ReplyKind::End { sequence: self.ledger.len() as u64, count }
            }
            Op::Start => ReplyKind::Flow { number: 0, flow },
            _ if self.in_batch.is_multiple_of(flow) => {
                ReplyKind::Flow { number: self.in_batch, flow }
            }
            _ => return None,
        };
        Some(Event::Ledger(Reply { batch, kind }))
    }

    /// What was settled, of both inputs, in order.
    pub fn outcomes(&self, input: InputKind) -> Vec<(u64, Outcome)> {
        let of = self.settled.iter().filter(|decided| decided.input == input);
        of.map(|decided| (decided.source.sequence, decided.outcome)).collect()
    }

    pub fn record(&self, of: &str) -> Option<KeyRecord> {
        self.look_up(Some(&key(of)))
    }

    /// The subjects of the entries behind the first.
    pub fn subjects(&self) -> Vec<&str> {
        self.ledger[1..].iter().map(|message| message.subject.as_str()).collect()
    }

    pub fn header<'a>(&'a self, at: usize, name: &'a str) -> Option<&'a str> {
        self.ledger[at - 1].headers.as_ref().unwrap().one(name)
    }

    pub fn into_unsettled(self) -> Unsettled {
        self.engine.into_unsettled()
    }
}

fn setting(rules: &Arc<Rules>) -> Setting {
    Setting {
        name: "oncegate".into(),
        input: ACTIONS.into(),
        rules: rules.clone(),
        limits: Limits { message_bytes_max: 8 << 20 },
        clock_skew_ns: 1_000_000_000,
        bounds: Bounds::default(),
    }
}

fn begin_term(rules: &Arc<Rules>, table: &MemoryTable, ledger: &mut Vec<LedgerMessage>) -> Cursors {
    let leader = Leader {
        instance: "i".into(),
        host: "h".into(),
        version: "v".into(),
        window_ms: WINDOW_MS,
        rules: rules.clone(),
    };
    let input =
        |stream: &str| RecoveredInput { stream: stream.into(), created_ns: 1, is_new: false };
    let inputs = [ACTIONS, REPORTS].map(input).into();
    let recovered = Recovered { cursors: Cursors::default(), inputs };
    let beginning = Beginning::new("oncegate", &leader, &recovered);
    store(ledger, &beginning.message);
    let commit: Commit = beginning.stored_at(1).unwrap();
    let cursors = commit.cursors.clone();
    table.commit(commit).unwrap();
    cursors
}

fn store(ledger: &mut Vec<LedgerMessage>, message: &Message) {
    let headers = message.headers.iter().map(|(n, v)| (n.as_ref(), v.as_str())).collect();
    let sequence = ledger.len() as u64 + 1;
    ledger.push(LedgerMessage {
        sequence,
        time_ns: sequence as i64,
        subject: message.subject.clone(),
        headers: Ok(headers),
        payload: message.payload.clone(),
    });
}
