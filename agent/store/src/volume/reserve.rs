//! A preallocated file that is given up when the disk is full, so that positions and the log's
//! own small files can still be written, and made again when there is space.

use std::io;
use std::path::{Path, PathBuf};

use crate::fs::{Fs, Open};

const MOST: u64 = 16 * 1024 * 1024;

pub(super) struct Reserve {
    path: PathBuf,
    is_there: bool,
}

impl Reserve {
    pub(super) fn find(fs: &dyn Fs, dir: &Path) -> Self {
        let path = dir.join("reserve");
        let is_there = fs.open(&path, Open::Read).is_ok();
        Self { path, is_there }
    }

    /// Gives the space free; whether there was any.
    pub(super) fn give_up(&mut self, fs: &dyn Fs) -> io::Result<bool> {
        if !self.is_there {
            return Ok(false);
        }
        fs.remove(&self.path)?;
        self.is_there = false;
        Ok(true)
    }

    /// Makes it again when twice its size is free, so that it is no reason to be full.
    pub(super) fn restore(&mut self, fs: &dyn Fs) -> io::Result<()> {
        let Some(dir) = self.path.parent() else { return Ok(()) };
        let space = fs.space(dir)?;
        let size = MOST.min(space.total / 20);
        if self.is_there || space.available < size * 2 {
            return Ok(());
        }
        // One that was cut off while it was made is as good as none.
        let _ = fs.remove(&self.path);
        let file = fs.open(&self.path, Open::CreateNew)?;
        if let Err(error) = file.allocate(size) {
            let _ = fs.remove(&self.path);
            return Err(error);
        }
        self.is_there = true;
        fs.sync_dir(dir)
    }
}
