//! Kill points, for tests only: with the feature `kill-points`, the environment variable
//! `ONCEGATE_KILL_AT=<point>[:<nth time>]` ends the process by `abort` where it reaches that point for the
//! nth time, and `ONCEGATE_FREEZE_AT` stops it there until a SIGCONT. Without the feature all of this is
//! empty.
//!
//! A step has two points, `Before…` and `After…`; a place has one. The engine's commands, what the loop
//! waits for, what a recovery asks and how the loop ends become steps and places by exhaustive matches
//! (`armed`), so that none is added without its point.

#[cfg(feature = "kill-points")]
mod armed;

#[cfg(feature = "kill-points")]
pub use armed::{Around, Point, arm, around, at, points};

macro_rules! names {
    ($(#[$about:meta])* $kind:ident { $($(#[$note:meta])* $name:ident,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $kind { $($(#[$note])* $name,)* }

        #[cfg(feature = "kill-points")]
        impl $kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

names! {
    /// What the worker does, with a point before and a point after it.
    #[expect(missing_docs, reason = "the names say it")]
    Step {
        // The engine's commands.
        AppendFirst,
        AppendMiddle,
        AppendLast,
        AppendLone,
        AppendEnd,
        Commit,
        Settle,
        Redelivered,
        ReadOriginal,
        ReadResult,
        AwaitClock,
        ClockCaughtUp,
        RecoverFenced,
        RecoverRefused,
        RecoverInputChanged,
        // What the loop waits for, taken in.
        ReplyToFirst,
        ReplyFlow,
        ReplyEnd,
        ReplyError,
        ReplyGap,
        RepliesEnded,
        Committed,
        Original,
        Anchor,
        Actions,
        Reports,
        FeedEnded,
        Pause,
        Tick,
        LeaseLost,
        Stop,
        // What a recovery does.
        AskLedgerState,
        AskLedgerEntry,
        AskLedgerTail,
        AskRecords,
        AskInputState,
        AskInputFrom,
        CommitTail,
        Recovered,
        // A standby.
        TryLease,
        OpenTail,
        CommitFollowed,
        // From a recovery to the loop.
        CheckKeyRules,
        AppendLeading,
        CommitLeading,
        AskLimits,
        OpenSession,
        AskInput,
        ConnectFeed,
        StartFeed,
        // Beside the loop.
        ReadFeed,
        WriteOut,
        Acknowledge,
        FetchOriginal,
        FetchAnchor,
        Renew,
        // The way out.
        EndInput,
        CommitLastPosition,
        GiveBackLease,
        FlushTable,
    }
}

names! {
    /// Where the worker comes by.
    #[expect(missing_docs, reason = "the names say it")]
    Place {
        LeaseTaken,
        FeedBrokenInFlight,
        DrainingInFlight,
        EndStopped,
        EndLeaseLost,
        EndTermOver,
        EndDenied,
        EndRecover,
    }
}

#[cfg(not(feature = "kill-points"))]
mod absent {
    /// Stands for a step that is being done.
    pub struct Around;

    #[inline]
    pub fn arm() -> anyhow::Result<()> {
        Ok(())
    }

    #[inline]
    pub fn at<P>(_: P) {}

    #[inline]
    pub fn around<S>(_: S) -> Around {
        Around
    }

    impl Around {
        #[inline]
        pub fn done(self) {}

        #[inline]
        pub async fn done_after(self, _: impl Future) {}
    }
}

#[cfg(not(feature = "kill-points"))]
pub(super) use absent::{arm, around, at};
