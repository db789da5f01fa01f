//! Every entry, as it is stored.

use jiff::Timestamp;
use oncegate::gate::engine::InputKind;
use serde_json::Value;
use uuid::Uuid;

use super::actions::Judged;
use super::{Message, Original, Position, Published, Truth, Verdict, Wrong};
use crate::inputs;
use crate::ledger_server::Stored;

/// An input position that an entry names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub input: InputKind,
    pub sequence: u64,
    pub time_ns: i64,
}

impl Truth {
    /// A message that somebody else has put into the ledger.
    pub fn on_stranger(&mut self) {
        self.standing.change = None;
        self.history.push(self.standing.clone());
    }

    /// An entry that a worker has put into the ledger.
    pub fn on_entry(&mut self, entry: &Stored) -> Result<(), Wrong> {
        hold!(entry.sequence == self.head() + 1, "ledger sequence {}", entry.sequence);
        self.entries += 1;
        self.standing.change = None;
        let kind = entry.subject.split('.').nth(1).unwrap_or_default();
        match kind {
            "accepted" => self.on_action(entry, kind)?,
            "rejected" => match position(entry, "Oncegate-Source")?.input {
                InputKind::Actions => self.on_action(entry, kind)?,
                InputKind::Reports => self.on_report(entry)?,
            },
            "completed" | "released" => self.on_report(entry)?,
            "judged" => self.close(position(entry, "Oncegate-Judged")?, entry.sequence)?,
            "leading" => self.on_leading(entry)?,
            _ => return Err(format!("an entry on {}", entry.subject)),
        }
        self.history.push(self.standing.clone());
        Ok(())
    }

    pub(super) fn message(&self, named: Named) -> &Message {
        let born = self.standing.positions[named.input].born;
        &self.streams[named.input].births[born][&named.sequence]
    }

    /// A stretch that gave no entry ends here, with one that has none.
    pub(super) fn close(&mut self, named: Named, at: u64) -> Result<(), Wrong> {
        let since = self.pass_over(named, at)?;
        match self.without_entry(named, since)? {
            Some((_, verdict)) => self.settle(named, verdict, at),
            None => return Err(format!("entry {at} closes a stretch with {named:?}")),
        }
        Ok(())
    }

    /// What lies before a position that an entry names gave no entry, or is gone. After which entry the next
    /// was judged, at the earliest.
    pub(super) fn pass_over(&mut self, named: Named, at: u64) -> Result<u64, Wrong> {
        let Named { input, sequence, .. } = named;
        hold!(self.in_force.is_some(), "entry {at} before any leading entry");
        self.find_stream(named)?;
        let Position { sequence: judged, at: mut since, born, .. } = self.standing.positions[input];
        hold!(
            sequence > judged,
            "{named:?} a second time, or out of order (entry {at}): {} is due",
            judged + 1
        );
        for passed in judged + 1..sequence {
            let Some(message) = self.streams[input].births[born].get(&passed) else {
                return Err(format!("no message {passed}"));
            };
            let (dropped, time_ns) = (message.dropped, message.time_ns);
            let passed = Named { input, sequence: passed, time_ns };
            match self.without_entry(passed, since)? {
                Some((after, verdict)) => {
                    since = after;
                    self.settle(passed, verdict, at);
                }
                None if dropped => self.settle(passed, Verdict::Missed, at),
                None => return Err(format!("{passed:?} is lost: entry {at} passes it")),
            }
        }
        Ok(since)
    }

    /// Whether it was judged, after an entry from `since` on, to be one that has no entry.
    fn without_entry(&self, named: Named, since: u64) -> Result<Option<(u64, Verdict)>, Wrong> {
        Ok(match &self.message(named).what {
            Published::Report(told) => self.repeated(told, named.time_ns, since),
            Published::Action(sent) => match self.judge_action(sent, named.time_ns)? {
                Judged::Duplicate(known) => Some((since, Verdict::Duplicate(known))),
                Judged::Accepted | Judged::Rejected(_) => None,
            },
        })
    }

    /// The stream may have been made anew before anything of it was judged; or its own limits have dropped
    /// all that stood at judged numbers, so that nothing tells it from the one before, and nothing is lost.
    fn find_stream(&mut self, named: Named) -> Result<(), Wrong> {
        let Named { input, sequence, time_ns } = named;
        let stream = &self.streams[input];
        let current = self.standing.positions[input];
        let born = stream.born_of(sequence, time_ns).filter(|born| *born >= current.born);
        let Some(born) = born else { return Err(format!("there is no {named:?}")) };
        if born != current.born {
            let mut judged = stream.births[born].range(..=current.sequence);
            hold!(
                judged.all(|(_, message)| message.dropped),
                "a new stream is taken for the old one"
            );
            self.standing.positions[input].born = born;
        }
        Ok(())
    }

    pub(super) fn settle(&mut self, named: Named, verdict: Verdict, at: u64) {
        let Named { input, sequence, time_ns } = named;
        let born = self.standing.positions[input].born;
        self.streams[input].verdicts[born].insert(sequence, (verdict, at));
        self.standing.positions[input] = Position { born, sequence, time_ns, at };
    }

    pub(super) fn change(&mut self, key: u8, at: u64, original: Option<Original>) {
        let known = original.as_ref().map(|original| original.known.clone());
        self.standing.change = Some((format!("k{key}"), known));
        self.keys.entry(key).or_default().push((at, original));
    }

    fn on_leading(&mut self, entry: &Stored) -> Result<(), Wrong> {
        let body: Value =
            serde_json::from_slice(&entry.payload).map_err(|error| error.to_string())?;
        let name = body["rules_fingerprint"].as_str().unwrap_or_default();
        let rules = self.rule_names.iter().find(|(known, _)| known == name);
        let Some((_, rules)) = rules else { return Err(format!("unknown rules {name}")) };
        let window_ms = body["window_ms"].as_i64().ok_or("no window")?;
        self.in_force = Some((window_ms * 1_000_000, *rules));
        let number = |value: &Value| value.as_i64().ok_or_else(|| format!("{value} is no number"));
        hold!(
            number(&body["ledger_sequence"])? + 1 == entry.sequence as i64,
            "a leading entry at {} that does not know the ledger",
            entry.sequence
        );
        hold!(
            number(&body["source_time_max_ns"])? == self.standing.now_ns,
            "its highest source time"
        );
        let inputs = body["inputs"].as_array().cloned().unwrap_or_default();
        for input in InputKind::ALL {
            let of = |body: &&Value| body["stream"].as_str() == Some(inputs::name(input));
            let found = inputs.iter().find(of).ok_or("an input is not named")?;
            let at = (number(&found["sequence"])? as u64, number(&found["time_ns"])?);
            self.begins_from(input, at, entry.sequence)?;
        }
        Ok(())
    }

    fn begins_from(&mut self, input: InputKind, at: (u64, i64), entry: u64) -> Result<(), Wrong> {
        let births = self.streams[input].births.len();
        let position = &mut self.standing.positions[input];
        if at == (0, 0) && position.sequence > 0 {
            hold!(position.born + 1 < births, "{input:?} did not begin anew");
            *position = Position { born: position.born + 1, at: entry, ..Position::default() };
        }
        let known = (position.sequence, position.time_ns);
        hold!(at == known, "a leading entry begins {input:?} from {at:?}, not from {known:?}");
        Ok(())
    }
}

pub(super) fn header<'a>(entry: &'a Stored, name: &str) -> Option<&'a str> {
    let found = entry.headers.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}

pub(super) fn run_id(entry: &Stored) -> Result<Uuid, Wrong> {
    let run_id = header(entry, "Oncegate-Run-Id").and_then(|text| text.parse().ok());
    run_id.ok_or_else(|| format!("entry {} names no run", entry.sequence))
}

/// `<stream> <sequence> <time>`.
pub(super) fn position(entry: &Stored, name: &str) -> Result<Named, Wrong> {
    let text =
        header(entry, name).ok_or_else(|| format!("entry {} without {name}", entry.sequence))?;
    let words: Vec<_> = text.split(' ').collect();
    let [stream, sequence, time] = words[..] else { return Err(format!("{name}: {text}")) };
    let input = inputs::named(stream).ok_or_else(|| format!("{name}: {text}"))?;
    let time: Timestamp = time.parse().map_err(|_| format!("{name}: {text}"))?;
    let sequence = sequence.parse().map_err(|_| format!("{name}: {text}"))?;
    Ok(Named { input, sequence, time_ns: time.as_nanosecond() as i64 })
}
