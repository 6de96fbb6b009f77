//! Sinks that pipelines share, and pipelines before what they name is put in.
//!
//! ```text
//! Pipeline spec --validate--> OpenPipeline --resolve(Sinks of its namespace)--> Pipeline
//! ```
//!
//! Agent, operator and command line resolve with the same function, so a pipeline that names a
//! Sink runs exactly as one that has the destination written in it.

use std::sync::Arc;

use super::{Drain, ObjectKey, Pipeline, Sink, SinkKind};
use crate::api::pipeline::{self as api, PipelineSinkSpec};
use crate::api::sink::SinkSpec;
use crate::diagnostics::{Code, Diagnostic, FieldPath};

/// A validated Sink.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedSink {
    /// Its identity.
    pub key: ObjectKey,
    /// Kubernetes uid, when the YAML came from a cluster.
    pub uid: Option<String>,
    /// Kubernetes generation, when the YAML came from a cluster.
    pub generation: Option<i64>,
    /// The destination.
    pub kind: SinkKind,
    /// The destination as the YAML has it.
    pub(crate) spec: SinkSpec,
}

/// Which version of which Sink a pipeline's sink was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkVersion {
    /// Name of the Sink, in the pipeline's namespace.
    pub name: Arc<str>,
    /// Its generation, when the YAML came from a cluster.
    pub generation: Option<i64>,
}

/// What there is under the name of a Sink.
#[derive(Clone, Debug, PartialEq)]
pub enum NamedSink {
    /// A valid one.
    Valid(Arc<SharedSink>),
    /// One that is refused; what is wrong with it is told about itself.
    Refused,
    /// None.
    Missing {
        /// What the name may have been meant to be, as the end of a sentence; may be empty.
        hint: String,
    },
}

/// A pipeline that is valid in itself; whether it can run is up to the Sinks that it names.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenPipeline {
    /// The pipeline, without sinks.
    pub(crate) base: Pipeline,
    /// Its sinks, in the order of the YAML.
    pub(crate) sinks: Vec<OpenSink>,
}

/// A pipeline's sink before what it names is put in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OpenSink {
    /// With a destination of its own.
    Whole(Box<Sink>),
    /// It names a Sink.
    Named {
        /// Its name in the pipeline.
        name: Arc<str>,
        /// Name of the Sink.
        sink: Arc<str>,
        /// In which order it wants what waited; `None` = as the destination has it by default.
        drain: Option<api::Drain>,
    },
}

impl OpenPipeline {
    /// Its identity.
    pub fn key(&self) -> &ObjectKey {
        &self.base.key
    }

    /// The pipeline without sinks, for what does not depend on them: its sources above all.
    pub fn base(&self) -> &Pipeline {
        &self.base
    }

    /// Its sinks that have a destination of their own.
    pub fn own_sinks(&self) -> impl Iterator<Item = &Sink> {
        self.sinks.iter().filter_map(|sink| match sink {
            OpenSink::Whole(whole) => Some(&**whole),
            OpenSink::Named { .. } => None,
        })
    }

    /// Names of the Sinks that it names, each as often as it does.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sinks.iter().filter_map(|sink| match sink {
            OpenSink::Named { sink, .. } => Some(&**sink),
            OpenSink::Whole(_) => None,
        })
    }

    /// The pipeline, if it names no Sink.
    pub fn whole(&self) -> Option<Pipeline> {
        // One that names nothing asks for nothing.
        self.resolve(|_| NamedSink::Refused).ok()
    }

    /// The pipeline with the destinations of the Sinks that it names put in. `sink` gives the Sink
    /// of a name, in the namespace of the pipeline.
    ///
    /// # Errors
    /// A finding for every name under which there is no valid Sink.
    pub fn resolve(
        &self,
        mut sink: impl FnMut(&str) -> NamedSink,
    ) -> Result<Pipeline, Vec<Diagnostic>> {
        let mut findings = Vec::new();
        let mut sinks = Vec::with_capacity(self.sinks.len());
        for (i, open) in self.sinks.iter().enumerate() {
            let (entry, named, drain) = match open {
                OpenSink::Whole(whole) => {
                    sinks.push(Sink::clone(whole));
                    continue;
                }
                OpenSink::Named { name, sink, drain } => (name, sink, *drain),
            };
            let at = || FieldPath::spec().key("sinks").index(i).key("sinkRef").key("name");
            let namespace = &self.base.key.namespace;
            match sink(named) {
                NamedSink::Valid(shared) => sinks.push(made_of(&shared, entry, drain)),
                NamedSink::Refused => {
                    let message = format!("Sink {named} is refused itself");
                    findings.push(Diagnostic::new(Code::ReferenceInvalid, at(), message));
                }
                NamedSink::Missing { hint } => {
                    let message = format!("no Sink {named} in namespace {namespace}{hint}");
                    findings.push(Diagnostic::new(Code::ReferenceNotFound, at(), message));
                }
            }
        }
        match findings.is_empty() {
            true => Ok(Pipeline { sinks, ..self.base.clone() }),
            false => Err(findings),
        }
    }
}

/// The sink `name` of a pipeline that names this Sink.
fn made_of(shared: &SharedSink, name: &Arc<str>, drain: Option<api::Drain>) -> Sink {
    // As if the destination stood in the pipeline: a backlog outlives the Sink, too.
    let written = PipelineSinkSpec {
        name: name.to_string(),
        sink_ref: None,
        mqtt: shared.spec.mqtt.clone(),
        iotdb: shared.spec.iotdb.clone(),
        drain,
    };
    Sink {
        name: name.clone(),
        kind: shared.kind.clone(),
        drain: drain.map_or_else(|| shared.kind.drain_default(), Drain::from),
        shared: Some(SinkVersion { name: shared.key.name.clone(), generation: shared.generation }),
        written: written.to_json(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::validate::{Meta, judge_pipeline, judge_sink, recall_sink};

    fn pipeline(sinks: Value) -> OpenPipeline {
        let meta = Meta::new(ObjectKey::new("plant", "p"));
        let spec = json!({"sources": [{"name": "all", "devices": {}}], "sinks": sinks});
        judge_pipeline(&meta, &spec).object.unwrap()
    }

    fn shared(name: &str, spec: &Value) -> NamedSink {
        let meta = Meta { generation: Some(7), ..Meta::new(ObjectKey::new("plant", name)) };
        NamedSink::Valid(judge_sink(&meta, spec).object.unwrap().into())
    }

    #[test]
    fn a_pipeline_that_names_a_sink_is_the_one_that_has_the_destination_written_in_it() {
        let broker = json!({"mqtt": {"url": "mqtt://h", "topic": "{pipeline}/{device}"}});
        let database = json!({"iotdb": {"url": "iotdb://h", "prefix": "root.a"}});
        let named = pipeline(json!([
            {"name": "a", "sinkRef": {"name": "broker"}, "drain": "LiveFirst"},
            {"name": "b", "sinkRef": {"name": "database"}},
        ]));
        assert_eq!(named.whole(), None);
        assert_eq!(named.names().collect::<Vec<_>>(), ["broker", "database"]);
        let resolved = named.resolve(|name| match name {
            "broker" => shared(name, &broker),
            _ => shared(name, &database),
        });
        let mut resolved = resolved.unwrap();
        for sink in &mut resolved.sinks {
            let version = sink.shared.take().unwrap();
            assert_eq!(version.generation, Some(7));
            // What is kept with a backlog needs no Sink.
            assert_eq!(recall_sink(&sink.written).as_ref(), Some(&*sink));
        }
        let written = pipeline(json!([
            {"name": "a", "mqtt": broker["mqtt"], "drain": "LiveFirst"},
            {"name": "b", "iotdb": database["iotdb"]},
        ]));
        assert_eq!(Some(resolved), written.whole());
    }

    #[test]
    fn every_name_without_a_valid_sink_is_found_with_its_field() {
        let open = pipeline(json!([
            {"name": "a", "sinkRef": {"name": "gone"}},
            {"name": "b", "mqtt": {"url": "mqtt://h"}},
            {"name": "c", "sinkRef": {"name": "refused"}},
        ]));
        let findings = open.resolve(|name| match name {
            "gone" => NamedSink::Missing { hint: "; did you mean gate?".into() },
            _ => NamedSink::Refused,
        });
        let findings: Vec<_> = findings.unwrap_err().iter().map(ToString::to_string).collect();
        let wanted = [
            "LNS-5010 ReferenceNotFound spec.sinks[0].sinkRef.name: no Sink gone in namespace \
             plant; did you mean gate?",
            "LNS-1084 ReferenceInvalid spec.sinks[2].sinkRef.name: Sink refused is refused itself",
        ];
        assert_eq!(findings, wanted);
    }

    #[test]
    fn what_is_kept_of_a_sink_never_names_another_object() {
        assert_eq!(recall_sink(r#"{"name":"a","sinkRef":{"name":"s"}}"#), None);
    }
}
