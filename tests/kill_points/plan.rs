//! Which stage reaches a point, and how often.

use oncegate::worker::kill::{Place, Point, Step};

use crate::{Kind, Stage};

/// The stage that reaches this point, or why none does.
pub fn stage(point: Point) -> Result<Stage, &'static str> {
    match point {
        Point::Before(step) | Point::After(step) => of_step(step),
        Point::At(place) => Ok(of_place(place)),
    }
}

fn of_step(step: Step) -> Result<Stage, &'static str> {
    Ok(match step {
        Step::AppendFirst
        | Step::AppendMiddle
        | Step::AppendLast
        | Step::AppendLone
        | Step::AppendEnd
        | Step::ReplyToFirst
        | Step::ReplyFlow
        | Step::ReplyEnd
        | Step::Renew => Stage::Appending,
        Step::Commit
        | Step::Settle
        | Step::Committed
        | Step::Anchor
        | Step::Actions
        | Step::Reports
        | Step::ReadFeed
        | Step::Pause
        | Step::Tick
        | Step::WriteOut
        | Step::FetchAnchor => Stage::Settling,
        Step::OpenSession
        | Step::AskInput
        | Step::AskLimits
        | Step::ConnectFeed
        | Step::StartFeed
        | Step::FeedEnded
        | Step::EndInput => Stage::FeedBreaking,
        Step::AskLedgerState
        | Step::AskLedgerEntry
        | Step::AskInputState
        | Step::AskInputFrom
        | Step::Recovered => Stage::Recovering,
        Step::TryLease
        | Step::CheckKeyRules
        | Step::AppendLeading
        | Step::CommitLeading
        | Step::LeaseLost => Stage::LeaseLosing,
        Step::OpenTail | Step::CommitFollowed => Stage::Following,
        Step::Stop | Step::CommitLastPosition | Step::GiveBackLease | Step::FlushTable => {
            Stage::Draining
        }
        Step::AskLedgerTail | Step::AskRecords | Step::CommitTail => Stage::Tail,
        Step::ReadResult => Stage::Reporting,
        Step::RecoverFenced | Step::ReplyError => Stage::Fenced,
        Step::RecoverRefused => Stage::Full,
        Step::ReadOriginal | Step::FetchOriginal | Step::Original => Stage::OtherRules,
        Step::AwaitClock | Step::ClockCaughtUp => Stage::WrongClock,
        Step::ReplyGap => Stage::LedgerDenied,
        Step::Redelivered | Step::Acknowledge => Stage::Redelivery,
        Step::RecoverInputChanged => {
            return Err("an input that is made anew ends its feed before it brings anything");
        }
        Step::RepliesEnded => {
            return Err("the client keeps its subscriptions whatever becomes of its connection");
        }
    })
}

fn of_place(place: Place) -> Stage {
    match place {
        Place::LeaseTaken | Place::EndLeaseLost => Stage::LeaseLosing,
        Place::FeedBrokenInFlight | Place::EndRecover => Stage::FeedBreaking,
        Place::DrainingInFlight | Place::EndStopped => Stage::Draining,
        Place::EndTermOver => Stage::TermEnding,
        Place::EndDenied => Stage::InputDenied,
    }
}

/// Points that have a stage of their own, and are worth a kill in this one too.
pub fn more_points(stage: Stage) -> Vec<Point> {
    let around = |steps: &[Step]| {
        steps.iter().flat_map(|step| [Point::Before(*step), Point::After(*step)]).collect()
    };
    match stage {
        Stage::InputAnew => around(&[
            Step::AskInputFrom,
            Step::Recovered,
            Step::AppendLeading,
            Step::CommitLeading,
            Step::StartFeed,
        ]),
        Stage::Fenced => around(&[Step::AskLedgerTail, Step::CommitTail]),
        Stage::Reporting => around(&[
            Step::FetchOriginal,
            Step::Original,
            Step::Reports,
            Step::Commit,
            Step::Settle,
            Step::Acknowledge,
        ]),
        Stage::TermEnding => around(&[Step::AppendLeading, Step::CommitLeading]),
        _ => Vec::new(),
    }
}

/// A later time, at most, that this point is reached by one process.
pub fn last_time((stage, kind): (Stage, Kind), point: Point) -> u64 {
    match (stage, point) {
        (_, Point::Before(Step::AppendMiddle) | Point::After(Step::AppendMiddle)) => 300,
        // As few reports as one commit holds, at least.
        (Stage::Redelivery, Point::Before(Step::Redelivered) | Point::After(Step::Redelivered)) => {
            if kind == Kind::WorkQueue {
                20
            } else {
                1
            }
        }
        (Stage::Redelivery, _) => {
            if kind == Kind::WorkQueue {
                200
            } else {
                10
            }
        }
        (Stage::Tail, Point::Before(Step::AskRecords) | Point::After(Step::AskRecords)) => 1,
        // A standby opens it once.
        (Stage::Following, Point::Before(Step::OpenTail) | Point::After(Step::OpenTail)) => 1,
        (_, Point::At(Place::DrainingInFlight | Place::FeedBrokenInFlight)) => 3,
        // Acknowledged within a batch only where there is much at hand.
        (_, Point::Before(Step::ReplyFlow) | Point::After(Step::ReplyFlow)) => 2,
        // The process ends with these.
        (Stage::Draining | Stage::LedgerDenied | Stage::InputDenied, _) => 1,
        // As many as its chunks.
        (Stage::Tail, _) => 2,
        (Stage::TermEnding, _) => 2,
        _ => 3,
    }
}

/// The first time in this stage that something of its own is shown.
pub fn first_time(stage: Stage, point: Point) -> u64 {
    let since_the_start = [Step::AppendLeading, Step::CommitLeading, Step::StartFeed];
    match (stage, point) {
        (Stage::InputAnew | Stage::TermEnding, Point::Before(step) | Point::After(step))
            if since_the_start.contains(&step) =>
        {
            2
        }
        _ => 1,
    }
}
