//! What generic tools (Helm, Flux, kustomize) make of a status: the rules of kstatus
//! (sigs.k8s.io/cli-utils, pkg/kstatus) for kinds that it does not know.

use lineside_crds::api::status::{Condition, ConditionStatus, condition};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kstatus {
    InProgress,
    Failed,
    Current,
}

pub fn of(generation: i64, observed: i64, conditions: &[Condition]) -> Kstatus {
    let is = |kind: &str| condition(conditions, kind).map(|c| c.status);
    if observed != generation || is("Reconciling") == Some(ConditionStatus::True) {
        return Kstatus::InProgress;
    }
    if is("Stalled") == Some(ConditionStatus::True) {
        return Kstatus::Failed;
    }
    match is("Ready") {
        Some(ConditionStatus::False | ConditionStatus::Unknown) => Kstatus::InProgress,
        Some(ConditionStatus::True) | None => Kstatus::Current,
    }
}
