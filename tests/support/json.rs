//! Strict JSON and equality of values by the contract's words, written slowly and plainly: a tree
//! of values that are equal exactly when the contract says so.

use std::collections::BTreeMap;

/// A JSON value in its one form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Json {
    Null,
    Bool(bool),
    /// `digits * 10^exponent` without leading or trailing zeros; zero has no digits.
    Number {
        negative: bool,
        digits: String,
        exponent: i128,
    },
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// The value, if these bytes are strict JSON.
    pub fn strict(bytes: &[u8]) -> Option<Self> {
        let text: Vec<char> = std::str::from_utf8(bytes).ok()?.chars().collect();
        let mut parser = Parser { text, at: 0 };
        let value = parser.value(0)?;
        parser.space();
        (parser.at == parser.text.len()).then_some(value)
    }

    /// The value an RFC 6901 pointer names.
    pub fn pointer(&self, pointer: &str) -> Option<&Self> {
        segments(pointer).iter().try_fold(self, |value, segment| match value {
            Self::Object(members) => members.get(segment),
            Self::List(items) => items.get(segment.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// The value without what these pointers name; `*` is every member or element.
    pub fn without(&self, pointers: &[String]) -> Self {
        let mut value = self.clone();
        for pointer in pointers {
            value.remove(&segments(pointer));
        }
        value
    }

    fn remove(&mut self, segments: &[String]) {
        let [segment, rest @ ..] = segments else {
            return;
        };
        match self {
            Self::Object(members) if rest.is_empty() => {
                members.retain(|name, _| segment != "*" && name != segment);
            }
            Self::Object(members) => members
                .iter_mut()
                .filter(|(name, _)| segment == "*" || *name == segment)
                .for_each(|(_, member)| member.remove(rest)),
            Self::List(items) if rest.is_empty() => {
                let names = |index: usize| segment == "*" || index.to_string() == *segment;
                assert!(
                    !(0..items.len()).any(names),
                    "the model does not know how to leave an array element out"
                );
            }
            Self::List(items) => items
                .iter_mut()
                .enumerate()
                .filter(|(index, _)| segment == "*" || index.to_string() == *segment)
                .for_each(|(_, item)| item.remove(rest)),
            _ => {}
        }
    }
}

fn segments(pointer: &str) -> Vec<String> {
    pointer
        .split('/')
        .skip(1)
        .map(|segment| segment.replace("~1", "/").replace("~0", "~"))
        .collect()
}

struct Parser {
    text: Vec<char>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    fn eat(&mut self, wanted: char) -> Option<()> {
        (self.take()? == wanted).then_some(())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        self.space();
        match self.peek()? {
            '{' => self.object(depth + 1),
            '[' => self.list(depth + 1),
            '"' => self.string().map(Json::Text),
            't' => self.word("true", Json::Bool(true)),
            'f' => self.word("false", Json::Bool(false)),
            'n' => self.word("null", Json::Null),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Option<Json> {
        word.chars().try_for_each(|wanted| self.eat(wanted))?;
        Some(value)
    }

    fn object(&mut self, depth: usize) -> Option<Json> {
        (depth <= 128).then_some(())?;
        self.eat('{')?;
        let mut members = BTreeMap::new();
        self.space();
        if self.peek()? == '}' {
            self.at += 1;
            return Some(Json::Object(members));
        }
        loop {
            self.space();
            let name = self.string()?;
            self.space();
            self.eat(':')?;
            let value = self.value(depth)?;
            members.insert(name, value).is_none().then_some(())?;
            self.space();
            match self.take()? {
                ',' => {}
                '}' => return Some(Json::Object(members)),
                _ => return None,
            }
        }
    }

    fn list(&mut self, depth: usize) -> Option<Json> {
        (depth <= 128).then_some(())?;
        self.eat('[')?;
        let mut items = Vec::new();
        self.space();
        if self.peek()? == ']' {
            self.at += 1;
            return Some(Json::List(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.space();
            match self.take()? {
                ',' => {}
                ']' => return Some(Json::List(items)),
                _ => return None,
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        self.eat('"')?;
        let mut text = String::new();
        loop {
            match self.take()? {
                '"' => return Some(text),
                '\\' => text.push(self.escape()?),
                plain if plain < ' ' => return None,
                plain => text.push(plain),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        Some(match self.take()? {
            same @ ('"' | '\\' | '/') => same,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let unit = self.unit()?;
                if !(0xd800..0xdc00).contains(&unit) {
                    return char::from_u32(unit);
                }
                self.eat('\\')?;
                self.eat('u')?;
                let low = self.unit()?;
                (0xdc00..0xe000).contains(&low).then_some(())?;
                char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))?
            }
            _ => return None,
        })
    }

    fn unit(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |unit, _| Some(unit * 16 + self.take()?.to_digit(16)?))
    }

    fn digits(&mut self) -> Option<String> {
        let start = self.at;
        while self.peek().is_some_and(|next| next.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then(|| self.text[start..self.at].iter().collect())
    }

    fn number(&mut self) -> Option<Json> {
        let negative = self.peek()? == '-';
        self.at += usize::from(negative);
        let whole = self.digits()?;
        (whole == "0" || !whole.starts_with('0')).then_some(())?;
        let mut fraction = String::new();
        if self.peek() == Some('.') {
            self.at += 1;
            fraction = self.digits()?;
        }
        let mut exponent = 0;
        if matches!(self.peek(), Some('e' | 'E')) {
            self.at += 1;
            let down = self.peek()? == '-';
            self.at += usize::from(matches!(self.peek()?, '-' | '+'));
            let size: i128 = self.digits()?.parse().expect("the model's exponents are short");
            exponent = if down { -size } else { size };
        }
        Some(decimal(negative, &whole, &fraction, exponent))
    }
}

fn decimal(negative: bool, whole: &str, fraction: &str, exponent: i128) -> Json {
    let all = format!("{whole}{fraction}");
    let digits = all.trim_end_matches('0');
    let dropped = (all.len() - digits.len()) as i128;
    let digits = digits.trim_start_matches('0').to_string();
    if digits.is_empty() {
        return Json::Number { negative: false, digits, exponent: 0 };
    }
    Json::Number { negative, digits, exponent: exponent - fraction.len() as i128 + dropped }
}
