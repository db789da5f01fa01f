//! One value, spelled in one of many ways.

use super::decimal::{self, Decimal};
use super::slow::Slow;

/// The whims of a writer; never zero.
#[derive(Debug)]
pub struct Whim(pub u64);

impl Whim {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    pub fn spell(&mut self, value: &Slow) -> String {
        self.whim_space() + &self.spell_bare(value) + &self.whim_space()
    }

    fn spell_bare(&mut self, value: &Slow) -> String {
        match value {
            Slow::Null => "null".to_owned(),
            Slow::Bool(bool) => bool.to_string(),
            Slow::Number(number) => self.spell_number(number),
            Slow::Text(text) => self.spell_text(text),
            Slow::List(list) => {
                let list: Vec<_> = list.iter().map(|element| self.spell(element)).collect();
                format!("[{}{}]", self.whim_space(), list.join(","))
            }
            Slow::Object(members) => {
                let mut spelled = Vec::new();
                for (name, value) in members {
                    let name = self.spell_text(name);
                    let member = format!(
                        "{}{name}{}:{}",
                        self.whim_space(),
                        self.whim_space(),
                        self.spell(value)
                    );
                    spelled.insert(self.below(spelled.len() + 1), member);
                }
                format!("{{{}{}}}", self.whim_space(), spelled.join(","))
            }
        }
    }

    fn whim_space(&mut self) -> String {
        (0..self.below(6).saturating_sub(3))
            .map(|_| [' ', '\t', '\n', '\r'][self.below(4)])
            .collect()
    }

    fn spell_text(&mut self, text: &str) -> String {
        let mut spelled = String::from("\"");
        for char in text.chars() {
            let short = "\"\"\\\\//b\u{8}f\u{c}n\nr\rt\t"
                .as_bytes()
                .chunks(2)
                .find(|pair| char == char::from(pair[1]));
            match (self.below(4), short) {
                (0 | 1, _) if !matches!(char, '"' | '\\' | ..' ') => spelled.push(char),
                (2, Some(pair)) => spelled.extend(['\\', char::from(pair[0])]),
                _ => {
                    for unit in char.encode_utf16(&mut [0; 2]) {
                        let unit = format!("\\u{unit:04x}");
                        let upper = unit.to_ascii_uppercase().replace('U', "u");
                        spelled.push_str(if self.below(2) == 0 { &upper } else { &unit });
                    }
                }
            }
        }
        spelled + "\""
    }

    /// Puts zeros behind the digits, moves the point along them, and says so in the exponent.
    fn spell_number(&mut self, number: &Decimal) -> String {
        let Decimal { negative, digits, exponent } = number;
        let mut digits = digits.clone();
        let mut exponent = exponent.clone();
        for _ in 0..self.below(4) {
            digits.push('0');
            exponent = decimal::before(&exponent);
        }
        let fraction = self.below(digits.len() + 4);
        for _ in 0..fraction {
            exponent = decimal::after(&exponent);
        }
        let padded = "0".repeat((fraction + 1).saturating_sub(digits.len())) + &digits;
        let (whole, fraction) = padded.split_at(padded.len() - fraction);
        if digits.chars().all(|digit| digit == '0') {
            exponent = ["0", "-0", "7", "-123"][self.below(4)].to_owned();
        }
        let mut spelled = if *negative { "-".to_owned() } else { String::new() };
        spelled.push_str(match whole.trim_start_matches('0') {
            "" => "0",
            trimmed => trimmed,
        });
        if !fraction.is_empty() {
            spelled = spelled + "." + fraction;
        }
        if exponent != "0" || self.below(3) == 0 {
            let (sign, digits) = match exponent.strip_prefix('-') {
                Some(digits) => ("-", digits),
                None => (["", "+"][self.below(2)], exponent.as_str()),
            };
            let zeros = "0".repeat(self.below(3));
            spelled = format!("{spelled}{}{sign}{zeros}{digits}", ["e", "E"][self.below(2)]);
        }
        spelled
    }

    /// Changes one place, mostly into another value.
    pub fn change(&mut self, value: &mut Slow) {
        let whim = self.below(4);
        match value {
            Slow::List(list) if !list.is_empty() && whim > 0 => {
                let place = self.below(list.len());
                self.change(&mut list[place]);
            }
            Slow::Object(members) if !members.is_empty() && whim > 0 => {
                let place = self.below(members.len());
                self.change(members.values_mut().nth(place).unwrap());
            }
            Slow::List(list) if whim == 0 => {
                list.push(Slow::Null);
                let place = self.below(list.len());
                list.rotate_left(place);
            }
            Slow::Object(members) if whim == 0 => match members.pop_last() {
                Some((name, value)) => drop(members.insert(name + "a", value)),
                None => drop(members.insert(String::new(), Slow::Null)),
            },
            Slow::Number(number) if whim == 0 && !number.digits.is_empty() => {
                number.exponent = decimal::after(&number.exponent);
            }
            Slow::Number(number) if whim <= 1 => number.digits.push('1'),
            Slow::Number(number) if whim == 2 => *value = Slow::Text(number.digits.clone()),
            Slow::Text(text) if whim == 0 => text.push('a'),
            Slow::Text(text) if whim == 1 => drop(text.pop()),
            Slow::Bool(bool) => *bool = !*bool,
            other => *other = Slow::List(vec![other.clone()]),
        }
    }

    /// Puts, drops or replaces a few bytes.
    pub fn mutate(&mut self, text: &mut Vec<u8>) {
        const LIKELY: &[u8] = b"{}[]\",:\\u0019eE+-.dDaA8 \n\t\x00\x1f\x7f\xef\xbb\xbf\xc3tfn/";
        for _ in 0..=self.below(3) {
            let place = self.below(text.len() + 1);
            let byte = LIKELY[self.below(LIKELY.len())];
            match self.below(3) {
                0 => text.insert(place, byte),
                1 if place < text.len() => drop(text.remove(place)),
                _ if place < text.len() => text[place] = byte,
                _ => {}
            }
        }
    }
}
