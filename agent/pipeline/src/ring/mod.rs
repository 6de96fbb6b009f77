//! The memory store of one pipeline: a ring bounded by bytes and age, with one cursor per sink.
//!
//! Every sample that enters is, for every sink, delivered, buffered, or dropped with a reason;
//! the numbers are kept here, beside the records they speak of, under one lock. A record that
//! was handed to a sink and has no answer may have arrived, so it is never dropped: else it could
//! be delivered and counted as lost. One that the remote accepted and may still lose stays as long
//! as there is room, and counts by the remote's answer when there is none.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use lineside_core::Batch;
use lineside_core::sink::{Counts, Feed, Outcome, Record, RecordId};
use lineside_crds::model::{ObjectKey, Overflow, Store};
use lineside_store::{DropReason, Ledger};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Windows;
use crate::range_set::RangeSet;
use crate::stream::{LastDrop, SinkNumbers, StoreNumbers};
use crate::tap::Seen;

/// The part of the bound that records on their way to one sink may take: a quarter.
const HELD_PART: u64 = 4;

struct Slot {
    batch: Arc<Batch>,
    /// No sample says anything but Good.
    good: bool,
    samples: u64,
    bytes: u64,
    captured_at: Instant,
}

struct Cursor {
    /// Everything below is settled.
    floor: u64,
    /// Settled at or above the floor.
    settled: RangeSet,
    /// Next position to hand out in this session.
    head: u64,
    /// Everything at or above was never handed out.
    untouched: u64,
    /// Answers to what was handed out that count when their mark is confirmed.
    accepted: BTreeMap<u64, (u64, Outcome)>,
    /// Bytes of what was handed out and has no answer.
    held_bytes: u64,
    ledger: Ledger,
    last_drop: Option<LastDrop>,
}

impl Cursor {
    fn new(at: u64) -> Self {
        let (settled, ledger) = (RangeSet::default(), Ledger::default());
        let (floor, head, untouched, held_bytes, last_drop) = (at, at, at, 0, None);
        let accepted = BTreeMap::new();
        Self { floor, settled, head, untouched, accepted, held_bytes, ledger, last_drop }
    }

    fn wants(&self, offset: u64) -> bool {
        offset >= self.floor && !self.settled.contains(offset)
    }

    /// Handed out and without an answer: it may have arrived.
    fn holds(&self, offset: u64) -> bool {
        offset < self.untouched && self.wants(offset) && !self.accepted.contains_key(&offset)
    }

    fn settle(&mut self, offset: u64) {
        self.settled.insert(offset);
        self.floor = self.settled.first_gap(self.floor);
        self.settled.forget_below(self.floor);
    }

    /// Counts what became of the samples of a record.
    fn count(&mut self, offset: u64, samples: u64, outcome: &Outcome) {
        let Counts { delivered, skipped, merged, rejected } = outcome.counts(samples);
        self.settle(offset);
        self.ledger.buffered -= samples;
        self.ledger.delivered += delivered;
        self.ledger.drop(DropReason::NotEncodable, skipped);
        self.ledger.drop(DropReason::SameTick, merged);
        self.ledger.drop(DropReason::Rejected, rejected);
    }

    fn drop_samples(&mut self, offset: u64, samples: u64, reason: DropReason) {
        if let Some((_, outcome)) = self.accepted.remove(&offset) {
            return self.count(offset, samples, &outcome);
        }
        self.settle(offset);
        self.ledger.buffered -= samples;
        self.ledger.drop(reason, samples);
        self.last_drop = LastDrop::of(reason).or(self.last_drop);
    }
}

struct Inner {
    slots: BTreeMap<u64, Slot>,
    next: u64,
    bytes: u64,
    settings: Store,
    cursors: HashMap<Arc<str>, Cursor>,
    captured: u64,
    /// Bytes taken in so far, and how many when it was thinned last.
    appended: u64,
    thinned_at: u64,
}

/// See the module.
pub struct Ring {
    store: Arc<str>,
    pipeline: ObjectKey,
    windows: Arc<Windows>,
    inner: Mutex<Inner>,
    grown: Notify,
    /// Something went, so that there may be room.
    shrunk: Notify,
}

impl Ring {
    /// An empty ring with a random identity.
    pub fn new(pipeline: ObjectKey, settings: Store, windows: Arc<Windows>) -> Arc<Self> {
        let random = || RandomState::new().hash_one(0u8);
        let inner = Inner {
            slots: BTreeMap::new(),
            next: 0,
            bytes: 0,
            settings,
            cursors: HashMap::new(),
            captured: 0,
            appended: 0,
            thinned_at: 0,
        };
        Arc::new(Self {
            store: format!("{:016x}{:016x}", random(), random()).into(),
            pipeline,
            windows,
            inner: Mutex::new(inner),
            grown: Notify::new(),
            shrunk: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code under the lock can leave it half-changed by a panic that matters: each step
        // keeps the ledger balanced, so a poisoned lock is used on.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// New bounds for the same records; what no longer fits gives way at the next append.
    pub fn set_settings(&self, settings: Store) {
        self.lock().settings = settings;
    }

    /// Adds a sink at the live end; a sink that is there already keeps its position.
    pub fn add_sink(&self, name: &Arc<str>) {
        let mut inner = self.lock();
        let at = inner.next;
        inner.cursors.entry(name.clone()).or_insert_with(|| Cursor::new(at));
    }

    /// Removes a sink and gives back its numbers; what it had not delivered is given up.
    pub fn remove_sink(&self, name: &str) -> Option<Ledger> {
        let mut inner = self.lock();
        let cursor = inner.cursors.remove(name)?;
        inner.trim_all();
        Some(cursor.ledger)
    }

    /// Takes a batch in. Never waits: what does not fit gives way as the overflow policy says.
    pub fn append(&self, batch: Arc<Batch>) {
        if batch.is_empty() {
            return;
        }
        let good = batch.iter().all(|s| s.status.is_good());
        let slot = Slot {
            samples: batch.len() as u64,
            bytes: batch.memory_bytes() as u64,
            captured_at: Instant::now(),
            good,
            batch,
        };
        self.lock().append(slot);
        self.grown.notify_waiters();
    }

    /// Empties the ring: what some sink still waits for, oldest first.
    pub fn take_all(&self) -> Vec<Arc<Batch>> {
        let mut inner = self.lock();
        inner.bytes = 0;
        std::mem::take(&mut inner.slots).into_values().map(|slot| slot.batch).collect()
    }

    /// Whether the devices have to wait (`overflow: Backpressure`).
    pub fn presses(&self) -> bool {
        let mut inner = self.lock();
        if inner.settings.overflow != Overflow::Backpressure {
            return false;
        }
        inner.expire(Instant::now());
        inner.bytes >= inner.settings.max_bytes
    }

    /// Completes when there is room, at once under any policy but Backpressure. Cancel-safe.
    pub async fn room(&self) {
        loop {
            let shrunk = self.shrunk.notified();
            tokio::pin!(shrunk);
            // Registered before looking, so that a delivery in between is not missed.
            shrunk.as_mut().enable();
            if !self.presses() {
                return;
            }
            shrunk.await;
        }
    }

    /// The records for one session of a sink: first what was handed out and not settled, then on.
    pub fn feed(self: &Arc<Self>, sink: &Arc<str>) -> Box<dyn Feed> {
        self.lock().begin_session(sink);
        Box::new(RingFeed { ring: self.clone(), sink: sink.clone() })
    }

    /// The numbers of every sink, by name.
    pub fn numbers(&self) -> Vec<(Arc<str>, SinkNumbers)> {
        let inner = self.lock();
        let now = Instant::now();
        let mut all: Vec<_> = inner
            .cursors
            .iter()
            .map(|(name, c)| {
                let lag = inner
                    .slots
                    .range(c.floor..)
                    .find(|(o, _)| c.wants(**o) && !c.accepted.contains_key(o))
                    .map_or(Duration::ZERO, |(_, s)| now - s.captured_at);
                let of = |offset| inner.slots.get(offset).map_or(0, |slot| slot.samples);
                let unconfirmed = c.accepted.keys().map(of).sum();
                let (ledger, last_drop) = (c.ledger.clone(), c.last_drop);
                (name.clone(), SinkNumbers { ledger, unconfirmed, lag, last_drop })
            })
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// The numbers of the ring itself. It has no gaps: what it held went with the process.
    pub fn store(&self) -> StoreNumbers {
        let inner = self.lock();
        StoreNumbers {
            id: format!("{}/0", self.store),
            captured: inner.captured,
            bytes: inner.bytes,
            limit: inner.settings.max_bytes,
            ..StoreNumbers::default()
        }
    }

    fn id(&self, offset: u64) -> RecordId {
        RecordId { store: self.store.clone(), stream: 0, offset, part: None }
    }

    fn take(&self, sink: &str) -> Option<Record> {
        let mut inner = self.lock();
        inner.expire(Instant::now());
        let inner = &mut *inner;
        let cursor = inner.cursors.get_mut(sink)?;
        let (offset, slot) = inner.slots.range(cursor.head..).find(|(o, _)| cursor.wants(**o))?;
        if *offset >= cursor.untouched {
            // What is handed out cannot give way any more, so it stays a part of the bound.
            if cursor.held_bytes > 0
                && cursor.held_bytes + slot.bytes > inner.settings.max_bytes / HELD_PART
            {
                return None;
            }
            cursor.held_bytes += slot.bytes;
            cursor.untouched = offset + 1;
        }
        cursor.head = offset + 1;
        Some(Record { id: self.id(*offset), batch: slot.batch.clone() })
    }

    fn settle(&self, sink: &Arc<str>, offset: u64, outcome: &Outcome) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let Some(slot) = inner.slots.get(&offset) else { return };
        let samples = slot.samples;
        let Some(cursor) = inner.cursors.get_mut(sink) else { return };
        if !cursor.holds(offset) {
            return;
        }
        cursor.held_bytes -= slot.bytes;
        cursor.count(offset, samples, outcome);
        // Which samples of a partly accepted record went is not known here, so it is not shown.
        self.show(sink, offset, &slot.batch, outcome);
        inner.trim(offset);
        // A feed may wait for room among what is held, and a device for room at all.
        self.grown.notify_waiters();
        self.shrunk.notify_waiters();
    }

    fn accepted(&self, sink: &Arc<str>, offset: u64, outcome: Outcome, mark: u64) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let Some(slot) = inner.slots.get(&offset) else { return };
        let Some(cursor) = inner.cursors.get_mut(sink).filter(|c| c.holds(offset)) else { return };
        cursor.held_bytes -= slot.bytes;
        self.show(sink, offset, &slot.batch, &outcome);
        cursor.accepted.insert(offset, (mark, outcome));
        self.grown.notify_waiters();
    }

    /// Settles what a sink said to be accepted with this mark or a lower one.
    pub fn confirmed(&self, sink: &Arc<str>, mark: u64) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let Some(cursor) = inner.cursors.get_mut(sink) else { return };
        let safe: Vec<_> = cursor.accepted.extract_if(.., |_, (m, _)| *m <= mark).collect();
        for (offset, (_, outcome)) in &safe {
            let samples = inner.slots.get(offset).map_or(0, |slot| slot.samples);
            cursor.count(*offset, samples, outcome);
        }
        for (offset, _) in safe {
            inner.trim(offset);
        }
        self.shrunk.notify_waiters();
    }

    fn show(&self, sink: &Arc<str>, offset: u64, batch: &Arc<Batch>, outcome: &Outcome) {
        // Which samples of a partly accepted record went is not known here, so it is not shown.
        if outcome.delivered >= batch.len() as u64 {
            self.windows.tap.show(|| Seen::Delivered {
                pipeline: self.pipeline.clone(),
                sink: sink.clone(),
                id: self.id(offset),
                batch: batch.clone(),
            });
        }
    }
}

impl Inner {
    /// What is not settled is handed out again, also what had been accepted.
    fn begin_session(&mut self, sink: &str) {
        let Some(cursor) = self.cursors.get_mut(sink) else { return };
        cursor.head = cursor.floor;
        for offset in std::mem::take(&mut cursor.accepted).into_keys() {
            cursor.held_bytes += self.slots.get(&offset).map_or(0, |slot| slot.bytes);
        }
    }

    fn append(&mut self, slot: Slot) {
        self.expire(slot.captured_at);
        let (offset, samples, bytes) = (self.next, slot.samples, slot.bytes);
        self.next += 1;
        self.captured += samples;
        for cursor in self.cursors.values_mut() {
            cursor.ledger.captured += samples;
            cursor.ledger.buffered += samples;
        }
        self.bytes += bytes;
        self.appended += bytes;
        self.slots.insert(offset, slot);
        if self.bytes > self.settings.max_bytes {
            match self.settings.overflow {
                Overflow::DropNewest => self.drop_slot(offset, DropReason::StoreFull),
                Overflow::DropOldest => self.make_room(),
                Overflow::Thin => {
                    self.thin();
                    self.make_room();
                }
                // Devices wait before they hand over more. What comes all the same, from many of
                // them at once or from the rule of staleness, has a bound, too.
                Overflow::Backpressure
                    if self.bytes > self.settings.max_bytes + self.settings.max_bytes / 4 =>
                {
                    self.drop_slot(offset, DropReason::StoreFull);
                }
                Overflow::Backpressure => {}
            }
        }
        // Nobody wants it: no sink yet, or dropped at once.
        self.trim(offset);
    }

    /// Drops every second record of each device, but none with a sample that is not Good. Each
    /// time the ring is full again, what is left of the past is halved again; not before an eighth
    /// of it is new, so that a ring that cannot be thinned costs no more than another.
    fn thin(&mut self) {
        if self.appended - self.thinned_at < self.settings.max_bytes / 8 {
            return;
        }
        self.thinned_at = self.appended;
        let mut spared = HashSet::new();
        let halved: Vec<u64> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.good)
            .filter(|(o, _)| !self.cursors.values().any(|c| c.holds(**o)))
            .filter_map(|(offset, slot)| {
                let device = &slot.batch.origin().path;
                let second = spared.remove(device);
                if !second {
                    spared.insert(device.clone());
                }
                second.then_some(*offset)
            })
            .collect();
        for offset in halved {
            self.drop_slot(offset, DropReason::Thinned);
        }
    }

    /// Drops the oldest records that no sink may have delivered, until the bound holds.
    fn make_room(&mut self) {
        let held = |o: &u64, cursors: &HashMap<_, Cursor>| cursors.values().any(|c| c.holds(*o));
        while self.bytes > self.settings.max_bytes {
            // Held records are at most a window per sink, so this looks at few.
            let Some(oldest) = self.slots.keys().find(|o| !held(o, &self.cursors)).copied() else {
                return;
            };
            self.drop_slot(oldest, DropReason::StoreFull);
        }
    }

    fn expire(&mut self, now: Instant) {
        let Some(max_age) = self.settings.max_age else { return };
        loop {
            let old = self
                .slots
                .iter()
                .take_while(|(_, s)| now - s.captured_at > max_age)
                .find(|(o, _)| !self.cursors.values().any(|c| c.holds(**o)))
                .map(|(o, _)| *o);
            match old {
                Some(offset) => self.drop_slot(offset, DropReason::Expired),
                None => return,
            }
        }
    }

    fn drop_slot(&mut self, offset: u64, reason: DropReason) {
        let Some(slot) = self.slots.remove(&offset) else { return };
        self.bytes -= slot.bytes;
        for cursor in self.cursors.values_mut().filter(|c| c.wants(offset)) {
            cursor.drop_samples(offset, slot.samples, reason);
        }
    }

    /// Forgets a record that every sink has settled.
    fn trim(&mut self, offset: u64) {
        if self.cursors.values().any(|c| c.wants(offset)) {
            return;
        }
        if let Some(slot) = self.slots.remove(&offset) {
            self.bytes -= slot.bytes;
        }
    }

    fn trim_all(&mut self) {
        let offsets: Vec<u64> = self.slots.keys().copied().collect();
        for offset in offsets {
            self.trim(offset);
        }
    }
}

struct RingFeed {
    ring: Arc<Ring>,
    sink: Arc<str>,
}

impl Feed for RingFeed {
    fn next(&mut self) -> BoxFuture<'_, Record> {
        Box::pin(async move {
            loop {
                let grown = self.ring.grown.notified();
                tokio::pin!(grown);
                // Registered before looking, so that an append in between is not missed.
                grown.as_mut().enable();
                if let Some(record) = self.ring.take(&self.sink) {
                    return record;
                }
                grown.await;
            }
        })
    }

    fn settle(&mut self, id: &RecordId, outcome: Outcome) {
        self.ring.settle(&self.sink, id.offset, &outcome);
    }

    fn accepted(&mut self, id: &RecordId, outcome: Outcome, mark: u64) {
        self.ring.accepted(&self.sink, id.offset, outcome, mark);
    }

    fn confirmed(&mut self, mark: u64) {
        self.ring.confirmed(&self.sink, mark);
    }
}

#[cfg(test)]
mod tests;
