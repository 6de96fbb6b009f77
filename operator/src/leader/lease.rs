//! The requests of the election.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tracing::{info, warn};

use super::elector::{Elector, Record, Timing, Verdict};
use super::fence::Fence;
use crate::FIELD_MANAGER;

/// Where and as whom to stand.
#[derive(Clone, Debug)]
pub struct LeaderConfig {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Times of the election.
    pub timing: Timing,
}

/// One candidate.
#[derive(Debug)]
pub struct Leader {
    api: Api<Lease>,
    config: LeaderConfig,
    elector: Elector,
    fence: Fence,
}

/// A request that did not do what it should.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("{}", crate::apply::brief(.0))]
    Kube(#[from] kube::Error),
}

impl RoundError {
    /// Whether somebody else wrote the Lease since it was read.
    fn is_race(&self) -> bool {
        let Self::Kube(kube::Error::Api(status)) = self else { return false };
        status.is_conflict() || status.is_already_exists()
    }
}

/// The Lease could not be taken.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SeizeError(RoundError);

/// What one look at the Lease came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// The Lease is ours; counted from this time, before the request was sent.
    Ours(Instant),
    /// Somebody else has it.
    Theirs,
}

impl Leader {
    /// A candidate. Its requests must not go through the fence it opens.
    pub fn new(unfenced: Client, config: LeaderConfig, elector: Elector, fence: Fence) -> Self {
        let api = Api::namespaced(unfenced, &config.namespace);
        Self { api, config, elector, fence }
    }

    /// Returns when this process leads; the fence is open then.
    pub async fn acquire(&mut self) {
        info!(identity = self.elector.identity(), "Standing for leader");
        let mut warned = false;
        loop {
            match self.round().await {
                Ok(Round::Ours(sent)) => {
                    self.fence.open_until(sent + self.config.timing.renew_deadline);
                    info!(identity = self.elector.identity(), "Leading");
                    return;
                }
                Ok(Round::Theirs) => warned = false,
                Err(error) if warned => tracing::debug!(%error, "The leader Lease is unreachable"),
                Err(error) => {
                    warned = true;
                    let (namespace, name) = (&self.config.namespace, &self.config.name);
                    warn!(%error, namespace, name, "The leader Lease is unreachable");
                }
            }
            tokio::time::sleep(self.config.timing.retry).await;
        }
    }

    /// Renews until that is no longer possible, then closes the fence and returns.
    pub async fn hold(&mut self) {
        let timing = self.config.timing;
        let mut last = now();
        loop {
            tokio::time::sleep(timing.retry).await;
            // Bounded by what is left, so that a slow answer cannot outlast the right to write.
            let left = (last + timing.renew_deadline).saturating_duration_since(now());
            match tokio::time::timeout(left, self.round()).await {
                Ok(Ok(Round::Ours(sent))) => {
                    last = sent;
                    self.fence.open_until(sent + timing.renew_deadline);
                }
                Ok(Ok(Round::Theirs)) => {
                    warn!("Another operator leads");
                    break;
                }
                Ok(Err(error)) => warn!(%error, "Renewing the leader Lease failed"),
                Err(_) => {}
            }
            if now() >= last + timing.renew_deadline {
                warn!("The leader Lease could not be renewed in time");
                break;
            }
        }
        self.fence.close();
    }

    /// Takes the Lease, whoever has it, and does not renew it. True when somebody may have held
    /// it, who may go on writing until its own deadline.
    ///
    /// # Errors
    /// When the API server refuses or cannot be reached.
    pub async fn seize(&mut self) -> Result<bool, SeizeError> {
        loop {
            let lease =
                self.bounded(self.api.get_opt(&self.config.name)).await.map_err(SeizeError)?;
            let holder = lease.as_ref().map(|lease| record(lease).holder).unwrap_or_default();
            let spec = json!({
                "holderIdentity": self.elector.identity(),
                "leaseDurationSeconds": self.config.timing.lease.as_secs(),
                "acquireTime": micro_now(),
                "renewTime": micro_now(),
            });
            let result = match lease.as_ref().and_then(ResourceExt::resource_version) {
                Some(version) => self.patch(&version, json!({"spec": spec})).await,
                None => self.create(spec).await,
            };
            match result {
                Ok(()) => return Ok(!holder.is_empty()),
                // The holder renewed in between.
                Err(error) if error.is_race() => {}
                Err(error) => return Err(SeizeError(error)),
            }
        }
    }

    /// Gives the Lease back, so that the next leader need not wait. Best effort.
    pub async fn release(&mut self) {
        self.fence.close();
        let body = json!({
            "spec": {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": micro_now()}
        });
        match self.seen_by_us().await {
            Ok(Some(version)) => {
                if let Err(error) = self.patch(&version, body).await {
                    warn!(%error, "The leader Lease was not released");
                }
            }
            Ok(None) => {}
            Err(error) => warn!(%error, "The leader Lease was not released"),
        }
    }

    /// Looks at the Lease once and does what the elector says.
    async fn round(&mut self) -> Result<Round, RoundError> {
        let lease = self.bounded(self.api.get_opt(&self.config.name)).await?;
        let record = lease.as_ref().map(record);
        let version = lease.as_ref().and_then(ResourceExt::resource_version).unwrap_or_default();
        let transitions = record.as_ref().map_or(0, |r| r.transitions);
        let sent = now();
        let spec = json!({
            "holderIdentity": self.elector.identity(),
            "leaseDurationSeconds": self.config.timing.lease.as_secs(),
            "renewTime": micro_now(),
        });
        let result = match self.elector.observe(record, sent) {
            Verdict::Wait => return Ok(Round::Theirs),
            Verdict::Create => self.create(spec).await,
            Verdict::Renew => self.patch(&version, json!({"spec": spec})).await,
            Verdict::Take => {
                let mut spec = spec;
                if let Some(spec) = spec.as_object_mut() {
                    spec.insert("acquireTime".into(), json!(micro_now()));
                    spec.insert("leaseTransitions".into(), json!(transitions.saturating_add(1)));
                }
                self.patch(&version, json!({"spec": spec})).await
            }
        };
        match result {
            Ok(()) => Ok(Round::Ours(sent)),
            // Somebody was faster; the next look will show who.
            Err(error) if error.is_race() => Ok(Round::Theirs),
            Err(error) => Err(error),
        }
    }

    async fn create(&self, spec: serde_json::Value) -> Result<(), RoundError> {
        let mut lease: Lease = serde_json::from_value(json!({
            "metadata": {"name": self.config.name, "namespace": self.config.namespace},
            "spec": spec,
        }))
        .map_err(kube::Error::SerdeError)?;
        if let Some(spec) = &mut lease.spec {
            spec.acquire_time = spec.renew_time.clone();
            spec.lease_transitions = Some(0);
        }
        let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..Default::default() };
        self.bounded(self.api.create(&params, &lease)).await.map(drop)
    }

    /// Changes the Lease if it still has this resourceVersion.
    async fn patch(&self, version: &str, mut body: serde_json::Value) -> Result<(), RoundError> {
        if let Some(body) = body.as_object_mut() {
            body.insert("metadata".into(), json!({"resourceVersion": version}));
        }
        let params =
            PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..Default::default() };
        let patch = Patch::Merge(&body);
        self.bounded(self.api.patch(&self.config.name, &params, &patch)).await.map(drop)
    }

    /// The resourceVersion of the Lease if this process holds it.
    async fn seen_by_us(&self) -> Result<Option<String>, RoundError> {
        let lease = self.bounded(self.api.get_opt(&self.config.name)).await?;
        Ok(lease
            .filter(|lease| record(lease).holder == self.elector.identity())
            .and_then(|lease| lease.resource_version()))
    }

    async fn bounded<T>(
        &self,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, RoundError> {
        let limit = self.config.timing.request;
        match tokio::time::timeout(limit, request).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(RoundError::Late(limit)),
        }
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(15);
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        duration: Duration::from_secs(seconds),
        version: lease.resource_version().unwrap_or_default(),
        transitions: spec.lease_transitions.unwrap_or_default(),
    }
}

fn micro_now() -> MicroTime {
    MicroTime(jiff::Timestamp::now())
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
