//! The ledger entries of reports, there and back.

use oncegate::gate::entry::reported::{self, Reported};
use oncegate::gate::entry::{self, Entry, Limits, Message};
use oncegate::gate::report::{Release, Report, Status};
use oncegate::gate::verdict::{Reason, Rejection};

use super::{RUN, forget, key, report, result, source};

const LARGE: Limits = Limits { message_bytes_max: 1 << 20 };

fn read_back(message: &Message) -> Result<Entry, entry::Unread> {
    let headers = message.headers.iter().map(|(n, v)| (n.as_ref(), v.as_str())).collect();
    entry::decode("oncegate", &message.subject, &headers, b"")
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    let found = message.headers.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}

fn complete(report: &Report, limits: Limits) -> Result<Reported, Rejection> {
    let around = (Some(source("ACTIONS", 5)), limits);
    let (key, run_id) = (key("a"), RUN.parse().unwrap());
    reported::completed("oncegate", report, run_id, (&key, Status::Succeeded), around)
}

#[test]
fn a_result_keeps_its_payload_and_names_both_positions() {
    let lines = format!(
        "Idempotency-Key: a\r\nOncegate-Run-Id: {RUN}\r\nOncegate-Status: succeeded\r\nX-Trace: t\r\n\
         Nats-Msg-Id: m\r\nOncegate-Judged: forged"
    );
    let report = report("oncegate.results.w", &lines, "{\"id\":1}");
    let Reported { message, entry } = complete(&report, LARGE).ok().unwrap();
    assert_eq!(message.subject, "oncegate.completed.succeeded");
    assert_eq!(message.payload, "{\"id\":1}");
    let told = [
        "Idempotency-Key",
        "Oncegate-Run-Id",
        "Oncegate-Status",
        "Oncegate-Source",
        "Oncegate-Judged",
        "X-Trace",
    ]
    .map(|name| header(&message, name).unwrap());
    let at = "1970-01-01T00:00:01.000000000Z";
    let (source_text, judged_text) =
        (format!("ONCEGATE_REPORTS 7 {at}"), format!("ACTIONS 5 {at}"));
    assert_eq!(told, ["a", RUN, "succeeded", &source_text, &judged_text, "t"]);
    assert_eq!(header(&message, "Nats-Msg-Id"), None);
    assert_eq!(read_back(&message), Ok(entry));
}

#[test]
fn a_key_given_back() {
    let around = (None, LARGE);
    let rows = [(result("retry", "why"), Release::Retry), (forget(), Release::Operator)];
    for (report, by) in rows {
        let told = report.told.as_ref().unwrap();
        let run_id = RUN.parse().unwrap();
        let Reported { message, entry } =
            reported::released("oncegate", &report, run_id, (told, by), around.clone());
        assert_eq!(message.subject, format!("oncegate.released.{}", by.as_str()));
        assert_eq!(header(&message, "Oncegate-Run-Id"), Some(RUN));
        assert_eq!(header(&message, "Oncegate-Judged"), None, "nothing is judged yet");
        let detail = (by == Release::Operator).then_some("a typing error");
        assert_eq!(header(&message, "Oncegate-Detail"), detail);
        let wanted =
            Entry::Released { source: report.raw.source.clone(), judged: None, key: key("a"), by };
        assert_eq!(entry, wanted);
        assert_eq!(read_back(&message), Ok(wanted));
    }
}

#[test]
fn the_dead_letters_of_reports() {
    let around = (Some(source("ACTIONS", 5)), LARGE);
    let odd = report("oncegate.results.w", "Idempotency-Key: a", "{}");
    let rows = [
        (result("failed", "{}"), Reason::ResultConflict),
        (forget(), Reason::UnknownRun),
        (odd, Reason::InvalidResult),
    ];
    for (report, reason) in rows {
        let rejection = Rejection::new(reason, "why");
        let Reported { message, entry } =
            reported::rejected("oncegate", &report, &rejection, around.clone());
        assert_eq!(message.subject, format!("oncegate.rejected.{}", reason.as_str()));
        assert_eq!(message.payload, report.raw.payload);
        assert_eq!(header(&message, "Oncegate-Source-Subject"), Some(&*report.raw.subject));
        assert_eq!(header(&message, "Idempotency-Key"), Some("a"), "{reason:?}");
        assert_eq!(read_back(&message), Ok(entry));
    }
}

#[test]
fn a_result_that_the_ledger_can_t_carry() {
    let limits = Limits { message_bytes_max: 1000 };
    let padded = |pad: usize, payload: usize| {
        let lines = format!(
            "Idempotency-Key: a\r\nOncegate-Run-Id: {RUN}\r\nOncegate-Status: succeeded\r\nX: {}",
            "x".repeat(pad)
        );
        report("oncegate.results.w", &lines, "p".repeat(payload))
    };
    let kept = complete(&padded(800, 100), limits).ok().unwrap();
    assert_eq!(kept.message.payload.len(), 100, "the result stays");
    assert_eq!(header(&kept.message, "X"), None, "the executor's own headers go");
    let large = padded(10, 900);
    let rejection = complete(&large, limits).err().unwrap();
    assert_eq!(rejection.reason, Reason::InvalidResult);
    let Reported { message, entry } =
        reported::rejected("oncegate", &large, &rejection, (None, limits));
    assert!(message.payload.is_empty() && message.bytes() <= limits.message_bytes_max);
    assert_eq!(header(&message, "X"), Some("xxxxxxxxxx"));
    assert_eq!(read_back(&message), Ok(entry));
}

#[test]
fn entries_that_say_too_little_are_foreign() {
    let message = complete(&result("succeeded", "1"), LARGE).ok().unwrap().message;
    for name in ["Idempotency-Key", "Oncegate-Run-Id", "Oncegate-Source"] {
        let mut without = message.clone();
        without.headers.retain(|(known, _)| known != name);
        assert!(read_back(&without).is_err(), "{name}");
    }
    let mut other = message.clone();
    other.subject = "oncegate.completed.perhaps".into();
    assert!(read_back(&other).is_err());
    let mut garbled = message;
    for (name, value) in &mut garbled.headers {
        if name == "Oncegate-Judged" {
            *value = "ACTIONS five".into();
        }
    }
    assert!(read_back(&garbled).is_err());
}
