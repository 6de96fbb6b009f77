//! Removing files that may be gone already, and replacing files as a whole.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::{File, Fs, Open};

/// Removes a file; fine if it is not there.
pub(crate) fn remove(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    match fs.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What a replacement is called until it is whole.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Gives a file new content so that after a power cut there is the old or the new one; gives the
/// new one.
pub(crate) fn replace(
    fs: &dyn Fs,
    path: &Path,
    write: impl FnOnce(&dyn File) -> io::Result<()>,
) -> io::Result<Arc<dyn File>> {
    let temporary = temporary(path);
    remove(fs, &temporary)?;
    let file = fs.open(&temporary, Open::CreateNew)?;
    write(&*file)?;
    file.sync_data()?;
    fs.rename(&temporary, path)?;
    if let Some(dir) = path.parent() {
        fs.sync_dir(dir)?;
    }
    Ok(file)
}
