//! What only all documents together show.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};

use super::{Identity, LoadedDocument, Object, Problem};
use crate::api::Kind;
use crate::diagnostics::{Code, FieldPath};
use crate::model::{NamedSink, ObjectKey, Pipeline, SourceKind};
use crate::suggest::did_you_mean;

/// Problems between documents: one object twice, pipelines that name a Sink which is not there or
/// is refused (errors), pipelines that name a device which is not there or select none (warnings).
pub fn check_set<D: Borrow<LoadedDocument>>(documents: &[D]) -> Vec<Problem> {
    let documents: Vec<&LoadedDocument> = documents.iter().map(Borrow::borrow).collect();
    let mut problems = Vec::new();
    let mut first = First::new();
    for document in &documents {
        let Some(identity) = &document.identity else { continue };
        if let Some(earlier) = first.get(identity) {
            let field = FieldPath::root().key("metadata").key("name");
            let other = earlier.problem(Code::DuplicateObject, &field, "");
            let message = format!("{identity} is also at {}:{}", other.file, other.line);
            problems.push(document.problem(Code::DuplicateObject, &field, message));
        } else {
            first.insert(identity, document);
        }
    }
    for document in &documents {
        match &document.object {
            Some(Object::Pipeline(pipeline)) => {
                check_sources(document, pipeline, &documents, &first, &mut problems);
            }
            Some(Object::OpenPipeline(open)) => {
                check_sources(document, open.base(), &documents, &first, &mut problems);
                let sinks = open.resolve(|name| named(&first, &open.key().namespace, name));
                for finding in sinks.err().into_iter().flatten() {
                    problems.push(document.problem(finding.code, &finding.field, finding.message));
                }
            }
            _ => {}
        }
    }
    problems
}

/// The document of each object; of two with one identity the first.
type First<'a> = HashMap<&'a Identity, &'a LoadedDocument>;

/// The Sink of this name among the documents.
fn named(first: &First<'_>, namespace: &str, name: &str) -> NamedSink {
    let key = ObjectKey::new(namespace, name);
    match first.get(&Identity { kind: Kind::Sink, key }).map(|document| &document.object) {
        Some(Some(Object::Sink(sink))) => NamedSink::Valid(sink.clone()),
        Some(_) => NamedSink::Refused,
        None => {
            let here = first.keys().map(|id| (id.kind, &id.key));
            let here =
                here.filter(|(kind, key)| *kind == Kind::Sink && &*key.namespace == namespace);
            // In an order of their own, so that the same files give the same words.
            let names: BTreeSet<&str> = here.map(|(_, key)| &*key.name).collect();
            NamedSink::Missing { hint: did_you_mean(name, names) }
        }
    }
}

fn check_sources(
    document: &LoadedDocument,
    pipeline: &Pipeline,
    documents: &[&LoadedDocument],
    first: &First<'_>,
    problems: &mut Vec<Problem>,
) {
    let namespace = &pipeline.key.namespace;
    let devices = || documents.iter().filter(|d| is_device_of(d, namespace));
    for (i, source) in pipeline.sources.iter().enumerate() {
        let at = FieldPath::spec().key("sources").index(i).key("devices");
        let SourceKind::Devices { names, .. } = &source.kind else { continue };
        for (j, name) in names.iter().enumerate() {
            let key = ObjectKey::new(namespace.clone(), name.as_str());
            if !first.contains_key(&Identity { kind: Kind::DeviceConnection, key }) {
                let message = format!("no device {name} in namespace {namespace}");
                let field = at.key("names").index(j);
                problems.push(document.problem(Code::DeviceNotFound, &field, message));
            }
        }
        // A device whose document is broken may carry any label: it counts as selected.
        let selected = devices().any(|d| match &d.object {
            Some(Object::Device(device)) => source.selects_device(&device.key.name, &device.labels),
            _ => true,
        });
        if names.is_empty() && !selected {
            let message = format!("source {} selects no device of {namespace}", source.name);
            problems.push(document.problem(Code::NoDevices, &at, message));
        }
    }
}

fn is_device_of(document: &LoadedDocument, namespace: &str) -> bool {
    document.identity.as_ref().is_some_and(|identity| {
        identity.kind == Kind::DeviceConnection && &*identity.key.namespace == namespace
    })
}
