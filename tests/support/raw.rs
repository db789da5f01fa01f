//! A NATS client of our own over plain TCP. It writes whatever bytes it is given as subject,
//! header block and payload, which no client library would.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::time::Duration;

use serde_json::{Value, json};

use super::tcp::Connection;
use super::{DEADLINE, wait_for};

/// How many requests are on their way at once when many are sent.
const IN_FLIGHT: usize = 200;

/// How long an answer may take before the question is asked again.
const QUERY_PATIENCE: Duration = Duration::from_secs(5);

/// Read at once, where so much is there.
const READ_BYTES: usize = 64 << 10;

/// A message as it came off the wire.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub subject: Vec<u8>,
    pub reply: Option<String>,
    pub headers: Option<Vec<u8>>,
    pub payload: Vec<u8>,
}

/// The stream's answer to a publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PubAck {
    pub stream: String,
    pub sequence: u64,
    pub duplicate: bool,
}

/// What is to be published: any bytes.
#[derive(Debug, Clone, Default)]
pub struct Outgoing {
    pub subject: Vec<u8>,
    pub headers: Option<Vec<u8>>,
    pub payload: Vec<u8>,
}

impl Outgoing {
    /// A message with well-made headers.
    pub fn new(subject: &str, headers: &[(&str, &str)], payload: &[u8]) -> Self {
        Self {
            subject: subject.into(),
            headers: (!headers.is_empty()).then(|| header_block(headers)),
            payload: payload.into(),
        }
    }

    /// A message whose header block is these bytes.
    pub fn with_block(subject: &str, block: &[u8], payload: &[u8]) -> Self {
        Self { subject: subject.into(), headers: Some(block.into()), payload: payload.into() }
    }
}

/// A header block as every client writes it.
pub fn header_block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = b"NATS/1.0\r\n".to_vec();
    for (name, value) in headers {
        block.extend(format!("{name}: {value}\r\n").bytes());
    }
    block.extend(b"\r\n");
    block
}

/// How to introduce oneself to the server.
#[derive(Debug, Clone, Default)]
pub struct Login {
    pub user: Option<String>,
    pub password: Option<String>,
    pub token: Option<String>,
    /// A bearer's JWT, which needs no signature.
    pub jwt: Option<String>,
}

impl Login {
    pub fn user(user: &str, password: &str) -> Self {
        Self { user: Some(user.into()), password: Some(password.into()), ..Self::default() }
    }

    pub fn token(token: &str) -> Self {
        Self { token: Some(token.into()), ..Self::default() }
    }

    pub fn bearer(jwt: String) -> Self {
        Self { jwt: Some(jwt), ..Self::default() }
    }
}

pub struct Client {
    connection: BufReader<Connection>,
    inbox: String,
    requests: u64,
    subscriptions: u64,
}

impl Client {
    /// Connects; `None` while the server does not answer.
    pub fn try_connect(port: u16, login: &Login) -> Option<Self> {
        let connection = Connection::open(port, DEADLINE).ok()?;
        let mut client = Self {
            connection: BufReader::with_capacity(READ_BYTES, connection),
            inbox: format!("_INBOX.itest{}", uuid::Uuid::now_v7().simple()),
            requests: 0,
            subscriptions: 1,
        };
        let info = client.line()?;
        info.starts_with(b"INFO ").then_some(())?;
        let connect = json!({
            "verbose": false, "pedantic": false, "headers": true, "no_responders": true,
            "lang": "itest", "version": "1", "protocol": 1, "name": "itest",
            "user": login.user, "pass": login.password, "jwt": login.jwt,
            "auth_token": login.token,
        });
        let hello = format!("CONNECT {connect}\r\nSUB {}.* 1\r\nPING\r\n", client.inbox.clone());
        client.write(hello.as_bytes()).ok()?;
        loop {
            match client.line()? {
                line if line.starts_with(b"PONG") => return Some(client),
                line if line.starts_with(b"-ERR") => return None,
                _ => {}
            }
        }
    }

    /// Sends a message and waits for no answer.
    pub fn send(&mut self, message: &Outgoing, reply: Option<&str>) {
        let mut bytes = Vec::with_capacity(message.payload.len() + 256);
        encode(message, reply, &mut bytes);
        self.write(&bytes).unwrap();
    }

    /// Sends a message and waits for the one answer.
    pub fn request(&mut self, message: &Outgoing) -> Delivery {
        self.request_all(std::slice::from_ref(message)).remove(0)
    }

    /// Sends many messages, some hundred at a time, and returns the answers in their order.
    pub fn request_all(&mut self, messages: &[Outgoing]) -> Vec<Delivery> {
        self.try_request_all(messages).expect("the server closed the connection")
    }

    /// The same; `None` if an answer does not come: what became of the messages is not known.
    pub fn try_request_all(&mut self, messages: &[Outgoing]) -> Option<Vec<Delivery>> {
        let mut answers = Vec::with_capacity(messages.len());
        for chunk in messages.chunks(IN_FLIGHT) {
            let first = self.requests;
            let mut bytes = Vec::new();
            for message in chunk {
                let reply = format!("{}.{}", self.inbox, self.requests);
                self.requests += 1;
                encode(message, Some(&reply), &mut bytes);
            }
            self.write(&bytes).ok()?;
            let mut got: HashMap<u64, Delivery> = HashMap::new();
            while got.len() < chunk.len() {
                let delivery = self.delivery()?;
                if let Some(number) = self.request_number(&delivery).filter(|n| *n >= first) {
                    got.insert(number, delivery);
                }
            }
            answers.extend((first..self.requests).map(|n| got.remove(&n).unwrap()));
        }
        Some(answers)
    }

    /// Questions that change nothing. A cluster loses some while a leader changes or a route breaks, so
    /// they are asked again.
    pub fn query_all(&mut self, questions: &[Outgoing]) -> Vec<Delivery> {
        self.patience(QUERY_PATIENCE);
        let answers = wait_for("an answer", || self.try_request_all(questions));
        self.patience(DEADLINE);
        answers
    }

    /// Publishes and waits until the stream has it.
    pub fn publish(&mut self, message: &Outgoing) -> PubAck {
        match self.try_publish(message) {
            Ok(ack) => ack,
            Err(error) => panic!("the stream refused {message:?}: {error}"),
        }
    }

    /// Publishes; the stream's error if it refuses.
    pub fn try_publish(&mut self, message: &Outgoing) -> Result<PubAck, String> {
        pub_ack(&self.request(message))
    }

    /// Publishes all of them in this order.
    pub fn publish_all(&mut self, messages: &[Outgoing]) -> Vec<PubAck> {
        self.request_all(messages).iter().map(|answer| pub_ack(answer).unwrap()).collect()
    }

    /// Publishes all of them; the stream's error for each that it refuses, and `None` if an answer
    /// does not come.
    pub fn try_publish_all(
        &mut self,
        messages: &[Outgoing],
    ) -> Option<Vec<Result<PubAck, String>>> {
        Some(self.try_request_all(messages)?.iter().map(pub_ack).collect())
    }

    /// A request of the JetStream API. The answer may hold an `error`.
    pub fn api(&mut self, call: &str, body: &Value) -> Value {
        parsed(call, &self.request(&api_request(call, body)))
    }

    /// The same for a call that changes nothing.
    pub fn query(&mut self, call: &str) -> Value {
        parsed(call, &self.query_all(&[api_request(call, &Value::Null)])[0])
    }

    /// The same as [`Client::api`], where JetStream may be away: `None` if nobody answers.
    pub fn try_api(&mut self, call: &str, body: &Value) -> Option<Value> {
        let answer = self.try_request_all(&[api_request(call, body)])?.remove(0);
        serde_json::from_slice(&answer.payload).ok()
    }

    /// How long to wait for an answer.
    pub fn patience(&mut self, most: Duration) {
        self.connection.get_mut().set_patience(most);
    }

    /// Listens on a subject.
    pub fn subscribe(&mut self, subject: &str) {
        self.subscriptions += 1;
        let line = format!("SUB {subject} {}\r\nPING\r\n", self.subscriptions);
        self.write(line.as_bytes()).unwrap();
        while !self.line().expect("an answer").starts_with(b"PONG") {}
    }

    /// The next message of any subscription; `None` when the server hangs up.
    pub fn delivery(&mut self) -> Option<Delivery> {
        loop {
            let line = self.line()?;
            let words: Vec<&[u8]> = line
                .split(|byte| matches!(byte, b' ' | b'\t'))
                .filter(|word| !word.is_empty())
                .collect();
            match (words[0], words.len()) {
                (b"MSG", 4) => return self.body(words[1], None, None, words[3]),
                (b"MSG", _) => return self.body(words[1], Some(words[3]), None, words[4]),
                (b"HMSG", 5) => return self.body(words[1], None, Some(words[3]), words[4]),
                (b"HMSG", _) => {
                    return self.body(words[1], Some(words[3]), Some(words[4]), words[5]);
                }
                (b"PING", _) => self.write(b"PONG\r\n").ok()?,
                (b"-ERR", _) if line.ends_with(b"'Server Shutdown'") => return None,
                (b"-ERR", _) => panic!("the server says {}", String::from_utf8_lossy(&line)),
                _ => {}
            }
        }
    }

    /// Up to `most` messages pass by, and are only counted: for a reader that must not take the processor from
    /// what is measured. Ends early where none comes for so long as [`Client::patience`] says.
    pub fn count_deliveries(&mut self, most: u64) -> u64 {
        let (mut came, mut line) = (0, Vec::new());
        while came < most {
            line.clear();
            if !matches!(self.connection.read_until(b'\n', &mut line), Ok(1..)) {
                break;
            }
            if line.starts_with(b"HMSG ") || line.starts_with(b"MSG ") {
                let total = line.trim_ascii_end().rsplit(|byte| *byte == b' ').next().unwrap();
                let total: u64 = std::str::from_utf8(total).unwrap().parse().unwrap();
                let body = &mut self.connection.by_ref().take(total + 2);
                came += u64::from(std::io::copy(body, &mut std::io::sink()).is_ok());
            } else if line.starts_with(b"PING") {
                self.write(b"PONG\r\n").unwrap();
            }
        }
        came
    }

    fn body(
        &mut self,
        subject: &[u8],
        reply: Option<&[u8]>,
        headers: Option<&[u8]>,
        total: &[u8],
    ) -> Option<Delivery> {
        let number = |text: &[u8]| -> usize { String::from_utf8_lossy(text).parse().unwrap() };
        let mut bytes = vec![0; number(total) + 2];
        self.connection.read_exact(&mut bytes).ok()?;
        bytes.truncate(bytes.len() - 2);
        let payload = bytes.split_off(headers.map_or(0, number));
        Some(Delivery {
            subject: subject.to_vec(),
            reply: reply.map(|reply| String::from_utf8_lossy(reply).into_owned()),
            headers: headers.map(|_| bytes),
            payload,
        })
    }

    fn request_number(&self, delivery: &Delivery) -> Option<u64> {
        let subject = String::from_utf8_lossy(&delivery.subject);
        subject.strip_prefix(&self.inbox)?.strip_prefix('.')?.parse().ok()
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.connection.get_mut().write_all(bytes)
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        match self.connection.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => {
                line.truncate(line.len().saturating_sub(2));
                Some(line)
            }
        }
    }
}

fn api_request(call: &str, body: &Value) -> Outgoing {
    let payload = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    Outgoing::new(&format!("$JS.API.{call}"), &[], &payload)
}

fn parsed(call: &str, answer: &Delivery) -> Value {
    serde_json::from_slice(&answer.payload)
        .unwrap_or_else(|error| panic!("{call}: {error}: {answer:?}"))
}

fn encode(message: &Outgoing, reply: Option<&str>, into: &mut Vec<u8>) {
    let headers = message.headers.as_deref();
    into.extend(if headers.is_some() { &b"HPUB "[..] } else { b"PUB " });
    into.extend(&message.subject);
    into.push(b' ');
    if let Some(reply) = reply {
        into.extend(reply.bytes());
        into.push(b' ');
    }
    let block = headers.unwrap_or_default();
    if headers.is_some() {
        into.extend(format!("{} ", block.len()).bytes());
    }
    into.extend(format!("{}\r\n", block.len() + message.payload.len()).bytes());
    into.extend(block);
    into.extend(&message.payload);
    into.extend(b"\r\n");
}

fn pub_ack(answer: &Delivery) -> Result<PubAck, String> {
    let text = String::from_utf8_lossy(&answer.payload).into_owned();
    let body: Value = serde_json::from_str(&text).map_err(|_| format!("{answer:?}"))?;
    match (body["stream"].as_str(), body["seq"].as_u64()) {
        (Some(stream), Some(sequence)) if body["error"].is_null() => {
            Ok(PubAck { stream: stream.into(), sequence, duplicate: body["duplicate"] == true })
        }
        _ => Err(text),
    }
}
