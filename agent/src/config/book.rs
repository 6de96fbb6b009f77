//! What of the configuration on disk is applied: a pure decision.
//!
//! A broken document changes nothing: the version of its object that ran before runs on. A
//! document so broken that it does not even say what it is keeps every object alive that came
//! from its file and is not there any more, since it may be one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lineside_crds::diagnostics::Level;
use lineside_crds::yaml::{Identity, LoadedDocument, Object, Problem, check_set};
use lineside_pipeline::Desired;

use super::scan::ScannedFile;

/// The objects that are applied, with the file each came from.
#[derive(Debug, Default)]
pub struct Book {
    applied: BTreeMap<Identity, Applied>,
}

#[derive(Clone, Debug)]
struct Applied {
    file: String,
    object: Object,
}

/// The outcome of one reading.
#[derive(Debug)]
pub struct Verdict {
    /// What shall run.
    pub desired: Desired,
    /// Everything that was found, errors and warnings.
    pub problems: Vec<Problem>,
    /// Objects that are broken on disk; their old version (if there was one) runs on.
    pub rejected: usize,
}

impl Book {
    /// Takes a reading of all files.
    pub fn turn(&mut self, files: &[ScannedFile]) -> Verdict {
        let documents: Vec<&LoadedDocument> = files.iter().flat_map(|f| &f.loaded).collect();
        let mut problems: Vec<Problem> =
            files.iter().filter_map(|f| f.unreadable.clone()).collect();
        problems.extend(documents.iter().flat_map(|d| d.problems.clone()));
        problems.extend(check_set(&documents));

        let mut next: BTreeMap<Identity, Applied> = BTreeMap::new();
        let mut broken: BTreeSet<Identity> = BTreeSet::new();
        let mut rejected = 0;
        for file in files {
            for document in &file.loaded {
                match (&document.identity, &document.object) {
                    (Some(id), Some(object)) => {
                        // The first definition wins; check_set has reported the others.
                        next.entry(id.clone()).or_insert_with(|| Applied {
                            file: file.label.clone(),
                            object: object.clone(),
                        });
                    }
                    (Some(id), None) => {
                        rejected += 1;
                        broken.insert(id.clone());
                    }
                    (None, _) => rejected += usize::from(has_errors(document)),
                }
            }
        }
        let unclear: BTreeSet<&str> = files
            .iter()
            .filter(|f| f.unreadable.is_some() || f.loaded.iter().any(is_unclear))
            .map(|f| f.label.as_str())
            .collect();
        rejected += files.iter().filter(|f| f.unreadable.is_some()).count();
        for (id, old) in &self.applied {
            if broken.contains(id) || unclear.contains(old.file.as_str()) {
                next.entry(id.clone()).or_insert_with(|| old.clone());
            }
        }
        self.applied = next;
        Verdict { desired: self.desired(), problems, rejected }
    }

    fn desired(&self) -> Desired {
        let mut desired = Desired::default();
        for applied in self.applied.values() {
            match &applied.object {
                Object::Device(d) => desired.devices.push(Arc::new(d.clone())),
                Object::Pipeline(p) => desired.pipelines.push(Arc::new(p.clone())),
                // Where agents run is decided elsewhere; an agent runs what it is given.
                Object::AgentPool(_) | Object::Agent(_) => {}
            }
        }
        desired
    }
}

fn has_errors(document: &LoadedDocument) -> bool {
    document.problems.iter().any(|p| p.code.level() == Level::Error)
}

fn is_unclear(document: &LoadedDocument) -> bool {
    document.identity.is_none() && has_errors(document)
}
