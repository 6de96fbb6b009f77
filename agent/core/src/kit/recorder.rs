//! An [`Emit`] that remembers what a session emitted, and that can be made slow or unwilling.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{oneshot, watch};

use super::lock;
use crate::batch::{Batch, Origin, Sample};
use crate::clock::{Clock, SystemClock, TimeQuality, UnixNanos};
use crate::driver::{Emit, Receipt};
use crate::status::StatusCode;

/// Newest samples that are kept one by one; tallies go on beyond it.
const KEPT_SAMPLES: usize = 50_000;

/// Most (origin, point) pairs that are tallied.
const MAX_TALLIES: usize = 50_000;

/// How often a condition is looked at when nothing changes.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// One sample as it was emitted.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Where it comes from.
    pub origin: Arc<Origin>,
    /// Name of its point; `None` when the index is not one of the origin's.
    pub point: Option<Arc<str>>,
    /// The sample.
    pub sample: Sample,
    /// Epoch of its batch.
    pub epoch: u64,
    /// Time quality of its batch.
    pub time_quality: TimeQuality,
    /// When the batch was handed over, by the machine's clock.
    pub emitted_at: UnixNanos,
}

/// How often a point was emitted with which severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Good or Uncertain samples.
    pub good: u64,
    /// Bad samples.
    pub bad: u64,
    /// Status of the newest sample.
    pub last: Option<StatusCode>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Receipts {
    Grant,
    Withhold,
    Refuse,
}

struct Inner {
    samples: VecDeque<Recorded>,
    /// By origin path and point index.
    tallies: BTreeMap<(Arc<str>, u32), Tally>,
    batches: u64,
    empty_batches: u64,
    endpoints: Vec<String>,
    pending: BTreeMap<Arc<str>, usize>,
    most_pending: usize,
    receipts: Receipts,
    withheld: Vec<oneshot::Sender<()>>,
    /// Since when the session asks, by its own word.
    asking: Option<UnixNanos>,
    /// The earliest of that since the last batch.
    asked: Option<UnixNanos>,
    unasked: u64,
}

/// Records everything that a session emits, in bounded memory.
///
/// By default it takes every batch at once and grants every receipt. [`Recorder::hold`] turns
/// back-pressure on: emit futures stay pending until [`Recorder::release`].
/// [`Recorder::withhold_receipts`] keeps receipts open until they are granted or refused.
pub struct Recorder {
    inner: Mutex<Inner>,
    version: watch::Sender<u64>,
    held: watch::Sender<bool>,
}

impl Recorder {
    /// A recorder that takes and grants everything.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                samples: VecDeque::new(),
                tallies: BTreeMap::new(),
                batches: 0,
                empty_batches: 0,
                endpoints: Vec::new(),
                pending: BTreeMap::new(),
                most_pending: 0,
                receipts: Receipts::Grant,
                withheld: Vec::new(),
                asking: None,
                asked: None,
                unasked: 0,
            }),
            version: watch::Sender::new(0),
            held: watch::Sender::new(false),
        })
    }

    /// Back-pressure: from now on emit futures stay pending.
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Ends back-pressure.
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// From now on receipts stay open.
    pub fn withhold_receipts(&self) {
        lock(&self.inner).receipts = Receipts::Withhold;
    }

    /// Completes all open receipts with success, oldest first, and grants new ones at once.
    pub fn grant_receipts(&self) {
        let mut inner = lock(&self.inner);
        inner.receipts = Receipts::Grant;
        for receipt in inner.withheld.drain(..) {
            // A driver that does not wait for it has dropped the other end.
            let _ = receipt.send(());
        }
    }

    /// Fails all open receipts, and new ones at once.
    pub fn refuse_receipts(&self) {
        let mut inner = lock(&self.inner);
        inner.receipts = Receipts::Refuse;
        inner.withheld.clear();
    }

    /// The newest samples in order of arrival (at most 50,000).
    pub fn samples(&self) -> Vec<Recorded> {
        lock(&self.inner).samples.iter().cloned().collect()
    }

    /// Batches that were accepted.
    pub fn batches(&self) -> u64 {
        lock(&self.inner).batches
    }

    /// Batches without a sample, which no session may emit.
    pub fn empty_batches(&self) -> u64 {
        lock(&self.inner).empty_batches
    }

    /// Good samples that arrived before the session said that it asks for them.
    pub fn unasked(&self) -> u64 {
        lock(&self.inner).unasked
    }

    /// Endpoints given to [`Emit::connected`], oldest first.
    pub fn endpoints(&self) -> Vec<String> {
        lock(&self.inner).endpoints.clone()
    }

    /// Most emit futures of one origin that were pending at the same time.
    pub fn most_pending(&self) -> usize {
        lock(&self.inner).most_pending
    }

    /// Emit futures that are pending now.
    pub fn pending(&self) -> usize {
        lock(&self.inner).pending.values().sum()
    }

    /// Receipts that are open now.
    pub fn withheld(&self) -> usize {
        lock(&self.inner).withheld.len()
    }

    /// The tally of one point of the origin with this path (`namespace/name[/learned]`).
    pub fn tally(&self, path: &str, point: u32) -> Tally {
        lock(&self.inner).tallies.get(&(path.into(), point)).copied().unwrap_or_default()
    }

    /// Good or Uncertain samples of all points.
    pub fn good(&self) -> u64 {
        lock(&self.inner).tallies.values().map(|t| t.good).sum()
    }

    /// Bad samples of all points.
    pub fn bad(&self) -> u64 {
        lock(&self.inner).tallies.values().map(|t| t.bad).sum()
    }

    /// Paths of all origins seen, sorted.
    pub fn paths(&self) -> Vec<Arc<str>> {
        let mut paths: Vec<_> =
            lock(&self.inner).tallies.keys().map(|(path, _)| path.clone()).collect();
        paths.dedup();
        paths
    }

    /// Waits until `done` says true, at most `within`; whether it did.
    pub async fn wait_until(&self, within: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let mut version = self.version.subscribe();
        let wait = async {
            // Looked at again now and then, because `done` may ask for more than is seen here.
            while !done(self) {
                let _ = tokio::time::timeout(LOOK_AGAIN, version.changed()).await;
            }
        };
        let _ = tokio::time::timeout(within, wait).await;
        done(self)
    }

    /// Waits until every one of `points` points of the device has a Bad sample.
    pub async fn wait_all_bad(&self, path: &str, points: usize, within: Duration) -> bool {
        self.wait_until(within, |r| self.missing(r, path, points, |t| t.bad > 0).is_empty()).await
    }

    /// Waits until every one of `points` points of the device has a good sample.
    pub async fn wait_all_good(&self, path: &str, points: usize, within: Duration) -> bool {
        self.wait_until(within, |r| self.missing(r, path, points, |t| t.good > 0).is_empty()).await
    }

    /// Indices of points whose tally does not satisfy `want`.
    pub fn points_without(
        &self,
        path: &str,
        points: usize,
        want: impl Fn(&Tally) -> bool,
    ) -> Vec<u32> {
        self.missing(self, path, points, want)
    }

    fn missing(
        &self,
        of: &Self,
        path: &str,
        points: usize,
        want: impl Fn(&Tally) -> bool,
    ) -> Vec<u32> {
        let points = u32::try_from(points).unwrap_or(u32::MAX);
        (0..points).filter(|p| !want(&of.tally(path, *p))).collect()
    }

    fn bump(&self) {
        self.version.send_modify(|v| *v += 1);
    }

    fn record(&self, batch: &Batch) -> Receipt {
        let receipt = {
            let mut inner = lock(&self.inner);
            inner.batches += 1;
            inner.empty_batches += u64::from(batch.is_empty());
            let emitted_at = SystemClock.now();
            let (asked, asking) = (inner.asked, inner.asking);
            inner.asked = asking;
            for sample in batch.iter() {
                let was_asked = asked.is_some_and(|since| since <= sample.agent_time);
                inner.unasked += u64::from(!was_asked && !sample.status.is_bad());
                let key = (batch.origin().path.clone(), sample.point);
                if inner.tallies.len() < MAX_TALLIES || inner.tallies.contains_key(&key) {
                    let tally = inner.tallies.entry(key).or_default();
                    if sample.status.is_bad() {
                        tally.bad += 1;
                    } else {
                        tally.good += 1;
                    }
                    tally.last = Some(sample.status);
                }
                if inner.samples.len() == KEPT_SAMPLES {
                    inner.samples.pop_front();
                }
                inner.samples.push_back(Recorded {
                    origin: batch.origin().clone(),
                    point: batch.origin().point(sample.point).cloned(),
                    sample: sample.to_sample(),
                    epoch: batch.epoch,
                    time_quality: batch.time_quality,
                    emitted_at,
                });
            }
            match inner.receipts {
                Receipts::Grant => Receipt::captured(),
                Receipts::Withhold => {
                    let (tx, receipt) = Receipt::waiting();
                    inner.withheld.push(tx);
                    receipt
                }
                Receipts::Refuse => Receipt::waiting().1,
            }
        };
        self.bump();
        receipt
    }
}

/// Counts one pending emit for as long as its future lives.
struct Pending<'a> {
    recorder: &'a Recorder,
    path: Arc<str>,
}

impl<'a> Pending<'a> {
    fn new(recorder: &'a Recorder, path: Arc<str>) -> Self {
        {
            let mut inner = lock(&recorder.inner);
            let now = inner.pending.entry(path.clone()).or_default();
            *now += 1;
            let now = *now;
            inner.most_pending = inner.most_pending.max(now);
        }
        recorder.bump();
        Self { recorder, path }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        {
            let mut inner = lock(&self.recorder.inner);
            if let Some(now) = inner.pending.get_mut(&self.path) {
                *now -= 1;
                if *now == 0 {
                    inner.pending.remove(&self.path);
                }
            }
        }
        self.recorder.bump();
    }
}

impl Emit for Recorder {
    #[allow(clippy::async_yields_async, reason = "the contract: accepted first, captured later")]
    fn emit(&self, batch: Batch) -> BoxFuture<'_, Receipt> {
        Box::pin(async move {
            let _pending = Pending::new(self, batch.origin().path.clone());
            let mut held = self.held.subscribe();
            // The sender lives in `self`, so the channel cannot close.
            let _ = held.wait_for(|held| !held).await;
            self.record(&batch)
        })
    }

    fn asking(&self, since: Option<UnixNanos>) {
        let mut inner = lock(&self.inner);
        inner.asking = since;
        inner.asked = inner.asked.or(since);
    }

    fn connected(&self, endpoint: &str) {
        lock(&self.inner).endpoints.push(endpoint.to_owned());
        self.bump();
    }
}
