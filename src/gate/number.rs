//! Numbers as exact decimals of any size.
//!
//! RFC 8259 section 6 gives the grammar and leaves the range to each implementation. Here there is
//! no range: a number is never turned into a float or a machine integer, and its exponent may have
//! any number of digits. Time and memory follow the length of the text, never the size of the
//! value, so `1e400000000` becomes twelve bytes.

/// Where a number stops following the grammar, counted from its first byte, and why.
pub(super) struct Malformed {
    pub(super) offset: usize,
    pub(super) why: &'static str,
}

/// Reads the number that `text` begins with, appends its normal form to `out` and returns how many
/// bytes it took.
///
/// The normal form is a sign (`+` or `-`), the significant digits without leading or trailing
/// zeros, and, unless it is zero, `e` and the exponent of the last digit (`-` if negative, no
/// leading zeros). Every zero is `+0`. Two numbers have the same normal form exactly when they are
/// equal.
pub(super) fn normalise(text: &[u8], out: &mut Vec<u8>) -> Result<usize, Malformed> {
    let mut rest = text;
    let spelled = Spelled::read(&mut rest)
        .map_err(|why| Malformed { offset: text.len() - rest.len(), why })?;
    spelled.write(out);
    Ok(text.len() - rest.len())
}

/// The parts of a number as its author wrote them.
struct Spelled<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent_negative: bool,
    exponent: &'a [u8],
}

impl<'a> Spelled<'a> {
    fn read(rest: &mut &'a [u8]) -> Result<Self, &'static str> {
        let negative = eat(rest, b"-").is_some();
        // A leading zero stands alone: in `01` the number is `0`, and the caller then trips on `1`.
        let whole = match rest.first() {
            Some(b'0') => take(rest, 1),
            _ => digits(rest)?,
        };
        let fraction = match eat(rest, b".") {
            Some(_) => digits(rest)?,
            None => &[],
        };
        let (exponent_negative, exponent) = match eat(rest, b"eE") {
            Some(_) => (eat(rest, b"+-") == Some(b'-'), digits(rest)?),
            None => (false, [].as_slice()),
        };
        Ok(Self { negative, whole, fraction, exponent_negative, exponent })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let (whole, fraction) = match self.whole {
            b"0" => ([].as_slice(), without_leading_zeros(self.fraction)),
            whole => (whole, self.fraction),
        };
        if whole.is_empty() && fraction.is_empty() {
            out.extend_from_slice(b"+0");
            return;
        }
        out.push(if self.negative { b'-' } else { b'+' });
        out.extend_from_slice(whole);
        out.extend_from_slice(fraction);
        // The loop ends at the latest at the digit that made the number something else than zero.
        let mut shift = -(self.fraction.len() as i128);
        while out.last() == Some(&b'0') {
            out.pop();
            shift += 1;
        }
        self.write_exponent(shift, out);
    }

    /// Appends the written exponent plus `shift`, which is no larger than the text is long.
    fn write_exponent(&self, shift: i128, out: &mut Vec<u8>) {
        /// Sums of fewer digits fit an `i128`; with more, `shift` can't change the sign.
        const SMALL: usize = 30;
        let written = without_leading_zeros(self.exponent);
        if written.len() > SMALL {
            out.push(b'e');
            if self.exponent_negative {
                out.push(b'-');
                push_sum(written, -shift, out);
            } else {
                push_sum(written, shift, out);
            }
            return;
        }
        let append = |sum, digit: &u8| sum * 10 + i128::from(digit - b'0');
        let magnitude = written.iter().fold(0, append);
        let exponent = match self.exponent_negative {
            true => shift - magnitude,
            false => shift + magnitude,
        };
        if exponent != 0 {
            out.push(b'e');
            push_integer(exponent, out);
        }
    }
}

/// Appends `digits + change`, which must not be negative.
fn push_sum(digits: &[u8], change: i128, out: &mut Vec<u8>) {
    let start = out.len();
    // Room for a last carry, taken back if there is none.
    out.push(b'0');
    out.extend_from_slice(digits);
    let sum = out.get_mut(start..).unwrap_or_default();
    let mut carry = change;
    for digit in sum.iter_mut().rev() {
        if carry == 0 {
            break;
        }
        carry += i128::from(*digit - b'0');
        *digit = b'0' + carry.rem_euclid(10) as u8;
        carry = carry.div_euclid(10);
    }
    let zeros = sum.len() - without_leading_zeros(sum).len();
    out.drain(start..start + zeros);
}

fn push_integer(value: i128, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    let start = out.len();
    let mut left = value.unsigned_abs();
    while left > 0 {
        out.push(b'0' + (left % 10) as u8);
        left /= 10;
    }
    out.get_mut(start..).unwrap_or_default().reverse();
}

fn without_leading_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    digits.get(zeros..).unwrap_or_default()
}

fn eat(rest: &mut &[u8], one_of: &[u8]) -> Option<u8> {
    let (first, after) = rest.split_first()?;
    one_of.contains(first).then(|| {
        *rest = after;
        *first
    })
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, after) = rest.split_at_checked(count).unwrap_or_default();
    *rest = after;
    taken
}

fn digits<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], &'static str> {
    match rest.iter().take_while(|byte| byte.is_ascii_digit()).count() {
        0 => Err("a digit is missing in a number"),
        run => Ok(take(rest, run)),
    }
}
