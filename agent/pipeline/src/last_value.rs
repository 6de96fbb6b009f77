//! The last sample of every point of a device, and the two rules that need it: a point that
//! stays Bad is not repeated at every cycle, and a point that falls silent turns Bad.

use std::collections::HashMap;
use std::num::NonZeroU64;
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
    /// When the driver last said anything about it (at first: when the table was made).
    seen: Offset,
    /// When it last went out while Bad.
    told_bad: Option<NonZeroU64>,
    /// Index into [`LastValues::classes`].
    class: u32,
}

/// A moment in nanoseconds after [`LastValues::base`] and one more, so that it is never zero:
/// half of an `Instant`, and a device has a thousand points.
type Offset = u64;

/// What points of one interval have in common.
#[derive(Clone, Copy, Debug)]
struct Class {
    interval: Duration,
    /// Longest silence while a session is connected.
    deadline: Duration,
    /// Shortest time between two emissions while Bad.
    repeat: Duration,
}

/// The table of one device.
#[derive(Debug)]
pub struct LastValues {
    base: Instant,
    classes: Vec<Class>,
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
        let mut classes: Vec<Class> = Vec::new();
        let mut class_of = |interval: Duration| {
            let known = classes.iter().position(|c| c.interval == interval);
            let at = known.unwrap_or_else(|| {
                let silence = device.timeouts.request * 2 + Duration::from_secs(5);
                let deadline = (interval * 3).max(silence);
                classes.push(Class { interval, deadline, repeat: interval.max(BAD_REPEAT) });
                classes.len() - 1
            });
            at as u32
        };
        let entries = device
            .points
            .iter()
            .map(|p| Entry {
                value: Value::Null,
                status: None,
                time: 0,
                seen: 1,
                told_bad: None,
                class: class_of(p.interval),
            })
            .collect();
        Self { base: now, classes, entries, good: 0, bad: 0 }
    }

    /// Takes over what is known of points that keep their name and address.
    pub fn carry_over(&mut self, new: &Device, old: &Device, from: &Self) {
        if new.protocol != old.protocol {
            // Another host, unit or byte order: what was known is not about these points.
            return;
        }
        // Moments of both tables count from the older base.
        let shift = nanos(self.base.saturating_duration_since(from.base));
        self.base = from.base;
        for entry in &mut self.entries {
            entry.seen = entry.seen.saturating_add(shift);
        }
        let places: HashMap<_, _> =
            old.points.iter().enumerate().map(|(j, p)| (&p.name, (j, &p.address))).collect();
        for (entry, point) in self.entries.iter_mut().zip(new.points.iter()) {
            let before = places.get(&point.name).filter(|(_, address)| **address == point.address);
            let Some(known) = before.and_then(|(j, _)| from.entries.get(*j)) else { continue };
            *entry = Entry { class: entry.class, ..known.clone() };
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
        let now = self.offset(now);
        let mut keep = Vec::new();
        let mut absorbed = 0;
        for (i, sample) in batch.iter().enumerate() {
            let Some(entry) = self.entries.get_mut(sample.point as usize) else { continue };
            let is_bad = sample.status.is_bad();
            let lately = is_bad && entry.told_lately(now, &self.classes);
            if lately && entry.status == Some(sample.status) {
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
            if is_bad {
                self.bad += 1;
                entry.told_bad = NonZeroU64::new(now);
            } else {
                self.good += 1;
                entry.told_bad = None;
            }
            entry.value.clone_from(sample.value);
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
        let now = self.offset(now);
        self.entries.iter().enumerate().filter_map(move |(i, e)| {
            let class = self.classes.get(e.class as usize)?;
            let limit = if down { class.interval + DOWN_GRACE } else { class.deadline };
            let silent = now.saturating_sub(e.seen) > nanos(limit);
            (silent && !e.told_lately(now, &self.classes)).then_some(i as u32)
        })
    }

    /// The shortest interval, or a second for a device without points.
    pub fn shortest_interval(&self) -> Duration {
        self.classes.iter().map(|c| c.interval).min().unwrap_or(Duration::from_secs(1))
    }

    fn offset(&self, at: Instant) -> Offset {
        nanos(at.saturating_duration_since(self.base)).saturating_add(1)
    }
}

impl Entry {
    /// Whether it went out as Bad within its repetition time.
    fn told_lately(&self, now: Offset, classes: &[Class]) -> bool {
        let repeat = classes.get(self.class as usize).map_or(BAD_REPEAT, |c| c.repeat);
        self.told_bad.is_some_and(|t| now.saturating_sub(t.get()) < nanos(repeat))
    }
}

/// Nanoseconds; the 584 years that fit are enough for any process.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lineside_core::{Origin, TimeQuality};
    use lineside_crds::yaml::{Object, load_text};

    use super::*;

    /// A device with these points; even ones are read each second, odd ones each 10 minutes.
    fn device(names: &[&str]) -> Device {
        let mut text = String::from(
            "apiVersion: lineside.dev/v1alpha1\nkind: DeviceConnection\nmetadata: {name: d}\n\
             spec:\n  url: modbus-tcp://127.0.0.1\n  points:\n",
        );
        for (i, name) in names.iter().enumerate() {
            let interval = if i % 2 == 0 { 1_000 } else { 600_000 };
            text += &format!(
                "  - {{name: {name}, address: coil:{}, intervalMillis: {interval}}}\n",
                name.len()
            );
        }
        match load_text("f", &text).remove(0).object {
            Some(Object::Device(device)) => device,
            other => panic!("{other:?}"),
        }
    }

    fn batch(device: &Device, status: StatusCode) -> Batch {
        let points: Vec<Arc<str>> = device.points.iter().map(|p| p.name.clone()).collect();
        let origin = Origin::new(device.key.clone(), None, points.into(), Arc::new([]));
        let mut batch = Batch::with_capacity(Arc::new(origin), 0, TimeQuality::Synced, 0);
        for i in 0..device.points.len() as u32 {
            match status.is_bad() {
                true => batch.push_bad(i, status, 7),
                false => batch.push_good(i, Value::U16(5), 7),
            }
        }
        batch
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_bad_point_is_told_again_after_a_minute_or_its_longer_interval() {
        let (device, start) = (device(&["a", "bb"]), Instant::now());
        let mut table = LastValues::new(&device, start);
        let mut told = |seconds| match table
            .pass(batch(&device, StatusCode::BAD_TIMEOUT), after(start, seconds))
        {
            Passed::Whole(batch) => batch.len(),
            Passed::Part(batch, absorbed) => {
                assert_eq!(batch.len() + absorbed, 2);
                batch.len()
            }
        };
        assert_eq!([0, 1, 59, 60, 119, 120, 600].map(&mut told), [2, 0, 0, 1, 0, 1, 2]);
        assert_eq!(table.counts(), (0, 2, 0));
    }

    #[test]
    fn silence_is_noticed_at_the_deadline_of_each_interval() {
        let (device, start) = (device(&["a", "bb"]), Instant::now());
        let mut table = LastValues::new(&device, start);
        table.pass(batch(&device, StatusCode::GOOD), start);
        let silent =
            |seconds, down| -> Vec<u32> { table.overdue(after(start, seconds), down).collect() };
        assert!(silent(9, false).is_empty() && silent(1, true).is_empty());
        assert_eq!((silent(10, false), silent(2, true)), (vec![0], vec![0]));
        assert_eq!(silent(1801, false), [0, 1]);
        assert_eq!(table.shortest_interval(), Duration::from_secs(1));
    }

    #[test]
    fn what_is_known_of_a_point_survives_a_change_of_the_device() {
        let (old, start) = (device(&["a", "bb"]), Instant::now());
        let mut before = LastValues::new(&old, start);
        before.pass(batch(&old, StatusCode::BAD_TIMEOUT), after(start, 100));
        // `a` has moved to the odd place and with it to the long interval; `ccc` is new.
        let new = device(&["ccc", "a"]);
        let mut table = LastValues::new(&new, after(start, 110));
        table.carry_over(&new, &old, &before);
        assert_eq!(table.counts(), (0, 1, 1));
        let silent = |seconds| -> Vec<u32> { table.overdue(after(start, seconds), true).collect() };
        assert!(silent(111).is_empty(), "the new point counts from the change");
        assert_eq!(silent(112), [0]);
        assert_eq!(silent(701), [0, 1], "the old one from when it was told");
    }
}
