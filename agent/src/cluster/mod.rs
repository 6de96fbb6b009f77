//! The agent as a pod of a cluster: where its configuration comes from, and where it says how it
//! is.
//!
//! ```text
//! mounted volume --mount--> source --(what shall run)--> engine
//!  state volume --last_good--^  |                          | view
//!                               v                          v
//!                            standing ------------------> report --upward--> API server
//!                                                          Lease --upward-->
//! ```
//!
//! Nothing on the way up can hold up what is on the left: an API server that is away for a day
//! costs log lines.

pub mod client;
mod clock;
mod coalesce;
pub mod identity;
mod last_good;
mod lease;
mod mount;
mod refusal;
mod report;
pub mod source;
mod upward;

pub use clock::{since_boot, time};
pub use upward::{UpwardError, chain, try_out};

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use lineside_core::{Clock, SystemClock};
use lineside_crds::api::agent::AgentStatus;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::runner::Shown;
use client::{Client, Server};
use identity::Pod;
use report::{Facts, report, settle};
use source::Standing;

/// What an agent needs to know to be one of a cluster.
pub struct Cluster {
    /// Who it is.
    pub pod: Pod,
    /// Whom it tells how it is.
    pub server: Server,
    /// Directory of the service account: `token` and `ca.crt`.
    pub account: PathBuf,
}

impl Cluster {
    /// Starts to tell the API server how the agent is; ends when the tasks are dropped.
    pub fn report(&self, shown: Arc<Shown>, standing: watch::Receiver<Standing>) -> JoinSet<()> {
        let client = || Client::new(self.server.clone(), &self.account);
        let mut tasks = JoinSet::new();
        let heartbeat = standing.clone();
        let period = move || heartbeat.borrow().heartbeat();
        tasks.spawn(upward::renew(self.pod.clone(), client(), period));
        let (pod, started) = (self.pod.clone(), SystemClock.now());
        let next = move |said: Option<&AgentStatus>, observed: Option<(i64, &str)>| {
            let snapshot = shown.view.snapshot();
            let problems = shown.problems.lock().unwrap_or_else(PoisonError::into_inner);
            let status = report(&Facts {
                now: SystemClock.now(),
                started,
                pod: &pod,
                drivers: shown.drivers.iter().map(|d| d.protocol()).collect(),
                standing: &standing.borrow(),
                problems: &problems,
                snapshot: &snapshot,
                observed,
            });
            settle(status, said)
        };
        tasks.spawn(upward::tell(self.pod.clone(), client(), next));
        tasks
    }
}
