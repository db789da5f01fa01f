//! What is published: by a seed, at a steady pace, with retries of every age against the window.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::load::{Dice, payment};
use crate::support::publisher::Publisher;
use crate::support::raw::{Outgoing, header_block};

/// The server's limit for headers and payload together.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
const TICKS_A_SECOND: u64 = 20;

/// Makes the messages.
struct Load {
    dice: Dice,
    prefix: String,
    window: Duration,
    /// When, and the number of the first key that was used then; those of the last three windows.
    marks: VecDeque<(Duration, u64)>,
    used: u64,
}

impl Load {
    /// So many at this time since the beginning.
    fn next(&mut self, count: u64, now: Duration) -> Vec<Outgoing> {
        self.marks.push_back((now, self.used));
        while self.marks.front().is_some_and(|(at, _)| *at + self.window * 3 < now) {
            self.marks.pop_front();
        }
        (0..count).map(|_| self.one(now)).collect()
    }

    fn one(&mut self, now: Duration) -> Outgoing {
        match self.dice.roll(1_000) {
            0..560 => {
                let key = self.fresh();
                payment(&self.prefix, key, key, 0)
            }
            560..650 => {
                let back = self.dice.roll(20);
                self.retry(self.used.saturating_sub(back))
            }
            650..740 => self.retry_of_age(now, 0, 100),
            // Some of these come before the window's end, and some after.
            740..790 => self.retry_of_age(now, 97, 103),
            790..860 => self.retry_of_age(now, 105, 250),
            860..910 => {
                let key = self.of_age(now, 0, 110);
                payment(&self.prefix, key, key + 1, 0)
            }
            910..930 => Outgoing::new("actions.pay", &[], b"{\"amount\":1}"),
            930..945 => {
                let two = [("Idempotency-Key", "one"), ("Idempotency-Key", "other")];
                Outgoing::new("actions.pay", &two, b"x")
            }
            945..960 => {
                let key = self.fresh();
                let payload =
                    format!("{{\"idempotency_key\":\"{}{key}\",\"n\":{key}}}", self.prefix);
                Outgoing::new("actions.book.room", &[("Trace", "kept")], payload.as_bytes())
            }
            960..990 => self.sized(500, 8_000),
            990..999 => Outgoing::new("actions.pay", &[], b""),
            _ => self.rare(),
        }
    }

    /// What comes about every second at most.
    fn rare(&mut self) -> Outgoing {
        match self.dice.roll(20) {
            0 => self.sized(MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX + 1),
            // The client library that the worker uses breaks its connection at these.
            1 => Outgoing::with_block("actions.pay", b"NATS/1.0\r\nno colon\r\n\r\n", b"x"),
            _ => self.sized(50_000, 200_000),
        }
    }

    fn fresh(&mut self) -> u64 {
        self.used += 1;
        self.used
    }

    /// Bytes that are no JSON, between these sizes, or as many as the server takes.
    fn sized(&mut self, least: usize, below: usize) -> Outgoing {
        let key = self.fresh();
        let block = header_block(&[("Idempotency-Key", &format!("{}{key}", self.prefix))]);
        let size = least + self.dice.roll((below - least) as u64) as usize;
        let payload = vec![b'x'; size.min(MESSAGE_BYTES_MAX - block.len())];
        Outgoing::with_block("actions.big", &block, &payload)
    }

    fn retry(&mut self, key: u64) -> Outgoing {
        let spelling = self.dice.roll(3);
        payment(&self.prefix, key, key, spelling)
    }

    fn retry_of_age(&mut self, now: Duration, least: u64, below: u64) -> Outgoing {
        let key = self.of_age(now, least, below);
        self.retry(key)
    }

    /// A key that was first used so many hundredths of a window ago.
    fn of_age(&mut self, now: Duration, least: u64, below: u64) -> u64 {
        let hundredths = least + self.dice.roll(below - least);
        let then = now.saturating_sub(self.window * hundredths as u32 / 100);
        let place = self.marks.partition_point(|(at, _)| *at < then);
        let (_, from) = self.marks[place.min(self.marks.len() - 1)];
        let to = self.marks.get(place + 1).map_or(self.used, |(_, key)| *key);
        from + self.dice.roll(to.saturating_sub(from) + 1)
    }
}

/// Publishes in the background until it is told to stop.
pub struct Pacer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Pacer {
    pub fn start(port: u16, seed: u64, rate: u64, window: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let dice = Dice::new(seed);
        let prefix = format!("{seed}-");
        let load = Load { dice, prefix, window, marks: VecDeque::new(), used: 0 };
        let publisher = Publisher::start(vec![port], seed);
        let thread = std::thread::spawn(move || pace(load, publisher, rate, &told));
        Self { stop, thread: Some(thread) }
    }

    /// Waits until all that was ordered is published; how many messages were published again because
    /// no acknowledgement came.
    pub fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().expect("the publisher has failed")
    }

    pub fn must_run(&self) {
        assert!(!self.thread.as_ref().unwrap().is_finished(), "the publisher has failed");
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn pace(mut load: Load, mut publisher: Publisher, rate: u64, stop: &AtomicBool) -> u64 {
    let started = Instant::now();
    let tick = Duration::from_secs(1) / TICKS_A_SECOND as u32;
    let mut due = Duration::ZERO;
    while !stop.load(Ordering::SeqCst) {
        publisher.order(load.next(rate / TICKS_A_SECOND, started.elapsed()));
        // What could not be published while the server was away is not made up for.
        publisher.wait_for_all_but(rate);
        due = (due + tick).max(started.elapsed().saturating_sub(tick));
        std::thread::sleep(due.saturating_sub(started.elapsed()));
    }
    publisher.wait_for_all_but(0);
    publisher.retried()
}
