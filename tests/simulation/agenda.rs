//! What is to happen, in order of time; what is due at the same time happens in the order it was planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

pub const MILLISECOND: i64 = 1_000_000;
pub const SECOND: i64 = 1_000 * MILLISECOND;

struct Planned<T> {
    at_ns: i64,
    number: u64,
    what: T,
}

impl<T> Planned<T> {
    fn order(&self) -> (i64, u64) {
        (self.at_ns, self.number)
    }
}

impl<T> PartialEq for Planned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl<T> Eq for Planned<T> {}

impl<T> PartialOrd for Planned<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Planned<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

pub struct Agenda<T> {
    planned: BinaryHeap<Reverse<Planned<T>>>,
    number: u64,
}

impl<T> Agenda<T> {
    pub fn new() -> Self {
        Self { planned: BinaryHeap::new(), number: 0 }
    }

    pub fn plan(&mut self, at_ns: i64, what: T) {
        self.number += 1;
        self.planned.push(Reverse(Planned { at_ns, number: self.number, what }));
    }

    pub fn next(&mut self) -> Option<(i64, T)> {
        self.planned.pop().map(|Reverse(planned)| (planned.at_ns, planned.what))
    }
}
