//! All access of the store to files goes through [`Fs`], so that the same code runs on a real
//! disk ([`RealFs`]) and, in tests, on a simulated one that loses power, fills up and rots.
//!
//! The trait promises what a POSIX file system promises and no more: written bytes and directory
//! entries may be lost, in any part and order, until [`File::sync_data`] or [`Fs::sync_dir`] of
//! their directory has returned without an error. After a failed sync nothing is known about the
//! bytes that it covered, and a second sync that succeeds does not make them durable.

mod real;

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use real::RealFs;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// For reading; it has to exist.
    Read,
    /// For reading and writing; it has to exist.
    ReadWrite,
    /// For reading and writing; it must not exist yet.
    CreateNew,
}

/// Size of the file system that holds a directory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total: u64,
    /// What a process without privileges may still use.
    pub available: u64,
}

/// A file system. Errors are those of the operating system, without the path.
pub trait Fs: Send + Sync + 'static {
    /// Makes a directory, whose parent exists. Fine if it is there already.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;

    /// Opens a file. A file stays readable and writable through an open handle when it is renamed
    /// or removed.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>>;

    /// Renames a file and replaces what has the new name: a reader sees the old or the new one.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory, which has to be empty.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes all creations, renames and removals in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Size of the file system that holds `dir`.
    fn space(&self, dir: &Path) -> io::Result<Space>;

    /// Takes the exclusive lock `path`, a file that is made if it is not there. Fails at once
    /// with [`io::ErrorKind::WouldBlock`] while another holder, in this process or another, has
    /// it. Given back when the answer is dropped and when the process ends in any way.
    fn lock(&self, path: &Path) -> io::Result<Arc<dyn Send + Sync>>;
}

/// An open file. All positions and lengths are in bytes.
#[allow(clippy::len_without_is_empty, reason = "nobody asks whether a file is empty")]
pub trait File: Send + Sync {
    /// Fills `buffer` from position `at` on and says how many bytes that gave: fewer than asked
    /// for only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at position `at`. After an error any part of them may be there.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Makes the content and the length durable. The directory entry is another matter
    /// ([`Fs::sync_dir`]).
    fn sync_data(&self) -> io::Result<()>;

    /// Reserves blocks for the first `len` bytes and makes the file at least that long: writes
    /// inside never meet a full disk. New bytes read as zero. A file that is longer keeps its
    /// length.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Cuts the file to `len`, or extends it by zeros for which no blocks are reserved.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// The length.
    fn len(&self) -> io::Result<u64>;
}
