//! The status of Sinks.

use kube::Resource;
use lineside_crds::api::agent::{Agent, SinkReport};
use lineside_crds::api::pipeline::Pipeline;
use lineside_crds::api::sink::Sink;

use super::status::{Transition, findings, silence};
use super::{Failure, Reconciler};
use crate::cache::Guarded;
use crate::queue::Outcome;
use crate::verdict::sink::{SinkFacts, SinkUse};
use crate::verdict::{self, AgentView};

impl Reconciler {
    pub(super) async fn sink(&self, namespace: &str, name: &str) -> Result<Outcome, Failure> {
        let Some(object) = self.cache.sinks.get(namespace, name) else {
            self.judgements.forget_sink(namespace, name);
            return Ok(Outcome::Gone);
        };
        let decoded = object.0.as_ref().ok();
        let previous = match decoded {
            Some(sink) => sink.status.clone().unwrap_or_default(),
            None => self.writer.status_of_undecodable::<Guarded<Sink>, _>(namespace, name).await?,
        };
        let verdict = decoded.map(|sink| self.judgements.sink(sink));
        let findings = findings(&object, verdict.as_deref());
        let pipelines = self.cache.pipelines.in_namespace(namespace);
        let users: Vec<&Pipeline> = pipelines
            .iter()
            .filter_map(|pipeline| pipeline.0.as_ref().ok())
            .filter(|pipeline| entries(pipeline, name).next().is_some())
            .collect();
        let agents = self.cache.agents.in_namespace(namespace);
        let mut uses = Vec::new();
        for agent in agents.iter().filter_map(|agent| agent.0.as_ref().ok()) {
            for (pipeline, report) in users.iter().flat_map(|user| reports(agent, user, name)) {
                let agent = self.agent_view(namespace, agent, &previous.conditions);
                uses.push(SinkUse { pipeline, agent, report });
            }
        }
        let facts = SinkFacts {
            namespace,
            generation: object.meta().generation.unwrap_or_default(),
            previous: &previous.conditions,
            findings: &findings,
            pipelines: users.len(),
            uses,
            now: jiff::Timestamp::now(),
        };
        let again = facts.uses.iter().map(|one| &one.agent).filter_map(AgentView::silent_in).min();
        let status = verdict::sink::status(&facts);
        if previous != status {
            self.write_status::<Guarded<Sink>>(
                namespace,
                name,
                &status,
                Transition::of(&previous.conditions, &status.conditions),
                object.object_ref(&()),
            )
            .await?;
        }
        Ok(silence(again))
    }
}

/// Names of a pipeline's sinks that name this Sink.
fn entries<'a>(pipeline: &'a Pipeline, sink: &'a str) -> impl Iterator<Item = &'a str> {
    let sinks = pipeline.spec.sinks.iter();
    let entries =
        sinks.filter(move |entry| entry.sink_ref.as_ref().is_some_and(|named| named.name == sink));
    entries.map(|entry| entry.name.as_str())
}

/// What an agent says of a pipeline's sinks that were made from this Sink.
fn reports<'a>(
    agent: &'a Agent,
    pipeline: &'a Pipeline,
    sink: &'a str,
) -> Vec<(&'a str, &'a SinkReport)> {
    let name = pipeline.metadata.name.as_deref().unwrap_or_default();
    let uid = pipeline.metadata.uid.as_deref();
    let of = agent.status.iter().flat_map(|status| &status.pipelines);
    of.filter(|report| report.name == name)
        .filter(|report| report.uid.is_none() || report.uid.as_deref() == uid)
        .flat_map(|report| &report.sinks)
        // Made from another destination that had this name before.
        .filter(|report| report.sink_generation.is_some())
        .filter(|report| entries(pipeline, sink).any(|entry| entry == report.name))
        .map(|report| (name, report))
        .collect()
}
