//! A TCP proxy on loopback that delays, stalls, cuts and half-closes what goes through it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Which of the connections through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    All,
    /// Of a worker's connections the one that it names so: `ledger`, `lease`, `feed`, `reports`,
    /// `answers`.
    Role(&'static str),
}

/// Who sees the end of a half-closed connection. The other is told nothing and hears nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Client,
    Server,
}

/// What befalls the connections, those that are opened later too.
#[derive(Default)]
struct Weather {
    stalled: Option<Which>,
    delay: Duration,
    refused: bool,
}

struct Line {
    client: TcpStream,
    server: TcpStream,
    role: Mutex<Option<String>>,
    /// Bytes are swallowed, and an end on one side is not told on the other.
    dead: AtomicBool,
    closed: AtomicBool,
}

impl Line {
    fn is(&self, which: Which) -> bool {
        match which {
            Which::All => true,
            Which::Role(role) => self.role.lock().unwrap().as_deref() == Some(role),
        }
    }

    fn cut(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.client.shutdown(Shutdown::Both).ok();
        self.server.shutdown(Shutdown::Both).ok();
    }

    /// A worker's connection says in its CONNECT what it is for.
    fn learn_role(&self, bytes: &[u8]) {
        let mut role = self.role.lock().unwrap();
        if role.is_none() {
            let text = String::from_utf8_lossy(bytes);
            let named = text.split_once("\"name\":\"oncegate ").map(|(_, rest)| rest);
            *role = named.and_then(|rest| rest.split('"').next()).map(String::from);
        }
    }
}

struct Shared {
    target: u16,
    weather: Mutex<Weather>,
    changed: Condvar,
    lines: Mutex<Vec<Arc<Line>>>,
    ended: AtomicBool,
}

impl Shared {
    fn lines(&self, which: Which) -> Vec<Arc<Line>> {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|line| line.is(which)).cloned().collect()
    }

    /// Waits until a chunk of this line may go on.
    fn hold(&self, line: &Line) {
        let weather = self.weather.lock().unwrap();
        let stalled = |weather: &mut Weather| {
            weather.stalled.is_some_and(|which| line.is(which))
                && !line.closed.load(Ordering::SeqCst)
        };
        let weather = self.changed.wait_while(weather, stalled).unwrap();
        let delay = weather.delay;
        drop(weather);
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
    }

    fn open(self: &Arc<Self>, client: TcpStream) {
        let refused = self.weather.lock().unwrap().refused;
        let server = TcpStream::connect(("127.0.0.1", self.target)).ok();
        let Some(server) = server.filter(|_| !refused) else { return };
        client.set_nodelay(true).ok();
        server.set_nodelay(true).ok();
        let halves = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let line = Arc::new(Line {
            client,
            server,
            role: Mutex::new(None),
            dead: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        });
        let mut lines = self.lines.lock().unwrap();
        lines.retain(|line| !line.closed.load(Ordering::SeqCst));
        lines.push(line.clone());
        for upward in [true, false] {
            let (shared, line) = (self.clone(), line.clone());
            let (client, server) = (halves.0.try_clone().unwrap(), halves.1.try_clone().unwrap());
            std::thread::spawn(move || match upward {
                true => shared.pump(&line, client, server, true),
                false => shared.pump(&line, server, client, false),
            });
        }
    }

    fn pump(&self, line: &Line, mut from: TcpStream, mut to: TcpStream, upward: bool) {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if upward {
                line.learn_role(&bytes[..count]);
            }
            self.hold(line);
            if !line.dead.load(Ordering::SeqCst) && to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        if !line.dead.load(Ordering::SeqCst) {
            line.cut();
        }
    }
}

pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// To a port of this machine.
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            target,
            weather: Mutex::default(),
            changed: Condvar::new(),
            lines: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                accepting.open(client);
            }
        });
        Self { port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many of these connections are open.
    pub fn count(&self, which: Which) -> usize {
        let open = |line: &Arc<Line>| !line.closed.load(Ordering::SeqCst);
        self.shared.lines(which).into_iter().filter(open).count()
    }

    /// Ends connections; new ones are welcome.
    pub fn cut(&self, which: Which) {
        self.shared.lines(which).iter().for_each(|line| line.cut());
        self.shared.changed.notify_all();
    }

    /// Nothing goes through until [`Proxy::heal`]; then all that was held back does.
    pub fn stall(&self, which: Which) {
        self.shared.weather.lock().unwrap().stalled = Some(which);
    }

    /// Every chunk of bytes is late by this much until [`Proxy::heal`].
    pub fn delay(&self, by: Duration) {
        self.shared.weather.lock().unwrap().delay = by;
    }

    /// Ends connections for one side only.
    pub fn half_close(&self, which: Which, told: Told) {
        for line in self.shared.lines(which) {
            line.dead.store(true, Ordering::SeqCst);
            let side = if told == Told::Client { &line.client } else { &line.server };
            side.shutdown(Shutdown::Write).ok();
        }
    }

    /// Ends all connections and takes no new ones until [`Proxy::heal`].
    pub fn refuse(&self) {
        self.shared.weather.lock().unwrap().refused = true;
        self.cut(Which::All);
    }

    pub fn heal(&self) {
        *self.shared.weather.lock().unwrap() = Weather::default();
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.heal();
        self.cut(Which::All);
        // Wakes the listener, which then ends.
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}
