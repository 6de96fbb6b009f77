//! What can go wrong with the store as a whole, and what ails a volume that goes on.

use std::io;
use std::path::PathBuf;

/// The store cannot be opened or asked this. A full or failing disk is none of these: the volume
/// goes on [`crate::VolumeState::Degraded`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the directory.
    #[error("the store in {0} is in use by another process")]
    InUse(PathBuf),
    /// A file of the operating system.
    #[error("cannot {what} {path}")]
    Io {
        /// What was tried, e.g. `open`.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is damaged, or a later version wrote it.
    #[error("{0} is damaged, or of a later version")]
    Unreadable(PathBuf),
    /// A name or a configuration is longer than a cursor has room for.
    #[error("the configuration of sink {0} is longer than 16 KiB, or its name than 1 KiB")]
    TooLong(String),
    /// There is no such log, sink or dead letter.
    #[error("there is no {0}")]
    Unknown(String),
}

impl StoreError {
    pub(crate) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}

/// Why nothing can be written for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// No space, or no quota.
    DiskFull,
    /// The file system takes no writes.
    ReadOnly,
    /// The device or the file system failed.
    Io,
}

impl Trouble {
    /// The kind of an error of the operating system.
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            _ => Self::Io,
        }
    }

    /// CamelCase, e.g. for a metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::DiskFull => "DiskFull",
            Self::ReadOnly => "ReadOnly",
            Self::Io => "Io",
        }
    }
}
