//! A publisher that never gives up: what was not acknowledged is published again, so an
//! acknowledgement that was lost makes a real duplicate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::load::Dice;
use super::raw::{Client, Login, Outgoing};
use super::wait_until;

/// How many messages are on their way at once.
const CHUNK: usize = 40;
/// In a cluster the node asked may be cut off: after so long, another one is asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the publisher and its owner both see.
#[derive(Default)]
struct Shared {
    acknowledged: AtomicU64,
    retried: AtomicU64,
    stop: AtomicBool,
}

pub struct Publisher {
    orders: Option<Sender<Vec<Outgoing>>>,
    ordered: u64,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// To servers on these ports, one after the other where one does not answer.
    pub fn start(ports: Vec<u16>, seed: u64) -> Self {
        let (orders, to_publish) = channel();
        let shared = Arc::new(Shared::default());
        let mut publishing = Publishing {
            ports,
            next: 0,
            client: None,
            dice: Dice::new(seed),
            shared: shared.clone(),
        };
        let thread = std::thread::spawn(move || publishing.run(&to_publish));
        Self { orders: Some(orders), ordered: 0, shared, thread: Some(thread) }
    }

    /// Publishes these in the background.
    pub fn order(&mut self, messages: Vec<Outgoing>) {
        self.ordered += messages.len() as u64;
        self.orders.as_ref().unwrap().send(messages).unwrap();
    }

    /// Waits until all but so many of what was ordered is acknowledged.
    pub fn wait_for_all_but(&self, left: u64) {
        wait_until("what was ordered to be published", || {
            assert!(!self.thread.as_ref().unwrap().is_finished(), "the publisher has failed");
            self.shared.acknowledged.load(Ordering::SeqCst) + left >= self.ordered
        });
    }

    /// How many messages were published again because no acknowledgement came.
    pub fn retried(&self) -> u64 {
        self.shared.retried.load(Ordering::SeqCst)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.orders.take();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

struct Publishing {
    ports: Vec<u16>,
    next: usize,
    client: Option<Client>,
    dice: Dice,
    shared: Arc<Shared>,
}

impl Publishing {
    fn run(&mut self, orders: &Receiver<Vec<Outgoing>>) {
        for messages in orders {
            for chunk in messages.chunks(CHUNK) {
                self.publish(chunk.to_vec());
            }
        }
    }

    fn publish(&mut self, mut rest: Vec<Outgoing>) {
        while !rest.is_empty() && !self.shared.stop.load(Ordering::SeqCst) {
            let Some(client) = self.connected() else {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            };
            let before = rest.len();
            let answers = client.try_publish_all(&rest);
            match answers {
                // Now and then the acknowledgements are lost on the way back.
                Some(_) if self.dice.roll(20) == 0 => self.client = None,
                Some(answers) => {
                    let mut refused = answers.iter().map(Result::is_err);
                    rest.retain(|_| refused.next().unwrap());
                }
                None => self.client = None,
            }
            if rest.len() == before {
                // Refused: a stream has no leader, or a cluster no quorum.
                std::thread::sleep(Duration::from_millis(5));
            }
            self.shared.acknowledged.fetch_add((before - rest.len()) as u64, Ordering::SeqCst);
            self.shared.retried.fetch_add(rest.len() as u64, Ordering::SeqCst);
        }
    }

    fn connected(&mut self) -> Option<&mut Client> {
        if self.client.is_none() {
            let port = self.ports[self.next % self.ports.len()];
            self.next += 1;
            self.client = Client::try_connect(port, &Login::default());
            if let Some(client) = &mut self.client {
                client.patience(PATIENCE);
            }
        }
        self.client.as_mut()
    }
}
