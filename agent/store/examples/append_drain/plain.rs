//! The disk alone.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Result;

/// How long so many bytes take in so many writes one behind the other, each followed by
/// `fdatasync`.
pub fn write(path: &Path, bytes: u64, writes: u64) -> Result<Duration> {
    let piece = vec![0x5A; usize::try_from(bytes / writes.max(1))?];
    let file = std::fs::File::create_new(path)?;
    let started = Instant::now();
    for n in 0..writes {
        file.write_all_at(&piece, n * piece.len() as u64)?;
        file.sync_data()?;
    }
    let took = started.elapsed();
    drop(file);
    std::fs::remove_file(path)?;
    Ok(took)
}
