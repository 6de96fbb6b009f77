//! The operating system's files.

use std::ffi::OsString;
use std::fs::{self, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

use super::{File, Fs, Open, Space};

/// Zeros are written in pieces of this size where the file system cannot reserve blocks.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// The file system of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

impl Fs for RealFs {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other,
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let mut names = fs::read_dir(dir)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match how {
            Open::Read => {}
            Open::ReadWrite => {
                options.write(true);
            }
            Open::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let stat = statvfs(dir)?;
        Ok(Space {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            available: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Arc<dyn Send + Sync>> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Arc::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }
}

/// An open file of the operating system.
struct RealFile(fs::File);

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.0.read_at(&mut buffer[done..], at + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        loop {
            return match fallocate(&self.0, FallocateFlags::empty(), 0, len) {
                Ok(()) => Ok(()),
                Err(Errno::INTR) => continue,
                // NFS before 4.2, some FUSE file systems: written zeros are blocks too.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.extend_by_zeros(len),
                Err(e) => Err(e.into()),
            };
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

impl RealFile {
    /// Writes zeros from the present end up to `len`.
    fn extend_by_zeros(&self, len: u64) -> io::Result<()> {
        let mut at = self.len()?;
        while at < len {
            let piece = (len - at).min(ZEROS.len() as u64) as usize;
            self.0.write_all_at(&ZEROS[..piece], at)?;
            at += piece as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_is_not_created_and_one_that_is_not_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let kind = |how| RealFs.open(&path, how).err().map(|e| e.kind());
        assert_eq!(kind(Open::ReadWrite), Some(io::ErrorKind::NotFound));
        assert_eq!(kind(Open::CreateNew), None);
        assert_eq!(kind(Open::CreateNew), Some(io::ErrorKind::AlreadyExists));
        assert_eq!((kind(Open::ReadWrite), kind(Open::Read)), (None, None));
    }

    #[test]
    fn reads_end_at_the_end_of_the_file_and_allocated_bytes_are_zero() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealFs.open(&dir.path().join("a"), Open::CreateNew).unwrap();
        file.write_at(b"abc", 1).unwrap();
        file.allocate(2).unwrap();
        assert_eq!(file.len().unwrap(), 4, "allocation never cuts");
        file.allocate(6).unwrap();
        file.sync_data().unwrap();
        let mut buffer = [9; 8];
        assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 6);
        assert_eq!(&buffer[..6], b"\0abc\0\0");
        assert_eq!(file.read_at(&mut buffer, 6).unwrap(), 0);
        file.set_len(1).unwrap();
        assert_eq!(file.len().unwrap(), 1);
    }

    #[test]
    fn zeros_stand_in_for_blocks_that_cannot_be_reserved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, [7]).unwrap();
        let file = RealFile(OpenOptions::new().read(true).write(true).open(&path).unwrap());
        let len = ZEROS.len() as u64 + 5;
        file.extend_by_zeros(len).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!((bytes.len() as u64, bytes[0]), (len, 7));
        assert!(bytes[1..].iter().all(|b| *b == 0));
    }

    #[test]
    fn names_are_sorted_and_directories_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let sub = dir.path().join("c");
        RealFs.create_dir(&sub).unwrap();
        RealFs.create_dir(&sub).unwrap();
        for name in ["b", "a"] {
            RealFs.open(&dir.path().join(name), Open::CreateNew).unwrap();
        }
        assert!(RealFs.create_dir(&dir.path().join("a")).is_err(), "a file is no directory");
        assert_eq!(RealFs.list(dir.path()).unwrap(), ["a", "b", "c"]);
        RealFs.rename(&dir.path().join("a"), &dir.path().join("b")).unwrap();
        RealFs.remove_dir(&sub).unwrap();
        RealFs.sync_dir(dir.path()).unwrap();
        assert_eq!(RealFs.list(dir.path()).unwrap(), ["b"]);
    }

    #[test]
    fn a_lock_is_refused_while_it_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = RealFs.lock(&path).unwrap();
        let refused = RealFs.lock(&path).err().map(|e| e.kind());
        assert_eq!(refused, Some(io::ErrorKind::WouldBlock));
        drop(held);
        RealFs.lock(&path).unwrap();
    }

    #[test]
    fn the_space_of_a_volume_is_plausible() {
        let dir = tempfile::tempdir().unwrap();
        let space = RealFs.space(dir.path()).unwrap();
        assert!(space.total >= space.available && space.total > 0, "{space:?}");
    }
}
