//! Recent changes of health and other events that a person wants to see: a bounded list, newest
//! last. The log has the same; this is for the local page and the command line.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use lineside_core::UnixNanos;
use lineside_crds::diagnostics::Code;

use crate::health::{Health, Verdict};

/// Entries kept.
const DEPTH: usize = 256;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Position since the start, from zero.
    pub number: u64,
    /// When.
    pub time: UnixNanos,
    /// What it is about: `device ns/name`, `sink ns/pipeline/sink`, `config file:line:col`.
    pub subject: String,
    /// The health from then on.
    pub health: Health,
    /// CamelCase reason.
    pub reason: &'static str,
    /// Diagnostics code, when something is wrong.
    pub code: Option<Code>,
    /// For people.
    pub message: String,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Journal {
    entries: Mutex<(u64, VecDeque<Entry>)>,
}

impl Journal {
    /// Notes that `verdict` holds for `subject` (as [`Entry::subject`]) from `time` on. The
    /// oldest entry gives way.
    pub fn note(&self, time: UnixNanos, subject: String, verdict: &Verdict) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let number = entries.0;
        entries.0 += 1;
        if entries.1.len() == DEPTH {
            entries.1.pop_front();
        }
        let Verdict { health, reason, code, message } = verdict.clone();
        entries.1.push_back(Entry { number, time, subject, health, reason, code, message });
    }

    /// The newest entries, oldest first.
    pub fn recent(&self) -> Vec<Entry> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.1.iter().cloned().collect()
    }
}
