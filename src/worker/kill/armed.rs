//! The points that kill, or freeze.

use std::fmt;
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Place, Step};
use crate::gate::engine::recovery::{self, Ask};
use crate::gate::engine::session::{Append, Op, ReplyKind};
use crate::gate::engine::{Cause, Command};
use crate::worker::pump::{End, Happened};

const KILL_AT: &str = "ONCEGATE_KILL_AT";
const FREEZE_AT: &str = "ONCEGATE_FREEZE_AT";
/// What was sent leaves the process within this, or the end comes without it.
const LEAVE_MAX: Duration = Duration::from_secs(1);

/// Where the process can be told to end, or to freeze.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Before this is done.
    Before(Step),
    /// After it was done, well or not.
    After(Step),
    /// Here.
    At(Place),
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before(step) => write!(f, "Before{step:?}"),
            Self::After(step) => write!(f, "After{step:?}"),
            Self::At(place) => write!(f, "{place:?}"),
        }
    }
}

/// Every point there is.
pub fn points() -> Vec<Point> {
    let steps = Step::ALL.iter().flat_map(|step| [Point::Before(*step), Point::After(*step)]);
    steps.chain(Place::ALL.iter().map(|place| Point::At(*place))).collect()
}

struct Armed {
    point: Point,
    nth: u64,
    reached: AtomicU64,
    /// The process is stopped until somebody lets it go on; else it ends.
    freezes: bool,
}

static ARMED: OnceLock<Armed> = OnceLock::new();

/// Reads the environment; what is not a point there is an error that names them all.
pub fn arm() -> anyhow::Result<()> {
    for (variable, freezes) in [(KILL_AT, false), (FREEZE_AT, true)] {
        if let Ok(text) = std::env::var(variable) {
            let (point, nth) = read(variable, &text)?;
            ARMED.get_or_init(|| Armed { point, nth, reached: AtomicU64::new(0), freezes });
        }
    }
    Ok(())
}

fn read(variable: &str, text: &str) -> anyhow::Result<(Point, u64)> {
    let (name, nth) = text.split_once(':').unwrap_or((text, "1"));
    let point = points().into_iter().find(|point| point.to_string() == name);
    let nth = nth.parse().ok().filter(|nth| *nth > 0);
    let (Some(point), Some(nth)) = (point, nth) else {
        let known: Vec<String> = points().iter().map(Point::to_string).collect();
        anyhow::bail!(
            "{variable}={text} names no kill point; it is <point>[:<nth time>], and the points are {}",
            known.join(", ")
        );
    };
    Ok((point, nth))
}

/// Whether this is the point and the time.
fn is_due(point: Point) -> bool {
    ARMED.get().is_some_and(|armed| {
        armed.point == point && armed.reached.fetch_add(1, Ordering::Relaxed) + 1 == armed.nth
    })
}

/// Stops its parent, and says so when every thread of it stands still.
const STOP_PARENT: &str = "kill -STOP $PPID; \
    while cat /proc/$PPID/task/*/stat | grep -qv ') T '; do :; done; echo \"$0\" >&2";

fn strike(point: Point) {
    if ARMED.get().is_some_and(|armed| armed.freezes) {
        let said = format!("frozen at {point}");
        // Comes back after a SIGCONT.
        std::process::Command::new("sh").args(["-c", STOP_PARENT, &said]).status().ok();
        return;
    }
    let line = format!("killed at {point}\n");
    std::io::stderr().write_all(line.as_bytes()).ok();
    std::process::abort()
}

fn reach(point: Point) {
    if is_due(point) {
        strike(point);
    }
}

/// The worker comes by this place.
pub fn at(place: impl Into<Place>) {
    reach(Point::At(place.into()));
}

/// A step that is being done.
#[must_use]
pub struct Around(Step);

/// The worker begins this step.
pub fn around(step: impl Into<Step>) -> Around {
    let step = step.into();
    reach(Point::Before(step));
    Around(step)
}

impl Around {
    /// The step is done.
    pub fn done(self) {
        reach(Point::After(self.0));
    }

    /// The step is done; before the end, what it sent leaves the process.
    pub async fn done_after(self, leave: impl Future) {
        let point = Point::After(self.0);
        if is_due(point) {
            tokio::time::timeout(LEAVE_MAX, leave).await.ok();
            strike(point);
        }
    }
}

impl From<&Command> for Step {
    fn from(command: &Command) -> Self {
        match command {
            Command::Append(append) => append.into(),
            Command::Commit(_) => Self::Commit,
            Command::Settle(_) => Self::Settle,
            Command::Redelivered(..) => Self::Redelivered,
            Command::ReadOriginal(_) => Self::ReadOriginal,
            Command::ReadResult(_) => Self::ReadResult,
            Command::AwaitClock(_) => Self::AwaitClock,
            Command::ClockCaughtUp => Self::ClockCaughtUp,
            Command::Recover(Cause::Fenced) => Self::RecoverFenced,
            Command::Recover(Cause::Refused(_)) => Self::RecoverRefused,
            Command::Recover(Cause::InputChanged) => Self::RecoverInputChanged,
        }
    }
}

impl From<&Append> for Step {
    fn from(append: &Append) -> Self {
        match append.op {
            Op::Start => Self::AppendFirst,
            Op::Append => Self::AppendMiddle,
            Op::Commit if append.number == 1 => Self::AppendLone,
            Op::Commit => Self::AppendLast,
            Op::End => Self::AppendEnd,
        }
    }
}

impl From<&Happened> for Step {
    fn from(happened: &Happened) -> Self {
        match happened {
            Happened::Reply(Some(reply)) => (&reply.kind).into(),
            Happened::Reply(None) => Self::RepliesEnded,
            Happened::Original(_) => Self::Original,
            Happened::Anchor(_) => Self::Anchor,
            Happened::Actions(Some(_)) => Self::Actions,
            Happened::Reports(Some(_)) => Self::Reports,
            Happened::Actions(None) | Happened::Reports(None) => Self::FeedEnded,
            Happened::Pause => Self::Pause,
            Happened::Tick => Self::Tick,
            Happened::LeaseLost => Self::LeaseLost,
            Happened::Stop => Self::Stop,
        }
    }
}

impl From<&ReplyKind> for Step {
    fn from(reply: &ReplyKind) -> Self {
        match reply {
            ReplyKind::Flow { number: 0, .. } => Self::ReplyToFirst,
            ReplyKind::Flow { .. } => Self::ReplyFlow,
            ReplyKind::End { .. } => Self::ReplyEnd,
            ReplyKind::Error { .. } => Self::ReplyError,
            ReplyKind::Gap => Self::ReplyGap,
        }
    }
}

impl From<&recovery::Step> for Step {
    fn from(step: &recovery::Step) -> Self {
        match step {
            recovery::Step::Ask(Ask::LedgerState) => Self::AskLedgerState,
            recovery::Step::Ask(Ask::LedgerEntry(_)) => Self::AskLedgerEntry,
            recovery::Step::Ask(Ask::LedgerTail { .. }) => Self::AskLedgerTail,
            recovery::Step::Ask(Ask::Records(_)) => Self::AskRecords,
            recovery::Step::Ask(Ask::InputState(_)) => Self::AskInputState,
            recovery::Step::Ask(Ask::InputFrom(..)) => Self::AskInputFrom,
            recovery::Step::Commit { .. } => Self::CommitTail,
            recovery::Step::Done(_) => Self::Recovered,
        }
    }
}

impl From<&End> for Place {
    fn from(end: &End) -> Self {
        match end {
            End::Stopped => Self::EndStopped,
            End::LeaseLost => Self::EndLeaseLost,
            End::TermOver => Self::EndTermOver,
            End::Denied(_) => Self::EndDenied,
            End::Recover { .. } => Self::EndRecover,
        }
    }
}
