//! What the integration tests stand on: real servers, the worker as a process, a client that can
//! send any bytes, and a model that knows what the ledger must hold. Nothing here sees the inside
//! of the worker.

pub mod cluster;
pub mod compare;
pub mod executor;
pub mod gate;
pub mod http;
pub mod identity;
pub mod json;
pub mod ledger;
pub mod load;
pub mod model;
pub mod proxy;
pub mod publisher;
pub mod raw;
pub mod server;
pub mod stores;
pub mod streams;
pub mod tcp;
pub mod term;
pub mod world;

use std::collections::VecDeque;
use std::net::{TcpListener, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Far beyond what anything here takes: a test that waits this long has failed.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// More than tests of one process use at once.
const PORTS_HELD: usize = 300;

/// Asks `probe` until it has an answer; fails the test, saying what was awaited, at the deadline.
pub fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(started.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for a condition.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, || holds().then_some(()));
}

/// A port of 127.0.0.1 that nothing listens on: below the ephemeral range, so that no outgoing
/// connection takes it while a server is down between two starts. The UDP port of the same number is
/// held, so that no other test takes it meanwhile.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static HELD: Mutex<VecDeque<UdpSocket>> = Mutex::new(VecDeque::new());
    loop {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 12_000 + (std::process::id().wrapping_mul(61).wrapping_add(turn)) % 18_000;
        let port = u16::try_from(port).unwrap();
        let Ok(mark) = UdpSocket::bind(("127.0.0.1", port)) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            let mut held = HELD.lock().unwrap();
            held.push_back(mark);
            if held.len() > PORTS_HELD {
                held.pop_front();
            }
            return port;
        }
    }
}
