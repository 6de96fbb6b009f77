//! The memory of a chain as bytes, so that a store can keep it beside its position. After a
//! restart the chain goes on as if there had been none.
//!
//! ```text
//! version u8 | fingerprint of the transforms u64 | lanes u32
//! lane: origin (namespace, name, learned?, points, location), epoch u64, time quality u8,
//!       begin i64, then for each step that remembers: entries u32, each track u32 and its memory
//! ```
//!
//! A lane carries its origin: a device that has other points after the restart lets out what
//! waits under the names that it had. Size: what is remembered of each point, at most two values
//! and some 100 bytes per step.

use std::sync::Arc;

use lineside_core::{Origin, StatusCode, TimeQuality};
use lineside_crds::model::{ObjectKey, Transform};

use super::bytes::{Reader, Writer};
use super::door::{Door, Pivot};
use super::gate::Last;
use super::lane::Lane;
use super::step::{Step, Work};
use super::window::{Numbers, Open, Window};
use super::{Chain, MOST_LANES};

/// Of the format.
const VERSION: u8 = 1;

/// Why bytes are not the state of a chain. A chain made anew is the way on; what waited in the
/// old one is lost, as with a crash before it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Written by a release with another format.
    #[error("the state of the transforms has version {0}, which this release does not read")]
    OtherVersion(u8),
    /// The pipeline has other transforms now.
    #[error("the state belongs to other transforms")]
    OtherTransforms,
    /// The bytes are no state.
    #[error("the state of the transforms is damaged")]
    Damaged,
}

impl Chain {
    /// What it remembers; the same memory gives the same bytes.
    pub fn state(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u8(VERSION);
        writer.u64(fingerprint(&self.transforms));
        writer.count(self.lanes.len());
        for lane in self.lanes.values() {
            write_lane(&mut writer, lane);
        }
        writer.0
    }

    /// A chain that remembers what `state` holds. Its totals begin at 0.
    ///
    /// # Errors
    /// `state` is none of these transforms.
    pub fn restore(transforms: &[Transform], state: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader(state);
        match reader.u8()? {
            VERSION => {}
            other => return Err(StateError::OtherVersion(other)),
        }
        let mut chain = Self::new(transforms);
        if reader.u64()? != fingerprint(&chain.transforms) {
            return Err(StateError::OtherTransforms);
        }
        let lanes = reader.count()?;
        if lanes > MOST_LANES {
            return Err(StateError::Damaged);
        }
        for _ in 0..lanes {
            let lane = read_lane(&mut reader, transforms)?;
            chain.lanes.insert(lane.source.path.clone(), lane);
        }
        match reader.0.is_empty() {
            true => Ok(chain),
            false => Err(StateError::Damaged),
        }
    }
}

/// FNV-1a over how the transforms are written down. It has to tell apart what a person edits, not
/// to resist anybody.
fn fingerprint(transforms: &[Transform]) -> u64 {
    let text = format!("{transforms:?}");
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn write_lane(writer: &mut Writer, lane: &Lane) {
    let source = &lane.source;
    writer.text(&source.device.namespace);
    writer.text(&source.device.name);
    writer.option(source.learned.as_ref(), |w, learned| w.text(learned));
    writer.count(source.points.len());
    source.points.iter().for_each(|point| writer.text(point));
    writer.count(source.location.len());
    source.location.iter().for_each(|level| writer.text(level));
    writer.u64(lane.epoch);
    writer.bool(lane.time_quality == TimeQuality::Synced);
    writer.i64(lane.since);
    for step in lane.steps() {
        match &step.work {
            Work::Deadband { last, .. } | Work::OnChange { last, .. } => {
                write_entries(writer, last, Option::is_some, write_last);
            }
            Work::SwingingDoor { doors, .. } => {
                write_entries(writer, doors, |door| *door != Door::default(), write_door);
            }
            Work::Window { windows, .. } => {
                write_entries(writer, windows, |window| *window != Window::default(), write_window);
            }
            Work::Scale { .. } | Work::Filter { .. } | Work::Map { .. } => {}
        }
    }
}

fn read_lane(reader: &mut Reader<'_>, transforms: &[Transform]) -> Result<Lane, StateError> {
    let key = ObjectKey::new(reader.text()?, reader.text()?);
    let learned = reader.option(|r| r.text().map(Arc::from))?;
    let mut points: Vec<Arc<str>> = Vec::new();
    for _ in 0..reader.count()? {
        points.push(reader.text()?.into());
    }
    let mut location: Vec<String> = Vec::new();
    for _ in 0..reader.count()? {
        location.push(reader.text()?.to_owned());
    }
    let source = Arc::new(Origin::new(key, learned, points.into(), location.into()));
    let epoch = reader.u64()?;
    let time_quality = match reader.bool()? {
        true => TimeQuality::Synced,
        false => TimeQuality::Unsynced,
    };
    let since = reader.i64()?;
    let mut lane = Lane::of(transforms, &source, epoch, time_quality);
    lane.since = since;
    let tracks = lane.tracks();
    for Step { work, .. } in lane.steps_mut() {
        match work {
            Work::Deadband { last, .. } | Work::OnChange { last, .. } => {
                read_entries(reader, last, read_last)?;
            }
            Work::SwingingDoor { doors, .. } => read_entries(reader, doors, read_door)?,
            Work::Window { windows, .. } => read_entries(reader, windows, read_window)?,
            Work::Scale { .. } | Work::Filter { .. } | Work::Map { .. } => {}
        }
        if let Work::SwingingDoor { doors, .. } = work {
            let held = doors.iter().filter_map(|door| door.held.as_ref());
            if held.into_iter().any(|sample| sample.point as usize >= tracks) {
                return Err(StateError::Damaged);
            }
        }
    }
    Ok(lane)
}

/// The memory of those tracks that have one.
fn write_entries<T>(
    writer: &mut Writer,
    all: &[T],
    remembers: impl Fn(&T) -> bool,
    write: impl Fn(&mut Writer, &T),
) {
    writer.count(all.iter().filter(|memory| remembers(memory)).count());
    for (track, memory) in all.iter().enumerate().filter(|(_, memory)| remembers(memory)) {
        writer.count(track);
        write(writer, memory);
    }
}

fn read_entries<T>(
    reader: &mut Reader<'_>,
    all: &mut [T],
    read: impl Fn(&mut Reader<'_>) -> Result<T, StateError>,
) -> Result<(), StateError> {
    for _ in 0..reader.count()? {
        let track = reader.u32()? as usize;
        *all.get_mut(track).ok_or(StateError::Damaged)? = read(reader)?;
    }
    Ok(())
}

fn write_last(writer: &mut Writer, last: &Option<Last>) {
    writer.option(last.as_ref(), |w, last| {
        w.value(&last.value);
        w.u32(last.status.0);
        w.i64(last.agent_time);
    });
}

fn read_last(reader: &mut Reader<'_>) -> Result<Option<Last>, StateError> {
    reader.option(|r| {
        let (value, status) = (r.value()?, StatusCode(r.u32()?));
        Ok(Last { value, status, agent_time: r.i64()? })
    })
}

fn write_door(writer: &mut Writer, door: &Door) {
    writer.option(door.pivot.as_ref(), |w, pivot| {
        w.i64(pivot.time);
        w.f64(pivot.value);
        w.u32(pivot.status.0);
    });
    writer.option(door.held.as_ref(), Writer::sample);
    writer.f64(door.lowest);
    writer.f64(door.highest);
}

fn read_door(reader: &mut Reader<'_>) -> Result<Door, StateError> {
    let pivot = reader.option(|r| {
        let (time, value) = (r.i64()?, r.f64()?);
        Ok(Pivot { time, value, status: StatusCode(r.u32()?) })
    })?;
    let held = reader.option(Reader::sample)?;
    Ok(Door { pivot, held, lowest: reader.f64()?, highest: reader.f64()? })
}

fn write_window(writer: &mut Writer, window: &Window) {
    writer.option(window.closed.as_ref(), |w, closed| w.i64(*closed));
    writer.option(window.open.as_ref(), |w, open| {
        w.i64(open.start);
        w.i64(open.first_seen);
        w.u64(open.good);
        w.u64(open.uncertain);
        w.u64(open.bad);
        w.u32(open.last_bad.0);
        w.bool(open.incomplete);
        w.value(&open.first);
        w.value(&open.last);
        let numbers = &open.numbers;
        w.u64(numbers.count);
        w.f64(numbers.sum);
        w.f64(numbers.mean);
        w.f64(numbers.squares);
        w.option(numbers.extremes.as_ref(), |w, (least, most)| {
            w.value(least);
            w.value(most);
        });
    });
}

fn read_window(reader: &mut Reader<'_>) -> Result<Window, StateError> {
    let closed = reader.option(Reader::i64)?;
    let open = reader.option(|r| {
        Ok(Open {
            start: r.i64()?,
            first_seen: r.i64()?,
            good: r.u64()?,
            uncertain: r.u64()?,
            bad: r.u64()?,
            last_bad: StatusCode(r.u32()?),
            incomplete: r.bool()?,
            first: r.value()?,
            last: r.value()?,
            numbers: Numbers {
                count: r.u64()?,
                sum: r.f64()?,
                mean: r.f64()?,
                squares: r.f64()?,
                extremes: r.option(|r| Ok((r.value()?, r.value()?)))?,
            },
        })
    })?;
    Ok(Window { open, closed })
}
