//! Where the plain text of a JSON string ends: many bytes at once.

/// How many bytes come before the first quote, backslash or control character.
pub(super) fn plain_length(text: &[u8]) -> usize {
    let end = memchr::memchr2(b'"', b'\\', text).unwrap_or(text.len());
    let run = text.get(..end).unwrap_or_default();
    // Rare, and so looked for last: the least of many bytes is found with few instructions.
    let least = run.iter().copied().fold(u8::MAX, u8::min);
    if least >= b' ' { end } else { run.iter().position(|byte| *byte < b' ').unwrap_or(end) }
}

/// Bytes of one.
pub(super) const WORD: usize = size_of::<u64>();
/// So many words of a text are looked at one by one.
pub(super) const SHORT_WORDS: usize = 4;

/// The upper bit of each byte that is a quote, a backslash or a control character. Exact up to the first of them;
/// what is above it may be told wrongly.
pub(super) fn ending_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xFF;
    let below =
        |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & (ONES << 7);
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    below(word, b' ') | is(b'"') | is(b'\\')
}
