//! From metrics to points with names and values. Pure: the same metrics give the same points in
//! the same order.

use std::collections::BTreeMap;
use std::sync::Arc;

use lineside_core::Value;
use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::table::{Kind, ROWS, Row};

/// Most points that are told, as many as a device may have.
pub const POINTS_MOST: usize = 1000;
/// Longest name of a point.
const NAME_MOST: usize = 128;

/// What an agent tells of itself at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Names of the points.
    pub names: Vec<Arc<str>>,
    /// Their values, one for each.
    pub values: Vec<Value>,
    /// Points that are not among them, since there are too many.
    pub left_out: usize,
}

/// What is told in `namespace`: nothing of objects in another one.
pub fn told(families: &[MetricFamily], namespace: &str) -> Told {
    let mut told = Told::default();
    for row in ROWS {
        let Some(family) = families.iter().find(|f| f.name() == row.metric) else { continue };
        for (name, value) in points(row, family, namespace) {
            if told.names.len() < POINTS_MOST {
                told.names.push(name);
                told.values.push(value);
            } else {
                told.left_out += 1;
            }
        }
    }
    told
}

fn points(row: &Row, family: &MetricFamily, namespace: &str) -> Vec<(Arc<str>, Value)> {
    let is_counter = family.get_field_type() == MetricType::COUNTER;
    let number = |metric: &Metric| match is_counter {
        true => metric.get_counter().get_value(),
        false => metric.get_gauge().get_value(),
    };
    let ours = |metric: &&Metric| label(metric, "namespace").is_none_or(|of| of == namespace);
    let path = |metric| -> Vec<&str> {
        row.labels.iter().map(|name| label(metric, name).unwrap_or_default()).collect()
    };
    let all = family.get_metric().iter().filter(ours);
    if let Kind::Word(word) = row.kind {
        let shown = all.filter(|metric| number(metric) == 1.0);
        let words: BTreeMap<Vec<&str>, &str> =
            shown.map(|metric| (path(metric), label(metric, word).unwrap_or_default())).collect();
        let point =
            |(path, word): (Vec<&str>, &str)| (name(row, &path), Value::String(word.into()));
        return words.into_iter().map(point).collect();
    }
    let mut sums: BTreeMap<Vec<&str>, f64> = BTreeMap::new();
    for metric in all {
        *sums.entry(path(metric)).or_default() += number(metric);
    }
    let value = |sum: f64| match row.kind {
        Kind::Flag => Value::Bool(sum != 0.0),
        // Amounts are whole and never negative; beyond 2^53 /metrics says no more either.
        Kind::Count => Value::U64(sum as u64),
        Kind::Number | Kind::Word(_) => Value::F64(sum),
    };
    sums.into_iter().map(|(path, sum)| (name(row, &path), value(sum))).collect()
}

fn label<'a>(metric: &'a Metric, name: &str) -> Option<&'a str> {
    metric.get_label().iter().find(|pair| pair.name() == name).map(|pair| pair.value())
}

/// The stem and the values of the labels with `/` between them. Names of objects may be longer
/// than those of points: then the end gives way to a hash of the whole.
fn name(row: &Row, path: &[&str]) -> Arc<str> {
    let whole = std::iter::once(row.stem()).chain(path.iter().copied());
    let whole = whole.collect::<Vec<_>>().join("/");
    if whole.len() <= NAME_MOST {
        return whole.into();
    }
    let hash = format!("-{:016x}", fnv(&whole));
    let kept: String = whole.chars().take(NAME_MOST - hash.len()).collect();
    (kept + &hash).into()
}

/// FNV-1a: it has to tell names apart, not to resist anybody.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use prometheus::{GaugeVec, IntCounterVec, Opts, Registry};

    use super::*;

    const DEVICES: [&str; 2] = ["namespace", "device"];

    fn gather(fill: impl FnOnce(&Registry)) -> Vec<MetricFamily> {
        let registry = Registry::new();
        fill(&registry);
        registry.gather()
    }

    fn gauge(registry: &Registry, name: &str, labels: &[&str], rows: &[(&[&str], f64)]) {
        let gauge = GaugeVec::new(Opts::new(name, "help"), labels).unwrap();
        for (values, number) in rows {
            gauge.with_label_values(values).set(*number);
        }
        registry.register(Box::new(gauge)).unwrap();
    }

    fn shown(told: &Told) -> Vec<(&str, Value)> {
        told.names.iter().map(|n| &**n).zip(told.values.iter().cloned()).collect()
    }

    #[test]
    fn names_are_those_of_the_metrics_with_the_labels_and_values_have_their_type() {
        let told = told(
            &gather(|r| {
                gauge(r, "lineside_agent_uptime_seconds", &[], &[(&[], 1.5)]);
                gauge(r, "lineside_agent_clock_synced", &[], &[(&[], 1.0)]);
                gauge(r, "lineside_device_code", &DEVICES, &[(&["plant", "b"], 2001.0)]);
                let health = ["namespace", "device", "health"];
                gauge(
                    r,
                    "lineside_device_health",
                    &health,
                    &[(&["plant", "b", "Healthy"], 0.0), (&["plant", "b", "Unavailable"], 1.0)],
                );
                gauge(r, "process_open_fds", &[], &[(&[], 9.0)]);
            }),
            "plant",
        );
        assert_eq!(
            shown(&told),
            [
                ("agent_uptime_seconds", Value::F64(1.5)),
                ("agent_clock_synced", Value::Bool(true)),
                ("device_health/b", Value::String("Unavailable".into())),
                ("device_code/b", Value::U64(2001)),
            ]
        );
    }

    #[test]
    fn what_is_of_another_namespace_is_not_told() {
        let families = gather(|r| {
            let rows: [(&[&str], f64); 2] = [(&["a", "d"], 1.0), (&["b", "e"], 2.0)];
            gauge(r, "lineside_device_code", &DEVICES, &rows);
        });
        assert_eq!(shown(&told(&families, "b")), [("device_code/e", Value::U64(2))]);
        assert!(told(&families, "c").names.is_empty());
    }

    #[test]
    fn labels_without_a_place_in_the_name_are_summed() {
        let families = gather(|r| {
            let labels = ["namespace", "device", "class"];
            let faults =
                IntCounterVec::new(Opts::new("lineside_device_faults_total", "help"), &labels);
            let faults = faults.unwrap();
            faults.with_label_values(&["a", "d", "Timeout"]).inc_by(3);
            faults.with_label_values(&["a", "d", "Peer"]).inc_by(4);
            r.register(Box::new(faults)).unwrap();
        });
        assert_eq!(shown(&told(&families, "a")), [("device_faults_total/d", Value::U64(7))]);
    }

    #[test]
    fn beyond_the_bound_the_least_important_are_left_out_and_counted() {
        let devices: Vec<String> = (0..600).map(|i| format!("d{i:03}")).collect();
        let families = gather(|r| {
            for metric in ["lineside_device_code", "lineside_device_sessions_total"] {
                let rows: Vec<[&str; 2]> = devices.iter().map(|d| ["a", d.as_str()]).collect();
                let rows: Vec<(&[&str], f64)> = rows.iter().map(|r| (&r[..], 1.0)).collect();
                gauge(r, metric, &DEVICES, &rows);
            }
        });
        let told = told(&families, "a");
        assert_eq!((told.names.len(), told.left_out), (POINTS_MOST, 200));
        assert_eq!(&*told.names[599], "device_code/d599");
        assert_eq!(&*told.names[999], "device_sessions_total/d399");
    }

    #[test]
    fn a_name_that_is_too_long_is_cut_and_stays_one_of_its_own() {
        let device = "d".repeat(200);
        let names: Vec<_> = ["Good", "Bad"]
            .map(|quality| {
                let row = ROWS.iter().find(|r| r.metric == "lineside_device_points").unwrap();
                name(row, &[device.as_str(), quality])
            })
            .into();
        assert!(names.iter().all(|name| name.len() == NAME_MOST), "{names:?}");
        assert_ne!(names[0], names[1]);
        assert_eq!(&*names[0], &*name(&ROWS[ROWS.len() - 4], &[device.as_str(), "Good"]));
    }

    #[test]
    fn every_row_has_a_metric_and_a_pattern_of_its_own() {
        let patterns: std::collections::BTreeSet<_> = ROWS.iter().map(Row::pattern).collect();
        assert_eq!(patterns.len(), ROWS.len());
        assert!(patterns.contains("sink_dropped_samples_total/{pipeline}/{sink}/{reason}"));
    }
}
