//! A tar writer (POSIX.1-1988 ustar) for what an image needs: files, folders, symbolic links,
//! all owned by root and all from the first second of 1970.

use std::io::Write;

use anyhow::{Result, bail};

/// Headers and contents fill whole blocks.
const BLOCK: usize = 512;

/// What an entry is.
pub(super) enum Kind<'a> {
    File(&'a [u8]),
    Dir,
    /// A symbolic link to this.
    Link(&'a str),
}

/// Writes entries one after the other.
pub(super) struct Writer<W>(W);

impl<W: Write> Writer<W> {
    pub(super) fn new(output: W) -> Self {
        Self(output)
    }

    pub(super) fn entry(&mut self, name: &str, mode: u32, kind: &Kind<'_>) -> Result<()> {
        self.0.write_all(&header(name, mode, kind)?)?;
        if let Kind::File(bytes) = kind {
            self.0.write_all(bytes)?;
            self.0.write_all(&[0; BLOCK][..padding(bytes.len())])?;
        }
        Ok(())
    }

    /// Writes the end of the archive.
    pub(super) fn finish(mut self) -> Result<W> {
        self.0.write_all(&[0; 2 * BLOCK])?;
        Ok(self.0)
    }
}

/// Bytes from `length` to the end of its last block.
fn padding(length: usize) -> usize {
    length.next_multiple_of(BLOCK) - length
}

fn header(name: &str, mode: u32, kind: &Kind<'_>) -> Result<Vec<u8>> {
    let (flag, size, target) = match kind {
        Kind::File(bytes) => (b'0', bytes.len(), ""),
        Kind::Link(target) => (b'2', 0, *target),
        Kind::Dir => (b'5', 0, ""),
    };
    let mut header = Vec::with_capacity(BLOCK);
    text(&mut header, name, 100)?;
    number(&mut header, u64::from(mode), 8)?;
    number(&mut header, 0, 8)?; // owner
    number(&mut header, 0, 8)?; // group
    number(&mut header, u64::try_from(size)?, 12)?;
    number(&mut header, 0, 12)?; // time
    // The checksum is counted with spaces in its own place.
    let checksum_at = header.len();
    header.extend([b' '; 8]);
    header.push(flag);
    text(&mut header, target, 100)?;
    header.extend(*b"ustar\x0000");
    text(&mut header, "root", 32)?;
    text(&mut header, "root", 32)?;
    header.resize(BLOCK, 0);
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    let checksum = format!("{sum:06o}\0 ");
    for (place, byte) in header.iter_mut().skip(checksum_at).zip(checksum.bytes()) {
        *place = byte;
    }
    Ok(header)
}

fn text(header: &mut Vec<u8>, text: &str, width: usize) -> Result<()> {
    if text.len() > width {
        bail!("{text} is longer than the {width} bytes that a tar header has for it");
    }
    header.extend(text.bytes().chain(std::iter::repeat(0)).take(width));
    Ok(())
}

/// Octal digits and a zero byte.
fn number(header: &mut Vec<u8>, number: u64, width: usize) -> Result<()> {
    let digits = format!("{number:0>digits$o}\0", digits = width - 1);
    text(header, &digits, width)
}
