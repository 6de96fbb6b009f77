//! Every type in every order of bytes as registers, written by hand from PLC4X's mapping and
//! the standards of the numbers (two's complement, IEEE 754, UTF-8, UTF-16).

use serde_json::{Value, json};

/// Orders of bytes by the place of a 32-bit value's bytes (A is the most significant), and
/// PLC4X's name of each.
pub const ORDERS: [(&str, &str); 4] = [
    ("ABCD", "BIG_ENDIAN"),
    ("DCBA", "LITTLE_ENDIAN"),
    ("BADC", "BIG_ENDIAN_BYTE_SWAP"),
    ("CDAB", "LITTLE_ENDIAN_BYTE_SWAP"),
];

/// Every type of PLC4X's Modbus tags.
pub const TYPES: [&str; 17] = [
    "BOOL", "BYTE", "WORD", "DWORD", "LWORD", "SINT", "USINT", "INT", "UINT", "DINT", "UDINT",
    "LINT", "ULINT", "REAL", "LREAL", "CHAR", "WCHAR",
];

/// A value with its registers in the orders of [`ORDERS`].
pub struct Row {
    /// Type with its count, e.g. `CHAR[6]`.
    pub tag: &'static str,
    /// What it reads as in JSON v1.
    pub value: Value,
    /// Registers in each order.
    pub words: [&'static [u16]; 4],
}

impl Row {
    /// The type without its count.
    pub fn data_type(&self) -> &'static str {
        self.tag.split('[').next().unwrap()
    }
}

fn row(tag: &'static str, value: Value, words: [&'static [u16]; 4]) -> Row {
    Row { tag, value, words }
}

/// Every value of the table.
pub fn rows() -> Vec<Row> {
    let mut rows = one_register();
    rows.extend(numbers());
    rows.extend(packed());
    rows
}

/// LITTLE_ENDIAN and BIG_ENDIAN_BYTE_SWAP turn the two bytes of a lone register round. What is
/// narrower is its low part then; the rest of it is set, and must not count.
fn one_register() -> Vec<Row> {
    vec![
        row("BOOL", json!(true), [&[0x0001], &[0x0100], &[0x0100], &[0x0001]]),
        row("BOOL", json!(false), [&[0xFFFE], &[0xFEFF], &[0xFEFF], &[0xFFFE]]),
        row("BYTE", json!(129), [&[0x7F81], &[0x817F], &[0x817F], &[0x7F81]]),
        row("USINT", json!(254), [&[0x01FE], &[0xFE01], &[0xFE01], &[0x01FE]]),
        row("SINT", json!(-2), [&[0x01FE], &[0xFE01], &[0xFE01], &[0x01FE]]),
        row("INT", json!(-12_345), [&[0xCFC7], &[0xC7CF], &[0xC7CF], &[0xCFC7]]),
        row("UINT", json!(54_321), [&[0xD431], &[0x31D4], &[0x31D4], &[0xD431]]),
        row("WORD", json!(43_981), [&[0xABCD], &[0xCDAB], &[0xCDAB], &[0xABCD]]),
        row("WCHAR", json!("\u{e9}"), [&[0x00E9], &[0xE900], &[0xE900], &[0x00E9]]),
        // One character is the first of a text: only the byte-swap orders turn it round.
        row("CHAR", json!("A"), [&[0x4142], &[0x4142], &[0x4241], &[0x4241]]),
    ]
}

fn numbers() -> Vec<Row> {
    vec![
        row(
            "DINT",
            json!(-2_000_000_123),
            [&[0x88CA, 0x6B85], &[0x856B, 0xCA88], &[0xCA88, 0x856B], &[0x6B85, 0x88CA]],
        ),
        row(
            "UDINT",
            json!(4_000_000_321_u32),
            [&[0xEE6B, 0x2941], &[0x4129, 0x6BEE], &[0x6BEE, 0x4129], &[0x2941, 0xEE6B]],
        ),
        row(
            "DWORD",
            json!(3_735_928_559_u32),
            [&[0xDEAD, 0xBEEF], &[0xEFBE, 0xADDE], &[0xADDE, 0xEFBE], &[0xBEEF, 0xDEAD]],
        ),
        row(
            "REAL",
            json!(std::f32::consts::PI),
            [&[0x4049, 0x0FDB], &[0xDB0F, 0x4940], &[0x4940, 0xDB0F], &[0x0FDB, 0x4049]],
        ),
        row(
            "LINT",
            json!(-9_150_748_177_064_392_952_i64),
            [
                &[0x8102, 0x0304, 0x0506, 0x0708],
                &[0x0807, 0x0605, 0x0403, 0x0281],
                &[0x0281, 0x0403, 0x0605, 0x0807],
                &[0x0708, 0x0506, 0x0304, 0x8102],
            ],
        ),
        row(
            "ULINT",
            json!(17_429_726_349_691_885_448_u64),
            [
                &[0xF1E2, 0xD3C4, 0xB5A6, 0x9788],
                &[0x8897, 0xA6B5, 0xC4D3, 0xE2F1],
                &[0xE2F1, 0xC4D3, 0xA6B5, 0x8897],
                &[0x9788, 0xB5A6, 0xD3C4, 0xF1E2],
            ],
        ),
        row(
            "LWORD",
            json!(72_623_859_790_382_856_u64),
            [
                &[0x0102, 0x0304, 0x0506, 0x0708],
                &[0x0807, 0x0605, 0x0403, 0x0201],
                &[0x0201, 0x0403, 0x0605, 0x0807],
                &[0x0708, 0x0506, 0x0304, 0x0102],
            ],
        ),
        row(
            "LREAL",
            json!(std::f64::consts::PI),
            [
                &[0x4009, 0x21FB, 0x5444, 0x2D18],
                &[0x182D, 0x4454, 0xFB21, 0x0940],
                &[0x0940, 0xFB21, 0x4454, 0x182D],
                &[0x2D18, 0x5444, 0x21FB, 0x4009],
            ],
        ),
    ]
}

/// Texts and lists of bytes. Two bytes in a register, the high one first, which only the
/// byte-swap orders turn round; a WCHAR has a register of its own.
fn packed() -> Vec<Row> {
    const LINE: &[u16] = &[0x4C69, 0x6E65, 0x2037];
    const LINE_SWAPPED: &[u16] = &[0x694C, 0x656E, 0x3720];
    const OIL: &[u16] = &[0xC396, 0x6C78];
    const OIL_SWAPPED: &[u16] = &[0x96C3, 0x786C];
    const WIDE: &[u16] = &[0x0041, 0x00F6, 0x20AC];
    const WIDE_SWAPPED: &[u16] = &[0x4100, 0xF600, 0xAC20];
    const BYTES: &[u16] = &[0x0102, 0xFF77];
    const BYTES_SWAPPED: &[u16] = &[0x0201, 0x77FF];
    vec![
        row("CHAR[6]", json!("Line 7"), [LINE, LINE, LINE_SWAPPED, LINE_SWAPPED]),
        // Three bytes; the fourth is not asked for.
        row("CHAR[3]", json!("\u{d6}l"), [OIL, OIL, OIL_SWAPPED, OIL_SWAPPED]),
        row("WCHAR[3]", json!("A\u{f6}\u{20ac}"), [WIDE, WIDE_SWAPPED, WIDE_SWAPPED, WIDE]),
        // Base64 of 01 02 FF.
        row("BYTE[3]", json!("AQL/"), [BYTES, BYTES, BYTES_SWAPPED, BYTES_SWAPPED]),
    ]
}
