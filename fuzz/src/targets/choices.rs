//! Choices read from the fuzzer's bytes.

/// Where the bytes run out, every further choice is the first.
pub struct Choices<'a>(pub &'a [u8]);

impl<'a> Choices<'a> {
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        first
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    pub fn coin(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// Mostly small; often at a border.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..0xE0 => small.into(),
            0xE0..0xF0 => 1 << (self.byte() % 64),
            0xF0..0xF4 => u64::MAX - u64::from(self.byte()),
            0xF4..0xF8 => i64::MAX as u64 - u64::from(self.byte()),
            _ => {
                let bytes: Vec<u8> = (0..8).map(|_| self.byte()).collect();
                u64::from_le_bytes(bytes.try_into().unwrap())
            }
        }
    }

    /// The same with either sign.
    pub fn signed(&mut self) -> i64 {
        self.number() as i64
    }

    /// At most 255 bytes.
    pub fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// What is left, in parts that `FF` keeps apart; it is in no UTF-8 text. The last takes what remains.
    pub fn parts<const N: usize>(&mut self) -> [&'a [u8]; N] {
        let mut parts = std::mem::take(&mut self.0).splitn(N, |byte| *byte == 0xFF);
        [(); N].map(|()| parts.next().unwrap_or_default())
    }
}
