//! One directory: the entries a process sees, those on the medium, and the operations between.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::content::Fate;
use crate::dice::Dice;

/// Number of a file or directory, never used twice.
pub type Node = u64;

#[derive(Default)]
pub struct Directory {
    seen: BTreeMap<OsString, Node>,
    durable: BTreeMap<OsString, Node>,
    dirty: Vec<Operation>,
}

enum Operation {
    Add(OsString, Node),
    Remove(OsString),
    Rename(OsString, OsString, Node),
}

impl Directory {
    pub fn get(&self, name: &OsStr) -> Option<Node> {
        self.seen.get(name).copied()
    }

    pub fn names(&self) -> Vec<OsString> {
        self.seen.keys().cloned().collect()
    }

    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    pub fn add(&mut self, name: &OsStr, node: Node) {
        self.change(Operation::Add(name.to_owned(), node));
    }

    pub fn remove(&mut self, name: &OsStr) {
        self.change(Operation::Remove(name.to_owned()));
    }

    pub fn rename(&mut self, from: &OsStr, to: &OsStr, node: Node) {
        self.change(Operation::Rename(from.to_owned(), to.to_owned(), node));
    }

    fn change(&mut self, operation: Operation) {
        operation.apply(&mut self.seen);
        self.dirty.push(operation);
    }

    pub fn sync(&mut self) {
        for operation in self.dirty.drain(..) {
            operation.apply(&mut self.durable);
        }
    }

    /// Power goes: each operation that was not synced is done or not, whatever came before it.
    pub fn lose_power(&mut self, dice: &mut Dice, fate: Fate) {
        for operation in std::mem::take(&mut self.dirty) {
            let done = match fate.of_one(dice) {
                Fate::Lost => false,
                Fate::Kept => true,
                Fate::Any => dice.chance(50),
            };
            if done {
                operation.apply(&mut self.durable);
            }
        }
        self.seen.clone_from(&self.durable);
    }

    pub fn children(&self) -> impl Iterator<Item = Node> + '_ {
        self.seen.values().chain(self.durable.values()).copied()
    }

    /// Children that a process can open by name.
    pub fn visible(&self) -> impl Iterator<Item = (&OsString, Node)> {
        self.seen.iter().map(|(name, node)| (name, *node))
    }

    /// Nodes that an operation still on its way to the medium names.
    pub fn on_the_way(&self) -> impl Iterator<Item = Node> + '_ {
        self.dirty.iter().filter_map(|operation| match operation {
            Operation::Add(_, node) | Operation::Rename(_, _, node) => Some(*node),
            Operation::Remove(_) => None,
        })
    }
}

impl Operation {
    fn apply(&self, to: &mut BTreeMap<OsString, Node>) {
        match self {
            Self::Add(name, node) => {
                to.insert(name.clone(), *node);
            }
            Self::Remove(name) => {
                to.remove(name);
            }
            Self::Rename(from, name, node) => {
                // The creation of the old name may not have arrived.
                if to.get(from) == Some(node) {
                    to.remove(from);
                }
                to.insert(name.clone(), *node);
            }
        }
    }
}
