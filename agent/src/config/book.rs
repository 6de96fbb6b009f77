//! What of the configuration on disk is applied: a pure decision.
//!
//! A broken document changes nothing: the version of its object that ran before runs on. A
//! document so broken that it does not even say what it is keeps every object alive that came
//! from its file and is not there any more, since it may be one of them. A pipeline whose Sink is
//! gone runs on with the destination that it had.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lineside_crds::api::Kind;
use lineside_crds::diagnostics::{Code, Level};
use lineside_crds::model::{NamedSink, ObjectKey, OpenPipeline, Pipeline};
use lineside_crds::yaml::{Identity, LoadedDocument, Object, Problem, check_set};
use lineside_pipeline::Desired;

use super::scan::ScannedFile;

/// The objects that are applied, with the file each came from.
#[derive(Debug, Default)]
pub struct Book {
    applied: BTreeMap<Identity, Applied>,
    /// The pipelines with the Sinks put in that they name: as they are, or as they were when all of
    /// these were there last.
    pipelines: BTreeMap<ObjectKey, Arc<Pipeline>>,
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
        let between = check_set(&documents);
        // A pipeline whose Sink is not there, or not as it should be.
        let unresolved = between
            .iter()
            .filter(|p| matches!(p.code, Code::ReferenceNotFound | Code::ReferenceInvalid));
        let unresolved: BTreeSet<&str> = unresolved.filter_map(|p| p.object.as_deref()).collect();
        let mut rejected = unresolved.len();
        problems.extend(between);

        let mut next: BTreeMap<Identity, Applied> = BTreeMap::new();
        let mut broken: BTreeSet<Identity> = BTreeSet::new();
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
        self.resolve();
        Verdict { desired: self.desired(), problems, rejected }
    }

    /// Puts Sinks into the pipelines that name them. One whose Sinks are not all there stays as it
    /// was.
    fn resolve(&mut self) {
        let mut pipelines = BTreeMap::new();
        for (id, applied) in &self.applied {
            let now = match &applied.object {
                Object::Pipeline(pipeline) => Some(Arc::new(pipeline.clone())),
                Object::OpenPipeline(open) => {
                    open.resolve(|name| self.sink(open, name)).ok().map(Arc::new)
                }
                _ => continue,
            };
            let pipeline = now.or_else(|| self.pipelines.get(&id.key).cloned());
            pipelines.extend(pipeline.map(|pipeline| (id.key.clone(), pipeline)));
        }
        self.pipelines = pipelines;
    }

    fn sink(&self, of: &OpenPipeline, name: &str) -> NamedSink {
        let key = ObjectKey::new(of.key().namespace.clone(), name);
        match self.applied.get(&Identity { kind: Kind::Sink, key }).map(|a| &a.object) {
            Some(Object::Sink(sink)) => NamedSink::Valid(sink.clone()),
            _ => NamedSink::Missing { hint: String::new() },
        }
    }

    fn desired(&self) -> Desired {
        let devices = self.applied.values().filter_map(|applied| match &applied.object {
            Object::Device(device) => Some(Arc::new(device.clone())),
            // Where agents run is decided elsewhere; an agent runs what it is given.
            _ => None,
        });
        Desired {
            devices: devices.collect(),
            pipelines: self.pipelines.values().cloned().collect(),
            ..Desired::default()
        }
    }
}

fn has_errors(document: &LoadedDocument) -> bool {
    document.problems.iter().any(|p| p.code.level() == Level::Error)
}

fn is_unclear(document: &LoadedDocument) -> bool {
    document.identity.is_none() && has_errors(document)
}

#[cfg(test)]
mod tests {
    use lineside_crds::yaml::load_text;

    use super::*;

    fn file(label: &str, text: &str) -> ScannedFile {
        let text = format!("apiVersion: lineside.dev/v1alpha1\n{text}");
        let loaded = load_text(label, &text);
        ScannedFile { label: label.to_owned(), loaded, unreadable: None }
    }

    fn sink(url: &str) -> ScannedFile {
        let spec = format!("spec: {{mqtt: {{url: \"{url}\"}}}}");
        file("sink", &format!("kind: Sink\nmetadata: {{name: s}}\n{spec}"))
    }

    fn pipeline(sink: &str) -> ScannedFile {
        let text = format!(
            "kind: Pipeline\nmetadata: {{name: p}}\nspec:\n  sources: [{{name: a, devices: {{}}}}]\n  \
             sinks: [{{name: b, {sink}}}]\n"
        );
        file("pipeline", &text)
    }

    fn by_name() -> ScannedFile {
        pipeline("sinkRef: {name: s}")
    }

    /// Where the one pipeline delivers, what is refused, and how many objects that is.
    fn turn(book: &mut Book, files: &[ScannedFile]) -> (Vec<String>, Vec<Code>, usize) {
        let Verdict { desired, problems, rejected } = book.turn(files);
        let sinks = desired.pipelines.iter().flat_map(|p| &p.sinks);
        let errors = problems.iter().filter(|p| p.code.level() == Level::Error).map(|p| p.code);
        (sinks.map(|sink| sink.kind.endpoint()).collect(), errors.collect(), rejected)
    }

    #[test]
    fn an_edit_of_a_sink_is_an_edit_of_the_pipelines_that_name_it() {
        let mut book = Book::default();
        let first = turn(&mut book, &[by_name(), sink("mqtt://one")]);
        assert_eq!(first, (vec!["one:1883".into()], vec![], 0));
        let second = turn(&mut book, &[sink("mqtt://two"), by_name()]);
        assert_eq!(second, (vec!["two:1883".into()], vec![], 0));
    }

    #[test]
    fn a_pipeline_whose_sink_is_gone_or_refused_keeps_what_it_had() {
        let mut book = Book::default();
        turn(&mut book, &[by_name(), sink("mqtt://one")]);
        let here = vec!["one:1883".to_owned()];
        let gone = turn(&mut book, &[by_name()]);
        assert_eq!(gone, (here.clone(), vec![Code::ReferenceNotFound], 1));
        let back = turn(&mut book, &[by_name(), sink("mqtt://one")]);
        assert_eq!(back, (here.clone(), vec![], 0));
        let refused = turn(&mut book, &[by_name(), sink("ftp://one")]);
        assert_eq!(refused.0, here);
        assert!(refused.1.contains(&Code::ReferenceInvalid), "{refused:?}");
        assert_eq!(refused.2, 2, "the Sink and the pipeline are not as they are written");
        // The pipeline itself is removed.
        assert!(turn(&mut book, &[sink("mqtt://one")]).0.is_empty());
        assert!(turn(&mut book, &[by_name()]).0.is_empty(), "what was removed is forgotten");
    }

    #[test]
    fn a_pipeline_that_turns_to_a_sink_that_is_not_there_keeps_its_own_destination() {
        let mut book = Book::default();
        turn(&mut book, &[pipeline("mqtt: {url: \"mqtt://own\"}")]);
        let turned = turn(&mut book, &[by_name()]);
        assert_eq!(turned, (vec!["own:1883".into()], vec![Code::ReferenceNotFound], 1));
        let there = turn(&mut book, &[by_name(), sink("mqtt://one")]);
        assert_eq!(there.0, ["one:1883"]);
    }

    #[test]
    fn a_pipeline_that_never_had_its_sink_waits() {
        let waits = turn(&mut Book::default(), &[by_name()]);
        assert_eq!(waits, (vec![], vec![Code::ReferenceNotFound], 1));
    }
}
