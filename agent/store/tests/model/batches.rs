//! Random batches: every type, every quality, few or many bytes; and when two are the same.

use std::sync::Arc;

use lineside_core::batch::SampleRef;
use lineside_core::{Batch, Origin, Sample, StatusCode, TimeQuality, UnixNanos, Value};
use lineside_crds::model::ObjectKey;

use crate::dice::Dice;

/// Devices of one schedule and the size of what they send.
pub struct Source {
    origins: Vec<Arc<Origin>>,
    /// Longest string or byte string of a sample.
    longest: usize,
}

impl Source {
    pub fn new(dice: &mut Dice, longest: usize) -> Self {
        let origins = (0..dice.within(1..=4)).map(|n| origin(dice, n)).collect();
        Self { origins, longest }
    }

    /// A batch of 1 to 50 samples that arrived around `now`.
    pub fn batch(&mut self, dice: &mut Dice, now: UnixNanos) -> Arc<Batch> {
        if dice.chance(5) {
            // The configuration changes: the same device with other points.
            let n = dice.below(self.origins.len());
            self.origins[n] = origin(dice, n);
        }
        let origin = dice.pick(&self.origins).clone();
        let points = origin.points.len();
        let quality = if dice.chance(95) { TimeQuality::Synced } else { TimeQuality::Unsynced };
        let epoch = dice.below(3) as u64;
        let samples = dice.within(1..=50);
        let mut batch = Batch::with_capacity(origin, epoch, quality, samples);
        let (one_type, all_good) = (dice.chance(60).then(|| dice.below(TYPES)), dice.chance(70));
        let sourced = dice.chance(20);
        for n in 0..samples {
            let status = if all_good || dice.chance(80) {
                StatusCode::GOOD
            } else {
                *dice.pick(&[StatusCode::BAD_TIMEOUT, StatusCode::UNCERTAIN_LAST_USABLE_VALUE])
            };
            let kind = one_type.unwrap_or_else(|| dice.below(TYPES));
            batch.push(Sample {
                point: if one_type.is_some() { n % points } else { dice.below(points) } as u32,
                value: self.value(dice, kind),
                status,
                source_time: (sourced && dice.chance(80))
                    .then(|| now - dice.below(5_000_000_000) as i64),
                agent_time: now - dice.below(3) as i64 * 1_000_000,
            });
        }
        Arc::new(batch)
    }

    fn value(&self, dice: &mut Dice, kind: usize) -> Value {
        let n = dice.number();
        match kind {
            0 => Value::Bool(n & 1 == 1),
            1 => Value::I8(n as i8),
            2 => Value::I16(n as i16),
            3 => Value::I32(n as i32),
            4 => Value::I64(n as i64),
            5 => Value::U8(n as u8),
            6 => Value::U16(n as u16),
            7 => Value::U32(n as u32),
            8 => Value::U64(n),
            9 => Value::F32(f32::from_bits(n as u32)),
            10 => Value::F64(f64::from_bits(n)),
            11 => Value::String("häß".repeat(dice.below(self.longest / 5 + 1)).into()),
            _ => Value::Bytes(vec![n as u8; dice.below(self.longest + 1)].into()),
        }
    }
}

/// Types that [`Source::value`] makes.
const TYPES: usize = 13;

fn origin(dice: &mut Dice, n: usize) -> Arc<Origin> {
    let salt = dice.below(1000);
    let points: Vec<Arc<str>> =
        (0..dice.within(1..=60)).map(|p| format!("point-{salt}-{p}").into()).collect();
    let learned = dice.chance(20).then(|| format!("learned-{salt}").into());
    let location =
        if dice.chance(50) { Vec::new() } else { vec!["plant".to_owned(), salt.to_string()] };
    let key = ObjectKey::new("plant", format!("device-{n}"));
    Arc::new(Origin::new(key, learned, points.into(), location.into()))
}

/// Whether a consumer could not tell the two apart; numbers are compared by their bits.
pub fn same(a: &Batch, b: &Batch) -> bool {
    let (x, y) = (a.origin(), b.origin());
    x.path == y.path
        && x.learned == y.learned
        && x.points == y.points
        && x.location == y.location
        && (a.epoch, a.time_quality, a.len()) == (b.epoch, b.time_quality, b.len())
        && a.iter().zip(b.iter()).all(|(a, b)| same_sample(&a, &b))
}

fn same_sample(a: &SampleRef<'_>, b: &SampleRef<'_>) -> bool {
    let values = match (a.value, b.value) {
        (Value::F32(x), Value::F32(y)) => x.to_bits() == y.to_bits(),
        (Value::F64(x), Value::F64(y)) => x.to_bits() == y.to_bits(),
        (x, y) => x == y,
    };
    values
        && (a.point, a.status, a.source_time, a.agent_time)
            == (b.point, b.status, b.source_time, b.agent_time)
}

/// In what two batches differ, for a person.
pub fn difference(a: &Batch, b: &Batch) -> String {
    if !Arc::ptr_eq(a.origin(), b.origin()) && a.origin().path != b.origin().path
        || a.origin().points != b.origin().points
    {
        return format!("{:?} became {:?}", a.origin(), b.origin());
    }
    let head = |b: &Batch| (b.epoch, b.time_quality, b.len());
    if head(a) != head(b) {
        return format!("{:?} became {:?}", head(a), head(b));
    }
    let differs = a.iter().zip(b.iter()).position(|(a, b)| !same_sample(&a, &b));
    differs.map_or_else(String::new, |n| format!("{n}: {:?} became {:?}", a.get(n), b.get(n)))
}
