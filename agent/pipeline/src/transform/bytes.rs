//! Primitives of the chain's state: little endian, every length checked before it is used.

use lineside_core::{Sample, StatusCode, Value};

use super::state::StateError;

#[derive(Default)]
pub(super) struct Writer(pub Vec<u8>);

impl Writer {
    pub fn u8(&mut self, n: u8) {
        self.0.push(n);
    }

    pub fn u32(&mut self, n: u32) {
        self.0.extend(n.to_le_bytes());
    }

    pub fn u64(&mut self, n: u64) {
        self.0.extend(n.to_le_bytes());
    }

    pub fn i64(&mut self, n: i64) {
        self.0.extend(n.to_le_bytes());
    }

    pub fn f64(&mut self, n: f64) {
        self.u64(n.to_bits());
    }

    pub fn bool(&mut self, b: bool) {
        self.u8(u8::from(b));
    }

    /// Whether there is something, and then that.
    pub fn option<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// Numbers of elements are bounded far below 32 bits wherever this is used.
    pub fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).unwrap_or(u32::MAX));
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.0.extend(bytes);
    }

    pub fn text(&mut self, text: &str) {
        self.raw(text.as_bytes());
    }

    pub fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.u8(0),
            Value::Bool(b) => self.tagged(1, |w| w.bool(*b)),
            Value::I8(n) => self.tagged(2, |w| w.i64(i64::from(*n))),
            Value::I16(n) => self.tagged(3, |w| w.i64(i64::from(*n))),
            Value::I32(n) => self.tagged(4, |w| w.i64(i64::from(*n))),
            Value::I64(n) => self.tagged(5, |w| w.i64(*n)),
            Value::U8(n) => self.tagged(6, |w| w.u64(u64::from(*n))),
            Value::U16(n) => self.tagged(7, |w| w.u64(u64::from(*n))),
            Value::U32(n) => self.tagged(8, |w| w.u64(u64::from(*n))),
            Value::U64(n) => self.tagged(9, |w| w.u64(*n)),
            Value::F32(n) => self.tagged(10, |w| w.u32(n.to_bits())),
            Value::F64(n) => self.tagged(11, |w| w.f64(*n)),
            Value::String(text) => self.tagged(12, |w| w.text(text)),
            Value::Bytes(bytes) => self.tagged(13, |w| w.raw(bytes)),
        }
    }

    pub fn sample(&mut self, sample: &Sample) {
        self.u32(sample.point);
        self.value(&sample.value);
        self.u32(sample.status.0);
        self.option(sample.source_time.as_ref(), |w, t| w.i64(*t));
        self.i64(sample.agent_time);
    }

    fn tagged(&mut self, tag: u8, write: impl FnOnce(&mut Self)) {
        self.u8(tag);
        write(self);
    }
}

pub(super) struct Reader<'a>(pub &'a [u8]);

type Read<T> = Result<T, StateError>;

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(StateError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| StateError::Damaged)
    }

    pub fn u8(&mut self) -> Read<u8> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub fn u32(&mut self) -> Read<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Read<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Read<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub fn f64(&mut self) -> Read<f64> {
        Ok(f64::from_bits(self.u64()?))
    }

    pub fn bool(&mut self) -> Read<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(StateError::Damaged),
        }
    }

    pub fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<Option<T>> {
        match self.bool()? {
            true => read(self).map(Some),
            false => Ok(None),
        }
    }

    /// A number of elements of which each has at least one byte.
    pub fn count(&mut self) -> Read<usize> {
        let count = self.u32()? as usize;
        if count > self.0.len() {
            return Err(StateError::Damaged);
        }
        Ok(count)
    }

    pub fn raw(&mut self) -> Read<&'a [u8]> {
        let length = usize::try_from(self.u64()?).map_err(|_| StateError::Damaged)?;
        self.take(length)
    }

    pub fn text(&mut self) -> Read<&'a str> {
        std::str::from_utf8(self.raw()?).map_err(|_| StateError::Damaged)
    }

    pub fn value(&mut self) -> Read<Value> {
        fn narrow<T: TryFrom<W>, W>(wide: W) -> Read<T> {
            T::try_from(wide).map_err(|_| StateError::Damaged)
        }
        Ok(match self.u8()? {
            0 => Value::Null,
            1 => Value::Bool(self.bool()?),
            2 => Value::I8(narrow(self.i64()?)?),
            3 => Value::I16(narrow(self.i64()?)?),
            4 => Value::I32(narrow(self.i64()?)?),
            5 => Value::I64(self.i64()?),
            6 => Value::U8(narrow(self.u64()?)?),
            7 => Value::U16(narrow(self.u64()?)?),
            8 => Value::U32(narrow(self.u64()?)?),
            9 => Value::U64(self.u64()?),
            10 => Value::F32(f32::from_bits(self.u32()?)),
            11 => Value::F64(self.f64()?),
            12 => Value::String(self.text()?.into()),
            13 => Value::Bytes(self.raw()?.into()),
            _ => return Err(StateError::Damaged),
        })
    }

    pub fn sample(&mut self) -> Read<Sample> {
        Ok(Sample {
            point: self.u32()?,
            value: self.value()?,
            status: StatusCode(self.u32()?),
            source_time: self.option(Self::i64)?,
            agent_time: self.i64()?,
        })
    }
}
