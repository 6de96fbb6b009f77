//! A [`Feed`] whose records a test gives, and which remembers what became of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;

use super::lock;
use super::record::{numbered_batch, numbered_origin};
use crate::batch::{Batch, Origin};
use crate::sink::{Feed, Outcome, Record, RecordId};

/// How often a condition is looked at when nothing changes.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a session said became of a record for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Offset of the record.
    pub offset: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// Number of the session that said so, from 1.
    pub session: u32,
}

struct Inner {
    store: Arc<str>,
    origin: Arc<Origin>,
    records: Vec<Arc<Batch>>,
    handed: Vec<u64>,
    settled: Vec<Settled>,
    done: BTreeSet<u64>,
    sessions: u32,
    /// How often a mark was lower than the one before it, in one session.
    marks_fallen: usize,
    /// Most different marks that were open at a time.
    marks_open: usize,
}

/// A store in memory for one sink: records in, outcomes out. [`ScriptedFeed::session`] makes the
/// feed of the next session, which hands out again what no earlier session has settled.
#[derive(Clone)]
pub struct ScriptedFeed {
    inner: Arc<Mutex<Inner>>,
    version: Arc<watch::Sender<u64>>,
}

impl Default for ScriptedFeed {
    fn default() -> Self {
        Self::new()
    }
}

impl ScriptedFeed {
    /// A feed without records.
    pub fn new() -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                store: "6b69740000000000000000000000000f".into(),
                origin: numbered_origin(),
                records: Vec::new(),
                handed: Vec::new(),
                settled: Vec::new(),
                done: BTreeSet::new(),
                sessions: 0,
                marks_fallen: 0,
                marks_open: 0,
            })),
            version: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Appends a record; its offset.
    pub fn push(&self, batch: Arc<Batch>) -> u64 {
        let offset = {
            let mut inner = lock(&self.inner);
            inner.records.push(batch);
            inner.records.len() as u64 - 1
        };
        self.bump();
        offset
    }

    /// Appends `count` numbered records (see [`numbered_batch`]), each numbered by its offset.
    pub fn push_numbered(&self, count: usize) {
        for _ in 0..count {
            let (origin, next) = {
                let inner = lock(&self.inner);
                (inner.origin.clone(), inner.records.len())
            };
            self.push(numbered_batch(&origin, i64::try_from(next).unwrap_or(i64::MAX)));
        }
    }

    /// The feed of the next session. Ends the view of the former one: what it still says about a
    /// record counts for its own session number.
    pub fn session(&self) -> Box<dyn Feed> {
        let session = {
            let mut inner = lock(&self.inner);
            inner.sessions += 1;
            inner.sessions
        };
        let version = self.version.subscribe();
        Box::new(View {
            accepted: BTreeMap::new(),
            mark: None,
            feed: self.clone(),
            version,
            session,
            next: 0,
        })
    }

    /// Length of the record at `offset`; 0 when there is none.
    pub fn samples(&self, offset: u64) -> u64 {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        lock(&self.inner).records.get(at).map_or(0, |batch| batch.len() as u64)
    }

    /// What became of records for good, in order.
    pub fn settled(&self) -> Vec<Settled> {
        lock(&self.inner).settled.clone()
    }

    /// How often a mark was lower than the one before it in its session, and how many different ones
    /// were open at a time.
    pub fn marks(&self) -> (usize, usize) {
        let inner = lock(&self.inner);
        (inner.marks_fallen, inner.marks_open)
    }

    /// Number of different records that are settled.
    pub fn done(&self) -> usize {
        lock(&self.inner).done.len()
    }

    /// Offsets handed out, in order, over all sessions.
    pub fn handed(&self) -> Vec<u64> {
        lock(&self.inner).handed.clone()
    }

    /// Number of records that were given.
    pub fn len(&self) -> usize {
        lock(&self.inner).records.len()
    }

    /// Whether no record was given.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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

    /// Waits until every record is settled.
    pub async fn wait_all_done(&self, within: Duration) -> bool {
        self.wait_until(within, |f| f.done() == f.len()).await
    }

    fn bump(&self) {
        self.version.send_modify(|v| *v += 1);
    }
}

/// What one session sees.
struct View {
    /// Accepted and not confirmed, by offset.
    accepted: BTreeMap<u64, (u64, Outcome)>,
    mark: Option<u64>,
    feed: ScriptedFeed,
    version: watch::Receiver<u64>,
    session: u32,
    next: u64,
}

impl View {
    fn done(&self, offset: u64, outcome: Outcome) {
        {
            let mut inner = lock(&self.feed.inner);
            let session = self.session;
            inner.settled.push(Settled { offset, outcome, session });
            inner.done.insert(offset);
        }
        self.feed.bump();
    }

    fn take(&mut self) -> Option<Record> {
        let record = {
            let mut inner = lock(&self.feed.inner);
            while inner.done.contains(&self.next) {
                self.next += 1;
            }
            let batch = inner.records.get(usize::try_from(self.next).ok()?)?.clone();
            inner.handed.push(self.next);
            let id =
                RecordId { store: inner.store.clone(), stream: 1, offset: self.next, part: None };
            Record { id, batch }
        };
        self.next += 1;
        self.feed.bump();
        Some(record)
    }
}

impl Feed for View {
    fn next(&mut self) -> BoxFuture<'_, Record> {
        Box::pin(async move {
            loop {
                self.version.mark_unchanged();
                if let Some(record) = self.take() {
                    return record;
                }
                if self.version.changed().await.is_err() {
                    // The test dropped its feed: there will never be another record.
                    std::future::pending::<()>().await;
                }
            }
        })
    }

    fn settle(&mut self, id: &RecordId, outcome: Outcome) {
        self.done(id.offset, outcome);
    }

    fn accepted(&mut self, id: &RecordId, outcome: Outcome, mark: u64) {
        let fallen = self.mark.is_some_and(|before| mark < before);
        self.mark = Some(mark);
        self.accepted.insert(id.offset, (mark, outcome));
        let open: BTreeSet<u64> = self.accepted.values().map(|(mark, _)| *mark).collect();
        let mut inner = lock(&self.feed.inner);
        inner.marks_fallen += usize::from(fallen);
        inner.marks_open = inner.marks_open.max(open.len());
    }

    fn confirmed(&mut self, mark: u64) {
        let safe: Vec<_> = self.accepted.extract_if(.., |_, (m, _)| *m <= mark).collect();
        for (offset, (_, outcome)) in safe {
            self.done(offset, outcome);
        }
    }
}
