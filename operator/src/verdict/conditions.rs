//! Conditions of a judgement: all known ones, and times that change only when a status flips.

use jiff::Timestamp;
use lineside_crds::api::status::{Condition, ConditionStatus, condition};
use lineside_crds::diagnostics::conditions::ConditionType;

use super::{Beside, Claim, Judgement};

/// The conditions of `judgement` about generation `generation`, after `previous`.
pub fn conditions(
    judgement: &Judgement,
    previous: &[Condition],
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let beside = judgement.beside.as_ref().map(|beside| match beside {
        Beside::Reconciling(claim) => (ConditionType::Reconciling, claim),
        Beside::Stalled(claim) => (ConditionType::Stalled, claim),
    });
    [
        Some((ConditionType::Accepted, &judgement.accepted)),
        judgement.programmed.as_ref().map(|c| (ConditionType::Programmed, c)),
        judgement.connected.as_ref().map(|c| (ConditionType::Connected, c)),
        Some((ConditionType::Ready, &judgement.ready)),
        beside,
    ]
    .into_iter()
    .flatten()
    .map(|(kind, claim)| one(kind, claim, previous, generation, now))
    .collect()
}

fn one(
    kind: ConditionType,
    claim: &Claim,
    previous: &[Condition],
    generation: i64,
    now: Timestamp,
) -> Condition {
    let before = condition(previous, kind.name()).filter(|c| c.status == claim.status);
    Condition {
        kind: kind.name().to_owned(),
        status: claim.status,
        observed_generation: generation,
        last_transition_time: match before {
            Some(before) => before.last_transition_time.clone(),
            // Whole seconds, as everywhere in Kubernetes.
            None => now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        },
        reason: claim.reason.clone(),
        message: claim.message.clone(),
    }
}

/// Whether Ready flipped between two statuses; the first one is no flip.
pub fn ready_flipped(previous: &[Condition], now: &[Condition]) -> bool {
    let ready = |all: &[Condition]| condition(all, ConditionType::Ready.name()).map(|c| c.status);
    ready(previous).is_some() && ready(previous) != ready(now)
}

/// The status of Ready.
pub fn is_ready(conditions: &[Condition]) -> ConditionStatus {
    condition(conditions, ConditionType::Ready.name()).map(|c| c.status).unwrap_or_default()
}
