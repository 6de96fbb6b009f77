//! Looks at the configuration directory and applies what changed.

use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use lineside_core::{Clock as _, SystemClock};
use lineside_crds::diagnostics::Level;
use lineside_crds::yaml::Problem;
use lineside_pipeline::Engine;
use lineside_pipeline::health::Health;
use lineside_pipeline::journal::{Entry, Journal};

use super::Shown;
use crate::config::book::Book;
use crate::config::scan::{self, Fingerprint};

/// The configuration directory and what was last seen of it.
pub(super) struct Watch<'a> {
    dir: &'a Path,
    book: Book,
    seen: Option<Fingerprint>,
    /// A change that was seen once: somebody may still be writing.
    settling: Option<Fingerprint>,
    reported: Vec<Problem>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(dir: &'a Path) -> Self {
        Self { dir, book: Book::default(), seen: None, settling: None, reported: Vec::new() }
    }

    pub(super) async fn look(&mut self, engine: &mut Engine, shown: &Shown) {
        let now = Fingerprint::of(self.dir);
        if self.seen.as_ref() == Some(&now) {
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
            Err(error) => {
                // The directory is gone (or being swapped): what runs goes on.
                if self.seen.take().is_some() {
                    tracing::error!(error = format!("{error:#}"), "Configuration is not readable");
                }
                return;
            }
        };
        self.seen = Some(now);
        let verdict = self.book.turn(&files);
        self.record(&verdict.problems, &shown.windows.journal);
        self.report(&verdict.problems);
        let errors = verdict.problems.iter().filter(|p| p.code.level() == Level::Error).count();
        let (devices, pipelines) = (verdict.desired.devices.len(), verdict.desired.pipelines.len());
        engine.apply(verdict.desired).await;
        *shown.problems.lock().unwrap_or_else(PoisonError::into_inner) = verdict.problems;
        shown.config_applied.fetch_add(1, Ordering::Relaxed);
        shown.config_problems.store(errors as u64, Ordering::Relaxed);
        shown.config_rejected.store(verdict.rejected as u64, Ordering::Relaxed);
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
        let entry = |p: &Problem, health, reason, code, message: &str| Entry {
            number: 0,
            time: SystemClock.now(),
            subject: format!("config {}:{}:{}", p.file, p.line, p.column),
            health,
            reason,
            code,
            message: message.to_owned(),
        };
        // An edit may move a problem to another line, which makes it neither new nor corrected.
        let known =
            |p: &Problem| self.reported.iter().any(|old| same(p, old) && p.message == old.message);
        let new = problems.iter().filter(|p| !known(p));
        let gone = self.reported.iter().filter(|old| !problems.iter().any(|p| same(p, old)));
        for p in gone {
            let text = format!("{} is corrected", p.code.reason());
            journal.add(entry(p, Health::Healthy, "Corrected", None, &text));
        }
        for p in new {
            // A warning refuses nothing.
            let error = p.code.level() == Level::Error;
            let health = if error { Health::Degraded } else { Health::Healthy };
            journal.add(entry(p, health, p.code.reason(), Some(p.code), &p.message));
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

/// The same problem, wherever it is in the file.
fn same(a: &Problem, b: &Problem) -> bool {
    (a.code, &a.file, &a.field, &a.object) == (b.code, &b.file, &b.field, &b.object)
}
