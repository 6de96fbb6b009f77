//! `strip-finalizers`: lets Agents be deleted without an operator. The chart's pre-delete hook.
//!
//! An operator that runs would put the finalizers back. So this process takes the leader's Lease
//! first, waits until no operator may write any more, and keeps the Lease longer than an
//! uninstallation takes.

use std::time::Duration;

use anyhow::Context;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tracing::info;

use crate::cache::kinds::Agent;
use crate::leader::{Elector, Leader, LeaderConfig, Timing};
use crate::{FIELD_MANAGER, FINALIZER};

/// How long operators stand by afterwards.
const HOLD: Duration = Duration::from_secs(300);

/// Longest time of one request.
const LIMIT: Duration = Duration::from_secs(30);

/// Removes the finalizer from the Agents of these namespaces (none = all) and says how many.
///
/// # Errors
/// When the API server refuses or cannot be reached.
pub async fn strip(
    client: Client,
    namespaces: &[String],
    mut config: LeaderConfig,
) -> anyhow::Result<usize> {
    let grace = config.timing.renew_deadline + Duration::from_secs(1);
    config.timing = Timing { lease: HOLD, ..config.timing };
    let elector = Elector::new(None, "strip-finalizers", &crate::nonce());
    let mut leader = Leader::new(client.clone(), config, elector, Default::default());
    if leader.seize().await.context("take the operator's leader Lease")? {
        info!(seconds = grace.as_secs(), "Waiting until the operator that led has stopped");
        tokio::time::sleep(grace).await;
    }
    let apis: Vec<Api<Agent>> = match namespaces {
        [] => vec![Api::all(client.clone())],
        some => some.iter().map(|name| Api::namespaced(client.clone(), name)).collect(),
    };
    let mut stripped = 0;
    for api in apis {
        stripped += strip_all(&client, &api).await?;
    }
    Ok(stripped)
}

async fn strip_all(client: &Client, agents: &Api<Agent>) -> anyhow::Result<usize> {
    let mut stripped = 0;
    let mut page = ListParams::default().limit(100);
    loop {
        let list = tokio::time::timeout(LIMIT, agents.list_metadata(&page))
            .await
            .context("list Agents: no answer")?
            .context("list Agents")?;
        for agent in &list.items {
            stripped += usize::from(strip_one(client, agent).await?);
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(stripped),
        }
    }
}

async fn strip_one(client: &Client, agent: &PartialObjectMeta<Agent>) -> anyhow::Result<bool> {
    let rest: Vec<&String> = agent.finalizers().iter().filter(|f| *f != FINALIZER).collect();
    if rest.len() == agent.finalizers().len() {
        return Ok(false);
    }
    let namespace = agent.namespace().unwrap_or_default();
    let name = agent.name_any();
    let api: Api<Agent> = Api::namespaced(client.clone(), &namespace);
    let body = json!({"metadata": {"finalizers": rest, "uid": agent.uid()}});
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..Default::default() };
    let patch = Patch::Merge(&body);
    match tokio::time::timeout(LIMIT, api.patch(&name, &params, &patch))
        .await
        .with_context(|| format!("patch Agent {namespace}/{name}: no answer"))?
    {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(false),
        Err(error) => Err(error).with_context(|| format!("patch Agent {namespace}/{name}")),
    }
}
