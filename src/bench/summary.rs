//! What all rounds say together.

use serde::Serialize;

use super::contender::Contender;
use super::latency::{Latency, Pace};
use super::throughput::Throughput;

/// Of the rounds, in each of which both were measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The one in the middle.
    pub median: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// `None` of nothing.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        let median = match sorted.len() % 2 {
            0 => f64::midpoint(*sorted.get(middle - 1)?, upper),
            _ => upper,
        };
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        Some(Self { min: rounded(min), median: rounded(median), max: rounded(max) })
    }
}

/// To three decimals: more was not measured.
pub fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// The gate beside one of the others.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The other.
    pub against: Contender,
    /// Actions a second: gate / other, of each round.
    pub throughput_ratio: Spread,
    /// Processor time an action, of contender and server: gate / other, of each round. `None` if the server is not on
    /// this machine.
    pub cpu_ratio: Option<Spread>,
    /// Where latency was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Differences>,
}

/// Gate - other, of each round, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Differences {
    /// One action at a time: of half of them.
    pub idle_p50_ms: Spread,
    /// Of 99 of 100.
    pub idle_p99_ms: Spread,
    /// At the rate: of half of them.
    pub rate_p50_ms: Spread,
    /// Of 99 of 100.
    pub rate_p99_ms: Spread,
    /// Of 999 of 1,000.
    pub rate_p999_ms: Spread,
}

/// What all rounds have measured.
#[derive(Debug, Default)]
pub struct Measured {
    /// Each contender through the load.
    pub throughput: Vec<Throughput>,
    /// Each contender at both paces.
    pub latency: Vec<Latency>,
}

impl Measured {
    /// One for each of the others.
    pub fn comparisons(&self, against: &[Contender]) -> Vec<Comparison> {
        against.iter().filter_map(|other| self.comparison(*other)).collect()
    }

    fn comparison(&self, against: Contender) -> Option<Comparison> {
        let pairs = pairs(&self.throughput, against, |one| (one.contender, one.round));
        let throughput =
            pairs.iter().map(|(gate, other)| gate.actions_per_second / other.actions_per_second);
        let cpu = pairs.iter().filter_map(|(gate, other)| Some(cpu(gate)? / cpu(other)?));
        Some(Comparison {
            against,
            throughput_ratio: Spread::of(throughput)?,
            cpu_ratio: Spread::of(cpu),
            latency: self.differences(against),
        })
    }

    fn differences(&self, against: Contender) -> Option<Differences> {
        let difference = |pace, quantile: fn(&Latency) -> f64| {
            let at_pace: Vec<_> = self.latency.iter().filter(|one| one.pace == pace).collect();
            let pairs = pairs(&at_pace, against, |one| (one.contender, one.round));
            Spread::of(pairs.iter().map(|(gate, other)| quantile(gate) - quantile(other)))
        };
        Some(Differences {
            idle_p50_ms: difference(Pace::Idle, |one| one.p50_ms)?,
            idle_p99_ms: difference(Pace::Idle, |one| one.p99_ms)?,
            rate_p50_ms: difference(Pace::Rate, |one| one.p50_ms)?,
            rate_p99_ms: difference(Pace::Rate, |one| one.p99_ms)?,
            rate_p999_ms: difference(Pace::Rate, |one| one.p999_ms)?,
        })
    }
}

/// The gate and the other of each round.
fn pairs<T>(
    measured: &[T],
    against: Contender,
    of: impl Fn(&T) -> (Contender, u32),
) -> Vec<(&T, &T)> {
    let gates = measured.iter().filter(|one| of(one).0 == Contender::Gate);
    let with_other = gates.filter_map(|gate| {
        let other = measured.iter().find(|one| of(one) == (against, of(gate).1));
        Some((gate, other?))
    });
    with_other.collect()
}

fn cpu(measured: &Throughput) -> Option<f64> {
    Some(measured.client_cpu_us_per_action + measured.server_cpu_us_per_action?)
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn the_middle_of_an_even_number_is_between_two() {
        let spread = Spread::of([4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.5, 4.0));
        assert_eq!(Spread::of([5.0, 1.0, 3.0]).unwrap().median, 3.0);
        assert!(Spread::of([]).is_none());
    }
}
