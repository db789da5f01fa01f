//! Exact decimals by the schoolbook, one digit at a time.

/// A number: its digits without zeros at either end, times ten to `exponent`. Zero has no digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal {
    pub negative: bool,
    pub digits: String,
    /// Of any size: `-` if below zero, then digits without leading zeros.
    pub exponent: String,
}

impl Decimal {
    /// Of a number as JSON spells it.
    pub fn read(spelled: &str) -> Self {
        let lower = spelled.to_ascii_lowercase();
        let (mantissa, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits = whole.to_owned() + fraction;
        let mut exponent = integer(exponent);
        for _ in fraction.chars() {
            exponent = before(&exponent);
        }
        while digits.ends_with('0') {
            digits.pop();
            exponent = after(&exponent);
        }
        let digits = digits.trim_start_matches('0').to_owned();
        match digits.is_empty() {
            true => Self { negative: false, digits, exponent: "0".to_owned() },
            false => Self { negative, digits, exponent },
        }
    }
}

fn integer(spelled: &str) -> String {
    let (sign, digits) = match spelled.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", spelled.trim_start_matches('+')),
    };
    match digits.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => sign.to_owned() + digits,
    }
}

/// One more than an integer.
pub fn after(integer: &str) -> String {
    match integer.strip_prefix('-') {
        Some("1") => "0".to_owned(),
        Some(digits) => "-".to_owned() + &decrement(digits),
        None => increment(integer),
    }
}

/// One less than an integer.
pub fn before(integer: &str) -> String {
    match integer.strip_prefix('-') {
        Some(digits) => "-".to_owned() + &increment(digits),
        None if integer == "0" => "-1".to_owned(),
        None => decrement(integer),
    }
}

pub fn increment(digits: &str) -> String {
    let nines = digits.len() - digits.trim_end_matches('9').len();
    let (rest, _) = digits.split_at(digits.len() - nines);
    let zeros = "0".repeat(nines);
    match rest.char_indices().next_back() {
        Some((at, last)) => format!("{}{}{zeros}", &rest[..at], last.to_digit(10).unwrap() + 1),
        None => format!("1{zeros}"),
    }
}

/// Of a number above zero.
fn decrement(digits: &str) -> String {
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    let (rest, _) = digits.split_at(digits.len() - zeros);
    let (at, last) = rest.char_indices().next_back().unwrap();
    let less = format!("{}{}{}", &rest[..at], last.to_digit(10).unwrap() - 1, "9".repeat(zeros));
    match less.strip_prefix('0') {
        Some(shorter) if !shorter.is_empty() => shorter.to_owned(),
        _ => less,
    }
}
