//! Deliveries in order and without a hole: nothing that the input still holds is passed over.
//!
//! A broken connection, another reader of the same consumer, or somebody who moves it all show in the
//! numbers that the server gives; where these look right, the stream is asked.

/// Something may have been passed over: begin anew from the last judged position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Hole(String);

/// The delivery sequence of a pull: 1, 2, 3.
#[derive(Debug, Default)]
pub struct Numbered(u64);

impl Numbered {
    /// Takes the next number.
    pub fn take(&mut self, number: u64) -> Result<(), Hole> {
        if number != self.0 + 1 {
            return Err(Hole(format!("delivery {number} where {} was due", self.0 + 1)));
        }
        self.0 = number;
        Ok(())
    }

    /// The server has nothing to deliver, and says what it delivered last. Where no more comes, that is how it
    /// is seen that somebody else took a delivery, or moved the consumer.
    pub fn idle(&self, last: u64) -> Result<(), Hole> {
        if last != self.0 {
            return Err(Hole(format!("delivery {last} was the last, {} came", self.0)));
        }
        Ok(())
    }
}

/// Which stream sequence is due.
#[derive(Debug)]
pub struct Due {
    due: u64,
    judged: u64,
    whole_stream: bool,
}

impl Due {
    /// From stream sequence `from` on; what is judged already (up to `judged`) may be gone.
    /// `whole_stream`: the stream takes nothing but what the gate's filter takes.
    pub fn new(from: u64, judged: u64, whole_stream: bool) -> Self {
        Self { due: from, judged, whole_stream }
    }

    /// The next sequence.
    pub fn sequence(&self) -> u64 {
        self.due
    }

    /// Whether sequences without a message all count as dropped by the stream.
    pub fn is_whole_stream(&self) -> bool {
        self.whole_stream
    }

    /// Where a delivery leaves sequences out, the first of them: the stream must hold no message of ours
    /// from there to `brought`. Somebody else may have moved the consumer before its first delivery,
    /// which then has number 1 as it should; and a stream's new leader, while it catches up, may not have
    /// a message and the next moment have the one after it.
    pub fn left_out(&self, brought: u64, delivery: u64) -> Option<u64> {
        if self.whole_stream || delivery == 1 { self.unread(brought) } else { None }
    }

    /// The same for a message that was read without a consumer.
    pub fn unread(&self, brought: u64) -> Option<u64> {
        let due = self.due.max(self.judged + 1);
        (brought > due).then_some(due)
    }

    /// `held`: the first message that the stream holds from [`Due::left_out`] on.
    pub fn must_be_gone(brought: u64, held: Option<u64>) -> Result<(), Hole> {
        match held.filter(|held| *held < brought) {
            Some(held) => {
                Err(Hole(format!("message {brought} came, and the stream still holds {held}")))
            }
            None => Ok(()),
        }
    }

    /// How many sequences before this one were never brought.
    pub fn gap(&self, brought: u64) -> u64 {
        self.unread(brought).map_or(0, |due| brought - due)
    }

    /// How many of them the stream dropped, if its first sequence is `first`. Where the filter takes a
    /// part of the stream only, an upper bound: some of them may have been on other subjects.
    pub fn dropped_below(&self, first: u64, brought: u64) -> u64 {
        self.unread(brought).map_or(0, |due| first.min(brought).saturating_sub(due))
    }

    /// A message was taken.
    pub fn take(&mut self, sequence: u64) {
        self.due = self.due.max(sequence + 1);
    }
}
