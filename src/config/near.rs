//! "Did you mean": the known name next to a mistyped one.

/// The name that was probably meant: a few letters off, or the same under another section.
pub(super) fn closest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let leaf = |name: &str| name.rsplit('.').next().map(str::to_owned);
    let score = |candidate: &str| {
        let distance = distance(name, candidate);
        let is_near = distance <= 2 + candidate.len() / 8 && 2 * distance <= candidate.len();
        (is_near || leaf(name) == leaf(candidate)).then_some(distance)
    };
    names
        .filter_map(|candidate| Some((score(candidate)?, candidate)))
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters to add, drop or change (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (1..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let (mut diagonal, mut left) = (i, i + 1);
        for (cell, y) in row.iter_mut().zip(b.chars()) {
            let change = diagonal + usize::from(x != y);
            diagonal = *cell;
            left = change.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(a.chars().count())
}
