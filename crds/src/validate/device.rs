//! The rules of a DeviceConnection that the schema cannot say.

use std::collections::{BTreeMap, HashSet};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use super::agent::node_selector;
use super::{Judged, Meta};
use crate::api::device::{self as api, DeviceConnectionSpec, ModbusTcpSpec, Ownership};
use crate::diagnostics::{Code, Diagnostic, FieldPath, Level};
use crate::modbus::{self, ByteOrder, Settings};
use crate::model::{Address, Availability, Device, Mode, Placement, Point, Protocol, Timeouts};
use crate::names;
use crate::plc4x;

pub(super) fn judge(meta: &Meta, spec: &DeviceConnectionSpec) -> Judged<Device> {
    let at = FieldPath::spec();
    let mut findings = Vec::new();
    let connection = connection(spec, &at, &mut findings);
    let requested = spec.timeouts.as_ref().and_then(|t| t.request_millis).map(millis);
    let from_url = connection.as_ref().and_then(|(_, timeout)| *timeout);
    if let (Some(field), Some(url)) = (requested, from_url)
        && field != url
    {
        let message = format!(
            "request-timeout={} contradicts timeouts.requestMillis: {}",
            url.as_millis(),
            field.as_millis()
        );
        findings.push(Diagnostic::new(Code::UrlContradicted, at.key("url"), message));
    }
    let points = points(spec, &at.key("points"), &mut findings);
    reserved_names(&points, &at.key("points"), &mut findings);
    if let Some((settings, _)) = &connection {
        limits(&points, settings, &at.key("points"), &mut findings);
    }
    let placement = placement(spec, &at, &mut findings);
    let refused = findings.iter().any(|f| f.code.level() == Level::Error);
    let object = connection.filter(|_| !refused).map(|(settings, _)| Device {
        key: meta.key.clone(),
        uid: meta.uid.clone(),
        generation: meta.generation,
        labels: meta.labels.clone(),
        mode: mode(spec.mode),
        availability: match spec.availability {
            api::Availability::Continuous => Availability::Continuous,
            api::Availability::Intermittent => Availability::Intermittent,
        },
        protocol: Protocol::ModbusTcp(settings),
        points: points.into_iter().filter_map(|(_, p)| p).collect(),
        timeouts: Timeouts {
            connect: millis(
                spec.timeouts
                    .as_ref()
                    .and_then(|t| t.connect_millis)
                    .unwrap_or(api::CONNECT_MILLIS_DEFAULT),
            ),
            request: requested.or(from_url).unwrap_or(millis(api::REQUEST_MILLIS_DEFAULT)),
        },
        max_requests_per_second: spec
            .limits
            .as_ref()
            .and_then(|l| l.max_requests_per_second)
            .map(|n| u32::try_from(n).unwrap_or(u32::MAX)),
        location: spec.location.clone().into(),
        placement,
    });
    Judged { object, findings }
}

fn placement(
    spec: &DeviceConnectionSpec,
    at: &FieldPath,
    findings: &mut Vec<Diagnostic>,
) -> Placement {
    let mut placed = Placement::default();
    if let Some(pool) = &spec.agent_pool_ref {
        placed.pool = pool.name.as_str().into();
    }
    if let Some(placement) = &spec.placement {
        let at = at.key("placement");
        node_selector(&placement.node_selector, &at.key("nodeSelector"), findings);
        if placement.ownership == Ownership::Failover {
            let message = "this release has Pinned only; write Pinned or remove ownership";
            let field = at.key("ownership");
            findings.push(Diagnostic::new(Code::OwnershipUnavailable, field, message));
        }
        placed.node_selector.clone_from(&placement.node_selector);
    }
    placed
}

pub(super) fn mode(mode: crate::api::Mode) -> Mode {
    match mode {
        crate::api::Mode::Running => Mode::Running,
        crate::api::Mode::Suspended => Mode::Suspended,
    }
}

/// The settings and the request timeout that the URL names.
type Connection = (Settings, Option<Duration>);

fn connection(
    spec: &DeviceConnectionSpec,
    at: &FieldPath,
    findings: &mut Vec<Diagnostic>,
) -> Option<Connection> {
    match (&spec.url, &spec.protocol) {
        (Some(_), Some(_)) => {
            let message = "url and protocol are both there; write exactly one";
            findings.push(Diagnostic::new(Code::ExactlyOneEndpoint, at.key("protocol"), message));
            None
        }
        (None, None) => {
            let message = "neither url nor protocol is there; write exactly one";
            findings.push(Diagnostic::new(Code::ExactlyOneEndpoint, at.clone(), message));
            None
        }
        (Some(url), None) => {
            let at = at.key("url");
            let (connection, problems) = match plc4x::parse(url) {
                Ok(c) => (Some((c.settings, c.request_timeout)), c.notes),
                Err(problems) => (None, problems),
            };
            let found = problems.into_iter();
            findings.extend(found.map(|p| Diagnostic::new(p.code, at.clone(), p.message)));
            connection
        }
        (None, Some(protocol)) => {
            let at = at.key("protocol");
            match (protocol.kind, &protocol.modbus_tcp) {
                (api::ProtocolType::ModbusTCP, Some(modbus)) => {
                    Some((settings(modbus, &at.key("modbusTcp"), findings), None))
                }
                (api::ProtocolType::ModbusTCP, None) => {
                    let message = "type ModbusTCP needs modbusTcp beside it";
                    findings.push(Diagnostic::new(Code::ExactlyOneProtocol, at, message));
                    None
                }
            }
        }
    }
}

fn settings(spec: &ModbusTcpSpec, at: &FieldPath, findings: &mut Vec<Diagnostic>) -> Settings {
    if spec.host.contains(':') && spec.host.parse::<Ipv6Addr>().is_err() {
        let message = "no IPv6 address; the port belongs in the field port";
        findings.push(Diagnostic::new(Code::PatternMismatch, at.key("host"), message));
    }
    // The schema keeps the numbers within bounds that fit; a spec outside of them is refused
    // there, so the fallbacks are never used by an accepted one.
    Settings {
        host: spec.host.clone(),
        port: u16::try_from(spec.port).unwrap_or_default(),
        unit_id: u8::try_from(spec.unit_id).unwrap_or_default(),
        byte_order: match spec.byte_order {
            api::ByteOrder::BigEndian => ByteOrder::BigEndian,
            api::ByteOrder::LittleEndian => ByteOrder::LittleEndian,
            api::ByteOrder::BigEndianByteSwap => ByteOrder::BigEndianByteSwap,
            api::ByteOrder::LittleEndianByteSwap => ByteOrder::LittleEndianByteSwap,
        },
        max_registers: u16::try_from(spec.max_registers_per_request).unwrap_or_default(),
        max_bits: u16::try_from(spec.max_coils_per_request).unwrap_or_default(),
        max_gap: u16::try_from(spec.max_gap).unwrap_or_default(),
    }
}

/// Every point by name, with its parsed form if its address is good.
type Points = Vec<(Arc<str>, Option<Point>)>;

fn points(spec: &DeviceConnectionSpec, at: &FieldPath, findings: &mut Vec<Diagnostic>) -> Points {
    let mut points = Vec::with_capacity(spec.points.len());
    for (i, point) in spec.points.iter().enumerate() {
        let name = names::shared(&point.name);
        let parsed = match modbus::address::parse(&point.address) {
            Ok(address) => Some(Point {
                name: name.clone(),
                address: Address::Modbus(address),
                interval: millis(point.interval_millis.unwrap_or(spec.interval_millis)),
                group: point.group.as_deref().map(Into::into),
                unit: point.unit.as_deref().map(Into::into),
            }),
            Err(error) => {
                let at = at.index(i).key("address");
                findings.push(Diagnostic::new(error.code(), at, error.to_string()));
                None
            }
        };
        points.push((name, parsed));
    }
    points
}

/// `x_q` is where databases keep the quality of `x`.
fn reserved_names(points: &Points, at: &FieldPath, findings: &mut Vec<Diagnostic>) {
    let names: HashSet<&str> = points.iter().map(|(name, _)| &**name).collect();
    for (i, (name, _)) in points.iter().enumerate() {
        if let Some(base) = name.strip_suffix("_q")
            && names.contains(base)
        {
            let message = format!("{name} is where the quality of point {base} is kept");
            let at = at.index(i).key("name");
            findings.push(Diagnostic::new(Code::ReservedPointName, at, message));
        }
    }
}

/// Values and groups that one request cannot hold.
fn limits(points: &Points, settings: &Settings, at: &FieldPath, findings: &mut Vec<Diagnostic>) {
    let mut groups: BTreeMap<&str, Vec<(usize, &Point, &modbus::Address)>> = BTreeMap::new();
    for (i, (_, point)) in points.iter().enumerate() {
        let Some(point) = point else { continue };
        let Address::Modbus(address) = &point.address;
        if !address.area.is_bits() && address.length() > settings.max_registers {
            let message = format!(
                "{} registers; maxRegistersPerRequest is {}",
                address.length(),
                settings.max_registers
            );
            let at = at.index(i).key("address");
            findings.push(Diagnostic::new(Code::ValueTooLarge, at, message));
        }
        if let Some(group) = &point.group {
            groups.entry(group).or_default().push((i, point, address));
        }
    }
    for (name, members) in groups {
        let Some((first_index, first, base)) = members.first() else { continue };
        let place = |i: usize| at.index(i).key("group");
        let unit = |a: &modbus::Address| a.unit_id.unwrap_or(settings.unit_id);
        let mut mixed = false;
        for (i, point, address) in &members {
            let what = if address.area != base.area {
                "another table"
            } else if unit(address) != unit(base) {
                "another unit"
            } else if point.interval != first.interval {
                "another interval"
            } else {
                continue;
            };
            mixed = true;
            let message = format!("group {name}: {} has {what} than {}", point.name, first.name);
            findings.push(Diagnostic::new(Code::GroupMixed, place(*i), message));
        }
        let start = members.iter().map(|(_, _, a)| u32::from(a.offset)).min().unwrap_or_default();
        let end = members
            .iter()
            .map(|(_, _, a)| u32::from(a.offset) + u32::from(a.length()))
            .max()
            .unwrap_or_default();
        let (most, what) = match base.area.is_bits() {
            true => (settings.max_bits, "bits"),
            false => (settings.max_registers, "registers"),
        };
        let span = end.saturating_sub(start);
        if !mixed && span > u32::from(most) {
            let message = format!("group {name} spans {span} {what}; one request holds {most}");
            findings.push(Diagnostic::new(Code::GroupTooLarge, place(*first_index), message));
        }
    }
}

fn millis(n: i64) -> Duration {
    Duration::from_millis(u64::try_from(n).unwrap_or_default())
}
