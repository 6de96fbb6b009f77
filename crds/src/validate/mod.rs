//! From a spec to the validated model: pure, and all problems at once.

mod agent;
mod device;
mod pipeline;
mod quantity;
mod sink;
mod topic;
mod transform;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::Kind;
use crate::api::agent::AgentSpec;
use crate::api::agent_pool::AgentPoolSpec;
use crate::api::device::DeviceConnectionSpec;
use crate::api::pipeline::PipelineSpec;
use crate::api::sink::SinkSpec;
use crate::diagnostics::{Diagnostic, FieldPath, Level, Segment};
use crate::model::{Agent, AgentPool, Device, ObjectKey, OpenPipeline, SharedSink, Sink};
use crate::schema;

pub use topic::parse_topic;

/// The sink that was written as [`crate::model::Sink::written`] says; `None` when this release
/// does not understand it.
pub fn recall_sink(written: &str) -> Option<Sink> {
    pipeline::recall(written)
}

/// What the metadata of an object says to the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Kubernetes uid, if any.
    pub uid: Option<String>,
    /// Kubernetes generation, if any.
    pub generation: Option<i64>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Whether [`crate::api::DISCARD_BACKLOG`] is set.
    pub discard_backlog: bool,
}

/// Whether annotations ask to give up what waits.
pub fn is_discarded(annotations: &BTreeMap<String, String>) -> bool {
    annotations.get(crate::api::DISCARD_BACKLOG).is_some_and(|value| value == "true")
}

impl Meta {
    /// Metadata of an object that has nothing but a key.
    pub fn new(key: ObjectKey) -> Self {
        let (uid, generation, labels) = (None, None, BTreeMap::new());
        Self { key, uid, generation, labels, discard_backlog: false }
    }
}

/// An object with everything that was found about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged<T> {
    /// The validated object; `None` exactly when an error was found.
    pub object: Option<T>,
    /// Errors and warnings, in the order in which they were found.
    pub findings: Vec<Diagnostic>,
}

/// Validates a DeviceConnection.
///
/// # Errors
/// Every error that the schema and the rules behind it find, never only the first.
pub fn validate_device(
    meta: &Meta,
    spec: &DeviceConnectionSpec,
) -> Result<Device, Vec<Diagnostic>> {
    judge_device(meta, &untyped(spec)).into_result()
}

/// Validates a Pipeline in itself; [`OpenPipeline::resolve`] puts in what it names.
///
/// # Errors
/// Every error that the schema and the rules behind it find, never only the first.
pub fn validate_pipeline(
    meta: &Meta,
    spec: &PipelineSpec,
) -> Result<OpenPipeline, Vec<Diagnostic>> {
    judge_pipeline(meta, &untyped(spec)).into_result()
}

/// Validates a Sink.
///
/// # Errors
/// Every error that the schema and the rules behind it find, never only the first.
pub fn validate_sink(meta: &Meta, spec: &SinkSpec) -> Result<SharedSink, Vec<Diagnostic>> {
    judge_sink(meta, &untyped(spec)).into_result()
}

/// Validates an AgentPool.
///
/// # Errors
/// Every error that the schema and the rules behind it find, never only the first.
pub fn validate_agent_pool(
    meta: &Meta,
    spec: &AgentPoolSpec,
) -> Result<AgentPool, Vec<Diagnostic>> {
    judge_agent_pool(meta, &untyped(spec)).into_result()
}

/// Validates an Agent.
///
/// # Errors
/// Every error that the schema finds, never only the first.
pub fn validate_agent(meta: &Meta, spec: &AgentSpec) -> Result<Agent, Vec<Diagnostic>> {
    judge_agent(meta, &untyped(spec)).into_result()
}

/// Judges a DeviceConnection from its untyped spec: schema, then rules, warnings included.
pub fn judge_device(meta: &Meta, spec: &Value) -> Judged<Device> {
    judge_value(Kind::DeviceConnection, spec, |spec| device::judge(meta, spec))
}

/// Judges a Pipeline from its untyped spec: schema, then rules, warnings included.
pub fn judge_pipeline(meta: &Meta, spec: &Value) -> Judged<OpenPipeline> {
    judge_value(Kind::Pipeline, spec, |spec| pipeline::judge(meta, spec))
}

/// Judges a Sink from its untyped spec: schema, then rules, warnings included.
pub fn judge_sink(meta: &Meta, spec: &Value) -> Judged<SharedSink> {
    judge_value(Kind::Sink, spec, |spec| sink::judge(meta, spec))
}

/// Judges an AgentPool from its untyped spec: schema, then rules.
pub fn judge_agent_pool(meta: &Meta, spec: &Value) -> Judged<AgentPool> {
    judge_value(Kind::AgentPool, spec, |spec| agent::judge_pool(meta, spec))
}

/// Judges an Agent from its untyped spec; warns that nobody but the operator writes it.
pub fn judge_agent(meta: &Meta, spec: &Value) -> Judged<Agent> {
    judge_value(Kind::Agent, spec, |spec| agent::judge_agent(meta, spec))
}

impl<T> Judged<T> {
    fn into_result(self) -> Result<T, Vec<Diagnostic>> {
        self.object.ok_or(self.findings)
    }
}

/// Specs are plain data, so they always serialize; the schema would refuse null.
fn untyped(spec: &impl serde::Serialize) -> Value {
    serde_json::to_value(spec).unwrap_or_default()
}

fn judge_value<S: serde::de::DeserializeOwned, T>(
    kind: Kind,
    spec: &Value,
    rules: impl FnOnce(&S) -> Judged<T>,
) -> Judged<T> {
    let checked = schema::check::check(schema::spec(kind), spec, &FieldPath::spec());
    // A repaired value decodes by construction (a test proves it for every field).
    let rules = serde_json::from_value::<S>(checked.repaired).ok().map(|spec| rules(&spec));
    merge(checked.problems, rules)
}

/// Adds what the rules found to what the schema found. A rule that stumbled over a part which
/// the schema has already reported adds nothing.
fn merge<T>(schema: Vec<Diagnostic>, rules: Option<Judged<T>>) -> Judged<T> {
    let (object, found) = match rules {
        Some(Judged { object, findings }) => (object, findings),
        None => (None, Vec::new()),
    };
    let mut findings = schema;
    let reported = findings.len();
    for finding in found {
        let known = findings.iter().take(reported).any(|s| same_place(&s.field, &finding.field));
        if !known {
            findings.push(finding);
        }
    }
    let refused = findings.iter().any(|f| f.code.level() == Level::Error);
    Judged { object: object.filter(|_| !refused), findings }
}

/// Whether a schema problem at `problem` explains a rule's finding at `finding`: it lies at the
/// same place, above it, or directly below it.
fn same_place(problem: &FieldPath, finding: &FieldPath) -> bool {
    let (problem, finding): (&[Segment], &[Segment]) = (&problem.0, &finding.0);
    finding.starts_with(problem)
        || (problem.starts_with(finding) && problem.len() == finding.len() + 1)
}
