//! An answer's JSON. A caller waits for each, so it is written straight into its bytes: most texts in it need no
//! escapes, and to look at them one by one is most of what a general serializer does here.

use std::fmt::{Display, Write};

use uuid::Uuid;

use super::{Known, Receipt, Shape};
use crate::gate::key::ActionKey;
use crate::gate::record::RunState;
use crate::gate::source::{TimeNs, put_rfc3339};

/// Of most answers without a result; no bound.
const BYTES_EXPECTED: usize = 512;

impl Receipt {
    /// The answer's body: JSON. `result`: that of the run, if it has one.
    pub fn body(&self, result: Option<&Shape>) -> Vec<u8> {
        let Self { verdict, replayed, key, source, rejection, known, .. } = self;
        let mut object = Object::begin();
        object.plain("verdict", verdict.as_str());
        object.raw("replayed", if *replayed { "true" } else { "false" });
        object.run(key.as_ref(), known.as_ref());
        match rejection {
            Some(rejection) => {
                object.plain("reason", rejection.reason.as_str());
                object.text("detail", Some(&rejection.detail));
            }
            None => object.no_reason(),
        }
        object.inner("source", |place| {
            place.text("stream", Some(&source.stream));
            place.raw("sequence", source.sequence);
            place.time("time", source.time_ns);
        });
        object.first(known.as_ref(), result);
        object.end()
    }
}

/// What a look-up of `key` is answered: JSON.
pub fn body(key: &ActionKey, known: &Known, result: Option<&Shape>) -> Vec<u8> {
    let mut object = Object::begin();
    object.run(Some(key), Some(known));
    object.no_reason();
    object.first(Some(known), result);
    object.end()
}

/// A JSON object that is being written, member by member.
struct Object {
    out: String,
}

impl Object {
    fn begin() -> Self {
        let mut out = String::with_capacity(BYTES_EXPECTED);
        out.push('{');
        Self { out }
    }

    fn end(mut self) -> Vec<u8> {
        self.out.push('}');
        self.out.into_bytes()
    }

    fn name(&mut self, name: &'static str) {
        if !self.out.ends_with('{') {
            self.out.push(',');
        }
        self.out.extend(["\"", name, "\":"]);
    }

    /// A value that is JSON as it is displayed.
    fn raw(&mut self, name: &'static str, value: impl Display) {
        self.name(name);
        // A string takes everything.
        write!(self.out, "{value}").ok();
    }

    /// A text that needs no escapes.
    fn plain(&mut self, name: &'static str, text: &str) {
        self.name(name);
        self.out.extend(["\"", text, "\""]);
    }

    fn time(&mut self, name: &'static str, time_ns: TimeNs) {
        self.name(name);
        self.out.push('"');
        put_rfc3339(&mut self.out, time_ns);
        self.out.push('"');
    }

    fn text(&mut self, name: &'static str, text: Option<&str>) {
        self.name(name);
        match text {
            Some(text) => put_text(&mut self.out, text),
            None => self.out.push_str("null"),
        }
    }

    fn inner(&mut self, name: &'static str, members: impl FnOnce(&mut Self)) {
        self.name(name);
        self.out.push('{');
        members(self);
        self.out.push('}');
    }

    fn run(&mut self, key: Option<&ActionKey>, known: Option<&Known>) {
        let (scope, key) = key.map(ActionKey::parts).unzip();
        self.text("key", key.as_deref());
        self.name("scope");
        self.out.push('[');
        for (part, n) in scope.unwrap_or_default().iter().zip(0..) {
            if n > 0 {
                self.out.push(',');
            }
            put_text(&mut self.out, part);
        }
        self.out.push(']');
        match known {
            Some(known) => {
                let run_id = known.run_id.hyphenated();
                self.plain("run_id", run_id.encode_lower(&mut Uuid::encode_buffer()));
                self.plain("state", state(known.state));
            }
            None => {
                self.text("run_id", None);
                self.text("state", None);
            }
        }
    }

    fn no_reason(&mut self) {
        self.text("reason", None);
        self.text("detail", None);
    }

    fn first(&mut self, known: Option<&Known>, result: Option<&Shape>) {
        let Some(known) = known else {
            return ["first", "expires_at", "result"].into_iter().for_each(|n| self.text(n, None));
        };
        self.inner("first", |first| {
            first.raw("sequence", known.sequence);
            first.time("time", known.time_ns);
            first.raw("ledger_sequence", known.ledger_sequence);
        });
        match known.expires_ns {
            Some(expires_ns) => self.time("expires_at", expires_ns),
            None => self.text("expires_at", None),
        }
        match known.result_at() {
            None => self.text("result", None),
            Some(at) => self.inner("result", |shown| {
                shown.plain("status", state(known.state));
                shown.raw("ledger_sequence", at);
                if let Some(Shape::Whole(bytes)) = result {
                    shown.data(bytes);
                }
            }),
        }
    }

    /// JSON as it is, so that no number loses a digit; anything else in base64.
    fn data(&mut self, bytes: &[u8]) {
        use base64::Engine as _;
        match serde_json::from_slice::<&serde_json::value::RawValue>(bytes) {
            Ok(json) => self.raw("data", json.get()),
            Err(_) => {
                let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
                self.plain("data_base64", &encoded);
            }
        }
    }
}

fn put_text(out: &mut String, text: &str) {
    let plain = |byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    // Every byte is looked at even after one that is not: many at once that way.
    if text.bytes().fold(true, |all, byte| all & plain(byte)) {
        out.extend(["\"", text, "\""]);
    } else {
        write!(out, "{}", serde_json::Value::from(text)).ok();
    }
}

fn state(state: RunState) -> &'static str {
    match state {
        RunState::Pending => "pending",
        RunState::Succeeded(_) => "succeeded",
        RunState::Failed(_) => "failed",
    }
}
