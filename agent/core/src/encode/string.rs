//! Strings as JSON text (RFC 8259, section 7) and bytes as base64 (RFC 4648, section 4).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Writes a string with its quotes. Runs without anything to escape are copied whole.
pub(super) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    // Nearly every string is a point's name, which never has anything to escape: looking at all
    // bytes without a branch is several times faster than at each for its own case.
    if !bytes.iter().fold(false, |found, byte| found | must_escape(*byte)) {
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    let mut start = 0;
    for (i, byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            0x08 => b'b',
            0x09 => b't',
            0x0A => b'n',
            0x0C => b'f',
            0x0D => b'r',
            0x00..=0x1F => 0,
            _ => continue,
        };
        out.extend_from_slice(&bytes[start..i]);
        start = i + 1;
        if short != 0 {
            out.extend_from_slice(&[b'\\', short]);
        } else {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

fn must_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Writes bytes as a base64 string with its quotes.
pub(super) fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    // 48 bytes are 64 characters, a whole number of groups, so blocks can be joined.
    let mut block = [0; 64];
    out.push(b'"');
    for chunk in bytes.chunks(48) {
        // The block holds any chunk, so this cannot fail.
        if let Ok(len) = STANDARD.encode_slice(chunk, &mut block) {
            out.extend_from_slice(&block[..len]);
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_control_character_quote_and_backslash_is_escaped() {
        let mut out = Vec::new();
        write_string("a\"b\\c\u{8}\t\n\u{c}\r\u{0}\u{1f}\u{7f}ü€😀", &mut out);
        let expected = r#""a\"b\\c\b\t\n\f\r\u0000\u001f"#.to_owned() + "\u{7f}ü€😀\"";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn long_bytes_are_one_unbroken_base64_text() {
        for len in [0, 1, 2, 3, 47, 48, 49, 1000] {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let mut out = Vec::new();
            write_base64(&bytes, &mut out);
            assert_eq!(out, format!("\"{}\"", STANDARD.encode(&bytes)).into_bytes());
        }
    }
}
