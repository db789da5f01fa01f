//! A long mixed load, the same for the same seed: first uses, retries in every spelling, changed
//! payloads, missing and bad keys.

use super::raw::Outgoing;

/// A small generator of numbers; nothing here depends on how good it is.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % sides
    }
}

/// `count` actions whose keys begin with `prefix`.
pub fn mixed(count: usize, prefix: &str, seed: u64) -> Vec<Outgoing> {
    let mut dice = Dice::new(seed);
    let mut used = 0;
    (0..count)
        .map(|_| match dice.roll(100) {
            0..60 => {
                used += 1;
                payment(prefix, used, used, 0)
            }
            60..85 => {
                let number = recent(&mut dice, used);
                payment(prefix, number, number, dice.roll(3))
            }
            85..94 => {
                let number = recent(&mut dice, used);
                payment(prefix, number, number + 1, 0)
            }
            94..97 => Outgoing::new("actions.pay", &[], b"{\"amount\":1}"),
            97..99 => {
                let two = [("Idempotency-Key", "one"), ("Idempotency-Key", "other")];
                Outgoing::new("actions.pay", &two, b"x")
            }
            _ if dice.roll(8) > 0 => Outgoing::new("actions.pay", &[], b""),
            _ => Outgoing::with_block("actions.pay", b"NATS/1.0\r\nno colon\r\n\r\n", b"x"),
        })
        .collect()
}

/// Mostly one of the last few keys, sometimes any earlier one.
fn recent(dice: &mut Dice, used: u64) -> u64 {
    let back = if dice.roll(4) == 0 { used + 1 } else { 20 };
    used.saturating_sub(dice.roll(back))
}

/// A key and an amount, in one of three spellings.
pub fn payment(prefix: &str, key: u64, amount: u64, spelling: u64) -> Outgoing {
    let payload = match spelling {
        0 => format!("{{\"amount\":{amount},\"to\":\"acct\"}}"),
        1 => format!("{{ \"to\": \"acct\", \"amount\": {amount}.0 }}"),
        _ => format!("{{\"to\":\"\\u0061cct\",\"amount\":{amount}e0}}"),
    };
    let key = format!("{prefix}{key}");
    Outgoing::new("actions.pay", &[("Idempotency-Key", &key)], payload.as_bytes())
}
