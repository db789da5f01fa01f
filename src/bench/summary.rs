//! What all rounds say together.

use serde::Serialize;

use super::contender::Contender;
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
        Some(Self { min: *sorted.first()?, median, max: *sorted.last()? })
    }
}

/// The gate beside one of the others.
#[derive(Clone, Debug, Serialize)]
pub struct Ratio {
    /// The other.
    pub against: Contender,
    /// Actions a second, gate / other, of each round.
    pub throughput: Spread,
}

/// One for each of the others.
pub fn ratios(measured: &[Throughput], against: &[Contender]) -> Vec<Ratio> {
    let ratio = |other: Contender| {
        let gates = measured.iter().filter(|one| one.contender == Contender::Gate);
        let ratios = gates.filter_map(|gate| {
            let same = |one: &&Throughput| one.contender == other && one.round == gate.round;
            let other = measured.iter().find(same)?;
            Some(gate.actions_per_second / other.actions_per_second)
        });
        Some(Ratio { against: other, throughput: Spread::of(ratios)? })
    };
    against.iter().filter_map(|other| ratio(*other)).collect()
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
