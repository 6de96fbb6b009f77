//! Registers and bits to values: every type, count and byte order.
//!
//! The mapping is that of Apache PLC4X. A value is first put into the order of the standard
//! (most significant byte first), whatever its width; a type narrower than a register is then
//! the low part of it. Strings and byte lists are packed two bytes to a register and only the
//! byte-swap orders change their order.

use std::sync::Arc;

use lineside_core::Value;
use lineside_crds::modbus::{ByteOrder, DataType};

/// The bytes are no value of the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUsable {
    /// There are fewer bytes than the type and count need.
    #[error("too few bytes for the type")]
    Short,
    /// CHAR elements that are no UTF-8 text.
    #[error("the bytes are no UTF-8 text")]
    Utf8,
    /// WCHAR elements that are no UTF-16 text.
    #[error("the words are no UTF-16 text")]
    Utf16,
    /// A table of bits holds nothing but BOOL.
    #[error("a bit is no value of the type")]
    Bits,
}

/// The bit at `index` of an answer of function 1 or 2: the first in the lowest bit of the first
/// byte (V1.1b3, 6.1).
pub fn bit(data: &[u8], index: usize) -> Result<bool, NotUsable> {
    let byte = data.get(index / 8).ok_or(NotUsable::Short)?;
    Ok(byte >> (index % 8) & 1 == 1)
}

/// The value in `raw`, the bytes of its registers as received, high byte of each first.
///
/// # Errors
/// The bytes are too few, or no text although the type is one.
pub fn registers(
    raw: &[u8],
    data_type: DataType,
    count: u16,
    order: ByteOrder,
) -> Result<Value, NotUsable> {
    Ok(match data_type {
        DataType::Byte if count > 1 => Value::Bytes(packed(raw, count, order)?.into()),
        DataType::Char => Value::String(text8(packed(raw, count, order)?)?),
        DataType::Wchar => Value::String(text16(raw, count, order)?),
        DataType::Bool => Value::Bool(word(raw, order)? & 1 == 1),
        DataType::Byte | DataType::Usint => Value::U8(low(word(raw, order)?)),
        DataType::Sint => Value::I8(low(word(raw, order)?).cast_signed()),
        DataType::Word | DataType::Uint => Value::U16(word(raw, order)?),
        DataType::Int => Value::I16(word(raw, order)?.cast_signed()),
        DataType::Dword | DataType::Udint => Value::U32(u32::from_be_bytes(ordered(raw, order)?)),
        DataType::Dint => Value::I32(i32::from_be_bytes(ordered(raw, order)?)),
        DataType::Real => Value::F32(f32::from_be_bytes(ordered(raw, order)?)),
        DataType::Lword | DataType::Ulint => Value::U64(u64::from_be_bytes(ordered(raw, order)?)),
        DataType::Lint => Value::I64(i64::from_be_bytes(ordered(raw, order)?)),
        DataType::Lreal => Value::F64(f64::from_be_bytes(ordered(raw, order)?)),
    })
}

/// The first `N` bytes with the most significant one first.
fn ordered<const N: usize>(raw: &[u8], order: ByteOrder) -> Result<[u8; N], NotUsable> {
    let mut bytes = *raw.first_chunk::<N>().ok_or(NotUsable::Short)?;
    match order {
        ByteOrder::BigEndian => {}
        ByteOrder::LittleEndian => bytes.reverse(),
        ByteOrder::BigEndianByteSwap => swap_pairs(&mut bytes),
        ByteOrder::LittleEndianByteSwap => {
            bytes.reverse();
            swap_pairs(&mut bytes);
        }
    }
    Ok(bytes)
}

fn swap_pairs(bytes: &mut [u8]) {
    for pair in bytes.chunks_exact_mut(2) {
        pair.reverse();
    }
}

fn word(raw: &[u8], order: ByteOrder) -> Result<u16, NotUsable> {
    Ok(u16::from_be_bytes(ordered(raw, order)?))
}

fn low(word: u16) -> u8 {
    let [_, low] = word.to_be_bytes();
    low
}

/// `count` elements of one byte, two in a register.
fn packed(raw: &[u8], count: u16, order: ByteOrder) -> Result<Vec<u8>, NotUsable> {
    let count = usize::from(count);
    let whole = raw.get(..count.next_multiple_of(2)).ok_or(NotUsable::Short)?;
    let mut bytes = whole.to_vec();
    if matches!(order, ByteOrder::BigEndianByteSwap | ByteOrder::LittleEndianByteSwap) {
        swap_pairs(&mut bytes);
    }
    bytes.truncate(count);
    Ok(bytes)
}

/// Text up to the first NUL.
fn text8(mut bytes: Vec<u8>) -> Result<Arc<str>, NotUsable> {
    if let Some(end) = bytes.iter().position(|b| *b == 0) {
        bytes.truncate(end);
    }
    std::str::from_utf8(&bytes).map(Arc::from).map_err(|_| NotUsable::Utf8)
}

/// Text of `count` 16-bit units up to the first NUL.
fn text16(raw: &[u8], count: u16, order: ByteOrder) -> Result<Arc<str>, NotUsable> {
    let bytes = raw.get(..usize::from(count) * 2).ok_or(NotUsable::Short)?;
    let units: Vec<u16> =
        bytes.chunks_exact(2).map(|unit| word(unit, order)).collect::<Result<_, _>>()?;
    let end = units.iter().position(|u| *u == 0).unwrap_or(units.len());
    let text = String::from_utf16(units.get(..end).unwrap_or_default());
    text.map(Arc::from).map_err(|_| NotUsable::Utf16)
}

#[cfg(test)]
mod tests;
