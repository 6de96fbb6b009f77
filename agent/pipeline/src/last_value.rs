//! The last sample of every point of a device, and the two rules that need it: a point that
//! stays Bad is not repeated at every cycle, and a point that falls silent turns Bad.

use std::time::Duration;

use lineside_core::{Batch, StatusCode, UnixNanos, Value};
use lineside_crds::model::Device;
use tokio::time::Instant;

/// A point that stays Bad with one status is emitted again at most this often (contracts,
/// section 4), or once per interval where that is longer.
const BAD_REPEAT: Duration = Duration::from_secs(60);
/// Slack of a due sample of a device that is down, so that a device that comes back at once is
/// not reported as gone.
const DOWN_GRACE: Duration = Duration::from_millis(100);

/// The last sample of one point.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its value; Null while Bad or never seen.
    pub value: Value,
    /// Its quality; `None` before the first sample.
    pub status: Option<StatusCode>,
    /// Its time, ns since 1970.
    pub time: UnixNanos,
    interval: Duration,
    deadline: Duration,
    /// When the driver last said anything about it (at first: when the table was made).
    seen: Instant,
    /// When it last went out while Bad.
    told_bad: Option<Instant>,
}

/// The table of one device.
#[derive(Debug)]
pub struct LastValues {
    entries: Vec<Entry>,
    good: usize,
    bad: usize,
}

/// What is left of a batch after the gate.
#[derive(Debug)]
pub enum Passed {
    /// All of it.
    Whole(Batch),
    /// Some of it; the number of samples that were absorbed.
    Part(Batch, usize),
}

impl LastValues {
    /// An empty table for a device.
    pub fn new(device: &Device, now: Instant) -> Self {
        let entries = device
            .points
            .iter()
            .map(|p| Entry {
                value: Value::Null,
                status: None,
                time: 0,
                interval: p.interval,
                deadline: (p.interval * 3)
                    .max(device.timeouts.request * 2 + Duration::from_secs(5)),
                seen: now,
                told_bad: None,
            })
            .collect();
        Self { entries, good: 0, bad: 0 }
    }

    /// Takes over what is known of points that keep their name and address.
    pub fn carry_over(&mut self, new: &Device, old: &Device, from: &Self) {
        for (i, point) in new.points.iter().enumerate() {
            let before = old.points.iter().position(|p| p.name == point.name);
            let Some(j) = before.filter(|j| old.points[*j].address == point.address) else {
                continue;
            };
            let (Some(entry), Some(known)) = (self.entries.get_mut(i), from.entries.get(j)) else {
                continue;
            };
            let (interval, deadline) = (entry.interval, entry.deadline);
            *entry = Entry { interval, deadline, ..known.clone() };
            match known.status {
                Some(s) if s.is_bad() => self.bad += 1,
                Some(_) => self.good += 1,
                None => {}
            }
        }
    }

    /// Points good, bad, and without a sample yet.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.good, self.bad, self.entries.len() - self.good - self.bad)
    }

    /// All entries, in the order of the device's points.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Records a batch and lets through what has to go out.
    pub fn pass(&mut self, batch: Batch, now: Instant) -> Passed {
        let mut keep = Vec::new();
        let mut absorbed = 0;
        for (i, sample) in batch.iter().enumerate() {
            let Some(entry) = self.entries.get_mut(sample.point as usize) else { continue };
            let same_bad = sample.status.is_bad() && entry.status == Some(sample.status);
            let told_lately =
                entry.told_bad.is_some_and(|t| now - t < entry.interval.max(BAD_REPEAT));
            if same_bad && told_lately {
                entry.seen = now;
                if keep.is_empty() {
                    keep = vec![true; batch.len()];
                }
                keep[i] = false;
                absorbed += 1;
                continue;
            }
            match entry.status {
                Some(s) if s.is_bad() => self.bad -= 1,
                Some(_) => self.good -= 1,
                None => {}
            }
            if sample.status.is_bad() {
                self.bad += 1;
                entry.told_bad = Some(now);
            } else {
                self.good += 1;
                entry.told_bad = None;
            }
            entry.value = sample.value.clone();
            entry.status = Some(sample.status);
            entry.time = sample.time();
            entry.seen = now;
        }
        if absorbed == 0 {
            return Passed::Whole(batch);
        }
        let mut at = 0;
        let rest = batch.select(|_| {
            at += 1;
            keep[at - 1]
        });
        Passed::Part(rest, absorbed)
    }

    /// Points that are silent beyond their deadline and have to go out as Bad now: those that
    /// turn Bad, and those whose repetition is due. `down` = no session is connected, so a point
    /// is Bad as soon as a sample is due.
    pub fn overdue(&self, now: Instant, down: bool) -> impl Iterator<Item = u32> + '_ {
        self.entries.iter().enumerate().filter_map(move |(i, e)| {
            let limit = if down { e.interval + DOWN_GRACE } else { e.deadline };
            let silent = now - e.seen > limit;
            let told = e.told_bad.is_some_and(|t| now - t < e.interval.max(BAD_REPEAT));
            (silent && !told).then_some(i as u32)
        })
    }

    /// The shortest interval, or a second for a device without points.
    pub fn shortest_interval(&self) -> Duration {
        self.entries.iter().map(|e| e.interval).min().unwrap_or(Duration::from_secs(1))
    }
}
