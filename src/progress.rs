//! How far a long read is: a bar on a terminal, a line in the log every few seconds otherwise.

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::clock;

const LINE_EVERY: Duration = Duration::from_secs(5);
const BAR: &str = "{msg} {wide_bar} {human_pos}/{human_len} {rate}/s {eta} left";

/// See the module. What is done within the first seconds shows no line.
pub struct Progress {
    bar: ProgressBar,
    terminal: bool,
    /// What counts as 0.
    base: OnceLock<u64>,
    last_line: Mutex<Instant>,
}

impl Progress {
    /// Of a command: a bar, if standard error is a terminal.
    pub fn of_command(what: &'static str) -> Self {
        Self::new(what, std::io::stderr().is_terminal())
    }

    /// Of a service: lines only.
    pub fn of_service(what: &'static str) -> Self {
        Self::new(what, false)
    }

    fn new(what: &'static str, terminal: bool) -> Self {
        let target = match terminal {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(None, target).with_message(what);
        if let Ok(style) = ProgressStyle::with_template(BAR) {
            let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
                write!(out, "{}", HumanCount(state.per_sec() as u64)).ok();
            };
            bar.set_style(style.with_key("rate", rate));
        }
        let last_line = Mutex::new(clock::monotonic());
        Self { bar, terminal, base: OnceLock::new(), last_line }
    }

    /// It is at `at` on its way to `to`; the first call says where it begins.
    pub fn at(&self, at: u64, to: u64) {
        let base = *self.base.get_or_init(|| at);
        self.bar.set_length(to.saturating_sub(base));
        self.bar.set_position(at.saturating_sub(base));
        if self.terminal {
            return;
        }
        let mut last_line = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        if last_line.elapsed() < LINE_EVERY {
            return;
        }
        *last_line = clock::monotonic();
        let left = Duration::from_secs(self.bar.eta().as_secs());
        tracing::info!(
            at,
            to,
            per_second = self.bar.per_sec() as u64,
            left = %humantime::format_duration(left),
            "{}",
            self.bar.message()
        );
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
