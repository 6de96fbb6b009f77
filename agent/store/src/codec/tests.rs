use lineside_core::{Sample, StatusCode, Value};
use lineside_crds::model::ObjectKey;
use proptest::prelude::*;

use super::*;

fn origin() -> Arc<Origin> {
    let key = ObjectKey::new("plant", "press");
    Arc::new(Origin::new(key, None, Vec::new().into(), Vec::new().into()))
}

fn preamble(number: u32, era: u32) -> Preamble {
    Preamble { definition: DefinitionId { number, check: 0xABCD }, era }
}

fn round_trip(batch: &Batch, correction: Option<i64>) -> Batch {
    let mut bytes = Vec::new();
    encode(batch, preamble(7, 2), &mut bytes);
    let encoded = Encoded::new(&bytes).unwrap();
    assert_eq!(encoded.preamble, preamble(7, 2));
    encoded.batch(batch.len(), origin(), correction).unwrap()
}

/// All that a sink can see, with the bits of floats.
fn content(batch: &Batch) -> Vec<String> {
    let head = format!("{} {:?}", batch.epoch, batch.time_quality);
    let bits = |value: &Value| match value {
        Value::F32(v) => format!("f32 {:x}", v.to_bits()),
        Value::F64(v) => format!("f64 {:x}", v.to_bits()),
        other => format!("{other:?}"),
    };
    let samples = batch.iter().map(|s| {
        format!(
            "{} {} {:?} {:?} {:?}",
            s.point,
            bits(s.value),
            s.status,
            s.agent_time,
            s.source_time
        )
    });
    std::iter::once(head).chain(samples).collect()
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i8>().prop_map(Value::I8),
        any::<i16>().prop_map(Value::I16),
        any::<i32>().prop_map(Value::I32),
        any::<i64>().prop_map(Value::I64),
        any::<u8>().prop_map(Value::U8),
        any::<u16>().prop_map(Value::U16),
        any::<u32>().prop_map(Value::U32),
        any::<u64>().prop_map(Value::U64),
        any::<u32>().prop_map(|b| Value::F32(f32::from_bits(b))),
        any::<u64>().prop_map(|b| Value::F64(f64::from_bits(b))),
        ".{0,20}".prop_map(|s| Value::String(s.into())),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(|b| Value::Bytes(b.into())),
    ]
}

fn any_status() -> impl Strategy<Value = StatusCode> {
    prop_oneof![4 => Just(StatusCode::GOOD), 1 => any::<u32>().prop_map(StatusCode)]
}

fn any_sample() -> impl Strategy<Value = Sample> {
    let time = prop_oneof![Just(1_764_000_000_000_000_000i64), any::<i64>()];
    let source = prop::option::of((i64::MIN + 1)..=i64::MAX);
    (any::<u32>(), any_value(), any_status(), source, time).prop_map(
        |(point, value, status, source_time, agent_time)| Sample {
            point,
            value,
            status,
            source_time,
            agent_time,
        },
    )
}

fn any_batch() -> impl Strategy<Value = Batch> {
    (prop::collection::vec(any_sample(), 1..40), any::<u64>(), any::<bool>(), any::<bool>())
        .prop_map(|(samples, epoch, synced, dense)| {
            let quality = if synced { TimeQuality::Synced } else { TimeQuality::Unsynced };
            let mut batch = Batch::with_capacity(origin(), epoch, quality, samples.len());
            for (i, mut sample) in samples.into_iter().enumerate() {
                if dense {
                    sample.point = i as u32;
                }
                batch.push(sample);
            }
            batch
        })
}

proptest! {
    #[test]
    fn every_batch_comes_back_bit_for_bit(batch in any_batch()) {
        prop_assert_eq!(content(&round_trip(&batch, None)), content(&batch));
    }

    #[test]
    fn no_bytes_panic_or_allocate_beyond_the_bound(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        samples in prop_oneof![0..100usize, Just(MAX_SAMPLES), Just(usize::MAX)],
    ) {
        if let Ok(encoded) = Encoded::new(&bytes) {
            let _ = encoded.batch(samples, origin(), None);
        }
    }

    #[test]
    fn a_changed_byte_never_panics(batch in any_batch(), at: prop::sample::Index, byte: u8) {
        let mut bytes = Vec::new();
        encode(&batch, preamble(0, 0), &mut bytes);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(encoded) = Encoded::new(&bytes) {
            let _ = encoded.batch(batch.len(), origin(), None);
        }
    }
}

#[test]
fn a_thousand_floats_of_one_device_take_less_than_five_bytes_each() {
    let mut batch = Batch::with_capacity(origin(), 1, TimeQuality::Synced, 1_000);
    for point in 0..1_000u32 {
        // Eight requests of 125 registers' worth of points, as a Modbus device is read.
        let answered = 1_764_000_000_000_000_000 + i64::from(point / 125) * 3_000_000;
        batch.push_good(point, Value::F32(point as f32 * 0.1), answered);
    }
    let mut bytes = Vec::new();
    encode(&batch, preamble(3, 0), &mut bytes);
    println!("{} bytes for 1,000 samples", bytes.len());
    assert!(bytes.len() < 5_000);
}

#[test]
fn a_correction_moves_the_agents_times_and_no_others() {
    let mut batch = Batch::with_capacity(origin(), 1, TimeQuality::Unsynced, 1);
    let (value, status) = (Value::I8(1), StatusCode::GOOD);
    batch.push(Sample { point: 0, value, status, source_time: Some(5), agent_time: 10 });
    let moved = round_trip(&batch, Some(100));
    let sample = moved.get(0).unwrap();
    assert_eq!((sample.source_time, sample.agent_time), (Some(5), 110));
    assert_eq!(moved.time_quality, TimeQuality::Synced);
}
