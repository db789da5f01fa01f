//! Entries about reports, as section 8 of the contract has them, beside the runs that they name.

use serde_json::{Value, json};

use crate::stage::{Audit, Copied, copies, difference, of_input, rewrite};
use crate::support::model::Rules;
use crate::support::raw::Outgoing;
use crate::support::wait_until;
use crate::support::world::World;

/// An entry about a report on the run that the input of this sequence began.
fn about(entries: &[Copied], input: u64, kind: &str, report: u64, payload: &str) -> Copied {
    let accepted = &entries[of_input(entries, "accepted", input)];
    let named = |entry: &Copied| {
        let header = entry.header("Oncegate-Source");
        let judged = entry.header("Oncegate-Judged");
        [header, judged].into_iter().find(|text| text.starts_with("ACTIONS ")).map(str::to_owned)
    };
    let judged = entries.iter().rev().find_map(named).unwrap();
    let time = judged.rsplit(' ').next().unwrap();
    let mut headers = vec![
        ("Idempotency-Key", accepted.header("Idempotency-Key").to_owned()),
        ("Oncegate-Run-Id", accepted.header("Oncegate-Run-Id").to_owned()),
        ("Oncegate-Source", format!("ONCEGATE_REPORTS {report} {time}")),
        ("Oncegate-Judged", judged.clone()),
    ];
    if let Some(status) = kind.strip_prefix("completed.") {
        headers.push(("Oncegate-Status", status.to_owned()));
    }
    if let Some(reason) = kind.strip_prefix("rejected.") {
        headers.push(("Oncegate-Reason", reason.to_owned()));
        headers.push(("Oncegate-Detail", "why it is so".to_owned()));
        headers.push(("Oncegate-Status", "succeeded".to_owned()));
    }
    Copied {
        subject: format!("oncegate.{kind}"),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        payload: payload.as_bytes().to_vec(),
    }
}

/// Actions 1 (key k) and 2 (key l); then entries about reports on them, as `change` appends them.
fn reported(change: impl FnOnce(&mut Vec<Copied>)) -> Audit {
    let mut world = World::started(Rules::default());
    world.act("k", "1");
    world.act("l", "2");
    rewrite(&mut world, change);
    Audit::of(&world)
}

#[track_caller]
fn wrong_run(audit: &Audit, expected: &str, found: &str) {
    assert_eq!(difference(audit.only()), ("run", expected, found));
}

#[test]
fn results_and_what_is_refused_after_them() {
    let audit = reported(|entries| {
        let done = about(entries, 1, "completed.succeeded", 1, r#"{"id":1}"#);
        let other = about(entries, 1, "rejected.result_conflict", 2, r#"{"id":2}"#);
        let failed = about(entries, 2, "completed.failed", 4, "");
        let mut unknown = about(entries, 2, "rejected.unknown_run", 5, "");
        unknown.set("Idempotency-Key", "nobody's");
        let invalid = about(entries, 2, "rejected.invalid_result", 6, "");
        entries.extend([done, other, failed, unknown, invalid]);
    });
    audit.is_clean();
    audit.counts("reports", 5);
}

#[test]
fn a_second_result() {
    let audit = reported(|entries| {
        let done = about(entries, 1, "completed.succeeded", 1, "1");
        let again = about(entries, 1, "completed.failed", 2, "2");
        entries.extend([done, again]);
    });
    wrong_run(&audit, "one that has no result yet", "one that has succeeded");
}

#[test]
fn a_result_of_another_run() {
    let audit = reported(|entries| {
        let mut done = about(entries, 1, "completed.succeeded", 1, "1");
        done.set("Idempotency-Key", "l");
        entries.push(done);
    });
    wrong_run(&audit, "one that has no result yet", "one that is not known");
}

#[test]
fn refusals_that_are_not_due() {
    let unknown = reported(|entries| {
        let refused = about(entries, 1, "rejected.unknown_run", 1, "");
        entries.push(refused);
    });
    wrong_run(&unknown, "one that is not known", "one without a result");
    let conflict = reported(|entries| {
        let refused = about(entries, 1, "rejected.result_conflict", 1, "1");
        entries.push(refused);
    });
    wrong_run(&conflict, "one that has a result", "one without a result");
    let same = reported(|entries| {
        let done = about(entries, 1, "completed.succeeded", 1, r#"{"a":1,"b":2}"#);
        let again = about(entries, 1, "rejected.result_conflict", 2, r#"{"b":2.0,"a":1}"#);
        entries.extend([done, again]);
    });
    assert_eq!(difference(same.only()), ("result", "another", "the same again"));
}

#[test]
fn reports_out_of_order() {
    let audit = reported(|entries| {
        let two = about(entries, 2, "completed.succeeded", 2, "");
        let one = about(entries, 1, "completed.succeeded", 1, "");
        entries.extend([two, one]);
    });
    assert_eq!(difference(audit.only()), ("Oncegate-Source", "a report after 2", "1"));
}

#[test]
fn a_position_that_was_passed_before() {
    let audit = reported(|entries| {
        let mut done = about(entries, 1, "completed.succeeded", 1, "");
        let first = entries[of_input(entries, "accepted", 1)].header("Oncegate-Source").to_owned();
        done.set("Oncegate-Judged", &first);
        entries.push(done);
    });
    assert_eq!(difference(audit.only()).0, "Oncegate-Judged");
}

#[test]
fn a_status_that_is_not_the_subject_s() {
    let audit = reported(|entries| {
        let mut done = about(entries, 1, "completed.succeeded", 1, "");
        done.set("Oncegate-Status", "failed");
        entries.push(done);
    });
    assert_eq!(difference(audit.only()), ("Oncegate-Status", "succeeded", "failed"));
}

#[test]
fn entries_about_reports_that_say_nothing_are_foreign() {
    let audit = reported(|entries| {
        let mut done = about(entries, 1, "completed.succeeded", 1, "");
        done.headers.retain(|(name, _)| name != "Oncegate-Run-Id");
        let odd = about(entries, 1, "completed.sideways", 2, "");
        entries.extend([done, odd]);
    });
    audit.counts("foreign", 2);
    audit.counts("discrepancies", 2);
}

/// A key that is given back is new from that place on, and no earlier.
#[test]
fn a_released_key_is_new_from_there_on() {
    for kind in ["released.retry", "released.operator"] {
        let mut world = World::started(Rules::default());
        world.act("k", "1");
        world.act("k", "1");
        world.settle();
        let again = world.act("k", "2");
        // The worker rejects it, since nobody told it of the release that is put before.
        rewrite(&mut world, |entries| {
            let mismatch = of_input(entries, "rejected", again);
            let released = about(&entries[..mismatch], 1, kind, 1, "");
            let accepted = accepted_again(entries, mismatch);
            entries.truncate(mismatch);
            entries.extend([released, accepted]);
        });
        let audit = Audit::of(&world);
        audit.is_clean();
        audit.counts("accepted", 2);
        audit.counts("reports", 1);
        rewrite_without_release(&mut world);
        let finding = Audit::of(&world).only().clone();
        assert_eq!(difference(&finding).0, "verdict", "{kind}");
    }
}

/// The rejected entry as it is where its key is new.
fn accepted_again(entries: &[Copied], rejected: usize) -> Copied {
    use oncegate::gate::key::ActionKey;
    use oncegate::gate::source::Source;
    let mut entry = entries[rejected].clone();
    let source: Source = entry.header("Oncegate-Source").parse().unwrap();
    let key = ActionKey::new::<&str>(&[], "k");
    entry.subject = "oncegate.accepted.actions.pay".into();
    let kept = ["Idempotency-Key", "Oncegate-Digest", "Oncegate-Source"];
    entry.headers.retain(|(name, _)| kept.contains(&name.as_str()));
    let run_id = source.run_id(Some(&key)).hyphenated().to_string();
    entry.headers.push(("Oncegate-Run-Id".into(), run_id));
    entry
}

fn rewrite_without_release(world: &mut World) {
    rewrite(world, |entries| entries.retain(|entry| !entry.subject.contains("released")));
}

#[test]
fn a_key_that_is_not_known_is_not_given_back() {
    let audit = reported(|entries| {
        let mut forgotten = about(entries, 1, "released.operator", 1, "");
        forgotten.set("Idempotency-Key", "nobody's");
        entries.push(forgotten);
    });
    let finding: &Value = audit.only();
    assert_eq!(finding["key"], json!("nobody's"));
    assert_eq!(difference(finding), ("run", "a key that counts as seen", "one that is not known"));
}

/// Publishes what an executor tells of a run, and waits for its entry.
fn tell(world: &mut World, of: u64, status: &str, payload: &str) -> Copied {
    let entries = copies(world);
    let accepted = &entries[of_input(&entries, "accepted", of)];
    let headers = [
        ("Idempotency-Key", accepted.header("Idempotency-Key")),
        ("Oncegate-Run-Id", accepted.header("Oncegate-Run-Id")),
        ("Oncegate-Status", status),
    ];
    world.publish(&Outgoing::new("oncegate.results.pay", &headers, payload.as_bytes()));
    wait_until("the report's entry", || copies(world).len() > entries.len());
    copies(world).pop().unwrap()
}

#[test]
fn a_worker_s_own_entries_about_reports_are_as_they_must_be() {
    let mut world = World::started(Rules::default());
    let [k, l, m] = ["k", "l", "m"].map(|key| world.act(key, "1"));
    world.act("k", "1");
    world.settle();
    assert_eq!(
        tell(&mut world, k, "succeeded", r#"{"id":1}"#).subject,
        "oncegate.completed.succeeded"
    );
    // The same again is closed by a marker.
    assert_eq!(tell(&mut world, k, "succeeded", r#"{ "id": 1.0 }"#).subject, "oncegate.judged");
    assert_eq!(tell(&mut world, k, "failed", "no").subject, "oncegate.rejected.result_conflict");
    assert_eq!(tell(&mut world, l, "retry", "").subject, "oncegate.released.retry");
    assert_eq!(tell(&mut world, l, "failed", "late").subject, "oncegate.rejected.unknown_run");
    assert_eq!(tell(&mut world, m, "odd", "").subject, "oncegate.rejected.invalid_result");
    let forgotten = world.gate.call(&["forget", "m", "--reason", "it never went out"]);
    assert_eq!(forgotten.code, Some(0), "{forgotten:#?}");
    for key in ["k", "l", "m"] {
        world.act(key, "2");
        world.act(key, "2");
    }
    world.settle();
    let audit = Audit::of(&world);
    audit.is_clean();
    audit.counts("reports", 6);
    audit.counts("accepted", 5);
    audit.counts("duplicates", 3);
}
