//! What only all documents together show.

use std::borrow::Borrow;
use std::collections::HashMap;

use super::{Identity, LoadedDocument, Object, Problem};
use crate::api::Kind;
use crate::diagnostics::{Code, FieldPath};
use crate::model::{ObjectKey, Pipeline};

/// Problems between documents: one object twice (error), pipelines that name a device which is
/// not there or select none (warnings).
pub fn check_set<D: Borrow<LoadedDocument>>(documents: &[D]) -> Vec<Problem> {
    let documents: Vec<&LoadedDocument> = documents.iter().map(Borrow::borrow).collect();
    let mut problems = Vec::new();
    let mut first: HashMap<&Identity, &LoadedDocument> = HashMap::new();
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
        if let Some(Object::Pipeline(pipeline)) = &document.object {
            check_sources(document, pipeline, &documents, &first, &mut problems);
        }
    }
    problems
}

fn check_sources(
    document: &LoadedDocument,
    pipeline: &Pipeline,
    documents: &[&LoadedDocument],
    first: &HashMap<&Identity, &LoadedDocument>,
    problems: &mut Vec<Problem>,
) {
    let namespace = &pipeline.key.namespace;
    let devices = || documents.iter().filter(|d| is_device_of(d, namespace));
    for (i, source) in pipeline.sources.iter().enumerate() {
        let at = FieldPath::spec().key("sources").index(i).key("devices");
        for (j, name) in source.names.iter().enumerate() {
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
        if source.names.is_empty() && !selected {
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
