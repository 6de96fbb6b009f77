//! Samples of one device, columnar: what travels from a driver to the store and to the sinks.

use std::sync::Arc;

use lineside_crds::model::ObjectKey;

use crate::clock::{TimeQuality, UnixNanos};
use crate::status::StatusCode;
use crate::value::Value;

/// Marks an absent source time inside the column.
const NO_SOURCE_TIME: UnixNanos = UnixNanos::MIN;

/// Where the samples of a batch come from: a device and its points. Made once per session or per
/// configuration; batches share it.
#[derive(Debug)]
pub struct Origin {
    /// The DeviceConnection.
    pub device: ObjectKey,
    /// Behind a DeviceConnection that listens (an LwM2M server, a gateway), the name of the
    /// device that was learned; `None` for the DeviceConnection itself.
    pub learned: Option<Arc<str>>,
    /// Point names; a sample names its point by the index here.
    pub points: Arc<[Arc<str>]>,
    /// ISA-95 path of the device, outermost first.
    pub location: Arc<[String]>,
    /// `namespace/name` or `namespace/name/learned`, as consumers see it.
    pub path: Arc<str>,
}

impl Origin {
    /// The origin for a DeviceConnection itself (`learned: None`) or for a device learned by it.
    pub fn new(
        device: ObjectKey,
        learned: Option<Arc<str>>,
        points: Arc<[Arc<str>]>,
        location: Arc<[String]>,
    ) -> Self {
        let path = match &learned {
            Some(child) => format!("{device}/{child}").into(),
            None => device.to_string().into(),
        };
        Self { device, learned, points, location, path }
    }

    /// Name of the device as consumers see it, without the namespace.
    pub fn device_name(&self) -> &str {
        match self.path.split_once('/') {
            Some((_, name)) => name,
            None => &self.path,
        }
    }

    /// Name of a point.
    pub fn point(&self, index: u32) -> Option<&Arc<str>> {
        self.points.get(index as usize)
    }
}

/// One sample by value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Index into [`Origin::points`].
    pub point: u32,
    /// The value; [`Value::Null`] exactly when the status is Bad.
    pub value: Value,
    /// Quality.
    pub status: StatusCode,
    /// Time given by the device, if it gives one.
    pub source_time: Option<UnixNanos>,
    /// Time at which the answer that carried the value reached the agent.
    pub agent_time: UnixNanos,
}

impl Sample {
    /// The time consumers see: the source's where the protocol carries one, else the agent's. A
    /// Bad sample always uses the agent's, so that it never overwrites the last good one.
    pub fn time(&self) -> UnixNanos {
        match self.source_time {
            Some(t) if !self.status.is_bad() => t,
            _ => self.agent_time,
        }
    }
}

/// Samples of one origin, columnar. Points may repeat; order is the order of arrival.
#[derive(Clone, Debug)]
pub struct Batch {
    origin: Arc<Origin>,
    /// Ownership generation of the device (contracts, section 3).
    pub epoch: u64,
    /// Quality of all times in the batch.
    pub time_quality: TimeQuality,
    points: Vec<u32>,
    values: Vec<Value>,
    statuses: Vec<StatusCode>,
    agent_times: Vec<UnixNanos>,
    /// Empty while no sample has a source time.
    source_times: Vec<UnixNanos>,
    heap_bytes: usize,
}

/// What a batch is made of, one entry for each sample.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// Indices into [`Origin::points`].
    pub points: Vec<u32>,
    /// The values.
    pub values: Vec<Value>,
    /// The qualities.
    pub statuses: Vec<StatusCode>,
    /// When the agent got them.
    pub agent_times: Vec<UnixNanos>,
    /// When the source took them; empty when it says so of none.
    pub source_times: Vec<Option<UnixNanos>>,
}

impl Batch {
    /// An empty batch with room for `capacity` samples.
    pub fn with_capacity(
        origin: Arc<Origin>,
        epoch: u64,
        time_quality: TimeQuality,
        capacity: usize,
    ) -> Self {
        Self {
            origin,
            epoch,
            time_quality,
            points: Vec::with_capacity(capacity),
            values: Vec::with_capacity(capacity),
            statuses: Vec::with_capacity(capacity),
            agent_times: Vec::with_capacity(capacity),
            source_times: Vec::new(),
            heap_bytes: 0,
        }
    }

    /// The batch of these columns; `None` unless each has one entry for every sample. As with
    /// [`Batch::push`], a Bad status drops the value.
    pub fn from_columns(
        origin: Arc<Origin>,
        epoch: u64,
        time_quality: TimeQuality,
        columns: Columns,
    ) -> Option<Self> {
        let Columns { points, mut values, statuses, agent_times, source_times } = columns;
        let samples = points.len();
        let has_source_times = source_times.iter().any(Option::is_some);
        let equal = [values.len(), statuses.len(), agent_times.len()].iter().all(|l| *l == samples)
            && (source_times.is_empty() || source_times.len() == samples);
        if !equal {
            return None;
        }
        for (value, status) in values.iter_mut().zip(&statuses) {
            if status.is_bad() {
                *value = Value::Null;
            }
        }
        let heap_bytes = values.iter().map(Value::heap_bytes).sum();
        let given = |times: Vec<Option<UnixNanos>>| {
            times.into_iter().map(|t| t.unwrap_or(NO_SOURCE_TIME)).collect()
        };
        let source_times = if has_source_times { given(source_times) } else { Vec::new() };
        Some(Self {
            origin,
            epoch,
            time_quality,
            points,
            values,
            statuses,
            agent_times,
            source_times,
            heap_bytes,
        })
    }

    /// Makes room for `more` samples at once.
    pub fn reserve(&mut self, more: usize) {
        self.points.reserve_exact(more);
        self.values.reserve_exact(more);
        self.statuses.reserve_exact(more);
        self.agent_times.reserve_exact(more);
    }

    /// Where the samples come from.
    pub fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The point of each sample.
    pub fn points(&self) -> &[u32] {
        &self.points
    }

    /// The value of each sample.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The quality of each sample.
    pub fn statuses(&self) -> &[StatusCode] {
        &self.statuses
    }

    /// When the agent got each sample.
    pub fn agent_times(&self) -> &[UnixNanos] {
        &self.agent_times
    }

    /// Whether any sample has a time of its source.
    pub fn has_source_times(&self) -> bool {
        !self.source_times.is_empty()
    }

    /// Appends a sample. A Bad status drops the value, so that no old value passes as new.
    pub fn push(&mut self, sample: Sample) {
        let value = if sample.status.is_bad() { Value::Null } else { sample.value };
        self.heap_bytes += value.heap_bytes();
        if let Some(t) = sample.source_time {
            self.source_times.resize(self.points.len(), NO_SOURCE_TIME);
            self.source_times.push(t);
        } else if !self.source_times.is_empty() {
            self.source_times.push(NO_SOURCE_TIME);
        }
        self.points.push(sample.point);
        self.values.push(value);
        self.statuses.push(sample.status);
        self.agent_times.push(sample.agent_time);
    }

    /// Appends a good value that arrived at `agent_time`.
    pub fn push_good(&mut self, point: u32, value: Value, agent_time: UnixNanos) {
        let status = StatusCode::GOOD;
        self.push(Sample { point, value, status, source_time: None, agent_time });
    }

    /// Appends a Bad sample noticed at `agent_time`.
    pub fn push_bad(&mut self, point: u32, status: StatusCode, agent_time: UnixNanos) {
        debug_assert!(status.is_bad(), "push_bad takes a Bad status");
        self.push(Sample { point, value: Value::Null, status, source_time: None, agent_time });
    }

    /// The sample at `index`, by reference to its value.
    pub fn get(&self, index: usize) -> Option<SampleRef<'_>> {
        Some(SampleRef {
            point: *self.points.get(index)?,
            value: self.values.get(index)?,
            status: *self.statuses.get(index)?,
            agent_time: *self.agent_times.get(index)?,
            source_time: self.source_times.get(index).copied().filter(|t| *t != NO_SOURCE_TIME),
        })
    }

    /// All samples in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = SampleRef<'_>> + Clone {
        (0..self.len()).map(|i| SampleRef {
            point: self.points[i],
            value: &self.values[i],
            status: self.statuses[i],
            agent_time: self.agent_times[i],
            source_time: self.source_times.get(i).copied().filter(|t| *t != NO_SOURCE_TIME),
        })
    }

    /// The samples for which `keep` says true, as a batch of its own.
    pub fn select(&self, mut keep: impl FnMut(&SampleRef<'_>) -> bool) -> Self {
        let mut out = Self::with_capacity(self.origin.clone(), self.epoch, self.time_quality, 0);
        for s in self.iter() {
            if keep(&s) {
                out.push(s.to_sample());
            }
        }
        out
    }

    /// Memory that the batch holds, in bytes; what stores and queues count.
    pub fn memory_bytes(&self) -> usize {
        use std::mem::size_of;
        size_of::<Self>()
            + self.points.capacity() * size_of::<u32>()
            + self.values.capacity() * size_of::<Value>()
            + self.statuses.capacity() * size_of::<StatusCode>()
            + self.agent_times.capacity() * size_of::<UnixNanos>()
            + self.source_times.capacity() * size_of::<UnixNanos>()
            + self.heap_bytes
    }
}

/// One sample inside a [`Batch`].
#[derive(Clone, Copy, Debug)]
pub struct SampleRef<'a> {
    /// Index into [`Origin::points`].
    pub point: u32,
    /// The value; [`Value::Null`] exactly when the status is Bad.
    pub value: &'a Value,
    /// Quality.
    pub status: StatusCode,
    /// When the agent got it.
    pub agent_time: UnixNanos,
    /// When the source took it, if it says so.
    pub source_time: Option<UnixNanos>,
}

impl SampleRef<'_> {
    /// See [`Sample::time`].
    pub fn time(&self) -> UnixNanos {
        match self.source_time {
            Some(t) if !self.status.is_bad() => t,
            _ => self.agent_time,
        }
    }

    /// The sample by value.
    pub fn to_sample(&self) -> Sample {
        Sample {
            point: self.point,
            value: self.value.clone(),
            status: self.status,
            source_time: self.source_time,
            agent_time: self.agent_time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Arc<Origin> {
        let points: Arc<[Arc<str>]> = vec!["a".into(), "b".into()].into();
        Arc::new(Origin::new(ObjectKey::new("plant", "press"), None, points, Vec::new().into()))
    }

    #[test]
    fn a_bad_sample_carries_no_value_and_the_agents_time() {
        let mut batch = Batch::with_capacity(origin(), 0, TimeQuality::Synced, 2);
        batch.push(Sample {
            point: 0,
            value: Value::F32(1.5),
            status: StatusCode::BAD_TIMEOUT,
            source_time: Some(5),
            agent_time: 9,
        });
        let sample = batch.get(0).unwrap();
        assert_eq!((sample.value, sample.time()), (&Value::Null, 9));
    }

    #[test]
    fn a_source_time_that_comes_late_leaves_earlier_samples_without_one() {
        let mut batch = Batch::with_capacity(origin(), 0, TimeQuality::Synced, 2);
        batch.push_good(0, Value::Bool(true), 1);
        batch.push(Sample {
            point: 1,
            value: Value::Bool(true),
            status: StatusCode::GOOD,
            source_time: Some(7),
            agent_time: 2,
        });
        batch.push_good(0, Value::Bool(false), 3);
        let times: Vec<_> = batch.iter().map(|s| s.time()).collect();
        assert_eq!(times, [1, 7, 3]);
        let only_b = batch.select(|s| s.point == 1);
        assert_eq!((only_b.len(), only_b.get(0).unwrap().source_time), (1, Some(7)));
    }

    #[test]
    fn columns_make_the_batch_that_pushing_makes_and_unequal_ones_make_none() {
        let mut pushed = Batch::with_capacity(origin(), 3, TimeQuality::Synced, 2);
        let good = |point, text: &str, source_time| Sample {
            point,
            value: Value::String(text.into()),
            status: StatusCode::GOOD,
            source_time,
            agent_time: 9,
        };
        pushed.push(good(0, "four", None));
        pushed.push(Sample { status: StatusCode::BAD_TIMEOUT, ..good(1, "lost", Some(7)) });
        let columns = Columns {
            points: vec![0, 1],
            values: vec![Value::String("four".into()), Value::String("lost".into())],
            statuses: vec![StatusCode::GOOD, StatusCode::BAD_TIMEOUT],
            agent_times: vec![9, 9],
            source_times: vec![None, Some(7)],
        };
        let make = |columns| Batch::from_columns(origin(), 3, TimeQuality::Synced, columns);
        let made = make(columns.clone()).unwrap();
        let samples = |batch: &Batch| batch.iter().map(|s| s.to_sample()).collect::<Vec<_>>();
        assert_eq!(samples(&made), samples(&pushed));
        assert_eq!((made.heap_bytes, made.has_source_times()), (4, true));
        assert!(make(Columns { agent_times: vec![9], ..columns.clone() }).is_none());
        assert!(make(Columns { source_times: vec![None], ..columns.clone() }).is_none());
        let without = make(Columns { source_times: Vec::new(), ..columns }).unwrap();
        assert!(!without.has_source_times());
    }

    #[test]
    fn a_learned_device_has_its_own_path() {
        let key = ObjectKey::new("plant", "lwm2m");
        let o = Origin::new(key, Some("urn:x".into()), Vec::new().into(), Vec::new().into());
        assert_eq!((&*o.path, o.device_name()), ("plant/lwm2m/urn:x", "lwm2m/urn:x"));
    }
}
