//! Status: what operator and agent say about an object. Nobody writes it by hand.
//!
//! Reading is lenient, writing is exact: an operator meets agents one or two releases older or
//! newer, so a field that it does not know is passed over and a word that it does not know
//! becomes the careful one ([`Health::Unknown`], [`ConditionStatus::Unknown`],
//! [`Durability::Reduced`]). One foreign word must never hide everything else that was said.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `observedGeneration` of an object that nobody has looked at yet.
pub const UNOBSERVED: i64 = -1;
/// Most characters of the message of a condition.
pub const CONDITION_MESSAGE_MOST: usize = 4096;
/// Most characters of the message of one device or pipeline in the status of an Agent: 512
/// devices must fit one object.
pub const MESSAGE_MOST: usize = 512;

/// One condition, as all of Kubernetes writes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about, for example `Ready`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[A-Z][A-Za-z0-9]{0,62}$"))]
    pub kind: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Generation of the object that this was said about.
    #[serde(default = "unobserved")]
    #[schemars(range(min = -1, max = 9_007_199_254_740_991_i64))]
    pub observed_generation: i64,
    /// When `status` last changed (RFC 3339).
    #[schemars(length(min = 1, max = 40), extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// Why, in one word of the diagnostics registry, for example `Receiving`.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[A-Z][A-Za-z0-9]{0,62}$"))]
    pub reason: String,
    /// Why, for people: what was found, its code, and what to do next.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub message: String,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody can say at present.
    #[default]
    #[serde(other)]
    Unknown,
}

/// How well an object works, apart from whether it is used at all.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum Health {
    /// Everything works.
    Healthy,
    /// It works in part.
    Degraded,
    /// It does not work.
    Unavailable,
    /// Nobody can say at present, or nothing is wanted of it.
    #[default]
    #[serde(other)]
    Unknown,
}

/// What an agent keeps when its pod moves or its node fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Durability {
    /// Its state volume outlives the pod.
    Full,
    /// Its state volume goes with the pod (`emptyDir`).
    #[serde(other)]
    Reduced,
}

/// How many points of a device give good values. Written when the answer to "all, some, none"
/// changes, never on each sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PointCounts {
    /// Points of the device.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub total: i64,
    /// Points whose last sample is good.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub good: i64,
    /// Points whose last sample is bad.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub bad: i64,
}

/// The condition of this type, if it is there.
pub fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.kind == kind)
}

/// `text` cut to `most` characters; what was cut shows as `…`. An API server refuses a whole
/// status whose message is too long, so every writer cuts.
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

pub(super) fn unobserved() -> i64 {
    UNOBSERVED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_newer_release_become_the_careful_ones() {
        assert_eq!(serde_json::from_str::<Health>("\"Sleepy\"").unwrap(), Health::Unknown);
        assert_eq!(serde_json::from_str::<Health>("\"Degraded\"").unwrap(), Health::Degraded);
        let status = serde_json::from_str::<ConditionStatus>("\"Maybe\"").unwrap();
        assert_eq!(status, ConditionStatus::Unknown);
        assert_eq!(serde_json::from_str::<Durability>("\"Raid\"").unwrap(), Durability::Reduced);
        assert_eq!(serde_json::from_str::<Durability>("\"Full\"").unwrap(), Durability::Full);
    }

    #[test]
    fn a_cut_text_has_at_most_the_wanted_characters_and_shows_that_it_was_cut() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("éééé", 3), "éé…");
        assert_eq!(cut("a", 0), "…");
    }
}
