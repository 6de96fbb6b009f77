//! Which configuration runs: the newest complete set of the mounted volume, at the start the copy
//! on the state volume when there is none, and never anything in between.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lineside_crds::api::Kind;
use lineside_crds::delivery::{Manifest, UnpackError, Unpacked, unpack};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::ObjectKey;
use lineside_crds::yaml::{self, Identity, Problem};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::identity::Pod;
use super::last_good::LastGood;
use super::mount::{Files, Mount};
use crate::config::book::Verdict;
use crate::config::scan::ScannedFile;

/// How long a set may be incomplete before that is a problem: in the middle of an update it is
/// so for a moment.
const GRACE: Duration = Duration::from_secs(10);
/// Wait before a copy that could not be kept is tried again.
const KEEP_AGAIN: Duration = Duration::from_secs(60);

/// Where the running configuration was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the mounted volume.
    Mount,
    /// In the copy on the state volume.
    LastGood,
}

/// The configuration that runs.
#[derive(Clone, Debug)]
pub struct Running {
    /// Its manifest.
    pub manifest: Arc<Manifest>,
    /// Where it was read.
    pub origin: Origin,
}

impl Running {
    /// How long a pipeline that is taken from the agent may go on delivering what it holds. It may
    /// well have been moved to another agent with its last device, so nobody thinks of it as
    /// deleted.
    pub fn drain_timeout(&self) -> Duration {
        let seconds = self.manifest.drain_timeout_seconds.clamp(0, DRAIN_TIMEOUT_MOST);
        Duration::from_secs(seconds.unsigned_abs())
    }

    /// The epoch under which this agent owns a device; `None` when it does not own it.
    pub fn epoch(&self, device: &str) -> Option<i64> {
        self.assignment(device).map(|a| a.epoch)
    }

    /// The uid of a device that this agent owns.
    pub fn uid(&self, device: &str) -> Option<&str> {
        self.assignment(device).map(|a| a.uid.as_str())
    }

    fn assignment(&self, device: &str) -> Option<&lineside_crds::delivery::Assignment> {
        self.manifest.assignments.iter().find(|a| a.device == device)
    }
}

/// What is wrong with the mounted configuration as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Its code.
    pub code: Code,
    /// The particulars.
    pub message: String,
}

/// How the configuration stands.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// What runs.
    pub running: Option<Running>,
    /// What is wrong with the mounted set; what runs goes on.
    pub trouble: Option<Trouble>,
}

impl Standing {
    /// Whether the agent is to end.
    pub fn draining(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.manifest.draining)
    }

    /// How often the Lease is renewed.
    pub fn heartbeat(&self) -> Duration {
        let seconds = self.running.as_ref().map(|running| running.manifest.heartbeat_seconds);
        let seconds = seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(HEARTBEAT_DEFAULT);
        Duration::from_secs(seconds.clamp(1, HEARTBEAT_MOST))
    }
}

/// Seconds between two renewals of the Lease before a configuration says it.
const HEARTBEAT_DEFAULT: u64 = 10;
/// No schema allows more; it keeps a foreign manifest from silencing the agent.
const HEARTBEAT_MOST: u64 = 60;

/// No schema allows more seconds; it keeps a foreign manifest from holding samples for ever.
const DRAIN_TIMEOUT_MOST: i64 = 86_400;

/// Why a set is not run.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// The volume cannot be read.
    #[error("the mounted configuration cannot be read: {0}")]
    Unreadable(String),
    /// It is not complete, or nothing that this agent knows.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// It is whole, and that of another agent, or of an earlier one of this name.
    #[error("it was made for Agent {0}, not for the one that this pod belongs to")]
    Foreign(String),
}

impl SetError {
    fn trouble(&self) -> Trouble {
        let code = match self {
            Self::Unpack(UnpackError::UnknownVersion(_)) => Code::ConfigTooNew,
            Self::Unreadable(_) | Self::Unpack(_) | Self::Foreign(_) => Code::ConfigIncomplete,
        };
        Trouble { code, message: self.to_string() }
    }
}

/// A set that can run.
pub struct Accepted {
    /// What runs once it is applied.
    pub running: Running,
    /// Its documents.
    pub files: Vec<ScannedFile>,
}

/// Reads a set: complete, of a known version, and made for the Agent object of this pod.
///
/// # Errors
/// It is not.
pub fn accept(files: &Files, pod: &Pod, origin: Origin) -> Result<Accepted, SetError> {
    let Unpacked { manifest, texts } = unpack(files)?;
    let agent = &manifest.agent;
    if agent.uid != *pod.uid || agent.name != pod.agent || agent.namespace != pod.namespace {
        let whose = format!("{}/{} (uid {})", agent.namespace, agent.name, agent.uid);
        return Err(SetError::Foreign(whose));
    }
    let scanned = manifest.shards.iter().zip(&texts).map(|(shard, text)| {
        let pieces = pieces(text, yaml::MOST_BYTES).into_iter();
        ScannedFile {
            label: shard.file.clone(),
            loaded: pieces.flat_map(|piece| yaml::load_text(&shard.file, piece)).collect(),
            unreadable: None,
        }
    });
    let files = scanned.collect();
    Ok(Accepted { files, running: Running { manifest: manifest.into(), origin } })
}

/// Cuts a shard before documents, so that no piece is longer than `most` bytes as long as no
/// document is: compressed, a shard can hold more than may be read as one file.
fn pieces(text: &str, most: usize) -> Vec<&str> {
    let (mut pieces, mut begin, mut document, mut at) = (Vec::new(), 0, 0, 0);
    for line in text.split_inclusive('\n') {
        if line.trim_end() == "---" {
            document = at;
        }
        at += line.len();
        if at - begin > most && document > begin {
            pieces.push(&text[begin..document]);
            begin = document;
        }
    }
    pieces.push(&text[begin..]);
    pieces
}

/// Makes of what the documents ask for what this agent runs: the devices that it owns, each under
/// its epoch, and none when it is to end. Objects of another namespace are none of its business.
pub fn narrow(verdict: &mut Verdict, manifest: &Manifest) {
    // Which devices a pipeline names is judged by the operator, over all agents.
    let elsewhere = [Code::NoDevices, Code::DeviceNotFound];
    verdict.problems.retain(|p| !elsewhere.contains(&p.code));
    let namespace = manifest.agent.namespace.as_str();
    let ours = |key: &ObjectKey| *key.namespace == *namespace;
    let desired = &mut verdict.desired;
    desired.draining = manifest.draining;
    desired.pipelines.retain(|p| ours(&p.key));
    let devices = std::mem::take(&mut desired.devices);
    for device in devices.into_iter().filter(|d| ours(&d.key)) {
        let owned = manifest.assignments.iter().find(|a| *a.device == *device.key.name);
        match owned {
            Some(_) if manifest.draining => {}
            Some(assignment) => {
                let epoch = u64::try_from(assignment.epoch).unwrap_or_default();
                desired.epochs.insert(device.key.clone(), epoch);
                desired.devices.push(device);
            }
            // Another agent may read it at this moment.
            None => verdict.problems.push(Problem {
                code: Code::ConfigPending,
                file: "manifest.json".to_owned(),
                line: 1,
                column: 1,
                field: "assignments".to_owned(),
                message: "the device is not assigned to this agent, so it is not read".to_owned(),
                object: Some(
                    Identity { kind: Kind::DeviceConnection, key: device.key.clone() }.to_string(),
                ),
            }),
        }
    }
}

/// The documents that are mounted now.
///
/// # Errors
/// The set is not whole, or not that of this agent.
pub fn mounted(config: &Path, pod: &Pod) -> Result<Vec<ScannedFile>, Trouble> {
    let read = || {
        let unreadable = |e: std::io::Error| SetError::Unreadable(e.to_string());
        let files = Mount::new(config).look().map_err(unreadable)?.unwrap_or_default();
        accept(&files, pod, Origin::Mount)
    };
    read().map(|accepted| accepted.files).map_err(|error| error.trouble())
}

/// What a look at the volume asks for.
pub enum Step {
    /// This set runs from now on.
    Run(Accepted),
    /// What runs goes on, and this is wrong.
    Show(Trouble),
}

/// See the module.
pub struct Source {
    pod: Pod,
    mount: Mount,
    last_good: LastGood,
    standing: watch::Sender<Standing>,
    /// The mounted set that cannot run, and since when it is there.
    rejected: Option<(SetError, Duration)>,
    keeper: Keeper,
}

impl Source {
    /// A source that was not looked at yet.
    pub fn new(pod: Pod, config: &Path, state: &Path) -> Self {
        Self {
            pod,
            mount: Mount::new(config),
            last_good: LastGood::new(state),
            standing: watch::Sender::default(),
            rejected: None,
            keeper: Keeper::default(),
        }
    }

    /// How the configuration stands, now and from now on.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Looks at the volume; the time is any that only goes forward. Files are read and parsed
    /// beside the runtime.
    pub async fn look(&mut self, now: Duration) -> Option<Step> {
        self.keeper.look(&self.last_good, now).await;
        let found = match self.mount.look() {
            Ok(None) => return self.show_trouble(now),
            Ok(Some(files)) => self.accept(files, Origin::Mount).await,
            Err(error) => Err(SetError::Unreadable(error.to_string())),
        };
        let error = match found {
            Ok((accepted, files)) => {
                self.rejected = None;
                self.keeper.keep(&accepted.running.manifest.hash, files);
                return self.run(accepted);
            }
            Err(error) => error,
        };
        let since = match &self.rejected {
            Some((former, since)) if *former == error => *since,
            _ => now,
        };
        self.rejected = Some((error, since));
        // Nothing runs yet: rather what ran last than nothing.
        if self.standing.borrow().running.is_none()
            && let Some(step) = self.start_from_last_good().await
        {
            return Some(step);
        }
        self.show_trouble(now)
    }

    async fn accept(&self, files: Files, origin: Origin) -> Result<(Accepted, Files), SetError> {
        let pod = self.pod.clone();
        let work = tokio::task::spawn_blocking(move || {
            accept(&files, &pod, origin).map(|accepted| (accepted, files))
        });
        work.await.unwrap_or_else(|e| Err(SetError::Unreadable(e.to_string())))
    }

    /// The same set again changes nothing.
    fn run(&mut self, accepted: Accepted) -> Option<Step> {
        let same = {
            let standing = self.standing.borrow();
            let running = standing.running.as_ref().map(|r| &r.manifest.hash);
            // A problem that was shown goes with the next application.
            standing.trouble.is_none() && running == Some(&accepted.running.manifest.hash)
        };
        if same {
            self.applied(accepted.running);
            return None;
        }
        Some(Step::Run(accepted))
    }

    /// An accepted set was applied.
    pub fn applied(&mut self, running: Running) {
        let trouble = match running.origin {
            Origin::Mount => None,
            Origin::LastGood => self.standing.borrow().trouble.clone(),
        };
        self.standing.send_replace(Standing { running: Some(running), trouble });
    }

    async fn start_from_last_good(&mut self) -> Option<Step> {
        let copy = self.last_good.clone();
        let loaded = tokio::task::spawn_blocking(move || copy.load()).await;
        let files = match loaded.unwrap_or_else(|e| Err(std::io::Error::other(e))) {
            Ok(Some(files)) => files,
            Ok(None) => return None,
            Err(error) => {
                tracing::warn!(%error, "The kept configuration cannot be read");
                return None;
            }
        };
        match self.accept(files, Origin::LastGood).await {
            Ok((accepted, _)) => {
                let why = self.rejected.as_ref().map(|(e, _)| e.to_string()).unwrap_or_default();
                let hash = accepted.running.manifest.hash.as_str();
                tracing::warn!(why, hash, "Starts with the kept configuration");
                Some(Step::Run(accepted))
            }
            Err(error) => {
                tracing::warn!(%error, "The kept configuration cannot be used");
                None
            }
        }
    }

    /// What is wrong, once it has been so for long, or when nothing else is there to run.
    fn show_trouble(&mut self, now: Duration) -> Option<Step> {
        let (error, since) = self.rejected.as_ref()?;
        let waits = self.standing.borrow().running.is_some() && now < *since + GRACE;
        let trouble = error.trouble();
        if waits || self.standing.borrow().trouble.as_ref() == Some(&trouble) {
            return None;
        }
        self.standing.send_modify(|standing| standing.trouble = Some(trouble.clone()));
        Some(Step::Show(trouble))
    }
}

/// Hash and files of a set.
type Kept = (String, Files);

/// Keeps accepted sets on the state volume, one at a time and beside the data path: a slow or
/// full disk holds up nothing.
#[derive(Default)]
struct Keeper {
    wanted: Option<Arc<Kept>>,
    working: Option<(Arc<Kept>, JoinHandle<std::io::Result<()>>)>,
    not_before: Duration,
}

impl Keeper {
    fn keep(&mut self, hash: &str, files: Files) {
        self.wanted = Some(Arc::new((hash.to_owned(), files)));
        self.not_before = Duration::ZERO;
    }

    async fn look(&mut self, copy: &LastGood, now: Duration) {
        if let Some((set, done)) = self.working.take_if(|(_, work)| work.is_finished()) {
            match done.await.unwrap_or_else(|e| Err(std::io::Error::other(e))) {
                Ok(()) => {
                    self.wanted.take_if(|wanted| Arc::ptr_eq(wanted, &set));
                }
                Err(error) => {
                    let dir = copy.dir().display().to_string();
                    tracing::error!(%error, dir, "The configuration cannot be kept");
                    self.not_before = now + KEEP_AGAIN;
                }
            }
        }
        if self.working.is_some() || now < self.not_before {
            return;
        }
        if let Some(set) = self.wanted.clone() {
            let (copy, work) = (copy.clone(), set.clone());
            let work = tokio::task::spawn_blocking(move || copy.keep(&work.0, &work.1));
            self.working = Some((set, work));
        }
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
pub(super) mod tests;
