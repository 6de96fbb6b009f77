//! The payload of a batch: small, and safe to read whatever the bytes are. Pure.
//!
//! ```text
//! definition | epoch | era | quality | points | values | statuses | agent times | source times
//! ```
//!
//! The number of samples is in the frame's header. Columns have their own shapes ([`columns`]);
//! the usual ones (all points in order, one type, all Good, few distinct times) take some bytes
//! beside the raw values.

mod columns;
mod values;

use std::sync::Arc;

use lineside_core::{Batch, Columns, Origin, TimeQuality};

use crate::definition::DefinitionId;
use crate::fields::{BadField, Reader, put_varint};

/// Most samples of one record: what a reader allocates before it has seen a value is bounded by
/// it. A larger batch becomes several records.
pub(crate) const MAX_SAMPLES: usize = 1 << 20;

/// What a payload says before its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Preamble {
    /// The origin, in the definitions.
    pub(crate) definition: DefinitionId,
    /// Which clock the times are of; see the clock corrections of the log.
    pub(crate) era: u32,
}

/// Appends the payload of `batch` to `out`.
pub(crate) fn encode(batch: &Batch, preamble: Preamble, out: &mut Vec<u8>) {
    put_varint(out, u64::from(preamble.definition.number));
    out.extend_from_slice(&preamble.definition.check.to_le_bytes());
    put_varint(out, batch.epoch);
    put_varint(out, u64::from(preamble.era));
    out.push(match batch.time_quality {
        TimeQuality::Synced => 0,
        TimeQuality::Unsynced => 1,
    });
    columns::put_points(out, batch.points());
    values::put(out, batch.values());
    columns::put_statuses(out, batch.statuses());
    columns::put_agent_times(out, batch.agent_times());
    columns::put_source_times(out, batch);
}

/// A payload that is read in two steps, because the origin is found by its number.
pub(crate) struct Encoded<'a> {
    pub(crate) preamble: Preamble,
    epoch: u64,
    quality: TimeQuality,
    columns: Reader<'a>,
}

impl<'a> Encoded<'a> {
    /// Reads what comes before the columns.
    pub(crate) fn new(payload: &'a [u8]) -> Result<Self, BadField> {
        let mut reader = Reader(payload);
        let number = reader.small("definition")?;
        let definition = DefinitionId { number, check: reader.u32("definition")? };
        let epoch = reader.varint("epoch")?;
        let era = reader.small("era")?;
        let quality = match reader.u8("time quality")? {
            0 => TimeQuality::Synced,
            1 => TimeQuality::Unsynced,
            _ => return Err(BadField("time quality")),
        };
        Ok(Self { preamble: Preamble { definition, era }, epoch, quality, columns: reader })
    }

    /// Whether the agent's clock was not set.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.quality == TimeQuality::Unsynced
    }

    /// The batch of `samples` samples. With `correction` the agent's times are moved by so many
    /// nanoseconds and count as synced.
    pub(crate) fn batch(
        self,
        samples: usize,
        origin: Arc<Origin>,
        correction: Option<i64>,
    ) -> Result<Batch, BadField> {
        if samples > MAX_SAMPLES {
            return Err(BadField("samples"));
        }
        let mut reader = self.columns;
        let points = columns::points(&mut reader, samples)?;
        let values = values::read(&mut reader, samples)?;
        let statuses = columns::statuses(&mut reader, samples)?;
        let mut agent_times = columns::agent_times(&mut reader, samples)?;
        let source_times = columns::source_times(&mut reader, samples)?;
        if reader.remaining() > 0 {
            return Err(BadField("end"));
        }
        if let Some(moved) = correction {
            for time in &mut agent_times {
                *time = time.saturating_add(moved);
            }
        }
        let quality = correction.map_or(self.quality, |_| TimeQuality::Synced);
        let columns = Columns { points, values, statuses, agent_times, source_times };
        Batch::from_columns(origin, self.epoch, quality, columns).ok_or(BadField("columns"))
    }
}

#[cfg(test)]
mod tests;
