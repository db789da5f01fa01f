//! A message of any bytes says something of a run or key, or not; it becomes a message of the ledger either
//! way, and an answer.

use bytes::Bytes;
use serde_json::Value;
use uuid::Uuid;

use super::choices::Choices;
use super::messages::{block_of, sound};
use crate::gate::action::RawAction;
use crate::gate::digest::{Digest, Form};
use crate::gate::entry::reported::{self, Reported};
use crate::gate::entry::{self, Limits};
use crate::gate::headers::Headers;
use crate::gate::key;
use crate::gate::receipt::{Known, Receipt, Shape, Shown, may_answer};
use crate::gate::record::{KeyRecord, RunState};
use crate::gate::report::{self, Report, Status, Told, Verdict};
use crate::gate::source::Source;
use crate::gate::verdict::{Reason, Rejection};

const NAME: &str = "oncegate";

/// What the gate knows when the report comes.
struct Standing {
    record: Option<KeyRecord>,
    run_id: Uuid,
    judged: Option<Source>,
    limits: Limits,
}

/// After some choices: subject `FF` header block `FF` payload.
pub fn check(data: &[u8]) {
    let mut choices = Choices(data);
    let limits = Limits { message_bytes_max: choices.pick(&[20_000, 20_500, 80_000, 1 << 20]) };
    let source = Source {
        stream: "ONCEGATE_REPORTS".into(),
        sequence: choices.number(),
        time_ns: choices.signed(),
    };
    let judged = choices.coin().then(|| Source {
        stream: "ACTIONS".into(),
        sequence: choices.number(),
        time_ns: choices.signed(),
    });
    let record = choices.coin().then(|| record(&mut choices));
    let its_run = choices.coin();
    let pads = [choices.byte(), choices.byte()].map(usize::from);
    let [subject, block, payload] = choices.parts();
    let raw = RawAction {
        source,
        subject: String::from_utf8_lossy(subject).into_owned(),
        subject_exact: std::str::from_utf8(subject).is_ok(),
        headers: Headers::parse(&padded(block, pads[0])),
        payload: Bytes::from([payload, &b" ".repeat(pads[1] * 400)].concat()),
    };
    let report = report::decode(raw, NAME);
    says_what_its_headers_say(&report);
    let run_id = match &report.told {
        Ok(Told::Result { run_id, .. } | Told::Retry { run_id, .. }) if its_run => *run_id,
        _ => Uuid::from_u128(7),
    };
    judged_and_written(&report, &Standing { record, run_id, judged, limits });
}

fn record(choices: &mut Choices) -> KeyRecord {
    let state = match choices.below(3) {
        0 => RunState::Pending,
        1 => RunState::Succeeded(choices.number()),
        _ => RunState::Failed(choices.number()),
    };
    KeyRecord {
        digest: Digest { form: Form::Json, hash: 1 },
        rules: 0,
        stream: 0,
        sequence: choices.number(),
        time_ns: choices.signed(),
        expires_ns: choices.signed(),
        ledger_sequence: choices.number(),
        state,
    }
}

/// More than a fuzzer's input may hold.
fn padded(block: &[u8], pad: usize) -> Vec<u8> {
    let pad_line = format!("X-Pad: {}\r\n\r\n", "h".repeat(pad * 250));
    match block.strip_suffix(b"\r\n") {
        Some(lines) if pad > 0 => [lines, pad_line.as_bytes()].concat(),
        _ => block.to_vec(),
    }
}

fn says_what_its_headers_say(report: &Report) {
    let told = match &report.told {
        Ok(told) => told,
        Err(rejection) => {
            assert_eq!(rejection.reason, Reason::InvalidResult);
            assert!(!rejection.detail.is_empty());
            return;
        }
    };
    let headers = report.raw.headers.as_ref().unwrap();
    let one = |name| headers.one(name).unwrap();
    let key = told.key();
    assert_eq!(one(entry::KEY), key.key());
    assert!(key.scope().len() <= key::SCOPE_PARTS_MAX);
    for text in key.scope().into_iter().chain([key.key()]) {
        assert!(key::check(&text, key::KEY_BYTES_MAX).is_ok());
    }
    let scope: Vec<String> =
        headers.one(entry::SCOPE).map_or_else(Vec::new, |json| serde_json::from_str(json).unwrap());
    assert_eq!(key.scope(), scope);
    let subject = &report.raw.subject;
    match told {
        Told::Forget { detail, .. } => {
            assert_eq!(subject, "oncegate.operator.forget");
            assert_eq!(one(entry::DETAIL), detail);
        }
        Told::Retry { run_id, .. } => {
            assert!(subject.starts_with("oncegate.results."));
            assert_eq!(one(entry::STATUS), "retry");
            assert_eq!(one(entry::RUN_ID).parse(), Ok(*run_id));
        }
        Told::Result { run_id, status, digest, .. } => {
            assert!(subject.starts_with("oncegate.results."));
            assert_eq!(one(entry::STATUS), status.as_str());
            assert_eq!(one(entry::RUN_ID).parse(), Ok(*run_id));
            assert_eq!(report::digest(&report.raw.payload), *digest);
        }
    }
}

fn judged_and_written(report: &Report, known: &Standing) {
    let Standing { record, run_id, judged, limits } = known;
    let now_ns = report.raw.source.time_ns;
    let around = (judged.clone(), *limits);
    let live = record.as_ref().filter(|record| now_ns < record.expires_ns);
    let verdict = match &report.told {
        Ok(told) => report::judge(told, record.as_ref().map(|record| (record, *run_id)), now_ns),
        Err(rejection) => Verdict::Rejected(rejection.clone()),
    };
    let (shown, rejection) = match (&verdict, &report.told) {
        (Verdict::Completed(status), Ok(told)) => {
            assert!(live.is_some_and(|record| record.state == RunState::Pending));
            match reported::completed(NAME, report, *run_id, (told.key(), *status), around) {
                Ok(reported) => {
                    written_as_it_is(&reported, *limits, &report.raw.payload, *status);
                    (Shown::Completed, None)
                }
                Err(rejection) => {
                    assert_eq!(rejection.reason, Reason::InvalidResult);
                    assert!(report.raw.payload.len() + 20_000 > limits.message_bytes_max);
                    (Shown::Rejected, Some(rejection))
                }
            }
        }
        (Verdict::Released(by), Ok(told)) => {
            assert!(live.is_some());
            read_back(&reported::released(NAME, report, *run_id, (told, *by), around), *limits);
            (Shown::Released, None)
        }
        (Verdict::ResultNeeded(at), told) => {
            assert!(live.is_some_and(|record| record.state != RunState::Pending));
            let first = Some(report::digest(&report.raw.payload));
            assert_eq!(report::compare_results(told, first), Verdict::Repeated);
            assert!(matches!(report::compare_results(told, None), Verdict::Rejected(_)), "{at}");
            (Shown::Completed, None)
        }
        (Verdict::Rejected(rejection), _) => (Shown::Rejected, Some(rejection.clone())),
        (other, _) => panic!("{other:?}"),
    };
    if let Some(rejection) = &rejection {
        let around = (judged.clone(), *limits);
        read_back(&reported::rejected(NAME, report, rejection, around), *limits);
    }
    answered(report, shown, rejection, live.map(|record| (record, *run_id)));
}

fn written_as_it_is(reported: &Reported, limits: Limits, payload: &Bytes, status: Status) {
    read_back(reported, limits);
    assert_eq!(reported.message.payload, payload);
    assert_eq!(reported.message.subject, format!("{NAME}.completed.{}", status.as_str()));
}

fn read_back(Reported { message, entry }: &Reported, limits: Limits) {
    sound(message, limits.message_bytes_max);
    let headers = Headers::parse(&block_of(&message.headers)).unwrap();
    let read = entry::decode(NAME, &message.subject, &headers, b"");
    assert_eq!(read.as_ref(), Ok(entry));
}

/// JSON, whatever the key and the result are.
fn answered(
    report: &Report,
    verdict: Shown,
    rejection: Option<Rejection>,
    run: Option<(&KeyRecord, Uuid)>,
) {
    let Some(reply_to) = report.reply_to.clone() else { return };
    let token = |token: &str| !token.is_empty() && token != "*" && token != ">";
    if may_answer(&reply_to, &["_INBOX.".to_owned()]) {
        assert!(reply_to.starts_with("_INBOX.") && reply_to.split('.').all(token));
        assert!(!reply_to.contains(char::is_whitespace));
    }
    let known = run.filter(|_| rejection.is_none()).map(|(record, run_id)| Known {
        run_id,
        state: record.state,
        sequence: record.sequence,
        time_ns: record.time_ns,
        ledger_sequence: record.ledger_sequence,
        expires_ns: Some(record.expires_ns),
    });
    let key = report.key().cloned();
    let source = report.raw.source.clone();
    let receipt = Receipt { reply_to, verdict, replayed: false, key, source, rejection, known };
    let body = receipt.body(Some(&Shape::Whole(report.raw.payload.clone())));
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(told["verdict"], verdict.as_str());
    assert_eq!(told["key"].as_str(), report.key().map(key::ActionKey::key).as_deref());
    if verdict == Shown::Rejected {
        assert!(["run_id", "first", "result", "state"].iter().all(|name| told[name].is_null()));
    }
}
