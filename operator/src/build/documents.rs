//! Which documents an agent is shipped.

use std::collections::{BTreeMap, BTreeSet};

use lineside_crds::api::Kind;
use lineside_crds::delivery::Document;
use lineside_crds::model::Pipeline;
use serde_json::Value;

use super::Shipped;

/// A user's object as it stands in the cluster.
#[derive(Clone, Debug)]
pub enum Current {
    /// Its spec is valid.
    Valid(Document),
    /// Its spec is refused, or cannot be decoded. An agent goes on with the last valid one.
    Refused,
}

/// A Pipeline as it stands in the cluster.
#[derive(Clone, Debug)]
pub enum PipelineNow<'a> {
    /// Its spec is valid, and the Sinks that it names are there.
    Valid(&'a Pipeline),
    /// Its spec is refused or cannot be decoded, or a Sink that it names is not there or is refused.
    Refused,
}

/// What is chosen from for one agent.
pub struct Selection<'a> {
    /// The devices that it is shipped, from [`crate::placement::Placement::active`].
    pub active: BTreeSet<&'a str>,
    /// The pipelines of the namespace, by name.
    pub pipelines: BTreeMap<&'a str, PipelineNow<'a>>,
    /// The agent is being deleted.
    pub draining: bool,
}

impl Selection<'_> {
    /// Whether the agent has nothing to read any more. It then keeps the pipelines that it has, so
    /// that what they hold is delivered.
    fn winds_down(&self) -> bool {
        self.draining || self.active.is_empty()
    }

    /// Whether [`Self::documents`] needs to know what the agent was shipped last; `refused` says
    /// whether a device's spec is refused.
    pub fn needs_shipped(&self, refused: impl Fn(&str) -> bool) -> bool {
        self.winds_down()
            || self.active.iter().any(|device| refused(device))
            || self.pipelines.values().any(|p| matches!(p, PipelineNow::Refused))
    }

    /// The documents: its devices, every pipeline that selects one of them, every pipeline that
    /// takes the agents' own metrics, unless the agent is to end, and the Sinks that these name.
    ///
    /// `current` gives the object of a kind and name as it stands, `None` when there is none.
    /// A refused edit ships the version before it, if the agent was shipped one; so does the end of
    /// a Sink that a pipeline still names.
    pub fn documents(
        &self,
        shipped: &Shipped,
        mut current: impl FnMut(Kind, &str) -> Option<Current>,
    ) -> Vec<Document> {
        let mut latest = |kind: Kind, name: &str| match current(kind, name) {
            Some(Current::Valid(document)) => Some(document),
            Some(Current::Refused) => shipped.get(kind, name).cloned(),
            None => None,
        };
        let mut documents: Vec<Document> = match self.draining {
            true => Vec::new(),
            false => {
                self.active.iter().filter_map(|name| latest(Kind::DeviceConnection, name)).collect()
            }
        };
        let mut pipelines: BTreeMap<String, Document> = BTreeMap::new();
        if self.winds_down() {
            for before in shipped.of(Kind::Pipeline) {
                // One that was deleted meanwhile still has to deliver.
                let now = latest(Kind::Pipeline, &before.name).unwrap_or_else(|| before.clone());
                pipelines.insert(before.name.clone(), now);
            }
        }
        for (name, pipeline) in &self.pipelines {
            let wanted = match pipeline {
                PipelineNow::Valid(pipeline) => {
                    let told = pipeline.takes_agent_metrics() && !self.draining;
                    told || documents.iter().any(|d| selects(pipeline, d))
                }
                PipelineNow::Refused => true,
            };
            if wanted && let Some(document) = latest(Kind::Pipeline, name) {
                pipelines.insert((*name).to_owned(), document);
            }
        }
        let named: BTreeSet<String> = pipelines.values().flat_map(sinks).collect();
        let sinks = named.iter().filter_map(|name| {
            latest(Kind::Sink, name).or_else(|| shipped.get(Kind::Sink, name).cloned())
        });
        documents.extend(sinks.collect::<Vec<_>>());
        documents.extend(pipelines.into_values());
        documents
    }
}

/// Names of the Sinks that a pipeline names.
fn sinks(pipeline: &Document) -> Vec<String> {
    let sinks = pipeline.spec.pointer("/sinks").and_then(Value::as_array);
    let name = |sink: &Value| Some(sink.pointer("/sinkRef/name")?.as_str()?.to_owned());
    sinks.into_iter().flatten().filter_map(name).collect()
}

/// Whether a pipeline takes samples of a device, judged by the labels that the agent sees.
fn selects(pipeline: &Pipeline, device: &Document) -> bool {
    pipeline.sources.iter().any(|source| source.selects_device(&device.name, &device.labels))
}
