//! Bytes of what the table keeps: LEB128 varints and length-prefixed strings.

/// Bytes that are not what this version wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stored bytes are damaged: {0}")]
pub struct Damaged(pub &'static str);

pub(super) fn put_u64(out: &mut impl Extend<u8>, mut value: u64) {
    while value >= 0x80 {
        out.extend([(value & 0x7F) as u8 | 0x80]);
        value >>= 7;
    }
    out.extend([value as u8]);
}

/// Small for small values of either sign (zigzag).
pub(super) fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_u64(out, ((value << 1) ^ (value >> 63)) as u64);
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_u64(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Reads in the order of the writes; every call fails where the bytes end too early.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn u8(&mut self) -> Result<u8, Damaged> {
        let (&first, rest) = self.0.split_first().ok_or(Damaged("it ends too early"))?;
        self.0 = rest;
        Ok(first)
    }

    pub fn u64(&mut self) -> Result<u64, Damaged> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                // One spelling a number, so that equal bytes and equal values are the same thing.
                return if byte == 0 && shift > 0 {
                    Err(Damaged("a padded number"))
                } else {
                    Ok(value)
                };
            }
        }
        Err(Damaged("a number of more than 64 bits"))
    }

    pub fn i64(&mut self) -> Result<i64, Damaged> {
        let value = self.u64()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Damaged("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        self.bytes(N)?.try_into().map_err(|_| Damaged("it ends too early"))
    }

    pub fn text(&mut self) -> Result<&'a str, Damaged> {
        let length = usize::try_from(self.u64()?).map_err(|_| Damaged("a length out of range"))?;
        std::str::from_utf8(self.bytes(length)?).map_err(|_| Damaged("a text that is not UTF-8"))
    }

    pub fn end(self) -> Result<(), Damaged> {
        if self.0.is_empty() { Ok(()) } else { Err(Damaged("bytes left over")) }
    }
}
