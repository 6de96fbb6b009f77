//! Whether everything in a store can be read.

use std::io;
use std::path::{Path, PathBuf};

use super::{Layout, LogLayout};
use crate::cursor::Cursor;
use crate::error::StoreError;
use crate::frame::Kind;
use crate::fs::{Fs, Open};
use crate::letter;
use crate::log::{decode_entry, files, load_definitions, read_checkpoint};
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

/// Reads everything in the store in `dir`; what it finds wrong, nothing when all is well. A file
/// that the disk refuses to read is a finding, too.
///
/// # Errors
/// There is no store, or it cannot be listed.
pub fn verify(fs: &dyn Fs, dir: &Path) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Findings(Vec::new());
    for log in Layout::read(fs, dir)?.logs {
        if log.meta.is_none() {
            findings.note(log.dir.join("log"), None, "damaged; it is made again at the next start");
        }
        for path in &log.unknown {
            findings.note(path.clone(), None, "not a file of the store");
        }
        findings.definitions(fs, &log);
        findings.segments(fs, &log);
        findings.cursors(fs, &log);
        findings.letters(fs, &log);
        findings.checkpoint(fs, &log);
    }
    Ok(findings.0)
}

struct Findings(Vec<Finding>);

impl Findings {
    fn note(&mut self, path: PathBuf, position: Option<u64>, what: impl Into<String>) {
        self.0.push(Finding { path, position, what: what.into() });
    }

    /// Notes a file that the disk refuses to read; one that the agent has removed meanwhile is none.
    fn refused(&mut self, path: PathBuf, error: &io::Error) {
        if error.kind() != io::ErrorKind::NotFound {
            self.note(path, None, format!("cannot be read: {error}"));
        }
    }

    fn definitions(&mut self, fs: &dyn Fs, log: &LogLayout) {
        for generation in &log.generations {
            for path in files::definition_paths(&log.dir, *generation) {
                match load_definitions(fs, &path, &log.seal, |_, _| {}) {
                    Ok((_, true)) => {}
                    Ok((_, false)) => self.note(path, None, "damaged or cut off; it has a mirror"),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        self.note(path, None, "missing; it has a mirror");
                    }
                    Err(error) => self.refused(path, &error),
                }
            }
        }
    }

    fn segments(&mut self, fs: &dyn Fs, log: &LogLayout) {
        // Samples before the next record, when the one before it was read.
        let mut expected = None;
        for (index, first) in log.segments.iter().enumerate() {
            let read = self.segment(fs, log, *first, log.end_of(index), &mut expected);
            if let Err(error) = read {
                self.refused(files::path(&log.dir, *first), &error);
                expected = None;
            }
        }
    }

    fn segment(
        &mut self,
        fs: &dyn Fs,
        log: &LogLayout,
        first: u64,
        end: u64,
        expected: &mut Option<u64>,
    ) -> io::Result<()> {
        let path = files::path(&log.dir, first);
        let file = fs.open(&path, Open::Read)?;
        let origins = log.origins(fs, first)?;
        let mut scan = Scan::new(&*file, &log.seal, 0, file.len()?);
        let (mut next, mut has_head) = (first, false);
        while let Some(spot) = scan.next()? {
            let header = spot.found.header;
            let position = Some(spot.position);
            if header.kind == Kind::Head {
                has_head |= scan.payload(&spot)?.is_some();
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
            let payload = scan.payload(&spot)?;
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

    fn cursors(&mut self, fs: &dyn Fs, log: &LogLayout) {
        for number in &log.sinks {
            let path = files::cursor_path(&log.dir, *number);
            let bytes = match sealed::read(fs, &path, 2 * SLOT) {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.refused(path, &error);
                    continue;
                }
            };
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
    }

    fn checkpoint(&mut self, fs: &dyn Fs, log: &LogLayout) {
        match read_checkpoint(fs, &log.dir, &log.seal) {
            Ok(_) => {}
            Err(StoreError::Unreadable(path)) => {
                self.note(path, None, "damaged; the transforms begin anew, and the gap says so");
            }
            Err(error) => self.note(log.dir.clone(), None, error.to_string()),
        }
    }

    fn letters(&mut self, fs: &dyn Fs, log: &LogLayout) {
        for number in &log.letters {
            let path = files::dead_path(&log.dir, *number);
            if let Err(error) = self.letters_of(fs, log, &path) {
                self.refused(path, &error);
            }
        }
    }

    fn letters_of(&mut self, fs: &dyn Fs, log: &LogLayout, path: &Path) -> io::Result<()> {
        let file = fs.open(path, Open::Read)?;
        let length = file.len()?;
        let mut scan = Scan::new(&*file, &log.seal, 0, length);
        let mut end = 0;
        while let Some(spot) = scan.next()? {
            end = spot.end();
            let header = spot.found.header;
            let payload = scan.payload(&spot)?;
            let readable = payload.is_some_and(|p| match header.kind {
                Kind::DeadLetter => letter::decode(&header, p).is_ok(),
                _ => true,
            });
            if !readable || spot.after_damage {
                let what = "a dead letter here is damaged";
                self.note(path.to_owned(), Some(spot.position), what);
            }
        }
        if end < length {
            self.note(path.to_owned(), Some(end), "its end is damaged or was cut off");
        }
        Ok(())
    }
}
