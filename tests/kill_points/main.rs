//! The worker dies at every step of its loop, several times, or is frozen there while another leads; the
//! ledger equals the model.
//!
//! `KILL_ROUNDS=n` kills n times as often, `KILL_SEED=n` at other times, `KILL_ONLY=<point>` at one point.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and each file uses its own part of the support"
)]

#[path = "../support/mod.rs"]
mod support;

mod frozen;
mod killer;
mod plan;
mod scene;
mod sources;
mod waiting;

use oncegate::worker::kill::points;
use support::model::Rules;
use support::world::World;

/// One test a stage and kind of input, so that none is without.
macro_rules! stages {
    ($($name:ident: $stage:ident,)*) => {
        /// What must be going on for a point to be reached.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Stage { $($stage),* }

        mod killed_on_a_limits_stream {
            $(#[test] fn $name() { crate::killer::every_point_of(crate::Stage::$stage, crate::Kind::Limits); })*
        }

        mod killed_on_a_work_queue {
            $(#[test] fn $name() { crate::killer::every_point_of(crate::Stage::$stage, crate::Kind::WorkQueue); })*
        }
    };
}

stages! {
    while_it_appends: Appending,
    while_it_settles: Settling,
    while_its_feed_breaks: FeedBreaking,
    while_it_recovers_from_a_break: Recovering,
    while_it_loses_its_lease: LeaseLosing,
    while_it_drains: Draining,
    while_it_reads_a_tail_with_foreign_entries: Tail,
    while_it_is_fenced: Fenced,
    while_the_ledger_is_full: Full,
    while_it_reads_originals_under_other_rules: OtherRules,
    while_the_clock_is_wrong: WrongClock,
    while_its_term_ends: TermEnding,
    while_it_is_denied_the_ledger: LedgerDenied,
    while_it_is_denied_the_input: InputDenied,
    while_judged_messages_come_again: Redelivery,
    while_results_are_repeated: Reporting,
    while_the_input_is_made_anew: InputAnew,
    while_it_follows_as_a_standby: Following,
}

macro_rules! frozen {
    ($($name:ident: $stage:ident,)*) => {
        mod frozen_while_another_leads {
            $(#[test] fn $name() { crate::frozen::every_point_of(crate::Stage::$stage); })*
        }
    };
}

frozen! {
    while_it_appends: Appending,
    while_it_settles: Settling,
    while_its_feed_breaks: FeedBreaking,
    while_it_recovers_from_a_break: Recovering,
    while_it_loses_its_lease: LeaseLosing,
    while_it_drains: Draining,
    while_it_reads_a_tail_with_foreign_entries: Tail,
    while_it_is_fenced: Fenced,
    while_results_are_repeated: Reporting,
}

/// The retention of the actions' stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Limits,
    WorkQueue,
}

#[test]
fn points_that_no_test_reaches_are_few() {
    let unreached: Vec<String> = points()
        .into_iter()
        .filter(|point| plan::stage(*point).is_err())
        .map(|point| point.to_string())
        .collect();
    let expected = [
        "BeforeRecoverInputChanged",
        "AfterRecoverInputChanged",
        "BeforeRepliesEnded",
        "AfterRepliesEnded",
    ];
    assert_eq!(unreached, expected);
}

#[test]
fn a_name_that_is_no_point_is_refused_at_the_start() {
    let mut world = World::prepared(support::server::Server::start(), Rules::default());
    let variables = [killer::KILL_AT, frozen::FREEZE_AT].into_iter().cycle();
    for (variable, wrong) in variables.zip(["BeforeLunch", "BeforeSettle:0", "BeforeSettle:x", ""])
    {
        world.gate.env = vec![(variable.into(), wrong.into())];
        let names: Vec<String> = points().iter().map(ToString::to_string).collect();
        let mut words = vec![variable, wrong];
        words.extend(names.iter().map(String::as_str));
        world.gate.refuses(&words);
    }
}
