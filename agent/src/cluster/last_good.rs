//! The last accepted configuration, kept on the state volume: what an agent starts with when the
//! mounted one is not there or not whole.
//!
//! ```text
//! STATE/last-good/v1/<hash>/...   the files as they were mounted
//! STATE/last-good/v1/current      link to the directory that counts
//! ```
//! A set is written beside the old one and made to count by one rename, so a power cut leaves the
//! old or the new one. Whether the bytes are still those that were written is for the hashes in
//! the set itself to say; the reader checks them as it checks a mounted set.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::mount::{self, Files};

/// The version of this layout; another one gets a directory of its own.
const VERSION: &str = "v1";

/// See the module.
#[derive(Clone, Debug)]
pub struct LastGood {
    dir: PathBuf,
}

impl LastGood {
    /// The copy in this state directory, which need not exist yet.
    pub fn new(state: &Path) -> Self {
        Self { dir: state.join("last-good").join(VERSION) }
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The files that count; `None` when none were ever kept.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn load(&self) -> io::Result<Option<Files>> {
        let current = self.dir.join("current");
        match fs::symlink_metadata(&current) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut files = Files::new();
        for entry in fs::read_dir(&current)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                files.insert(name, mount::read(&entry.path())?);
            }
        }
        Ok(Some(files))
    }

    /// Keeps `files` under the name `hash` and forgets what was kept before.
    ///
    /// # Errors
    /// The volume is full or cannot be written; what was kept before still counts then.
    pub fn keep(&self, hash: &str, files: &Files) -> io::Result<()> {
        let (set, current) = (self.dir.join(hash), self.dir.join("current"));
        fs::create_dir_all(&self.dir)?;
        self.forget_all_but(fs::read_link(&current).ok().as_deref());
        // Of a former attempt, or the set that counts already: then it is whole, since it
        // counted only after everything of it was on disk.
        if fs::read_link(&current).is_ok_and(|target| target == Path::new(hash)) {
            if self.load().is_ok_and(|kept| kept.as_ref() == Some(files)) {
                return Ok(());
            }
            // It rotted: made to count no more before its place is taken.
            fs::remove_file(&current)?;
            sync(&self.dir)?;
            fs::remove_dir_all(&set)?;
        }
        fs::create_dir(&set)?;
        for (name, bytes) in files {
            let mut file = File::create_new(set.join(name))?;
            file.write_all(bytes)?;
            file.sync_all()?;
        }
        sync(&set)?;
        let unfinished = self.dir.join("current.new");
        symlink(hash, &unfinished)?;
        fs::rename(&unfinished, &current)?;
        sync(&self.dir)?;
        self.forget_all_but(Some(Path::new(hash)));
        Ok(())
    }

    /// Best effort: what stays is removed the next time.
    fn forget_all_but(&self, keep: Option<&Path>) {
        let Ok(list) = fs::read_dir(&self.dir) else { return };
        for entry in list.flatten() {
            let name = entry.file_name();
            if name == "current" || keep.is_some_and(|keep| keep == Path::new(&name)) {
                continue;
            }
            let _ = match entry.file_type() {
                Ok(kind) if kind.is_dir() => fs::remove_dir_all(entry.path()),
                _ => fs::remove_file(entry.path()),
            };
        }
    }
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Files {
        [("manifest.json", "{}"), ("shard-0.yaml", text)]
            .map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()))
            .into()
    }

    fn entries(copy: &LastGood) -> Vec<String> {
        let list = fs::read_dir(copy.dir()).unwrap();
        let mut names: Vec<_> =
            list.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_newest_kept_set_counts_and_older_ones_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let copy = LastGood::new(dir.path());
        assert_eq!(copy.load().unwrap(), None);
        copy.keep("aa", &set("a")).unwrap();
        copy.keep("bb", &set("b")).unwrap();
        copy.keep("bb", &set("b")).unwrap();
        assert_eq!(LastGood::new(dir.path()).load().unwrap(), Some(set("b")));
        assert_eq!(entries(&copy), ["bb", "current"]);
    }

    #[test]
    fn what_an_interrupted_write_left_does_not_count_and_is_cleaned_up() {
        let dir = tempfile::tempdir().unwrap();
        let copy = LastGood::new(dir.path());
        copy.keep("aa", &set("a")).unwrap();
        // Killed after the files, and killed after the link: the old set counts.
        fs::create_dir(copy.dir().join("bb")).unwrap();
        fs::write(copy.dir().join("bb/manifest.json"), "{").unwrap();
        symlink("bb", copy.dir().join("current.new")).unwrap();
        assert_eq!(copy.load().unwrap(), Some(set("a")));
        copy.keep("bb", &set("b")).unwrap();
        assert_eq!(copy.load().unwrap(), Some(set("b")));
        assert_eq!(entries(&copy), ["bb", "current"]);
    }

    #[test]
    fn a_set_that_rotted_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let copy = LastGood::new(dir.path());
        copy.keep("aa", &set("a")).unwrap();
        fs::write(copy.dir().join("aa/shard-0.yaml"), "x").unwrap();
        copy.keep("aa", &set("a")).unwrap();
        assert_eq!(copy.load().unwrap(), Some(set("a")));
    }

    #[test]
    fn a_volume_that_cannot_be_written_leaves_what_was_kept() {
        let dir = tempfile::tempdir().unwrap();
        let copy = LastGood::new(dir.path());
        copy.keep("aa", &set("a")).unwrap();
        // A file where the directory of the next set would be; rights do not stop root.
        let wrong = [("sub/file".to_owned(), Vec::new())].into();
        assert!(copy.keep("bb", &wrong).is_err());
        assert_eq!(copy.load().unwrap(), Some(set("a")));
    }
}
