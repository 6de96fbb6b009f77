//! Whether everything in a store can be read.

use std::path::{Path, PathBuf};

use super::{Layout, LogLayout};
use crate::cursor::Cursor;
use crate::error::StoreError;
use crate::frame::Kind;
use crate::fs::{Fs, Open};
use crate::letter;
use crate::log::{decode_entry, files, load_definitions};
use crate::scan::Scan;
use crate::sealed::{self, SLOT};

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// Where in it, in bytes, when it is one place.
    pub position: Option<u64>,
    /// What is wrong, and what that costs.
    pub what: String,
}

/// Reads everything in the store in `dir`; what it finds wrong, nothing when all is well.
///
/// # Errors
/// There is no store, or it cannot be listed or read.
pub fn verify(fs: &dyn Fs, dir: &Path) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Findings(Vec::new());
    for log in Layout::read(fs, dir)?.logs {
        if log.meta.is_none() {
            findings.note(log.dir.join("log"), None, "damaged; it is made again at the next start");
        }
        for path in &log.unknown {
            findings.note(path.clone(), None, "not a file of the store");
        }
        findings.definitions(fs, &log)?;
        findings.segments(fs, &log)?;
        findings.cursors(fs, &log)?;
        findings.letters(fs, &log)?;
    }
    Ok(findings.0)
}

struct Findings(Vec<Finding>);

impl Findings {
    fn note(&mut self, path: PathBuf, position: Option<u64>, what: impl Into<String>) {
        self.0.push(Finding { path, position, what: what.into() });
    }

    fn definitions(&mut self, fs: &dyn Fs, log: &LogLayout) -> Result<(), StoreError> {
        for generation in &log.generations {
            for path in files::definition_paths(&log.dir, *generation) {
                match load_definitions(fs, &path, &log.seal, |_, _| {}) {
                    Ok((_, true)) => {}
                    Ok((_, false)) => self.note(path, None, "damaged or cut off; it has a mirror"),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                        self.note(path, None, "missing; it has a mirror");
                    }
                    Err(error) => return Err(StoreError::io("read", path)(error)),
                }
            }
        }
        Ok(())
    }

    fn segments(&mut self, fs: &dyn Fs, log: &LogLayout) -> Result<(), StoreError> {
        // Samples before the next record, when the one before it was read.
        let mut expected = None;
        for (index, first) in log.segments.iter().enumerate() {
            self.segment(fs, log, *first, log.end_of(index), &mut expected)?;
        }
        Ok(())
    }

    fn segment(
        &mut self,
        fs: &dyn Fs,
        log: &LogLayout,
        first: u64,
        end: u64,
        expected: &mut Option<u64>,
    ) -> Result<(), StoreError> {
        let path = files::path(&log.dir, first);
        let file = match fs.open(&path, Open::Read) {
            // The agent has removed it meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                *expected = None;
                return Ok(());
            }
            other => other.map_err(StoreError::io("open", &path))?,
        };
        let origins = log.origins(fs, first)?;
        let io = |error| StoreError::io("read", &path)(error);
        let mut scan = Scan::new(&*file, &log.seal, 0, file.len().map_err(io)?);
        let (mut next, mut has_head) = (first, false);
        while let Some(spot) = scan.next().map_err(io)? {
            let header = spot.found.header;
            let position = Some(spot.position);
            if header.kind == Kind::Head {
                has_head |= scan.payload(&spot).map_err(io)?.is_some();
                expected.get_or_insert(header.number);
                continue;
            }
            if header.offset >= end {
                break;
            }
            if header.offset < next {
                continue;
            }
            next = header.offset + 1;
            if spot.after_damage {
                self.note(path.clone(), position, "what lies before here is damaged");
            }
            if let Some(before) = *expected
                && header.number != before
            {
                let lost = header.number.saturating_sub(before);
                self.note(path.clone(), position, format!("{lost} samples are lost before here"));
            }
            *expected = Some(header.number + u64::from(header.samples));
            let payload = scan.payload(&spot).map_err(io)?;
            let meta = log.meta.as_ref();
            let entry =
                payload.and_then(|p| decode_entry(&spot, p, meta, |n| origins.get(&n).cloned()));
            if entry.is_none() {
                let what = format!("a record of {} samples is damaged", header.samples);
                self.note(path.clone(), position, what);
            }
        }
        if !has_head {
            self.note(path.clone(), Some(0), "the first frame is damaged");
        }
        Ok(())
    }

    fn cursors(&mut self, fs: &dyn Fs, log: &LogLayout) -> Result<(), StoreError> {
        for number in &log.sinks {
            let path = files::cursor_path(&log.dir, *number);
            let bytes = sealed::read(fs, &path, 2 * SLOT).map_err(StoreError::io("read", &path))?;
            let mut good = 0;
            for at in [0, SLOT] {
                let Some(slot) = bytes.get(at..(at + SLOT).min(bytes.len())) else { continue };
                // A slot that was never written is no damage.
                if slot.iter().all(|b| *b == 0) {
                    continue;
                }
                let cursor = sealed::decode(&log.seal, slot);
                let cursor = cursor.and_then(|(_, body)| Cursor::decode(body).ok());
                match cursor {
                    Some(cursor) if cursor.balances() => good += 1,
                    Some(_) => {
                        self.note(path.clone(), Some(at as u64), "the books do not balance");
                    }
                    None => self.note(path.clone(), Some(at as u64), "this copy is damaged"),
                }
            }
            if good == 0 {
                let what = "no copy is good; the sink will get everything again";
                self.note(path, None, what);
            }
        }
        Ok(())
    }

    fn letters(&mut self, fs: &dyn Fs, log: &LogLayout) -> Result<(), StoreError> {
        for number in &log.letters {
            let path = files::dead_path(&log.dir, *number);
            let file = fs.open(&path, Open::Read).map_err(StoreError::io("open", &path))?;
            let io = |error| StoreError::io("read", &path)(error);
            let length = file.len().map_err(io)?;
            let mut scan = Scan::new(&*file, &log.seal, 0, length);
            let mut end = 0;
            while let Some(spot) = scan.next().map_err(io)? {
                end = spot.end();
                let header = spot.found.header;
                let payload = scan.payload(&spot).map_err(io)?;
                let readable = payload.is_some_and(|p| match header.kind {
                    Kind::DeadLetter => letter::decode(&header, p).is_ok(),
                    _ => true,
                });
                if !readable || spot.after_damage {
                    let what = "a dead letter here is damaged";
                    self.note(path.clone(), Some(spot.position), what);
                }
            }
            if end < length {
                self.note(path.clone(), Some(end), "its end is damaged or was cut off");
            }
        }
        Ok(())
    }
}
