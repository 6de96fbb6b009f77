//! [`Fs`] and [`File`] on the simulated disk.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lineside_store::fs::{File, Fs, Open, Space};

use super::content::{BLOCK, Content};
use super::directory::{Directory, Node};
use super::faults::{Kind, Verdict};
use super::{Entry, SimFs, State, split};

impl Fs for SimFs {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.enter(Kind::Create)?;
        if let Ok(node) = state.node(path) {
            return state.directory_at(node).map(drop);
        }
        state.add(path, Entry::Directory(Directory::default())).map(drop)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let mut state = self.state();
        state.enter(Kind::List)?;
        Ok(state.directory(dir)?.names())
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        let node = match how {
            Open::Read | Open::ReadWrite => {
                state.enter(Kind::Open)?;
                state.node(path)?
            }
            Open::CreateNew => {
                state.enter(Kind::Create)?;
                // The new name may need a block of its directory.
                state.make_room(BLOCK)?;
                state.add(path, Entry::File { content: Content::default(), handles: 0 })?
            }
        };
        match state.nodes.get_mut(&node) {
            Some(Entry::File { handles, .. }) => *handles += 1,
            _ => return Err(io::ErrorKind::IsADirectory.into()),
        }
        let handle = Handle {
            disk: self.clone(),
            node,
            process: state.process,
            writable: how != Open::Read,
        };
        Ok(Arc::new(handle))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.enter(Kind::Rename)?;
        let node = state.node(from)?;
        let ((dir, old), (target, new)) = (split(from)?, split(to)?);
        assert_eq!(dir, target, "the store renames inside one directory only");
        state.directory(dir)?.rename(old, new, node);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.enter(Kind::Remove)?;
        state.file(path)?;
        let (dir, name) = split(path)?;
        state.directory(dir)?.remove(name);
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.enter(Kind::Remove)?;
        if !state.directory(path)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (dir, name) = split(path)?;
        state.directory(dir)?.remove(name);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.enter(Kind::SyncDir)?;
        let lies = state.lies.sync_dir;
        let directory = state.directory(dir)?;
        if !lies {
            directory.sync();
        }
        Ok(())
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let mut state = self.state();
        state.directory(dir)?;
        Ok(state.space())
    }

    fn lock(&self, path: &Path) -> io::Result<Arc<dyn Send + Sync>> {
        let mut state = self.state();
        if state.node(path).is_err() {
            state.enter(Kind::Create)?;
            state.add(path, Entry::File { content: Content::default(), handles: 0 })?;
        }
        if !state.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let process = state.process;
        Ok(Arc::new(Lock { disk: self.clone(), path: path.to_owned(), process }))
    }
}

struct Lock {
    disk: SimFs,
    path: PathBuf,
    process: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.process == self.process {
            state.locks.remove(&self.path);
        }
    }
}

struct Handle {
    disk: SimFs,
    node: Node,
    process: u64,
    writable: bool,
}

impl Handle {
    /// Runs an operation: `whole` when it is done, `half` of it when it fails in the middle.
    fn run<T>(
        &self,
        kind: Kind,
        whole: impl FnOnce(&mut State) -> io::Result<T>,
        half: impl FnOnce(&mut State),
    ) -> io::Result<T> {
        let mut state = self.disk.state();
        if state.process != self.process {
            return Err(io::Error::other("a handle of a process that has ended"));
        }
        if !self.writable && kind.changes() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let State { faults, dice, .. } = &mut *state;
        match faults.judge(kind, dice) {
            Verdict::Done => whole(&mut state),
            Verdict::Half(e) => {
                half(&mut state);
                Err(e)
            }
            Verdict::Refused(e) => Err(e),
        }
    }
}

impl File for Handle {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.run(Kind::Read, |state| Ok(state.content(self.node)?.read(buffer, at)), |_| {})
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let some = |state: &mut State| {
            let some = state.dice.below(bytes.len());
            let part = &bytes[..some];
            if let Ok(content) = state.content(self.node)
                && content.more_space(at + some as u64) == 0
            {
                content.write(part, at);
            }
        };
        let all = |state: &mut State| {
            let more = state.content(self.node)?.more_space(at + bytes.len() as u64);
            if let Err(full) = state.make_room(more) {
                some(state);
                return Err(full);
            }
            state.content(self.node)?.write(bytes, at);
            Ok(())
        };
        self.run(Kind::Write, all, some)
    }

    fn sync_data(&self) -> io::Result<()> {
        let all = |state: &mut State| {
            if !state.lies.sync_data {
                state.content(self.node)?.sync();
            }
            Ok(())
        };
        let some = |state: &mut State| {
            if let Some(Entry::File { content, .. }) = state.nodes.get_mut(&self.node) {
                content.fail_sync(&mut state.dice);
            }
        };
        self.run(Kind::SyncData, all, some)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let all = |state: &mut State| {
            let more = state.content(self.node)?.more_space(len);
            state.make_room(more)?;
            state.content(self.node)?.allocate(len);
            Ok(())
        };
        self.run(Kind::Allocate, all, |_| {})
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let all = |state: &mut State| {
            state.content(self.node)?.set_len(len);
            Ok(())
        };
        self.run(Kind::SetLen, all, |_| {})
    }

    fn len(&self) -> io::Result<u64> {
        self.run(Kind::Open, |state| Ok(state.content(self.node)?.len()), |_| {})
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.process != self.process {
            return;
        }
        if let Some(Entry::File { handles, .. }) = state.nodes.get_mut(&self.node) {
            *handles -= 1;
        }
    }
}
