//! Where agents run and with what: an AgentPool, or the operator's own default, resolved to one
//! value without open ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use lineside_crds::api::agent_pool::{
    AmountsSpec, POOL_DEFAULT, ResourcesSpec, SECRET_ALWAYS, TaintEffect, TolerationOperator,
    TolerationSpec,
};
use lineside_crds::model::{AgentPool, StateVolume};

/// What the operator's own configuration gives to every pool.
#[derive(Clone, Debug, PartialEq)]
pub struct DefaultPool {
    /// The pool of a namespace that has no AgentPool named `default`, and the source of what
    /// another pool leaves open: image, pull secrets, resources.
    pub pool: AgentPool,
    /// Image of agents whose pool names none.
    pub image: String,
    /// `imagePullPolicy` of every agent; `None` = the cluster's rule.
    pub image_pull_policy: Option<String>,
}

/// A pool as placement and build see it.
#[derive(Clone, Debug, PartialEq)]
pub enum PoolState {
    /// It can be used.
    Usable(Box<Pool>),
    /// It is there, but its spec is refused. What runs goes on as it is; nothing new is placed.
    Invalid,
    /// There is no such pool.
    NotFound,
}

impl PoolState {
    /// The pool, if it can be used.
    pub fn usable(&self) -> Option<&Pool> {
        match self {
            Self::Usable(pool) => Some(pool),
            Self::Invalid | Self::NotFound => None,
        }
    }
}

/// A resolved pool: every default is filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Labels that a node must all carry.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that its agents bear, besides the ones that every agent bears.
    pub tolerations: Vec<Toleration>,
    /// Image of its agents.
    pub image: String,
    /// `imagePullPolicy`; `None` = the cluster's rule.
    pub image_pull_policy: Option<String>,
    /// Secrets with logins of the registry.
    pub image_pull_secrets: Vec<String>,
    /// What an agent is given and held to.
    pub resources: ResourceRequirements,
    /// Secrets that are mounted, `lineside-credentials` among them.
    pub secrets: BTreeSet<String>,
    /// Where agents keep their state.
    pub state: StateVolume,
    /// Time between two signs of life, whole seconds.
    pub heartbeat: Duration,
    /// How long a removed agent may go on delivering, whole seconds.
    pub drain_timeout: Duration,
}

/// Resolves the pool `name` from what stands in the namespace.
///
/// `object`: `None` = there is no AgentPool of that name; `Some(None)` = there is one and its
/// spec is refused or cannot be decoded; `Some(Some(pool))` = a valid one.
pub fn resolve(name: &str, object: Option<Option<&AgentPool>>, default: &DefaultPool) -> PoolState {
    match object {
        Some(Some(pool)) => PoolState::Usable(Box::new(fill(name, pool, default))),
        Some(None) => PoolState::Invalid,
        None if name == POOL_DEFAULT => {
            PoolState::Usable(Box::new(fill(name, &default.pool, default)))
        }
        None => PoolState::NotFound,
    }
}

fn fill(name: &str, pool: &AgentPool, default: &DefaultPool) -> Pool {
    let image = pool.image.as_ref().or(default.pool.image.as_ref()).unwrap_or(&default.image);
    let pull_secrets = match pool.image_pull_secrets.is_empty() {
        true => &default.pool.image_pull_secrets,
        false => &pool.image_pull_secrets,
    };
    let resources = pool.resources.as_ref().or(default.pool.resources.as_ref());
    let mut secrets: BTreeSet<String> = pool.credential_secrets.iter().cloned().collect();
    secrets.insert(SECRET_ALWAYS.to_owned());
    Pool {
        name: name.to_owned(),
        node_selector: pool.node_selector.clone(),
        tolerations: pool.tolerations.iter().map(toleration).collect(),
        image: image.clone(),
        image_pull_policy: default.image_pull_policy.clone(),
        image_pull_secrets: pull_secrets.clone(),
        resources: resources.map(requirements).unwrap_or_default(),
        secrets,
        state: pool.state_volume.clone(),
        heartbeat: pool.heartbeat,
        drain_timeout: pool.drain_timeout,
    }
}

fn requirements(spec: &ResourcesSpec) -> ResourceRequirements {
    ResourceRequirements {
        claims: None,
        limits: amounts(spec.limits.as_ref()),
        requests: amounts(spec.requests.as_ref()),
    }
}

fn amounts(spec: Option<&AmountsSpec>) -> Option<BTreeMap<String, Quantity>> {
    let spec = spec?;
    let entry = |name: &str, amount: &Option<String>| {
        amount.as_ref().map(|a| (name.to_owned(), Quantity(a.clone())))
    };
    let all: BTreeMap<String, Quantity> =
        [entry("cpu", &spec.cpu), entry("memory", &spec.memory)].into_iter().flatten().collect();
    (!all.is_empty()).then_some(all)
}

fn toleration(spec: &TolerationSpec) -> Toleration {
    Toleration {
        key: spec.key.clone(),
        operator: Some(
            match spec.operator {
                Some(TolerationOperator::Exists) => "Exists",
                Some(TolerationOperator::Equal) | None => "Equal",
            }
            .to_owned(),
        ),
        value: spec.value.clone(),
        effect: spec.effect.map(|effect| {
            match effect {
                TaintEffect::NoSchedule => "NoSchedule",
                TaintEffect::PreferNoSchedule => "PreferNoSchedule",
                TaintEffect::NoExecute => "NoExecute",
            }
            .to_owned()
        }),
        toleration_seconds: spec.toleration_seconds,
    }
}

#[cfg(test)]
mod tests {
    use lineside_crds::model::ObjectKey;
    use lineside_crds::validate::{Meta, judge_agent_pool};
    use serde_json::{Value, json};

    use super::*;

    fn valid(spec: Value) -> AgentPool {
        let judged = judge_agent_pool(&Meta::new(ObjectKey::new("ns", "default")), &spec);
        judged.object.unwrap_or_else(|| panic!("{:?}", judged.findings))
    }

    fn default_pool(spec: Value) -> DefaultPool {
        let image = "registry.example/agent:1".to_owned();
        DefaultPool { pool: valid(spec), image, image_pull_policy: None }
    }

    fn usable(state: PoolState) -> Pool {
        match state {
            PoolState::Usable(pool) => *pool,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_namespace_without_pools_has_the_default_one_and_no_other() {
        let default = default_pool(json!({"nodeSelector": {"edge": "yes"}}));
        let pool = usable(resolve("default", None, &default));
        assert_eq!(pool.node_selector.get("edge").map(String::as_str), Some("yes"));
        assert_eq!(pool.image, "registry.example/agent:1");
        assert!(pool.secrets.contains("lineside-credentials"));
        let state = StateVolume::Claim { storage_class: None, size: "1Gi".into() };
        assert_eq!(pool.state, state);
        assert_eq!((pool.heartbeat.as_secs(), pool.drain_timeout.as_secs()), (10, 3600));
        assert_eq!(resolve("other", None, &default), PoolState::NotFound);
    }

    #[test]
    fn a_pool_of_the_namespace_replaces_the_default_and_takes_over_what_it_leaves_open() {
        let default = default_pool(json!({
            "nodeSelector": {"edge": "yes"},
            "imagePullSecrets": ["login"],
            "resources": {"requests": {"cpu": "50m"}}
        }));
        let own = valid(json!({"stateVolume": {"emptyDir": {}}, "credentialSecrets": ["broker"]}));
        let pool = usable(resolve("default", Some(Some(&own)), &default));
        assert!(pool.node_selector.is_empty(), "where agents run is the pool's own affair");
        assert_eq!(pool.image_pull_secrets, ["login"]);
        let requests = pool.resources.requests.expect("requests");
        assert_eq!(requests.get("cpu"), Some(&Quantity("50m".into())));
        assert_eq!(pool.state, StateVolume::EmptyDir);
        let secrets: Vec<_> = pool.secrets.iter().map(String::as_str).collect();
        assert_eq!(secrets, ["broker", "lineside-credentials"]);
    }

    #[test]
    fn a_refused_pool_is_not_the_same_as_none() {
        let default = default_pool(json!({}));
        assert_eq!(resolve("default", Some(None), &default), PoolState::Invalid);
    }
}
