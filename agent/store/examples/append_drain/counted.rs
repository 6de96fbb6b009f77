//! The machine's file system with a count of what is written and synced, by kind of file.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lineside_store::fs::{File, Fs, Open, RealFs, Space};

/// What a file is for.
#[derive(Clone, Copy)]
enum Kind {
    Segment,
    Definitions,
    Cursor,
    Other,
}

impl Kind {
    fn of(path: &Path) -> Self {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        match name {
            _ if name.contains(".seg") => Self::Segment,
            _ if name.contains(".def.") => Self::Definitions,
            _ if name.contains(".cursor") => Self::Cursor,
            _ => Self::Other,
        }
    }
}

/// Counts so far; see [`Counts::since`].
#[derive(Clone, Copy, Default)]
pub struct Written {
    pub segments: u64,
    pub definitions: u64,
    pub cursors: u64,
    pub others: u64,
    /// Calls that sync a file or a directory.
    pub syncs: u64,
    /// Those that sync a segment: one for each commit of a log, and one for each segment that is
    /// full.
    pub segment_syncs: u64,
}

impl Written {
    pub fn bytes(&self) -> u64 {
        self.segments + self.definitions + self.cursors + self.others
    }
}

/// What was written through a [`CountedFs`].
#[derive(Default)]
pub struct Counts {
    bytes: [AtomicU64; 4],
    syncs: AtomicU64,
    segment_syncs: AtomicU64,
}

impl Counts {
    pub fn now(&self) -> Written {
        let [segments, definitions, cursors, others] =
            [0, 1, 2, 3].map(|kind| self.bytes[kind].load(Ordering::Relaxed));
        let syncs = self.syncs.load(Ordering::Relaxed);
        let segment_syncs = self.segment_syncs.load(Ordering::Relaxed);
        Written { segments, definitions, cursors, others, syncs, segment_syncs }
    }

    pub fn since(&self, start: &Written) -> Written {
        let now = self.now();
        Written {
            segments: now.segments - start.segments,
            definitions: now.definitions - start.definitions,
            cursors: now.cursors - start.cursors,
            others: now.others - start.others,
            syncs: now.syncs - start.syncs,
            segment_syncs: now.segment_syncs - start.segment_syncs,
        }
    }
}

/// See the module.
#[derive(Default)]
pub struct CountedFs(pub Arc<Counts>);

impl Fs for CountedFs {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        RealFs.list(dir)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let file = RealFs.open(path, how)?;
        Ok(Arc::new(CountedFile { file, kind: Kind::of(path), counts: self.0.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealFs.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.syncs.fetch_add(1, Ordering::Relaxed);
        RealFs.sync_dir(dir)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        RealFs.space(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Arc<dyn Send + Sync>> {
        RealFs.lock(path)
    }
}

struct CountedFile {
    file: Arc<dyn File>,
    kind: Kind,
    counts: Arc<Counts>,
}

impl File for CountedFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.counts.bytes[self.kind as usize].fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.file.write_at(bytes, at)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        if matches!(self.kind, Kind::Segment) {
            self.counts.segment_syncs.fetch_add(1, Ordering::Relaxed);
        }
        self.file.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
