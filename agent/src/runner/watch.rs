//! Looks at the configuration directory and applies what changed.

use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use lineside_core::{Clock as _, SystemClock};
use lineside_crds::diagnostics::{Code, Level};
use lineside_crds::yaml::Problem;
use lineside_pipeline::Engine;
use lineside_pipeline::health::{Health, Verdict as Judged};
use lineside_pipeline::journal::Journal;

use super::Shown;
use crate::config::book::{Book, Verdict};
use crate::config::scan::{self, Fingerprint, ScannedFile};

/// The configuration directory and what was last seen of it.
pub(super) struct Watch<'a> {
    dir: &'a Path,
    book: Book,
    seen: Option<Fingerprint>,
    /// A change that was seen once: somebody may still be writing.
    settling: Option<Fingerprint>,
    /// Looks in a row at a directory that cannot be listed.
    missed: u32,
    reported: Vec<Problem>,
}

/// Looks in a row that find no directory before it counts as gone: somebody may swap it.
const GONE: u32 = 2;

impl<'a> Watch<'a> {
    pub(super) fn new(dir: &'a Path) -> Self {
        let (seen, settling, reported) = (None, None, Vec::new());
        Self { dir, book: Book::default(), seen, settling, missed: 0, reported }
    }

    pub(super) async fn look(&mut self, engine: &mut Engine, shown: &Shown) {
        let now = match Fingerprint::of(self.dir) {
            Ok(now) => now,
            Err(error) => return self.miss(&error.to_string(), shown),
        };
        let back = self.missed >= GONE;
        if !back {
            self.missed = 0;
        }
        if !back && self.seen.as_ref() == Some(&now) {
            self.settling = None;
            return;
        }
        // Editors and copies write in steps: a change counts when two looks agree on it. The
        // first configuration is taken at once.
        if self.seen.is_some() && self.settling.as_ref() != Some(&now) {
            self.settling = Some(now);
            return;
        }
        let files = match scan::read_dir(self.dir) {
            Ok(files) => files,
            Err(error) => return self.miss(&error.to_string(), shown),
        };
        (self.seen, self.missed) = (Some(now), 0);
        self.take(&files, |_| (), engine, shown).await;
    }

    /// The directory cannot be listed now. What runs goes on.
    fn miss(&mut self, error: &str, shown: &Shown) {
        self.missed = self.missed.saturating_add(1);
        if self.missed == GONE {
            let problem = Problem {
                code: Code::FileUnreadable,
                file: self.dir.display().to_string(),
                line: 1,
                column: 1,
                field: String::new(),
                message: format!("the configuration cannot be read: {error}; what runs goes on"),
                object: None,
            };
            self.add(problem, shown);
        }
    }

    /// Shows a problem of the configuration as a whole, beside those of what was read last, until
    /// the next reading.
    pub(super) fn add(&mut self, problem: Problem, shown: &Shown) {
        if self.reported.contains(&problem) {
            return;
        }
        let mut problems = self.reported.clone();
        problems.push(problem);
        self.record(&problems, &shown.windows.journal);
        self.report(&problems);
        shown.counts.config_problems.store(errors(&problems), Ordering::Relaxed);
        *shown.problems.lock().unwrap_or_else(PoisonError::into_inner) = problems;
    }

    /// Applies what was read. `finish` has the last word on what shall run.
    pub(super) async fn take(
        &mut self,
        files: &[ScannedFile],
        finish: impl FnOnce(&mut Verdict),
        engine: &mut Engine,
        shown: &Shown,
    ) {
        let mut verdict = self.book.turn(files);
        finish(&mut verdict);
        self.record(&verdict.problems, &shown.windows.journal);
        self.report(&verdict.problems);
        let errors = errors(&verdict.problems);
        let (devices, pipelines) = (verdict.desired.devices.len(), verdict.desired.pipelines.len());
        engine.apply(verdict.desired).await;
        *shown.problems.lock().unwrap_or_else(PoisonError::into_inner) = verdict.problems;
        shown.counts.config_applied.fetch_add(1, Ordering::Relaxed);
        shown.counts.config_problems.store(errors, Ordering::Relaxed);
        shown.counts.config_rejected.store(verdict.rejected as u64, Ordering::Relaxed);
        shown.ready.store(true, Ordering::Relaxed);
        tracing::info!(
            devices,
            pipelines,
            errors,
            rejected = verdict.rejected,
            "Configuration applied"
        );
    }

    /// Puts what is new and what is corrected since the last reading into the journal.
    fn record(&self, problems: &[Problem], journal: &Journal) {
        let note = |p: &Problem, verdict: Judged| {
            let subject = format!("config {}:{}:{}", p.file, p.line, p.column);
            journal.note(SystemClock.now(), subject, &verdict);
        };
        // An edit may move a problem to another line, which makes it neither new nor corrected.
        let known =
            |p: &Problem| self.reported.iter().any(|old| same(p, old) && p.message == old.message);
        let new = problems.iter().filter(|p| !known(p));
        let gone = self.reported.iter().filter(|old| !problems.iter().any(|p| same(p, old)));
        for p in gone {
            let message = format!("{} is corrected", p.code.reason());
            let health = Health::Healthy;
            note(p, Judged { health, reason: "Corrected", code: None, message });
        }
        for p in new {
            // A warning refuses nothing.
            let error = p.code.level() == Level::Error;
            let health = if error { Health::Degraded } else { Health::Healthy };
            let (reason, code) = (p.code.reason(), Some(p.code));
            note(p, Judged { health, reason, code, message: p.message.clone() });
        }
    }

    /// Logs what is new since the last reading.
    fn report(&mut self, problems: &[Problem]) {
        for p in problems.iter().filter(|p| !self.reported.contains(p)) {
            let at = format!("{}:{}:{}", p.file, p.line, p.column);
            let (code, reason) = (p.code.id(), p.code.reason());
            let object = p.object.as_deref().unwrap_or_default();
            if p.code.level() == Level::Error {
                tracing::error!(
                    at,
                    code,
                    reason,
                    object,
                    field = p.field,
                    problem = p.message,
                    next = p.code.next(),
                    "Configuration is broken here"
                );
            } else {
                tracing::warn!(
                    at,
                    code,
                    reason,
                    object,
                    field = p.field,
                    problem = p.message,
                    "Configuration warning"
                );
            }
        }
        self.reported = problems.to_vec();
    }
}

fn errors(problems: &[Problem]) -> u64 {
    problems.iter().filter(|p| p.code.level() == Level::Error).count() as u64
}

/// The same problem, wherever it is in the file.
fn same(a: &Problem, b: &Problem) -> bool {
    (a.code, &a.file, &a.field, &a.object) == (b.code, &b.file, &b.field, &b.object)
}
