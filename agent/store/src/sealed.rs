//! Small bodies with a checksum: files that are replaced as a whole, and slots that are written
//! in turn.
//!
//! ```text
//! | magic | crc | sequence | length | 0 |  body  |
//! ```

use std::io;
use std::path::Path;

use crate::fields::Reader;
use crate::frame::Seal;
use crate::fs::{Fs, Open};
use crate::replace;

const MAGIC: &[u8; 4] = b"LSB1";

/// Bytes before the body.
pub(crate) const PREFIX: usize = 24;

/// Bytes of a slot; a file has two.
pub(crate) const SLOT: usize = 64 * 1024;

/// Longest body of a slot.
pub(crate) const MAX_BODY: usize = SLOT - PREFIX;

pub(crate) fn encode(seal: &Seal, sequence: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PREFIX + body.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(body);
    let checksum = seal.checksum(&bytes[8..]);
    bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Sequence and body; `None` when they are not what was written.
pub(crate) fn decode<'a>(seal: &Seal, bytes: &'a [u8]) -> Option<(u64, &'a [u8])> {
    let mut reader = Reader(bytes);
    let magic = reader.bytes(4, "magic").ok()?;
    let checksum = reader.u32("crc").ok()?;
    let sealed = reader.0;
    let sequence = reader.u64("sequence").ok()?;
    let length = reader.u32("length").ok()? as usize;
    reader.u32("zero").ok()?;
    let body = reader.bytes(length, "body").ok()?;
    let covered = sealed.get(..PREFIX - 8 + length)?;
    (magic == MAGIC && (seal.checksum(covered) == checksum || seal.is_blind()))
        .then_some((sequence, body))
}

/// Writes a file that holds one body so that after a power cut there is the old or the new one.
pub(crate) fn replace(
    fs: &dyn Fs,
    dir: &Path,
    name: &str,
    seal: &Seal,
    body: &[u8],
) -> io::Result<()> {
    let bytes = encode(seal, 0, body);
    replace::replace(fs, &dir.join(name), |file| file.write_at(&bytes, 0)).map(|_| ())
}

/// All bytes of a file, at most `most`.
pub(crate) fn read(fs: &dyn Fs, path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let file = fs.open(path, Open::Read)?;
    let length = usize::try_from(file.len()?).unwrap_or(usize::MAX).min(most);
    let mut bytes = vec![0; length];
    let got = file.read_at(&mut bytes, 0)?;
    bytes.truncate(got);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_comes_back_and_every_flipped_bit_is_noticed() {
        let seal = Seal::new(&[1; 16], 0, false);
        let mut bytes = encode(&seal, 9, b"body");
        assert_eq!(decode(&seal, &bytes), Some((9, &b"body"[..])));
        let mut longer = bytes.clone();
        longer.resize(SLOT, 0xAA);
        assert_eq!(decode(&seal, &longer), Some((9, &b"body"[..])), "an older body lies behind");
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&seal, &bytes), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
