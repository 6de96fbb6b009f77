//! The machine: its clock, the state directory, the configuration.

use std::io::Write;
use std::path::{Path, PathBuf};

use lineside_core::clock::{Clock, TimeQuality};
use lineside_crds::diagnostics::{Code, Level};
use lineside_crds::yaml::{Object, check_set};

use super::Finding;
use crate::cluster::time;
use crate::config::scan::ScannedFile;

/// Whether the clock can be trusted.
pub fn clock(clock: &dyn Clock) -> Finding {
    match clock.quality() {
        TimeQuality::Synced => Finding::well("clock", time(clock.now())),
        TimeQuality::Unsynced => {
            let text = format!("it says {}", time(clock.now()));
            Finding::ill("clock", Code::ClockNotSet, text)
        }
    }
}

/// Whether the state directory takes a file and keeps it.
pub fn state(dir: &Path) -> Finding {
    let subject = format!("state directory {}", dir.display());
    let path: PathBuf = dir.join(format!("check.{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(dir)?;
        let mut file = std::fs::File::create_new(&path)?;
        let written = file.write_all(b"lineside check\n").and_then(|()| file.sync_all());
        std::fs::remove_file(&path)?;
        written
    };
    match write() {
        Ok(()) => Finding::well(subject, "can be written"),
        Err(error) => Finding::ill(subject, Code::StateNotWritable, error.to_string()),
    }
}

/// Every problem of the configuration, and its valid objects.
pub fn configuration(files: Vec<ScannedFile>) -> (Vec<Finding>, Vec<Object>) {
    let unreadable: Vec<_> = files.iter().filter_map(|f| f.unreadable.clone()).collect();
    let documents: Vec<_> = files.iter().flat_map(|f| &f.loaded).collect();
    let problems = documents.iter().flat_map(|d| d.problems.clone());
    let problems = unreadable.into_iter().chain(problems).chain(check_set(&documents));
    let mut findings: Vec<Finding> = problems
        .filter(|p| p.code.level() == Level::Error)
        .map(|p| {
            let subject = format!("{}:{}:{}", p.file, p.line, p.column);
            let at = if p.field.is_empty() { String::new() } else { format!("{}: ", p.field) };
            Finding::ill(subject, p.code, format!("{at}{}", p.message))
        })
        .collect();
    let loaded = files.into_iter().flat_map(|f| f.loaded);
    let objects: Vec<Object> = loaded.filter_map(|d| d.object).collect();
    if findings.is_empty() {
        findings.push(Finding::well("configuration", format!("{} objects", objects.len())));
    }
    (findings, objects)
}

#[cfg(test)]
mod tests {
    use lineside_core::UnixNanos;

    use super::*;

    struct At(UnixNanos);

    impl Clock for At {
        fn now(&self) -> UnixNanos {
            self.0
        }
    }

    #[test]
    fn a_clock_that_was_never_set_is_found() {
        assert!(clock(&At(1_800_000_000_000_000_000)).verdict.is_ok());
        let unset = clock(&At(60_000_000_000));
        assert_eq!(unset.verdict.map_err(|(code, _)| code), Err(Code::ClockNotSet));
    }

    #[test]
    fn a_state_directory_is_tried_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        assert!(state(&dir.path().join("new")).verdict.is_ok());
        assert_eq!(std::fs::read_dir(dir.path().join("new")).unwrap().count(), 0);
        std::fs::write(dir.path().join("file"), "").unwrap();
        let wrong = state(&dir.path().join("file"));
        assert_eq!(wrong.verdict.map_err(|(code, _)| code), Err(Code::StateNotWritable));
    }
}
