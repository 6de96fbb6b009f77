//! A disk in memory that loses power, fills up, fails and rots, the same way for the same seed.
//!
//! It keeps apart what a process sees and what is on the medium. A crash of the machine rolls the
//! dice for everything that was not synced; a crash of the process alone loses nothing, but leaves
//! what was not synced in danger of the next power cut.

mod content;
mod directory;
mod faults;
mod files;
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use lineside_store::fs::Space;

use crate::dice::Dice;
use content::{Content, Fate};
use directory::{Directory, Node};
use faults::{Faults, Verdict};

pub use faults::{Kind, Lies};

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// kill -9: what was written stays in the page cache.
    Process,
    /// Power cut: what was not synced is lost in part.
    Machine,
}

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimFs(Arc<Mutex<State>>);

struct State {
    dice: Dice,
    nodes: BTreeMap<Node, Entry>,
    next: Node,
    /// Handles of an earlier process are void.
    process: u64,
    locks: BTreeSet<PathBuf>,
    capacity: u64,
    faults: Faults,
    lies: Lies,
}

enum Entry {
    File { content: Content, handles: usize },
    Directory(Directory),
}

const ROOT: Node = 0;

impl SimFs {
    /// An empty disk of `capacity` bytes.
    pub fn new(seed: u64, capacity: u64, lies: Lies) -> Self {
        Self(Arc::new(Mutex::new(State {
            dice: Dice::new(seed),
            nodes: BTreeMap::from([(ROOT, Entry::Directory(Directory::default()))]),
            next: ROOT + 1,
            process: 0,
            locks: BTreeSet::new(),
            capacity,
            faults: Faults::default(),
            lies,
        })))
    }

    /// Ends the process, if it has not ended already, and starts the next one.
    pub fn restart(&self, end: End) {
        let mut state = self.state();
        state.process += 1;
        state.locks.clear();
        state.faults.start();
        for entry in state.nodes.values_mut() {
            if let Entry::File { handles, .. } = entry {
                *handles = 0;
            }
        }
        if end == End::Machine {
            state.lose_power();
        }
        state.collect();
    }

    /// Lets all operations fail once so many more are done, as if the process had ended there.
    pub fn end_after(&self, operations: usize) {
        self.state().faults.end_after(operations);
    }

    /// Takes back [`SimFs::end_after`], if the process has not ended.
    pub fn end_never(&self) {
        self.state().faults.end_never();
    }

    /// Whether the process has ended in the middle of something.
    pub fn has_ended(&self) -> bool {
        self.state().faults.gone()
    }

    /// Lets the operation of this kind after the next `n` fail.
    pub fn fail_nth(&self, kind: Kind, n: usize) {
        self.state().faults.fail_nth(kind, n);
    }

    /// Lets one in `n` operations of this kind fail until [`SimFs::heal`].
    pub fn fail_one_in(&self, kind: Kind, n: usize) {
        self.state().faults.fail_one_in(kind, n);
    }

    pub fn set_read_only(&self, on: bool) {
        self.state().faults.set_read_only(on);
    }

    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Bytes that files hold.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// Ends all faults but the loss of power.
    pub fn heal(&self) {
        self.state().faults.heal();
    }

    /// Turns one bit of a file round.
    pub fn flip(&self, path: &Path, at: usize, bit: u8) {
        self.state().file(path).unwrap().flip(at, bit);
    }

    /// What a process that reads the file gets.
    pub fn content(&self, path: &Path) -> Vec<u8> {
        self.state().file(path).unwrap().seen().to_vec()
    }

    /// All files, by path.
    pub fn files(&self) -> Vec<PathBuf> {
        let state = self.state();
        let mut files = Vec::new();
        let mut todo = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, node)) = todo.pop() {
            match state.nodes.get(&node) {
                Some(Entry::Directory(d)) => {
                    todo.extend(d.visible().map(|(name, node)| (path.join(name), node)));
                }
                Some(Entry::File { .. }) => files.push(path),
                None => {}
            }
        }
        files.sort();
        files
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn lose_power(&mut self) {
        let Self { nodes, dice, .. } = self;
        let fate = Fate::roll(dice);
        for entry in nodes.values_mut() {
            match entry {
                Entry::File { content, .. } => content.lose_power(dice, fate),
                Entry::Directory(d) => d.lose_power(dice, fate),
            }
        }
    }

    /// Forgets files that neither a name nor a handle leads to.
    fn collect(&mut self) {
        let mut reached = BTreeSet::new();
        let mut todo = vec![ROOT];
        while let Some(node) = todo.pop() {
            if reached.insert(node)
                && let Some(Entry::Directory(d)) = self.nodes.get(&node)
            {
                todo.extend(d.children().chain(d.on_the_way()));
            }
        }
        self.nodes.retain(|node, entry| {
            let open = matches!(entry, Entry::File { handles: 1.., .. });
            open || reached.contains(node)
        });
    }

    /// Space of files that have a name or are open.
    fn used(&self) -> u64 {
        let mut named = BTreeSet::new();
        let mut todo = vec![ROOT];
        while let Some(node) = todo.pop() {
            named.insert(node);
            if let Some(Entry::Directory(d)) = self.nodes.get(&node) {
                todo.extend(d.visible().map(|(_, node)| node));
            }
        }
        let sizes = self.nodes.iter().map(|(node, entry)| match entry {
            Entry::File { content, handles } if *handles > 0 || named.contains(node) => {
                content.reserved()
            }
            _ => 0,
        });
        sizes.sum()
    }

    fn space(&self) -> Space {
        Space { total: self.capacity, available: self.capacity.saturating_sub(self.used()) }
    }

    /// Whether `more` bytes have room.
    fn make_room(&self, more: u64) -> io::Result<()> {
        if more > 0 && self.space().available < more {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Starts an operation that is done whole or not at all.
    fn enter(&mut self, kind: Kind) -> io::Result<()> {
        match self.faults.judge(kind, &mut self.dice) {
            Verdict::Done => Ok(()),
            Verdict::Half(e) | Verdict::Refused(e) => Err(e),
        }
    }

    fn node(&self, path: &Path) -> io::Result<Node> {
        let mut at = ROOT;
        for part in path.components() {
            if let Component::Normal(name) = part {
                at = self.directory_at(at)?.get(name).ok_or(io::ErrorKind::NotFound)?;
            }
        }
        Ok(at)
    }

    fn directory_at(&self, node: Node) -> io::Result<&Directory> {
        match self.nodes.get(&node) {
            Some(Entry::Directory(d)) => Ok(d),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn directory(&mut self, path: &Path) -> io::Result<&mut Directory> {
        let node = self.node(path)?;
        match self.nodes.get_mut(&node) {
            Some(Entry::Directory(d)) => Ok(d),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn file(&mut self, path: &Path) -> io::Result<&mut Content> {
        let node = self.node(path)?;
        self.content(node)
    }

    fn content(&mut self, node: Node) -> io::Result<&mut Content> {
        match self.nodes.get_mut(&node) {
            Some(Entry::File { content, .. }) => Ok(content),
            _ => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn add(&mut self, path: &Path, entry: Entry) -> io::Result<Node> {
        let (dir, name) = split(path)?;
        let node = self.next;
        let directory = self.directory(dir)?;
        if directory.get(name).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        directory.add(name, node);
        self.next += 1;
        self.nodes.insert(node, entry);
        Ok(node)
    }
}

fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    path.parent().zip(path.file_name()).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
