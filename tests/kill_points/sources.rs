//! No step of the loop without a kill point: what the compiler does not see.

use std::path::Path;

/// What the worker waits for, or writes.
const STEPS: [&str; 3] = [".await", "table.commit(", "lease.renew("];

/// Calls that have points inside or around them, and waiting that changes nothing.
const COVERED: &[(&str, &str)] = &[
    // Each ask is a step of `recover`.
    ("recover.rs", ".run(unsettled)"),
    ("recover.rs", "self.find_out("),
    ("recover.rs", "stream(&self.config,connection,name)"),
    ("recover.rs", "stream(self.config,connection,"),
    ("recover.rs", "raw::get("),
    ("recover.rs", "raw::range("),
    ("recover.rs", "raw::next("),
    ("recover.rs", "setup::stream_info("),
    ("term.rs", "self.recover_and_pump("),
    ("term.rs", "self.recover("),
    ("term.rs", "self.append_leading("),
    ("term.rs", "raw::last_on("),
    ("term.rs", "Pump::new("),
    ("term.rs", "pump.run("),
    ("term.rs", "holding.give_back()"),
    ("term.rs", "self.pause_in_term("),
    ("term.rs", "self.last_leading("),
    ("term.rs", "holding.confirm("),
    ("standby.rs", "worker.recover("),
    ("standby.rs", "worker.last_leading("),
    ("standby.rs", "self.catch_up("),
    ("standby.rs", "self.follow("),
    ("standby.rs", "self.or_stop(try_take("),
    ("standby.rs", "matchtry_take("),
    ("standby.rs", "tokio::time::sleep("),
    ("standby.rs", "setup::lease_bucket("),
    ("standby.rs", "tail.next("),
    ("recover.rs", "self.read_tail("),
    ("recover.rs", "reader.next("),
    ("recover.rs", "Tail::open("),
    // Read ahead of its step: nothing is changed by it.
    ("recover.rs", "ahead.chunks.recv()"),
    ("recover.rs", "sender.send(entries)"),
    // Nothing but the way to a refusal.
    ("recover.rs", "self.refused(refusal)"),
    ("recover.rs", "tokio::time::timeout(TAIL_SILENCE_MAX"),
    ("holding.rs", "self.task"),
    ("holding.rs", "keeping"),
    ("holding.rs", "release(lease)"),
    ("holding.rs", "give_back.cancelled()"),
    ("holding.rs", "tokio::time::sleep(RELEASE_MAX)"),
    ("input.rs", "sender.send("),
    // Ended by a step of the loop.
    ("input.rs", "self.task"),
    ("mod.rs", "self.wait("),
    ("mod.rs", "self.on"),
    ("mod.rs", "self.close("),
    ("mod.rs", "future::pending()"),
    ("opening.rs", "Inlet::open("),
    ("mod.rs", "self.pause_if_idle()"),
    ("mod.rs", "self.actions.end()"),
    ("inlet.rs", "input.batches.recv()"),
    ("inlet.rs", "future::pending()"),
    ("mod.rs", "tokio::time::sleep_until("),
    // Each acknowledgement is a step.
    ("inlet.rs", "acknowledging.shutdown("),
    ("inlet.rs", "tokio::time::sleep(ACKNOWLEDGE_AGAIN_AFTER)"),
    // Each command is a step.
    ("commands.rs", "self.carry_out_all("),
    ("commands.rs", "self.tell("),
    ("commands.rs", "letcommitted=self.worker."),
    ("commands.rs", "self.session.send("),
    ("commands.rs", "around.done_after("),
    ("commands.rs", "setup::stream_info("),
    ("commands.rs", "must_be_gone("),
    ("commands.rs", "answer.send("),
];

fn source(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/worker").join(path);
    let text = std::fs::read_to_string(path).unwrap();
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    code.collect::<Vec<_>>().join("\n")
}

/// Steps in this text that have no point since the step before them, each as its statement.
fn without_point(file: &str, code: &str) -> Vec<String> {
    let is_step = |at: &usize, step: &str| {
        let in_word = |next: char| next.is_alphanumeric() || next == '_';
        step.ends_with('(') || !code[at + step.len()..].starts_with(in_word)
    };
    let steps = STEPS
        .iter()
        .flat_map(|step| code.match_indices(step).map(|(at, _)| at).filter(|at| is_step(at, step)));
    let mut steps: Vec<usize> = steps.collect();
    steps.sort_unstable();
    let (mut found, mut before) = (Vec::new(), 0);
    for at in steps {
        let statement = code[..at].rfind([';', '{', '}']).map_or(0, |end| end + 1);
        let statement: String = code[statement..at].split_whitespace().collect();
        if COVERED.iter().any(|(of, call)| *of == file && statement.contains(call)) {
            continue;
        }
        let function = code[..at].rfind("fn ").unwrap_or(0);
        if !code[before.max(function)..at].contains("kill::a") {
            found.push(format!("{file}: {statement}"));
        }
        before = at;
    }
    found
}

#[test]
fn every_step_of_the_loop_has_a_kill_point() {
    let files = [
        "standby.rs",
        "term.rs",
        "recover.rs",
        "holding.rs",
        "input.rs",
        "pump/mod.rs",
        "pump/commands.rs",
        "pump/inlet.rs",
        "pump/opening.rs",
    ];
    let (mut found, mut not_there) = (Vec::new(), COVERED.to_vec());
    for path in files {
        let (code, file) = (source(path), path.rsplit('/').next().unwrap());
        assert!(STEPS.iter().any(|step| code.contains(step)), "{path} has moved");
        found.extend(without_point(file, &code));
        let code: String = code.split_whitespace().collect();
        not_there.retain(|(of, call)| *of != file || !code.contains(call));
    }
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(not_there, [], "exceptions for what is no longer there");
}

#[test]
fn a_step_without_a_kill_point_is_found() {
    let code = "async fn a() { kill::at(Place::X); b().await; c(); d().await; }";
    assert_eq!(without_point("x.rs", code), ["x.rs: d()"]);
    let code = "fn a() { kill::at(Place::X); } fn b() { self.table.commit(commit); }";
    assert_eq!(without_point("x.rs", code), ["x.rs: self."]);
}
