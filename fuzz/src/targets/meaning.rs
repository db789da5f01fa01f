//! What a ledger means, said by looking at all of it at once instead of entry after entry.

use std::collections::BTreeMap;

use super::ledger::{INPUT, World};
use crate::gate::cursor::{CLOCK_STEP_NS, Cursors};
use crate::gate::entry::{Entry, Leading};
use crate::gate::key::ActionKey;
use crate::gate::record::{KeyRecord, RunState};
use crate::gate::source::{Source, TimeNs};

pub struct Meaning<'a>(Vec<Option<&'a Entry>>);

impl<'a> Meaning<'a> {
    pub fn of(entries: &'a [Option<Entry>]) -> Self {
        Self(entries.iter().map(Option::as_ref).collect())
    }

    fn leading(&self) -> impl DoubleEndedIterator<Item = (usize, &'a Leading)> {
        let leading = |(at, entry): (usize, &Option<&'a Entry>)| match entry {
            Some(Entry::Leading(leading)) => Some((at, &**leading)),
            _ => None,
        };
        self.0.iter().enumerate().filter_map(leading).collect::<Vec<_>>().into_iter()
    }

    /// The highest source time that decided actions and reports among the first `count` entries name, or a term.
    fn now_ns(&self, count: usize) -> TimeNs {
        let named = self.0[..count].iter().flatten().map(|entry| match entry {
            Entry::Accepted { source, .. }
            | Entry::Rejected { source, .. }
            | Entry::Completed { source, .. }
            | Entry::Released { source, .. } => source.time_ns,
            Entry::Leading(leading) => leading.source_time_max_ns,
            Entry::Judged { .. } => 0,
        });
        named.fold(0, TimeNs::max)
    }

    /// The furthest that is named since the last term that says where `stream` stands: sequence, source
    /// time, creation time.
    pub fn position(&self, stream: &str) -> Option<(u64, TimeNs, TimeNs)> {
        let term = self.leading().rev().find_map(|(at, leading)| {
            let input = leading.inputs.iter().rfind(|input| input.stream == stream)?;
            Some((at, (input.sequence, input.time_ns, input.created_ns)))
        });
        let (begin, mut position) = match term {
            Some((at, position)) => (at, Some(position)),
            None => (0, None),
        };
        let named = self.0[begin..].iter().flatten().flat_map(|entry| named(entry));
        for source in named.filter(|source| &*source.stream == stream) {
            let (sequence, _, created_ns) = *position.get_or_insert((0, 0, 0));
            if source.sequence > sequence {
                position = Some((source.sequence, source.time_ns, created_ns));
            }
        }
        position
    }

    /// `first`: the ledger's first sequence.
    pub fn is_that_of(&self, cursors: &Cursors, keys: &BTreeMap<ActionKey, KeyRecord>, first: u64) {
        assert_eq!(cursors.ledger.source_time_max_ns, self.now_ns(self.0.len()));
        for cursor in &cursors.inputs {
            let position = (cursor.sequence, cursor.time_ns, cursor.created_ns);
            assert_eq!(self.position(&cursor.stream), Some(position));
        }
        let in_force = self.leading().next_back().map(|(_, leading)| leading);
        assert_eq!(cursors.in_force.map(|in_force| in_force.window_ns), in_force.map(window_ns));
        let kept: BTreeMap<_, _> = self.keys(first).collect();
        assert_eq!(keys.len(), kept.len());
        for (key, Kept { source, expires_ns, rules, state }) in kept {
            let record = &keys[key];
            assert_eq!((record.sequence, record.time_ns), (source.sequence, source.time_ns));
            assert_eq!((record.expires_ns, record.state), (expires_ns, state));
            assert_eq!(cursors.inputs[record.stream as usize].stream, source.stream);
            assert_eq!(cursors.rules[record.rules as usize].0, rules);
        }
    }

    /// Every key that was not given back since, with its last acceptance.
    fn keys(&self, first: u64) -> impl Iterator<Item = (&'a ActionKey, Kept<'a>)> {
        self.0.iter().enumerate().filter_map(move |(at, entry)| {
            let Some(Entry::Accepted { source, key: Some(key), .. }) = entry else {
                return None;
            };
            let later = &self.0[at + 1..];
            let ends = |entry: &&Entry| match entry {
                Entry::Accepted { key: again, .. } => again.as_ref() == Some(key),
                Entry::Released { key: released, .. } => released == key,
                _ => false,
            };
            if later.iter().flatten().any(ends) {
                return None;
            }
            let (_, term) = self.leading().rev().find(|(term, _)| *term < at)?;
            let expires_ns = self.now_ns(at + 1).saturating_add(window_ns(term));
            let rules = u64::from_str_radix(&term.rules_fingerprint, 16).unwrap_or(0);
            let run = source.run_id(Some(key));
            let told = |(at, entry): (u64, &Option<&Entry>)| match entry {
                Some(Entry::Completed { key: of, run_id, status, .. }) if of == key => {
                    (*run_id == run).then(|| status.state(at))
                }
                _ => None,
            };
            let from = first.wrapping_add(at as u64 + 1);
            let results = (from..=u64::MAX).zip(later).filter_map(told);
            let state = results.last().unwrap_or(RunState::Pending);
            Some((key, Kept { source, expires_ns, rules, state }))
        })
    }
}

/// What is known of a key.
struct Kept<'a> {
    source: &'a Source,
    expires_ns: TimeNs,
    rules: u64,
    state: RunState,
}

/// The input positions that an entry names, in order.
fn named(entry: &Entry) -> impl Iterator<Item = &Source> {
    let judged = match entry {
        Entry::Rejected { judged, .. }
        | Entry::Completed { judged, .. }
        | Entry::Released { judged, .. } => judged.as_ref(),
        Entry::Accepted { .. } | Entry::Judged { .. } | Entry::Leading(_) => None,
    };
    judged.into_iter().chain(entry.position())
}

fn window_ns(leading: &Leading) -> TimeNs {
    let window_ns = i128::from(leading.window_ms) * 1_000_000;
    // What does not fit is as good as forever.
    i64::try_from(window_ns).unwrap_or(i64::MAX)
}

/// Whether a trimmed ledger may have lost keys that are still seen: the next action is not yet a whole
/// window (the largest that is known) younger than the first entry that counts, the first term's.
pub fn must_wait(world: &World, meaning: &Meaning, today_ns: TimeNs, input_is_new: bool) -> bool {
    let begin = meaning.leading().next().map_or(world.ledger.len() - 1, |(at, _)| at);
    let windows = meaning.leading().map(|(_, leading)| window_ns(leading));
    let largest_ns = windows.fold(today_ns, TimeNs::max);
    let judged = meaning.position(INPUT).filter(|_| !input_is_new);
    let next_at = judged.map_or(1, |(sequence, ..)| sequence.saturating_add(1));
    let next = world.actions.from(next_at);
    let now_ns = next.map_or(0, |(_, time_ns)| time_ns).max(meaning.now_ns(meaning.0.len()));
    now_ns < world.ledger[begin].time_ns.saturating_add(largest_ns)
}

/// Whether an input is a new stream; `None` if it went back.
pub fn input_is(world: &World, meaning: &Meaning, stream: &str) -> Option<bool> {
    let (sequence, time_ns, created_ns) = meaning.position(stream).unwrap_or_default();
    let input = world.input(stream);
    let found = input.from(sequence.max(1));
    let not_before_ns = time_ns.saturating_sub(CLOCK_STEP_NS);
    let goes_on = match found {
        Some((at, found_ns)) if at == sequence => found_ns == time_ns,
        Some((_, found_ns)) => found_ns >= not_before_ns,
        None => true,
    };
    let goes_on = sequence == 0 || (goes_on && input.last >= sequence);
    let stands_there = sequence == 0 || found.is_some_and(|(at, _)| at == sequence);
    let same_creation = created_ns == input.created_ns;
    if goes_on && (stands_there || same_creation) {
        return Some(false);
    }
    let first = input.messages.first();
    let older = first.is_some_and(|(_, first_ns)| *first_ns < input.created_ns);
    let is_new = !same_creation && input.created_ns > time_ns && !older;
    let takes_numbers_again = first.is_some_and(|(at, _)| *at <= sequence);
    match is_new && (!goes_on || takes_numbers_again) {
        true => Some(true),
        false => goes_on.then_some(false),
    }
}
