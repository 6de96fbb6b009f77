//! The machine's file system with a hook before what reads or changes something: it can fail, wait
//! or panic there.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::fs::{File, Fs, Open, RealFs, Space};

/// What is about to happen, and to which file or directory.
type Hook = Arc<dyn Fn(Change, &Path) -> io::Result<()> + Send + Sync>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Create,
    Read,
    Write,
    Sync,
    Rename,
    Remove,
}

#[derive(Default)]
struct Shared {
    hook: Mutex<Option<Hook>>,
    /// Size of the volume; the machine's when there is none.
    total: Mutex<Option<u64>>,
}

impl Shared {
    fn about_to(&self, change: Change, path: &Path) -> io::Result<()> {
        let hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner).clone();
        hook.map_or(Ok(()), |hook| hook(change, path))
    }
}

/// See the module. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct HookedFs(Arc<Shared>);

impl HookedFs {
    pub(crate) fn hook(
        &self,
        hook: impl Fn(Change, &Path) -> io::Result<()> + Send + Sync + 'static,
    ) {
        *self.0.hook.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(hook));
    }

    pub(crate) fn unhook(&self) {
        *self.0.hook.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn set_total(&self, total: u64) {
        *self.0.total.lock().unwrap_or_else(PoisonError::into_inner) = Some(total);
    }
}

impl Fs for HookedFs {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        RealFs.list(dir)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        if how == Open::CreateNew {
            self.0.about_to(Change::Create, path)?;
        }
        let file = RealFs.open(path, how)?;
        Ok(Arc::new(HookedFile { file, path: path.to_owned(), shared: self.0.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.about_to(Change::Rename, from)?;
        RealFs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.about_to(Change::Remove, path)?;
        RealFs.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.0.about_to(Change::Remove, path)?;
        RealFs.remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.about_to(Change::Sync, dir)?;
        RealFs.sync_dir(dir)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        match *self.0.total.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(total) => Ok(Space { total, available: total }),
            None => RealFs.space(dir),
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Arc<dyn Send + Sync>> {
        RealFs.lock(path)
    }
}

struct HookedFile {
    file: Arc<dyn File>,
    path: PathBuf,
    shared: Arc<Shared>,
}

impl File for HookedFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.shared.about_to(Change::Read, &self.path)?;
        self.file.read_at(buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.shared.about_to(Change::Write, &self.path)?;
        self.file.write_at(bytes, at)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.shared.about_to(Change::Sync, &self.path)?;
        self.file.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.shared.about_to(Change::Write, &self.path)?;
        self.file.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.shared.about_to(Change::Write, &self.path)?;
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
