//! What becomes of a report, by what the table knows of its key.

use oncegate::gate::digest::{Digest, Form};
use oncegate::gate::record::{KeyRecord, RunState};
use oncegate::gate::report::{self, Release, Status, Verdict};
use oncegate::gate::verdict::Reason;
use uuid::Uuid;

use super::{RUN, forget, result};

const EXPIRES_NS: i64 = 100;

fn judge(report: &report::Report, state: Option<RunState>, run: &str, now_ns: i64) -> String {
    let record = state.map(|state| KeyRecord {
        digest: Digest { form: Form::Json, hash: 1 },
        rules: 0,
        stream: 0,
        sequence: 1,
        time_ns: 1,
        expires_ns: EXPIRES_NS,
        ledger_sequence: 2,
        state,
    });
    let run: Uuid = run.parse().unwrap();
    let known = record.as_ref().map(|record| (record, run));
    match report::judge(report.told.as_ref().unwrap(), known, now_ns) {
        Verdict::Completed(Status::Succeeded) => "succeeded".to_owned(),
        Verdict::Completed(Status::Failed) => "failed".to_owned(),
        Verdict::Released(Release::Retry) => "retried".to_owned(),
        Verdict::Released(Release::Operator) => "forgotten".to_owned(),
        Verdict::Repeated => "repeated".to_owned(),
        Verdict::Rejected(rejection) => rejection.reason.as_str().to_owned(),
        Verdict::ResultNeeded(at) => format!("compare with {at}"),
    }
}

#[test]
fn the_table_of_reports() {
    const OTHER_RUN: &str = "0199b2f0-7c1e-7000-8000-000000000000";
    let reports = ["succeeded", "failed", "retry"].map(|status| result(status, "1"));
    let [succeeded, failed, retry] = &reports;
    let forget = &forget();
    use RunState::{Failed, Pending, Succeeded};
    let rows = [
        (succeeded, Some(Pending), RUN, 0, "succeeded"),
        (failed, Some(Pending), RUN, 0, "failed"),
        (retry, Some(Pending), RUN, 0, "retried"),
        (forget, Some(Pending), RUN, 0, "forgotten"),
        (succeeded, Some(Succeeded(9)), RUN, 0, "compare with 9"),
        (failed, Some(Failed(9)), RUN, 0, "compare with 9"),
        (succeeded, Some(Failed(9)), RUN, 0, "result_conflict"),
        (failed, Some(Succeeded(9)), RUN, 0, "result_conflict"),
        (retry, Some(Succeeded(9)), RUN, 0, "result_conflict"),
        (retry, Some(Failed(9)), RUN, 0, "result_conflict"),
        (forget, Some(Succeeded(9)), RUN, 0, "forgotten"),
        (forget, Some(Failed(9)), RUN, 0, "forgotten"),
        // Of an acceptance before, or of another gate.
        (succeeded, Some(Pending), OTHER_RUN, 0, "unknown_run"),
        (failed, Some(Succeeded(9)), OTHER_RUN, 0, "unknown_run"),
        (retry, Some(Pending), OTHER_RUN, 0, "unknown_run"),
        (forget, Some(Pending), OTHER_RUN, 0, "forgotten"),
        // The window is over at its last nanosecond, not after it.
        (succeeded, Some(Pending), RUN, EXPIRES_NS - 1, "succeeded"),
        (succeeded, Some(Pending), RUN, EXPIRES_NS, "unknown_run"),
        (failed, Some(Failed(9)), RUN, EXPIRES_NS, "unknown_run"),
        (retry, Some(Pending), RUN, EXPIRES_NS, "unknown_run"),
        (forget, Some(Pending), RUN, EXPIRES_NS, "unknown_run"),
        // Never seen, or given back.
        (succeeded, None, RUN, 0, "unknown_run"),
        (retry, None, RUN, 0, "unknown_run"),
        (forget, None, RUN, 0, "unknown_run"),
    ];
    for (number, (report, state, run, now_ns, verdict)) in (1..).zip(rows) {
        assert_eq!(judge(report, state, run, now_ns), verdict, "row {number}");
    }
}

#[test]
fn a_result_beside_another_of_its_status() {
    let told = result("succeeded", r#"{"id":1.0}"#).told;
    let reason =
        |first: Option<&[u8]>| match report::compare_results(&told, first.map(report::digest)) {
            Verdict::Rejected(rejection) => Some(rejection.reason),
            verdict => {
                assert_eq!(verdict, Verdict::Repeated);
                None
            }
        };
    assert_eq!(reason(Some(br#"{ "id": 1 }"#)), None);
    assert_eq!(reason(Some(br#"{"id":2}"#)), Some(Reason::ResultConflict));
    assert_eq!(reason(Some(br#"{"id":1.0"#)), Some(Reason::ResultConflict));
    assert_eq!(reason(None), Some(Reason::ResultConflict), "it is never guessed");
}
