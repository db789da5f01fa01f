//! Whether anything grew: the last third of a run against its middle third. The first third is for
//! warming up.

use crate::samples::Sample;

const MIB: f64 = 1_048_576.0;

/// One of the things that must not grow, or not sink.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    pub name: &'static str,
    /// Medians.
    pub middle: f64,
    pub last: f64,
    pub bound: Bound,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Figure {
    pub fn is_flat(&self) -> bool {
        match self.bound {
            Bound::AtMost(most) => self.last <= most,
            Bound::AtLeast(least) => self.last >= least,
        }
    }
}

/// All that must be flat. Only samples where the steady worker leads count: a standby takes less.
pub fn figures(samples: &[Sample]) -> Vec<Figure> {
    let end = samples.last().map_or(0.0, |sample| sample.seconds);
    let third = |number: f64| -> Vec<&Sample> {
        let within = |sample: &&Sample| {
            sample.steady_leads
                && sample.seconds > end * number / 3.0
                && sample.seconds <= end * (number + 1.0) / 3.0
        };
        samples.iter().filter(within).collect()
    };
    let (middle, last) = (third(1.0), third(2.0));
    let figure = |name, of: fn(&Sample) -> f64, bound: fn(f64) -> Bound| {
        let (middle, last) = (median(&middle, of), median(&last, of));
        Figure { name, middle, last, bound: bound(middle) }
    };
    vec![
        // The write buffer fills and is flushed, and the allocator keeps some of it: a saw-tooth of some
        // MiB. A leak of one KiB for every hundred actions is 18 MiB in 20 minutes at 1,500 a second.
        figure(
            "memory, MiB",
            |sample| sample.steady.rss_bytes as f64 / MIB,
            |middle| Bound::AtMost(middle * 1.05 + 8.0),
        ),
        // Connections, and one for whoever asks for the metrics.
        figure(
            "sockets",
            |sample| sample.steady.handles.sockets as f64,
            |middle| Bound::AtMost(middle + 1.0),
        ),
        // As many as RocksDB's compaction has runs.
        figure(
            "open table files",
            |sample| sample.steady.handles.table as f64,
            |middle| Bound::AtMost(middle * 1.25 + 4.0),
        ),
        figure("other open files", |sample| sample.steady.handles.others as f64, Bound::AtMost),
        // The runtime's pool for work that blocks comes and goes.
        figure(
            "threads",
            |sample| sample.steady.threads as f64,
            |middle| Bound::AtMost(middle + 3.0),
        ),
        // Between two rewrites what is dead piles up: a saw-tooth.
        figure(
            "table, MiB",
            |sample| sample.table_bytes as f64 / MIB,
            |middle| Bound::AtMost(middle * 1.25 + 1.0),
        ),
        figure(
            "keys in the table",
            |sample| sample.table_keys as f64,
            |middle| Bound::AtMost(middle * 1.25),
        ),
        figure("verdicts a second", |sample| sample.rate, |middle| Bound::AtLeast(middle * 0.9)),
        // What part of a second brings.
        figure(
            "actions not judged yet",
            |sample| sample.waiting as f64,
            |middle| Bound::AtMost(middle * 1.25 + 500.0),
        ),
    ]
}

fn median(samples: &[&Sample], of: fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(|sample| of(sample)).collect();
    values.sort_by(f64::total_cmp);
    assert!(!values.is_empty(), "the run is too short: a third of it has no sample");
    values[values.len() / 2]
}

/// For people, in Markdown.
pub fn table(figures: &[Figure]) -> String {
    let mut text = String::from(
        "| steady worker | middle third | last third | allowed | |\n|---|---|---|---|---|\n",
    );
    for figure in figures {
        let Figure { name, middle, last, bound } = figure;
        let allowed = match bound {
            Bound::AtMost(most) => format!("at most {}", number(*most)),
            Bound::AtLeast(least) => format!("at least {}", number(*least)),
        };
        let flat = if figure.is_flat() { "flat" } else { "**not flat**" };
        text +=
            &format!("| {name} | {} | {} | {allowed} | {flat} |\n", number(*middle), number(*last));
    }
    text
}

fn number(value: f64) -> String {
    if value < 1_000.0 && value.fract() != 0.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

mod tests {
    use super::*;
    use crate::samples::{Handles, Process};

    type Change = fn(f64, &mut Sample);

    /// A worker for an hour, with what it takes at a time.
    fn hour(of: impl Fn(f64, &mut Sample)) -> Vec<Sample> {
        (0..720)
            .map(|number| {
                let seconds = f64::from(number) * 5.0;
                let steady = Process {
                    rss_bytes: 100 << 20,
                    threads: 12,
                    handles: Handles { sockets: 6, table: 10, others: 20 },
                };
                let mut sample = Sample {
                    seconds,
                    steady,
                    steady_leads: true,
                    table_bytes: 8 << 20,
                    table_keys: 60_000,
                    rate: 1_500.0,
                    waiting: 40,
                    ..Sample::default()
                };
                of(seconds, &mut sample);
                sample
            })
            .collect()
    }

    fn what_grew(of: impl Fn(f64, &mut Sample)) -> Vec<&'static str> {
        let figures = figures(&hour(of));
        figures.iter().filter(|figure| !figure.is_flat()).map(|figure| figure.name).collect()
    }

    #[test]
    fn a_worker_that_takes_the_same_all_the_time_is_flat() {
        assert_eq!(what_grew(|_, _| {}), Vec::<&str>::new());
    }

    #[test]
    fn a_saw_tooth_is_flat_and_so_is_growth_while_warming_up() {
        let flat = |seconds: f64, sample: &mut Sample| {
            sample.steady.rss_bytes += (seconds % 300.0) as u64 * 200_000;
            sample.table_keys += (seconds % 30.0) as u64 * 1_000;
            if seconds < 1_200.0 {
                sample.table_bytes = seconds as u64 * 1_000;
            }
        };
        assert_eq!(what_grew(flat), Vec::<&str>::new());
    }

    #[test]
    fn what_a_standby_takes_does_not_count() {
        let standby = |seconds: f64, sample: &mut Sample| {
            if seconds > 2_000.0 && seconds < 2_400.0 {
                sample.steady_leads = false;
                sample.steady.handles.sockets = 1;
            }
        };
        assert_eq!(what_grew(standby), Vec::<&str>::new());
    }

    #[test]
    fn every_leak_is_seen() {
        let leaks: [(&str, Change); 9] = [
            ("memory, MiB", |seconds, s| s.steady.rss_bytes += seconds as u64 * 15_000),
            ("sockets", |seconds, s| s.steady.handles.sockets += seconds as u64 / 600),
            ("open table files", |seconds, s| s.steady.handles.table += seconds as u64 / 60),
            ("other open files", |seconds, s| s.steady.handles.others += seconds as u64 / 1_200),
            ("threads", |seconds, s| s.steady.threads += seconds as u64 / 240),
            ("table, MiB", |seconds, s| s.table_bytes += seconds as u64 * 5_000),
            ("keys in the table", |seconds, s| s.table_keys += seconds as u64 * 50),
            ("verdicts a second", |seconds, s| s.rate -= seconds / 5.0),
            ("actions not judged yet", |seconds, s| s.waiting += seconds as u64 * 2),
        ];
        for (name, leak) in leaks {
            assert_eq!(what_grew(leak), [name]);
        }
    }
}
