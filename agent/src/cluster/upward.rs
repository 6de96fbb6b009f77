//! What goes up to the API server: the status of the own Agent object and the renewals of the own
//! Lease. Two tasks with a connection each, so that neither waits for the other; the data path
//! waits for none of them.

use std::time::Duration;

use hyper::Method;
use lineside_core::{Clock, SystemClock};
use lineside_crds::api::agent::AgentStatus;
use lineside_pipeline::backoff::Backoff;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::client::{Ask, Client, ClientError};
use super::clock::since_boot;
use super::coalesce::Coalescer;
use super::identity::Pod;
use super::lease::{self, Heartbeat, Lease};
use super::refusal::Meaning;

/// Name under which the API server notes what the agent wrote.
const FIELD_MANAGER: &str = "lineside-agent";
const JSON_PATCH: &str = "application/json-patch+json";
/// Longest wait for an answer; a renewal also ends when the next one is due.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often it is looked whether there is something to tell.
const LOOK: Duration = Duration::from_millis(500);
/// Longest sleep between two looks at the clock that goes on while the machine sleeps.
const NAP: Duration = Duration::from_secs(1);
/// Wait after a refusal that only somebody else can end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why something could not be told.
#[derive(Debug, thiserror::Error)]
pub enum UpwardError {
    /// No answer, or none that is a success.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The object belongs to another incarnation of the Agent.
    #[error("{0} is not that of the Agent for which this pod was made")]
    NotOurs(String),
    /// The answer is not what was asked for.
    #[error("the API server's answer cannot be read")]
    Unreadable(#[from] serde_json::Error),
}

impl UpwardError {
    /// What is the matter, in one word; a change of it is worth a line in the log.
    fn kind(&self) -> &'static str {
        match self {
            Self::Client(ClientError::Account(..) | ClientError::AccountInvalid(..)) => "Account",
            Self::Client(ClientError::Tls(..)) => "Tls",
            Self::Client(ClientError::Refused(refusal)) => match refusal.meaning {
                Meaning::Missing => "Missing",
                Meaning::Forbidden => "Forbidden",
                Meaning::Other => "NotOurs",
                Meaning::Invalid => "Invalid",
                Meaning::Later => "Later",
            },
            Self::Client(_) => "Unreachable",
            Self::NotOurs(_) => "NotOurs",
            Self::Unreadable(_) => "Unreadable",
        }
    }

    /// How long to wait before the next attempt, given the usual wait.
    fn wait(&self, usual: Duration) -> Duration {
        match self {
            Self::Client(ClientError::Refused(refusal)) => match refusal.meaning {
                Meaning::Other | Meaning::Invalid => PATIENCE,
                _ => refusal.wait.unwrap_or(usual).max(usual),
            },
            Self::NotOurs(_) => PATIENCE,
            _ => usual,
        }
    }
}

/// Says in the log when something begins or ceases to work, and not at each attempt.
#[derive(Debug, Default)]
struct Speaker {
    trouble: Option<&'static str>,
}

impl Speaker {
    fn heard(&mut self, what: &'static str, done: Result<(), &UpwardError>) {
        let now = done.err().map(UpwardError::kind);
        if now == self.trouble {
            return;
        }
        match done {
            Ok(()) => tracing::info!(what, "API server takes it again"),
            Err(error) => {
                let error = chain(error);
                tracing::warn!(what, reason = now, error, "API server does not take it");
            }
        }
        self.trouble = now;
    }
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Renews the Lease until dropped. `period` gives the time between two renewals as the
/// configuration has it now.
pub async fn renew(pod: Pod, mut client: Client, period: impl Fn() -> Duration) {
    let mut beat = Heartbeat::new(period(), since_boot());
    let (mut backoff, mut speaker) = (Backoff::default(), Speaker::default());
    let mut known: Option<String> = None;
    loop {
        beat.set_period(period());
        let wait = beat.wait(since_boot());
        if !wait.is_zero() {
            sleep(wait.min(NAP)).await;
            continue;
        }
        let sent = since_boot();
        beat.sent(sent);
        let done = renew_once(&pod, &mut client, &mut known, beat.deadline().min(DEADLINE)).await;
        speaker.heard("Lease", done.as_ref().copied());
        match done {
            Ok(()) => backoff.reset(),
            Err(error) => {
                let wait = error.wait(backoff.next_wait());
                beat.failed(sent, since_boot(), wait);
            }
        }
    }
}

/// `known` is the uid of the Lease, once it was seen to be ours.
async fn renew_once(
    pod: &Pod,
    client: &mut Client,
    known: &mut Option<String>,
    deadline: Duration,
) -> Result<(), UpwardError> {
    let uid = match known {
        Some(uid) => uid,
        None => known.insert(lease_uid(pod, client, deadline).await?),
    };
    let patch = lease::renewal(uid, &pod.pod, SystemClock.now());
    let path = format!("{}?fieldManager={FIELD_MANAGER}", lease_path(pod));
    let ask = Ask { method: Method::PATCH, path, body: Some((JSON_PATCH, patch)) };
    let done = client.send(&ask, deadline).await;
    if let Err(ClientError::Refused(refusal)) = &done
        && matches!(refusal.meaning, Meaning::Missing | Meaning::Other)
    {
        // Deleted, and perhaps made again: looked at anew.
        *known = None;
    }
    done?;
    Ok(())
}

fn lease_path(pod: &Pod) -> String {
    let Pod { namespace, agent, .. } = pod;
    format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{agent}")
}

/// The uid of the Lease, if it is that of our Agent.
async fn lease_uid(
    pod: &Pod,
    client: &mut Client,
    deadline: Duration,
) -> Result<String, UpwardError> {
    let ask = Ask { method: Method::GET, path: lease_path(pod), body: None };
    let lease: Lease = serde_json::from_slice(&client.send(&ask, deadline).await?)?;
    let not_ours = || UpwardError::NotOurs(format!("Lease {}/{}", pod.namespace, pod.agent));
    lease.uid_if_of(&pod.uid).ok_or_else(not_ours)
}

/// What the answer to a status patch says of the Agent's spec.
#[derive(Debug, Deserialize)]
struct Answered {
    metadata: AnsweredMeta,
    #[serde(default)]
    spec: AnsweredSpec,
}

#[derive(Debug, Deserialize)]
struct AnsweredMeta {
    #[serde(default)]
    generation: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnsweredSpec {
    config_hash: Option<String>,
}

/// Tells the status until dropped. `next` gives what it is now, from what was said before it and
/// the generation of the Agent whose configuration runs, once that is known.
pub async fn tell(
    pod: Pod,
    mut client: Client,
    next: impl Fn(Option<&AgentStatus>, Option<(i64, &str)>) -> AgentStatus,
) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut coalescer, mut backoff) = (Coalescer::default(), Backoff::default());
    let mut speaker = Speaker::default();
    let (mut said, mut taken): (Option<AgentStatus>, Option<AgentStatus>) = (None, None);
    let mut observed: Option<(i64, String)> = None;
    loop {
        look.tick().await;
        let observed_now = observed.as_ref().map(|(generation, hash)| (*generation, &**hash));
        let status = next(said.as_ref(), observed_now);
        match taken.as_ref() == Some(&status) {
            true => coalescer.unchanged(),
            false => coalescer.changed(since_boot()),
        }
        if coalescer.is_due(since_boot()) {
            let done = tell_once(&pod, &mut client, &status).await;
            speaker.heard("Agent status", done.as_ref().map(|_| ()));
            match done {
                Ok(answered) => {
                    let hash = answered.spec.config_hash;
                    observed = hash.map(|hash| (answered.metadata.generation, hash));
                    taken = Some(status.clone());
                    backoff.reset();
                    coalescer.told(since_boot());
                }
                Err(error) => {
                    coalescer.failed(since_boot(), error.wait(backoff.next_wait()));
                }
            }
        }
        said = Some(status);
    }
}

async fn tell_once(
    pod: &Pod,
    client: &mut Client,
    status: &AgentStatus,
) -> Result<Answered, UpwardError> {
    // The status is ours alone, so it is replaced as a whole; the test lets nobody write into
    // the status of an Agent that was deleted and made again.
    let patch = json!([
        {"op": "test", "path": "/metadata/uid", "value": &*pod.uid},
        {"op": "add", "path": "/status", "value": status},
    ]);
    let path = status_path(pod);
    let ask = Ask { method: Method::PATCH, path, body: Some((JSON_PATCH, patch.to_string())) };
    let answer = client.send(&ask, DEADLINE).await.map_err(|error| of_agent(pod, error))?;
    Ok(serde_json::from_slice(&answer)?)
}

/// A patch whose test failed met the Agent of another time.
fn of_agent(pod: &Pod, error: ClientError) -> UpwardError {
    match error {
        ClientError::Refused(refusal) if refusal.meaning == Meaning::Other => {
            UpwardError::NotOurs(format!("Agent {}/{}", pod.namespace, pod.agent))
        }
        error => error.into(),
    }
}

fn status_path(pod: &Pod) -> String {
    format!(
        "/apis/{}/namespaces/{}/agents/{}/status?fieldManager={FIELD_MANAGER}",
        lineside_crds::api::API_VERSION,
        pod.namespace,
        pod.agent
    )
}

/// Asks for everything that an agent asks for, without changing anything: what was asked, and
/// what came of it.
pub async fn try_out(
    pod: &Pod,
    client: &mut Client,
) -> Vec<(&'static str, Result<(), UpwardError>)> {
    let test = |uid: &str| json!([{"op": "test", "path": "/metadata/uid", "value": uid}]);
    let patch = |path: String, uid: &str| {
        let body = Some((JSON_PATCH, test(uid).to_string()));
        Ask { method: Method::PATCH, path: format!("{path}&dryRun=All"), body }
    };
    let status = client.send(&patch(status_path(pod), &pod.uid), DEADLINE).await;
    let lease = match lease_uid(pod, client, DEADLINE).await {
        Ok(uid) => {
            let path = format!("{}?fieldManager={FIELD_MANAGER}", lease_path(pod));
            client.send(&patch(path, &uid), DEADLINE).await.map(drop).map_err(UpwardError::from)
        }
        Err(error) => Err(error),
    };
    vec![
        ("report its status", status.map(drop).map_err(|error| of_agent(pod, error))),
        ("renew its Lease", lease),
    ]
}
