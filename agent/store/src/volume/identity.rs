//! What makes a store this store: its random identity, and how many logs it ever had.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::error::StoreError;
use crate::fields::{Reader, put_varint};
use crate::frame::Seal;
use crate::fs::Fs;
use crate::sealed;

const NAME: &str = "store";

/// Version of the directory's layout.
const FORMAT: u8 = 1;

pub(crate) struct Identity {
    pub(crate) id: [u8; 16],
    /// Number of the next log; none is given twice.
    streams: u32,
}

impl Identity {
    pub(super) fn read_or_make(
        fs: &dyn Fs,
        dir: &Path,
        given: Option<[u8; 16]>,
    ) -> Result<Self, StoreError> {
        match Self::read(fs, dir) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let random = || RandomState::new().hash_one(0u8);
                let both = u128::from(random()) << 64 | u128::from(random());
                let made = Self { id: given.unwrap_or(both.to_be_bytes()), streams: 0 };
                // The directory is new, too; without its own entry all in it is lost.
                if let Some(parent) = dir.parent() {
                    let parent =
                        if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                    fs.sync_dir(parent).map_err(StoreError::io("sync", parent))?;
                }
                made.write(fs, dir)?;
                Ok(made)
            }
            other => other,
        }
    }

    pub(crate) fn read(fs: &dyn Fs, dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(NAME);
        let bytes = sealed::read(fs, &path, sealed::SLOT).map_err(StoreError::io("read", &path))?;
        let body = sealed::decode(&seal(), &bytes).map(|(_, body)| body);
        body.and_then(Self::decode).ok_or(StoreError::Unreadable(path))
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let format = reader.u8("format").ok()?;
        let id = reader.array("id").ok()?;
        let streams = reader.small("streams").ok()?;
        (format == FORMAT).then_some(Self { id, streams })
    }

    fn write(&self, fs: &dyn Fs, dir: &Path) -> Result<(), StoreError> {
        let mut body = vec![FORMAT];
        body.extend_from_slice(&self.id);
        put_varint(&mut body, u64::from(self.streams));
        let written = sealed::replace(fs, dir, NAME, &seal(), &body);
        written.map_err(StoreError::io("write", dir.join(NAME)))
    }

    /// The identity as it is part of record identities.
    pub(crate) fn text(&self) -> Arc<str> {
        format!("{:032x}", u128::from_be_bytes(self.id)).into()
    }

    /// A number that no log of the store has had.
    pub(super) fn next_stream(&mut self, fs: &dyn Fs, dir: &Path) -> Result<u32, StoreError> {
        let stream = self.streams;
        self.streams += 1;
        self.write(fs, dir)?;
        Ok(stream)
    }
}

fn seal() -> Seal {
    Seal::new(&[0; 16], 0, false)
}
