//! Statements. Names come from people and from the server: each is quoted as its model wants it.

use lineside_core::UnixNanos;
use lineside_crds::model::{IotdbModel, ObjectKey};

use super::columns::{Column, MOST};
use crate::name::{identifier, literal};
use crate::pack::Layout;

/// Columns of a row before those of the points: the table model has the time as one.
pub(super) fn times(layout: &Layout) -> usize {
    usize::from(layout.is_table())
}

/// The columns of a device.
pub(super) fn columns(layout: &Layout, device: &ObjectKey) -> String {
    let target = target(layout, device);
    match layout.is_table() {
        false => format!("show timeseries {target}.* limit {MOST}"),
        true => format!("desc {target}"),
    }
}

/// For each point its last value and the time of it, then the same of its quality.
pub(super) fn last(layout: &Layout, device: &ObjectKey, columns: &[Column]) -> String {
    let mut wanted = Vec::new();
    for (name, _) in names(layout, columns) {
        wanted.extend(match layout.is_table() {
            false => [format!("last_value({name})"), format!("max_time({name})")],
            true => [format!("last({name})"), format!("last_by(time, {name})")],
        });
    }
    let tags = match tags(layout, device) {
        Some(tags) => format!(" where {tags}"),
        None => String::new(),
    };
    format!("select {} from {}{tags}", wanted.join(", "), target(layout, device))
}

/// For each point its value and its quality, oldest first.
pub(super) fn raw(
    layout: &Layout,
    device: &ObjectKey,
    columns: &[Column],
    span: (UnixNanos, UnixNanos),
    limit: usize,
) -> String {
    let mut wanted: Vec<_> = names(layout, columns).map(|(name, _)| name).collect();
    let mut order = "";
    if layout.is_table() {
        wanted.insert(0, "time".to_owned());
        order = " order by time";
    }
    let (wanted, target) = (wanted.join(", "), target(layout, device));
    format!(
        "select {wanted} from {target} where {}{order} limit {limit}",
        within(layout, device, span)
    )
}

/// For each point: values, last one, and of numbers average, least and greatest; then samples and
/// the ends of their qualities as numbers.
pub(super) fn windows(
    layout: &Layout,
    device: &ObjectKey,
    columns: &[Column],
    (from, to): (UnixNanos, UnixNanos),
    every: i64,
) -> String {
    let [last, least, greatest] = match layout.is_table() {
        false => ["last_value", "min_value", "max_value"],
        true => ["last", "min", "max"],
    };
    let mut wanted = Vec::new();
    let each = columns.iter().flat_map(|c| names_of(layout, c).map(move |name| (c, name)));
    for (column, (name, quality)) in each {
        wanted.push(format!("count({name})"));
        if quality {
            wanted.extend([format!("{least}({name})"), format!("{greatest}({name})")]);
            continue;
        }
        wanted.push(format!("{last}({name})"));
        if column.is_number() {
            wanted.push(format!("avg({name})"));
            wanted.extend([format!("{least}({name})"), format!("{greatest}({name})")]);
        }
    }
    let precision = layout.precision;
    let (unit, length) = (precision.unit(), every / precision.nanos());
    let (start, end) = (precision.tick(from), precision.tick(to));
    let (wanted, target) = (wanted.join(", "), target(layout, device));
    match layout.is_table() {
        false => {
            format!("select {wanted} from {target} group by ([{start}, {end}), {length}{unit})")
        }
        true => format!(
            "select date_bin({length}{unit}, time, {start}), {wanted} from {target} where {} \
             group by 1 order by 1",
            within(layout, device, (from, to)),
        ),
    }
}

fn target(layout: &Layout, device: &ObjectKey) -> String {
    let target = layout.target_of(&device.namespace, &device.name);
    match &layout.model {
        IotdbModel::Tree { .. } => target.to_string(),
        IotdbModel::Table { database, .. } => {
            format!("{}.{}", identifier(database), identifier(&target))
        }
    }
}

/// Which rows of a table are the device's.
fn tags(layout: &Layout, device: &ObjectKey) -> Option<String> {
    let (namespace, name) = (literal(&device.namespace), literal(&device.name));
    layout.is_table().then(|| format!("namespace = {namespace} and device = {name}"))
}

/// Rows of the device from a time to before another. A tick begins at its time, so one that begins
/// before `from` is not wanted.
fn within(layout: &Layout, device: &ObjectKey, (from, to): (UnixNanos, UnixNanos)) -> String {
    let up = |time: UnixNanos| {
        let tick = layout.precision.tick(time);
        tick + i64::from(layout.precision.time(tick) < time)
    };
    let tags = tags(layout, device).map_or_else(String::new, |tags| format!("{tags} and "));
    format!("{tags}time >= {} and time < {}", up(from), up(to))
}

/// The names of all columns in statements; whether each is a quality.
fn names(layout: &Layout, columns: &[Column]) -> impl Iterator<Item = (String, bool)> {
    columns.iter().flat_map(|column| names_of(layout, column))
}

fn names_of(layout: &Layout, column: &Column) -> impl Iterator<Item = (String, bool)> + use<> {
    let (value, quality) = layout.columns(&column.point);
    let quoted = |name: &str| match layout.is_table() {
        false => name.to_owned(),
        true => identifier(name),
    };
    let value = column.of.map(|_| (quoted(&value), false));
    let quality = column.quality.then(|| (quoted(&quality), true));
    value.into_iter().chain(quality)
}
