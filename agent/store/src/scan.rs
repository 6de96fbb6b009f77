//! Reading the frames of a file one after the other, over damaged ones.

use std::io;

use crate::frame::{ALIGN, Found, HEADER, Seal};
use crate::fs::File;

/// How much is read at once; a longer frame is read whole.
const CHUNK: usize = 256 * 1024;

/// A position in a file and what was found there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    /// Of the header.
    pub(crate) position: u64,
    pub(crate) found: Found,
    /// Whether something unreadable lies between the frame before and this one.
    pub(crate) after_damage: bool,
}

impl Spot {
    /// Position behind the frame.
    pub(crate) fn end(&self) -> u64 {
        self.position + self.found.size() as u64
    }
}

/// Frames of a file from a position on.
pub(crate) struct Scan<'a> {
    file: &'a dyn File,
    seal: &'a Seal,
    position: u64,
    /// Nothing is looked at from here on.
    end: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
    /// Blocks that the disk does not give read as zeros.
    lenient: bool,
}

/// What a disk gives or refuses at once.
const BLOCK: usize = 4096;

impl<'a> Scan<'a> {
    pub(crate) fn new(file: &'a dyn File, seal: &'a Seal, position: u64, end: u64) -> Self {
        Self { file, seal, position, end, buffer: Vec::new(), buffer_at: position, lenient: false }
    }

    /// Reads what the disk does not give as zeros, which are no frame.
    pub(crate) fn leniently(self, lenient: bool) -> Self {
        Self { lenient, ..self }
    }

    fn fill(&mut self) -> io::Result<usize> {
        match self.file.read_at(&mut self.buffer, self.buffer_at) {
            Err(_) if self.lenient => {}
            other => return other,
        }
        let mut filled = 0;
        while filled < self.buffer.len() {
            let at = self.buffer_at + filled as u64;
            let most = BLOCK - (at % BLOCK as u64) as usize;
            let until = (filled + most).min(self.buffer.len());
            let Some(block) = self.buffer.get_mut(filled..until) else { break };
            match self.file.read_at(block, at) {
                Ok(got) if got < block.len() => return Ok(filled + got),
                Ok(_) => {}
                Err(_) => block.fill(0),
            }
            filled = until;
        }
        Ok(filled)
    }

    /// Makes `count` bytes from `at` on available, or as many as there are.
    fn load(&mut self, at: u64, count: usize) -> io::Result<&[u8]> {
        let count = count.min(usize::try_from(self.end.saturating_sub(at)).unwrap_or(count));
        let have = at
            .checked_sub(self.buffer_at)
            .and_then(|skip| usize::try_from(skip).ok())
            .filter(|skip| skip + count <= self.buffer.len());
        let skip = match have {
            Some(skip) => skip,
            None => {
                let most = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
                self.buffer.resize(count.max(CHUNK.min(most)), 0);
                self.buffer_at = at;
                let got = self.fill()?;
                self.buffer.truncate(got);
                0
            }
        };
        Ok(self.buffer.get(skip..(skip + count).min(self.buffer.len())).unwrap_or_default())
    }

    /// Whether the header that should follow is in memory.
    pub(crate) fn has_header(&self) -> bool {
        let skip = self.position.checked_sub(self.buffer_at);
        let skip = skip.and_then(|skip| usize::try_from(skip).ok());
        skip.is_some_and(|skip| skip + HEADER <= self.buffer.len())
    }

    /// The next frame; `None` when no header follows.
    pub(crate) fn next(&mut self) -> io::Result<Option<Spot>> {
        let (seal, end) = (self.seal, self.end);
        let here = seal.header(self.load(self.position, HEADER)?);
        let fits = |position: u64, found: &Found| position + found.size() as u64 <= end;
        if let Some(found) = here.filter(|f| fits(self.position, f)) {
            let spot = Spot { position: self.position, found, after_damage: false };
            self.position = spot.end();
            return Ok(Some(spot));
        }
        let mut at = self.position + ALIGN as u64;
        while at + HEADER as u64 <= end {
            let bytes = self.load(at, CHUNK)?;
            if bytes.len() < HEADER {
                return Ok(None);
            }
            let searched = (bytes.len() - HEADER) / ALIGN * ALIGN + ALIGN;
            match seal.find(bytes, 0) {
                Some((skip, found)) if fits(at + skip as u64, &found) => {
                    let position = at + skip as u64;
                    let spot = Spot { position, found, after_damage: true };
                    self.position = spot.end();
                    return Ok(Some(spot));
                }
                Some((skip, _)) => at += (skip + ALIGN) as u64,
                None => at += searched as u64,
            }
        }
        Ok(None)
    }

    /// The payload of a frame; `None` when it is not what was written.
    pub(crate) fn payload(&mut self, spot: &Spot) -> io::Result<Option<&[u8]>> {
        let seal = self.seal;
        let payload = self.load(spot.position + HEADER as u64, spot.found.length)?;
        Ok(spot.found.holds(payload, seal).then_some(payload))
    }
}
