//! Little-endian fields and variable-length integers, read from and written to bytes. A reader
//! never looks beyond its input and never allocates more than the input can hold.

/// The input ends too early, or a number is not in its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is cut short or out of range")]
pub(crate) struct BadField(pub(crate) &'static str);

/// The rest of an input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn remaining(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn bytes(&mut self, count: usize, name: &'static str) -> Result<&'a [u8], BadField> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(BadField(name))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        name: &'static str,
    ) -> Result<[u8; N], BadField> {
        self.bytes(N, name)?.try_into().map_err(|_| BadField(name))
    }

    pub(crate) fn u8(&mut self, name: &'static str) -> Result<u8, BadField> {
        self.array::<1>(name).map(|[b]| b)
    }

    pub(crate) fn u32(&mut self, name: &'static str) -> Result<u32, BadField> {
        self.array(name).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, name: &'static str) -> Result<u64, BadField> {
        self.array(name).map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self, name: &'static str) -> Result<i64, BadField> {
        self.array(name).map(i64::from_le_bytes)
    }

    /// Seven bits a byte, lowest first, the top bit says that another byte follows; at most ten
    /// bytes.
    pub(crate) fn varint(&mut self, name: &'static str) -> Result<u64, BadField> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(name)?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return Err(BadField(name));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(BadField(name))
    }

    /// A varint whose lowest bit is the sign.
    pub(crate) fn signed(&mut self, name: &'static str) -> Result<i64, BadField> {
        let folded = self.varint(name)?;
        Ok((folded >> 1).cast_signed() ^ -((folded & 1).cast_signed()))
    }

    /// A varint that fits 32 bits.
    pub(crate) fn small(&mut self, name: &'static str) -> Result<u32, BadField> {
        u32::try_from(self.varint(name)?).map_err(|_| BadField(name))
    }

    /// A length as varint and so many bytes.
    pub(crate) fn block(&mut self, name: &'static str) -> Result<&'a [u8], BadField> {
        let length = usize::try_from(self.varint(name)?).map_err(|_| BadField(name))?;
        self.bytes(length, name)
    }

    /// A block of UTF-8.
    pub(crate) fn text(&mut self, name: &'static str) -> Result<&'a str, BadField> {
        std::str::from_utf8(self.block(name)?).map_err(|_| BadField(name))
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, (value << 1).cast_unsigned() ^ (value >> 63).cast_unsigned());
}

pub(crate) fn put_block(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_size_come_back() {
        let mut out = Vec::new();
        let all = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX];
        for value in all {
            put_varint(&mut out, value);
            put_signed(&mut out, value.cast_signed());
        }
        let mut reader = Reader(&out);
        for value in all {
            assert_eq!(reader.varint("v"), Ok(value));
            assert_eq!(reader.signed("s"), Ok(value.cast_signed()));
        }
        assert_eq!(reader.remaining(), 0);
    }

    #[test]
    fn what_is_cut_short_or_does_not_fit_is_refused() {
        assert!(Reader(&[0x80]).varint("v").is_err());
        assert!(Reader(&[0xFF; 11]).varint("v").is_err());
        let mut ten = [0x80; 10];
        ten[9] = 2;
        assert!(Reader(&ten).varint("v").is_err(), "65 bits");
        assert!(Reader(&[5, 1, 2]).block("b").is_err());
        assert!(Reader(&[0x80, 0x80, 0x80, 0x80, 0x10]).small("s").is_err());
    }
}
