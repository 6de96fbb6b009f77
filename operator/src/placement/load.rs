//! What a device costs the agent that reads it.

use std::collections::HashMap;

use lineside_crds::modbus::{self, Area};
use lineside_crds::model::{Address, Device, Mode, Protocol};
use lineside_plan::{Limits, PointSpec, SpaceId, Span, estimate};

/// Mean requests per thousand seconds that reading this device makes: never 0, so that every device
/// counts, and whole, so that sums do not depend on the order of addition. A suspended device
/// counts as what it costs now, the least.
pub fn milli_requests(device: &Device) -> u64 {
    if device.mode == Mode::Suspended {
        return 1;
    }
    let per_second = match &device.protocol {
        Protocol::ModbusTcp(settings) => modbus_tcp(device, settings),
        #[allow(unreachable_patterns, reason = "more protocols follow")]
        _ => device.points.len() as f64,
    };
    let asked = match device.max_requests_per_second {
        Some(most) => per_second.min(f64::from(most)),
        None => per_second,
    };
    // A float becomes the nearest integer that exists: no wrap, no panic.
    ((asked * 1000.0).round() as u64).max(1)
}

/// Requests per second of a Modbus device when nothing is refused, as its driver will plan them.
fn modbus_tcp(device: &Device, settings: &modbus::Settings) -> f64 {
    let mut groups: HashMap<&str, u32> = HashMap::new();
    let mut points = Vec::with_capacity(device.points.len());
    for (id, point) in device.points.iter().enumerate() {
        let Address::Modbus(address) = &point.address else { continue };
        let group = point.group.as_deref().map(|name| {
            let next = u32::try_from(groups.len()).unwrap_or(u32::MAX);
            *groups.entry(name).or_insert(next)
        });
        let unit = address.unit_id.unwrap_or(settings.unit_id);
        let span = Span {
            id,
            space: SpaceId::new(u16::from(unit), address.area.function()),
            start: u32::from(address.offset),
            len: u32::from(address.length()),
            group,
        };
        points.push(PointSpec { span, interval: point.interval });
    }
    let limits = |space: SpaceId| {
        let bits = [Area::Coil, Area::DiscreteInput].iter().any(|a| a.function() == space.table);
        let most = if bits { settings.max_bits } else { settings.max_registers };
        Limits { max_len: u32::from(most), max_gap: u32::from(settings.max_gap) }
    };
    estimate(&points, limits).requests_per_second
}

#[cfg(test)]
mod tests {
    use lineside_crds::model::ObjectKey;
    use lineside_crds::validate::{Meta, judge_device};
    use serde_json::{Value, json};

    use super::*;

    fn load(change: impl Fn(&mut Value)) -> u64 {
        let points: Vec<Value> = (0..10)
            .map(|i| json!({"name": format!("p{i}"), "address": format!("holding-register:{}:REAL", 1 + 2 * i)}))
            .collect();
        let mut spec = json!({"url": "modbus-tcp://10.0.0.1", "points": points});
        change(&mut spec);
        let meta = Meta::new(ObjectKey::new("ns", "d"));
        milli_requests(&judge_device(&meta, &spec).object.expect("a valid device"))
    }

    #[test]
    fn load_is_that_of_the_requests_that_the_driver_will_plan() {
        assert_eq!(load(|_| ()), 1000, "ten neighbours, one request each second");
        assert_eq!(load(|s| s["intervalMillis"] = json!(100)), 10_000);
        let two_units = |s: &mut Value| {
            s["points"][0]["address"] = json!("holding-register:1:REAL{unit-id: 7}");
        };
        assert_eq!(load(two_units), 2000);
        let small = |s: &mut Value| {
            s["url"] = json!("modbus-tcp://10.0.0.1?max-registers-per-request=10");
        };
        assert_eq!(load(small), 2000);
    }

    #[test]
    fn load_is_bounded_by_what_the_device_may_be_asked_and_never_nothing() {
        let bounded = |s: &mut Value| {
            s["intervalMillis"] = json!(10);
            s["limits"] = json!({"maxRequestsPerSecond": 5});
        };
        assert_eq!(load(bounded), 5000);
        assert_eq!(load(|s| s["mode"] = json!("Suspended")), 1);
        assert_eq!(load(|s| s["intervalMillis"] = json!(86_400_000)), 1);
    }
}
