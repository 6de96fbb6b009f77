//! `docs/specs/sample.md` where the types themselves keep it.

use std::sync::Arc;

use lineside_core::kit::numbered_origin;
use lineside_core::{Batch, FaultClass, Sample, StatusCode, TimeQuality, Value};

/// `SMP-1`, `SMP-2`
#[test]
fn no_way_into_a_batch_keeps_the_value_of_a_bad_sample() {
    let mut batch = Batch::with_capacity(numbered_origin(), 1, TimeQuality::Synced, 1);
    for status in [StatusCode::BAD_TIMEOUT, StatusCode(0xC000_0000), StatusCode(0x8099_1234)] {
        let (value, source_time) = (Value::String(Arc::from("old")), Some(1));
        batch.push(Sample { point: 0, value, status, source_time, agent_time: 2 });
    }
    assert!(batch.iter().all(|s| *s.value == Value::Null && s.time() == 2));
}

/// `SMP-6`
#[test]
fn every_fault_class_has_a_bad_status_of_its_own_with_a_name() {
    let mut seen = Vec::new();
    for class in FaultClass::ALL {
        let status = class.status();
        assert!(status.is_bad() && status.name().is_some(), "{}", class.label());
        assert!(!seen.contains(&status), "{} shares its status", class.label());
        seen.push(status);
    }
}
