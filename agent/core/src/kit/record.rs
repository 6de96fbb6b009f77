//! Records that a sink's remote can tell apart: each carries its number as the value of its only
//! point, so that what arrived is counted outside the agent.

use std::sync::Arc;

use lineside_crds::model::ObjectKey;

use crate::batch::{Batch, Origin, SampleRef};
use crate::clock::{Clock, SystemClock, TimeQuality};
use crate::sink::SinkIdentity;
use crate::value::Value;

/// Name of the only point of a numbered record.
pub const ORIGIN_POINT: &str = "number";

/// The origin of numbered records: device `kit/counter` with the point [`ORIGIN_POINT`].
pub fn numbered_origin() -> Arc<Origin> {
    let points: Arc<[Arc<str>]> = vec![ORIGIN_POINT.into()].into();
    Arc::new(Origin::new(ObjectKey::new("kit", "counter"), None, points, Vec::new().into()))
}

/// A batch of one good sample whose value is `number`, taken now.
pub fn numbered_batch(origin: &Arc<Origin>, number: i64) -> Arc<Batch> {
    let mut batch = Batch::with_capacity(origin.clone(), 1, TimeQuality::Synced, 1);
    batch.push_good(0, Value::I64(number), SystemClock.now());
    Arc::new(batch)
}

/// The number of a numbered batch.
pub fn number_of(batch: &Batch) -> Option<i64> {
    match batch.get(0) {
        Some(SampleRef { value: Value::I64(n), .. }) => Some(*n),
        _ => None,
    }
}

/// The identity that the sink kit gives every session of one run; `sink` tells runs apart at a
/// remote that knows its clients.
pub fn test_identity(sink: &str) -> SinkIdentity {
    SinkIdentity {
        agent_uid: "00000000-0000-4000-8000-000000000001".into(),
        agent: "kit".into(),
        pipeline: ObjectKey::new("kit", "conformance"),
        sink: sink.into(),
    }
}
