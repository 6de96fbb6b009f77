//! Which samples of a record are written, in which order, and what becomes of the others.

use std::cmp::Ordering;
use std::collections::HashSet;

use lineside_core::Batch;
use lineside_core::batch::SampleRef;
use lineside_core::sink::{Record, Refusal};
use lineside_crds::diagnostics::Code;

use super::cells::{Names, type_of, unfit};
use super::rows::Rows;
use super::{Known, Layout, Refusals};

/// Samples of a record that are in no request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Excluded {
    /// Bad ones, when quality is not written.
    pub skipped: u64,
    /// A later one of the same point falls on the same tick.
    pub merged: u64,
    /// Of those that are in a request: so many take the place of an earlier one of the same point,
    /// which an earlier request has written. So many samples less are in the database at the end.
    pub replacing: u64,
    /// The server would never take them: why, and which.
    pub refused: Vec<Refusal>,
}

impl Excluded {
    /// Adds a sample to the refusal of its reason.
    pub fn refuse(&mut self, code: Code, message: &str, sample: u32) {
        let same = |r: &&mut Refusal| r.code == code && r.message == message;
        match self.refused.iter_mut().find(same) {
            Some(refusal) => refusal.samples.push(sample),
            None => self.refused.push(Refusal::new(code, message, None, vec![sample])),
        }
    }
}

/// The samples to write.
pub(super) struct Ordered {
    pub(super) rows: Rows,
    pub(super) excluded: Excluded,
}

pub(super) fn order(
    batch: &Batch,
    only: Option<&[u32]>,
    layout: &Layout,
    names: &Names,
    refusals: &Refusals,
) -> Ordered {
    if only.is_none()
        && let Some(rows) = as_it_stands(batch, layout, names, refusals)
    {
        return Ordered { rows, excluded: Excluded::default() };
    }
    let count = only.map_or(batch.len(), <[u32]>::len);
    let mut samples = Vec::with_capacity(count);
    let mut excluded = Excluded::default();
    let mut take = |index: u32| {
        let Some(sample) = batch.get(index as usize) else { return };
        if !layout.quality && sample.status.is_bad() {
            excluded.skipped += 1;
            return;
        }
        if let Some((code, message)) = refused(&sample, layout, names, refusals) {
            excluded.refuse(code, &message, index);
            return;
        }
        samples.push((layout.precision.tick(sample.time()), index));
    };
    match only {
        Some(only) => only.iter().copied().for_each(&mut take),
        None => (0..u32::try_from(batch.len()).unwrap_or(u32::MAX)).for_each(&mut take),
    }
    if !rises(batch, &samples) {
        let before = samples.len();
        samples = sorted(batch, samples);
        excluded.merged += (before - samples.len()) as u64;
    }
    Ordered { rows: Rows::picked(&samples), excluded }
}

/// The whole record, when all of it is written and its ticks and the points of each rise: what
/// drivers make. `None` does not say that it is not so, only that it has to be looked at closely.
fn as_it_stands(
    batch: &Batch,
    layout: &Layout,
    names: &Names,
    refusals: &Refusals,
) -> Option<Rows> {
    if !refusals.is_empty() || (layout.is_table() && names.is_any_taken()) {
        return None;
    }
    let mut rows = Rows::whole();
    let (mut time, mut tick, mut point) = (None, i64::MIN, None);
    let columns = batch.points().iter().zip(batch.values()).zip(batch.statuses());
    for (at, ((next_point, value), status)) in columns.enumerate() {
        let bad = status.is_bad();
        if (bad && !layout.quality) || !names.has(*next_point) || unfit(value).is_some() {
            return None;
        }
        let next = match batch.has_source_times() {
            true => batch.get(at)?.time(),
            false => *batch.agent_times().get(at)?,
        };
        // The samples of an answer have one time.
        if time != Some(next) {
            let next_tick = layout.precision.tick(next);
            match next_tick.cmp(&tick) {
                Ordering::Less => return None,
                Ordering::Equal => {}
                Ordering::Greater => point = None,
            }
            (time, tick) = (Some(next), next_tick);
        }
        if point.is_some_and(|point| *next_point <= point) {
            return None;
        }
        point = Some(*next_point);
        rows.extend(tick);
    }
    Some(rows)
}

fn refused(
    sample: &SampleRef<'_>,
    layout: &Layout,
    names: &Names,
    refusals: &Refusals,
) -> Option<(Code, String)> {
    if let Some(why) = unfit(sample.value) {
        return Some((Code::RecordRejected, why));
    }
    let Some(name) = names.value(sample.point) else {
        return Some((Code::RecordRejected, "a sample of no point".to_owned()));
    };
    if layout.is_table() && Names::is_taken(name) {
        return Some((Code::RecordRejected, format!("{name} is a column of every table")));
    }
    if refusals.is_empty() {
        return None;
    }
    let of = type_of(sample.value, layout.blobs);
    let known = refusals.of(&names.target, name, of)?;
    Some((known.code, known.message.clone()))
}

/// Whether the ticks of the record rise and no point has two on one tick. Ticks that never fall
/// are enough for all but equal ones, which lie beside each other then.
fn rises(batch: &Batch, samples: &[(i64, u32)]) -> bool {
    let point = |index: u32| batch.get(index as usize).map(|sample| sample.point);
    let mut run = samples.chunk_by(|(a, _), (b, _)| a == b);
    let falls = samples.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a > b));
    !falls
        && run.all(|row| {
            // Points of a row usually rise too, as they stand in the configuration.
            let mut last = None;
            let in_order = row.iter().all(|(_, index)| {
                let point = point(*index);
                let rises = last.is_none_or(|last| last < point);
                last = Some(point);
                rises
            });
            in_order || {
                let mut seen = HashSet::with_capacity(row.len());
                row.iter().all(|(_, index)| seen.insert(point(*index)))
            }
        })
}

/// By tick; of several samples of one point on one tick the last one is kept.
fn sorted(batch: &Batch, mut samples: Vec<(i64, u32)>) -> Vec<(i64, u32)> {
    samples.sort_by_key(|(tick, _)| *tick);
    let mut seen = HashSet::with_capacity(samples.len());
    let mut kept: Vec<(i64, u32)> = Vec::with_capacity(samples.len());
    for (tick, index) in samples.into_iter().rev() {
        let point = batch.get(index as usize).map(|sample| sample.point);
        if seen.insert((tick, point)) {
            kept.push((tick, index));
        }
    }
    kept.reverse();
    kept
}

/// The newest value of a point that was packed.
#[derive(Clone, Copy)]
pub(super) struct Newest {
    tick: i64,
    /// The one before: live samples and a backlog may take turns.
    before: i64,
    /// Number of the draft that it is in.
    draft: u64,
}

impl Newest {
    /// Of a point without any.
    pub(super) const NONE: Self = Self { tick: i64::MIN, before: i64::MIN, draft: 0 };
}

impl Known {
    /// Whether the draft has a value for a place of these samples.
    pub(super) fn collides(&self, record: &Record, rows: &Rows, draft: u64) -> bool {
        // Nothing was packed for a tick that is later than all.
        rows.first().is_some_and(|first| first <= self.latest)
            && rows.iter(record).any(|row| {
                row.cells().any(|cell| {
                    let newest = self.newest.get(cell.point as usize);
                    newest.is_some_and(|newest| newest.tick == row.tick && newest.draft == draft)
                })
            })
    }

    /// Notes what is written; how many of the samples fall on the tick of one of their point that an
    /// earlier request has.
    pub(super) fn note(&mut self, record: &Record, rows: &Rows, draft: u64) -> u64 {
        let mut replacing = 0;
        for row in rows.iter(record) {
            for cell in row.cells() {
                if let Some(newest) = self.newest.get_mut(cell.point as usize) {
                    let known = newest.tick == row.tick || newest.before == row.tick;
                    replacing += u64::from(known);
                    if newest.tick != row.tick {
                        *newest = Newest { tick: row.tick, before: newest.tick, draft };
                    }
                    newest.draft = draft;
                }
            }
        }
        self.latest = self.latest.max(rows.last().unwrap_or(i64::MIN));
        replacing
    }
}
