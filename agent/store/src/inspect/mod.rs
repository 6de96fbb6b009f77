//! Looking at a store from outside, for support: nothing is written and no lock is taken, so it
//! works beside a running agent. What an agent is writing at that moment may be there in part, and
//! may not be committed.

mod dump;
#[cfg(test)]
mod golden;
mod verify;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lineside_core::Origin;

pub use dump::{Dump, Dumped, Payload, dump};
pub use verify::{Finding, verify};

use crate::definition::DefinitionId;
use crate::error::StoreError;
use crate::frame::Seal;
use crate::fs::Fs;
use crate::log::files::Name;
use crate::log::load_mirrors;
use crate::meta::Meta;
use crate::sealed;
use crate::volume::Identity;

/// A store's identity and its logs.
struct Layout {
    id: Arc<str>,
    logs: Vec<LogLayout>,
}

/// The files of a log.
struct LogLayout {
    dir: PathBuf,
    stream: u32,
    seal: Seal,
    /// `None` when the log's own file is damaged.
    meta: Option<Meta>,
    segments: Vec<u64>,
    generations: Vec<u64>,
    sinks: Vec<u32>,
    letters: Vec<u32>,
    unknown: Vec<PathBuf>,
}

impl Layout {
    fn read(fs: &dyn Fs, dir: &Path) -> Result<Self, StoreError> {
        let identity = Identity::read(fs, dir)?;
        let mut logs = Vec::new();
        for name in fs.list(dir).map_err(StoreError::io("list", dir))? {
            let number = name.to_str().and_then(|n| n.strip_prefix("log-")?.parse::<u32>().ok());
            if let Some(stream) = number {
                let seal = Seal::new(&identity.id, stream, false);
                logs.push(LogLayout::read(fs, dir.join(name), stream, seal)?);
            }
        }
        Ok(Self { id: identity.text(), logs })
    }
}

impl LogLayout {
    fn read(fs: &dyn Fs, dir: PathBuf, stream: u32, seal: Seal) -> Result<Self, StoreError> {
        let names = fs.list(&dir).map_err(StoreError::io("list", &dir))?;
        let meta = sealed::read(fs, &dir.join("log"), sealed::SLOT).ok();
        let meta = meta.and_then(|b| Meta::decode(sealed::decode(&seal, &b)?.1).ok());
        let mut layout = Self {
            dir,
            stream,
            seal,
            meta,
            segments: Vec::new(),
            generations: Vec::new(),
            sinks: Vec::new(),
            letters: Vec::new(),
            unknown: Vec::new(),
        };
        for name in names {
            match name.to_str().and_then(Name::parse) {
                Some(Name::Segment(first)) => layout.segments.push(first),
                Some(Name::Definitions(first)) => layout.generations.push(first),
                Some(Name::Cursor(number)) => layout.sinks.push(number),
                Some(Name::Dead(number)) => layout.letters.push(number),
                Some(Name::Meta | Name::Checkpoint | Name::Temporary | Name::Damaged) => {}
                None => layout.unknown.push(layout.dir.join(name)),
            }
        }
        layout.segments.sort_unstable();
        layout.generations.sort_unstable();
        layout.generations.dedup();
        Ok(layout)
    }

    /// The end of a segment: offsets from here on are in the next one.
    fn end_of(&self, index: usize) -> u64 {
        self.segments.get(index + 1).copied().unwrap_or(u64::MAX)
    }

    /// The definitions that a segment refers to.
    fn origins(&self, fs: &dyn Fs, first: u64) -> io::Result<BTreeMap<DefinitionId, Arc<Origin>>> {
        let mut origins = BTreeMap::new();
        if let Some(generation) = self.generations.iter().rfind(|g| **g <= first) {
            load_mirrors(fs, &self.dir, *generation, &self.seal, |id, origin| {
                origins.entry(id).or_insert(origin);
            })?;
        }
        Ok(origins)
    }
}
