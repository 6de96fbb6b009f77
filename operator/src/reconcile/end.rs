//! The end of an Agent: when its finalizer goes (see [`crate::finalize`]).

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Node, ObjectReference};
use kube::{Resource, ResourceExt};
use lineside_crds::api::agent::Agent;
use lineside_crds::api::status::{ConditionStatus, condition};
use lineside_crds::diagnostics::Code;
use lineside_crds::validate::is_discarded;
use serde_json::json;

use super::{Failure, Reconciler};
use crate::FINALIZER;
use crate::apply::ApplyError;
use crate::cache::Guarded;
use crate::events::Told;
use crate::finalize::{self, Decision, Facts, Release};
use crate::placement::NodeFacts;
use crate::placement::halted::runs_nothing;

/// How long an agent may deliver whose pool is gone.
const DRAIN_WITHOUT_POOL: Duration = Duration::from_secs(3600);

impl Reconciler {
    /// Lets an Agent go that is being deleted, if it may. `None` = it is let go, or is not held by
    /// us; else when to look again.
    pub(super) async fn end(
        &self,
        namespace: &str,
        agent: &Agent,
    ) -> Result<Option<Duration>, Failure> {
        if !agent.finalizers().iter().any(|f| f == FINALIZER) {
            return Ok(None);
        }
        let facts = self.end_facts(namespace, agent).await?;
        let release = match finalize::decide(&facts) {
            Decision::Wait(wait) => return Ok(Some(wait)),
            Decision::Release(release) => release,
        };
        self.release(namespace, agent).await?;
        self.log_released(namespace, &agent.name_any(), release);
        self.tell_end(namespace, agent, release).await;
        Ok(None)
    }

    async fn end_facts(&self, namespace: &str, agent: &Agent) -> Result<Facts, Failure> {
        let node = self.cache.nodes.get("", &agent.spec.node).map(|node| NodeFacts::new(&node));
        let status = agent.status.as_ref();
        let conditions = status.map(|s| s.conditions.as_slice()).unwrap_or_default();
        let ran = status.is_some_and(|s| s.started_at.is_some());
        let pod = self.pod_of(namespace, &agent.name_any());
        let node_ready = node.as_ref().is_some_and(|node| node.ready);
        let pool = self.pool(namespace, &agent.spec.pool);
        let since = agent.metadata.deletion_timestamp.as_ref().map(|t| t.0);
        let deleting_for = since
            .and_then(|since| Duration::try_from(jiff::Timestamp::now().duration_since(since)).ok())
            .unwrap_or_default();
        Ok(Facts {
            drained: condition(conditions, "Drained")
                .is_some_and(|c| c.status == ConditionStatus::True),
            discard: is_discarded(agent.annotations()),
            node_gone: node.as_ref().is_none_or(NodeFacts::out_of_service),
            namespace_terminating: self.writer.is_terminating(namespace).await?,
            never_ran: !ran && runs_nothing(pod.as_deref(), node_ready, ran),
            deleting_for,
            drain_timeout: pool.usable().map_or(DRAIN_WITHOUT_POOL, |pool| pool.drain_timeout),
        })
    }

    async fn release(&self, namespace: &str, agent: &Agent) -> Result<(), ApplyError> {
        let rest: Vec<&String> = agent.finalizers().iter().filter(|f| *f != FINALIZER).collect();
        // With the version that was looked at: another's finalizer is not lost.
        let body = json!({"metadata": {
            "finalizers": rest, "resourceVersion": agent.resource_version(), "uid": agent.uid(),
        }});
        match self.writer.merge::<Guarded<Agent>>(namespace, &agent.name_any(), &body).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    async fn tell_end(&self, namespace: &str, agent: &Agent, release: Release) {
        let (code, name) = (Code::BacklogDiscarded, agent.name_any());
        if !release.gives_up() {
            return;
        }
        let told = |note: String| Told {
            warning: true,
            action: "Release",
            reason: code.reason().to_owned(),
            note,
        };
        // Where it will be seen: an event of a namespace that ends goes with it, so those are
        // about the Namespace or the Node, in the namespace `default`, and one for all agents.
        match release {
            Release::NamespaceTerminating => {
                if self.memory.tell_once(format!("namespace {namespace}")) {
                    let count = self.cache.agents.in_namespace(namespace).len();
                    let note = format!(
                        "{code}: {count} agents of namespace {namespace} are let go without \
                         waiting for what they hold: {release}"
                    );
                    self.events.tell(&namespace_reference(namespace), told(note)).await;
                }
            }
            Release::NodeGone => {
                let node = &agent.spec.node;
                if self.memory.tell_once(format!("node {node} {namespace}")) {
                    let here = |agent: &Guarded<Agent>| {
                        agent.0.as_ref().is_ok_and(|agent| agent.spec.node == *node)
                    };
                    let count = self.cache.agents.count(here);
                    let note = format!(
                        "{code}: {count} agents of node {node} are let go without what they hold: \
                         {release}"
                    );
                    self.events.tell(&node_reference(node), told(note)).await;
                }
            }
            _ => {
                let note = format!("{code}: agent {name} is let go: {release}");
                self.events.tell(&agent.object_ref(&()), told(note)).await;
            }
        }
    }
}

fn namespace_reference(name: &str) -> ObjectReference {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.to_owned());
    namespace.object_ref(&())
}

fn node_reference(name: &str) -> ObjectReference {
    let mut node = Node::default();
    node.metadata.name = Some(name.to_owned());
    node.object_ref(&())
}
