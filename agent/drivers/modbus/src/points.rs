//! A device's points as the planner and the decoder want them.

use std::collections::{BTreeSet, HashMap};

use lineside_core::plan::{Limits, PointSpec, SpaceId, Span};
use lineside_core::{Fault, FaultClass, Value};
use lineside_crds::diagnostics::Code;
use lineside_crds::modbus::{self, Area, ByteOrder, DataType, Settings};
use lineside_crds::model::{Address, Device, Point, Protocol};

use crate::decode::{self, NotUsable};
use crate::wire;

/// Most registers and bits that one answer can carry (V1.1b3, sections 6.1 to 6.4).
const MAX_REGISTERS: u16 = 125;
const MAX_BITS: u16 = 2000;

/// The points of one version of a device.
#[derive(Debug)]
pub struct Points {
    layouts: Vec<Layout>,
    units: Vec<u8>,
}

/// How one point lies in an answer.
#[derive(Clone, Copy, Debug)]
struct Layout {
    area: Area,
    data_type: DataType,
    count: u16,
    /// Number of bits or registers.
    length: u16,
    order: ByteOrder,
}

impl Points {
    /// The points of `device`, by their index in it, and what the reader schedules: there
    /// `span.id` is that index. The reader keeps its own, so it is not kept here.
    ///
    /// # Errors
    /// A point has an address of another protocol; validation does not let that through.
    pub fn new(device: &Device) -> Result<(Self, Vec<PointSpec>), Fault> {
        let settings = settings(device)?;
        let mut groups: HashMap<&str, u32> = HashMap::new();
        let mut specs = Vec::with_capacity(device.points.len());
        let mut units = BTreeSet::new();
        let mut layouts = Vec::with_capacity(device.points.len());
        for (id, point) in device.points.iter().enumerate() {
            let address = address(point)?;
            let group = point.group.as_ref().map(|name| {
                let next = u32::try_from(groups.len()).unwrap_or(u32::MAX);
                *groups.entry(name).or_insert(next)
            });
            let length = address.length();
            let unit = unit(settings, address);
            units.insert(unit);
            let space = space(unit, address.area);
            let (start, len) = (u32::from(address.offset), u32::from(length));
            let span = Span { id, space, start, len, group };
            specs.push(PointSpec { span, interval: point.interval });
            layouts.push(Layout {
                area: address.area,
                data_type: address.data_type,
                count: address.count,
                length,
                order: address.byte_order.unwrap_or(settings.byte_order),
            });
        }
        Ok((Self { layouts, units: units.into_iter().collect() }, specs))
    }

    /// The unit identifiers of all points, each once.
    pub fn units(&self) -> &[u8] {
        &self.units
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.layouts.len()
    }

    /// The value of a point whose units begin at `offset` in the `data` of an answer.
    ///
    /// # Errors
    /// The bytes are no value of the point's type.
    pub fn decode(&self, point: usize, offset: u32, data: &[u8]) -> Result<Value, NotUsable> {
        let layout = self.layouts.get(point).ok_or(NotUsable::Short)?;
        let offset = usize::try_from(offset).map_err(|_| NotUsable::Short)?;
        if layout.area.is_bits() {
            return match layout.data_type {
                DataType::Bool => decode::bit(data, offset).map(Value::Bool),
                _ => Err(NotUsable::Bits),
            };
        }
        let raw = layout.registers(offset, data).ok_or(NotUsable::Short)?;
        decode::registers(raw, layout.data_type, layout.count, layout.order)
    }

    /// The bytes that carry a point, as received; for a bit one byte, 0 or 1.
    pub fn raw(&self, point: usize, offset: u32, data: &[u8]) -> Vec<u8> {
        let (Some(layout), Ok(offset)) = (self.layouts.get(point), usize::try_from(offset)) else {
            return Vec::new();
        };
        if layout.area.is_bits() {
            return decode::bit(data, offset).map(u8::from).into_iter().collect();
        }
        layout.registers(offset, data).unwrap_or_default().to_vec()
    }
}

impl Layout {
    fn registers<'a>(&self, offset: usize, data: &'a [u8]) -> Option<&'a [u8]> {
        let start = offset.checked_mul(2)?;
        data.get(start..start.checked_add(usize::from(self.length) * 2)?)
    }
}

/// The settings of a device of this driver.
///
/// # Errors
/// The device speaks another protocol; whoever starts sessions does not let that through.
pub fn settings(device: &Device) -> Result<&Settings, Fault> {
    match &device.protocol {
        Protocol::ModbusTcp(settings) => Ok(settings),
        other => {
            let text = format!("{} is no {}", device.key, other.type_name());
            Err(Fault::new(FaultClass::Bug, Code::UnknownValue, text))
        }
    }
}

/// The limits of the requests of each space.
pub fn limits(settings: &Settings) -> impl Fn(SpaceId) -> Limits + Send + Sync + 'static {
    let max_registers = u32::from(settings.max_registers.min(MAX_REGISTERS));
    let max_bits = u32::from(settings.max_bits.min(MAX_BITS));
    let max_gap = u32::from(settings.max_gap);
    move |space| {
        let bits = area(space).is_some_and(Area::is_bits);
        Limits { max_len: if bits { max_bits } else { max_registers }, max_gap }
    }
}

/// A planned request as it goes over the wire; `None` when the protocol cannot carry it.
pub fn request(planned: &lineside_core::plan::Request) -> Option<wire::Request> {
    let area = area(planned.space)?;
    let quantity = u16::try_from(planned.len).ok()?;
    if quantity == 0 || quantity > if area.is_bits() { MAX_BITS } else { MAX_REGISTERS } {
        return None;
    }
    let unit = u8::try_from(planned.space.unit).ok()?;
    Some(wire::Request { unit, area, start: u16::try_from(planned.start).ok()?, quantity })
}

/// The address of a point as it goes over the wire, e.g. `unit 1 FC3 @99 x2`; empty for a device
/// or point of another protocol.
pub fn wire_address(device: &Device, point: &Point) -> String {
    match (settings(device), address(point)) {
        (Ok(settings), Ok(address)) => address.wire(settings.unit_id).to_string(),
        _ => String::new(),
    }
}

fn address(point: &Point) -> Result<&modbus::Address, Fault> {
    match &point.address {
        Address::Modbus(address) => Ok(address),
        #[allow(unreachable_patterns, reason = "more protocols follow")]
        _ => {
            let text = format!("point {} has an address of another protocol", point.name);
            Err(Fault::new(FaultClass::Bug, Code::AddressSyntax, text))
        }
    }
}

fn unit(settings: &Settings, address: &modbus::Address) -> u8 {
    address.unit_id.unwrap_or(settings.unit_id)
}

fn space(unit: u8, area: Area) -> SpaceId {
    SpaceId::new(u16::from(unit), area.function())
}

fn area(space: SpaceId) -> Option<Area> {
    [Area::Coil, Area::DiscreteInput, Area::HoldingRegister, Area::InputRegister]
        .into_iter()
        .find(|a| a.function() == space.table)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use lineside_crds::model::{Availability, Mode, ObjectKey, Timeouts};

    use super::*;

    fn device(points: &[(&str, Option<&str>)]) -> Device {
        Device {
            key: ObjectKey::new("plant", "press"),
            uid: None,
            generation: None,
            labels: Default::default(),
            mode: Mode::Running,
            availability: Availability::Continuous,
            protocol: Protocol::ModbusTcp(Settings {
                host: "press".into(),
                port: 502,
                unit_id: 7,
                byte_order: ByteOrder::LittleEndianByteSwap,
                max_registers: 60,
                max_bits: 800,
                max_gap: 5,
            }),
            points: points
                .iter()
                .map(|(address, group)| Point {
                    name: (*address).into(),
                    address: Address::Modbus(address.parse().unwrap()),
                    interval: Duration::from_secs(1),
                    group: group.map(Into::into),
                    unit: None,
                })
                .collect(),
            timeouts: Timeouts { connect: Duration::from_secs(5), request: Duration::from_secs(2) },
            max_requests_per_second: None,
            placement: Default::default(),
            location: Arc::new([]),
        }
    }

    #[test]
    fn a_point_is_a_span_of_its_units_table_and_group() {
        let device = device(&[
            ("holding-register:100:REAL", Some("snapshot")),
            ("holding-register:200:LREAL{unit-id: 9}", None),
            ("coil:1", None),
            ("holding-register:300:CHAR[5]", Some("snapshot")),
        ]);
        let (points, specs) = Points::new(&device).unwrap();
        let spans: Vec<_> = specs
            .iter()
            .map(|p| (p.span.id, p.span.space.unit, p.span.space.table, p.span.start, p.span.len))
            .collect();
        assert_eq!(
            spans,
            [(0, 7, 3, 99, 2), (1, 9, 3, 199, 4), (2, 7, 1, 0, 1), (3, 7, 3, 299, 3)]
        );
        let groups: Vec<_> = specs.iter().map(|p| p.span.group).collect();
        assert_eq!(groups, [Some(0), None, None, Some(0)]);
        assert_eq!(points.units(), [7, 9]);
    }

    #[test]
    fn the_connections_byte_order_holds_for_points_that_name_none() {
        let device = device(&[
            ("holding-register:1:UDINT", None),
            ("holding-register:1:UDINT{byte-order: 'BIG_ENDIAN'}", None),
        ]);
        let (points, _) = Points::new(&device).unwrap();
        let data = [0x56, 0x78, 0x12, 0x34];
        assert_eq!(points.decode(0, 0, &data), Ok(Value::U32(0x1234_5678)));
        assert_eq!(points.decode(1, 0, &data), Ok(Value::U32(0x5678_1234)));
    }

    #[test]
    fn a_value_is_taken_from_its_place_in_the_answer_or_not_at_all() {
        let device = device(&[("holding-register:1:UINT", None), ("coil:1", None)]);
        let (points, _) = Points::new(&device).unwrap();
        assert_eq!(points.decode(0, 1, &[0, 1, 0, 2]), Ok(Value::U16(2)));
        assert_eq!(points.raw(0, 1, &[0, 1, 0, 2]), [0, 2]);
        assert_eq!(points.decode(0, 2, &[0, 1, 0, 2]), Err(NotUsable::Short));
        assert_eq!(points.decode(1, 9, &[0, 2]), Ok(Value::Bool(true)));
        assert_eq!(points.raw(1, 9, &[0, 2]), [1]);
        assert_eq!(points.decode(2, 0, &[0, 1]), Err(NotUsable::Short));
    }

    #[test]
    fn requests_keep_the_limits_of_device_and_protocol() {
        let device = device(&[]);
        let limits = limits(settings(&device).unwrap());
        assert_eq!(limits(SpaceId::new(7, 3)), Limits { max_len: 60, max_gap: 5 });
        assert_eq!(limits(SpaceId::new(7, 2)), Limits { max_len: 800, max_gap: 5 });
        let planned = |table, start, len| lineside_core::plan::Request {
            token: 1,
            space: SpaceId::new(7, table),
            start,
            len,
            timeout: Duration::from_secs(1),
            probe: false,
        };
        assert!(request(&planned(3, 0, 125)).is_some());
        assert!(request(&planned(3, 0, 126)).is_none());
        assert!(request(&planned(1, 0, 2000)).is_some());
        assert!(request(&planned(1, 0, 2001)).is_none());
        assert!(request(&planned(3, 65_536, 1)).is_none());
        assert!(request(&planned(6, 0, 1)).is_none());
    }
}
