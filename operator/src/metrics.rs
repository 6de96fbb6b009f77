//! What the operator counts, and the text of `/metrics`.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::queue::Outcome;

/// Runs of one key, by kind and outcome (`done`, `again`, `failed`, `gone`).
pub const RECONCILES: &str = "lineside_operator_reconciles_total";
/// Duration of runs, by kind.
pub const RECONCILE_SECONDS: &str = "lineside_operator_reconcile_duration_seconds";
/// Keys that are due and wait for a free place.
pub const QUEUE_DEPTH: &str = "lineside_operator_queue_depth";
/// Keys that run.
pub const RUNNING: &str = "lineside_operator_reconciles_running";
/// Requests to the API server, by method and answer (HTTP status, or `error`).
pub const REQUESTS: &str = "lineside_operator_requests_total";
/// 1 while this process leads.
pub const LEADER: &str = "lineside_operator_leader";
/// Lists, so restarts of watches and the first start, by kind.
pub const LISTS: &str = "lineside_operator_lists_total";
/// Watches that broke, by kind.
pub const WATCH_FAILURES: &str = "lineside_operator_watch_failures_total";
/// Objects in the cache, by kind.
pub const CACHED: &str = "lineside_operator_cached_objects";
/// Objects that had been changed or deleted by somebody else and were put right, by kind.
pub const REPAIRS: &str = "lineside_operator_repairs_total";
/// Writes of objects and of status, by kind.
pub const WRITES: &str = "lineside_operator_writes_total";
/// From the writing of a configuration to the word of its agent that it runs.
pub const APPLIED_SECONDS: &str = "lineside_operator_config_applied_seconds";
/// Events that were not sent because there were too many.
pub const EVENTS_DROPPED: &str = "lineside_operator_events_dropped_total";
/// Objects that cannot be decoded, by kind.
pub const UNDECODABLE: &str = "lineside_operator_undecodable_objects";

/// All numbers; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    reconcile_seconds: HistogramVec,
    queue_depth: IntGauge,
    running: IntGauge,
    requests: IntCounterVec,
    leader: IntGauge,
    lists: IntCounterVec,
    watch_failures: IntCounterVec,
    cached: IntGaugeVec,
    repairs: IntCounterVec,
    writes: IntCounterVec,
    applied_seconds: Histogram,
    events_dropped: IntCounter,
    undecodable: IntGaugeVec,
    info: Gauge,
}

impl Metrics {
    /// All at zero.
    ///
    /// # Errors
    /// When two metrics have one name, which a test rules out.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let add = Adder { registry: &registry };
        let version = env!("CARGO_PKG_VERSION");
        let info = Opts::new("lineside_operator_info", "The version of this operator, always 1")
            .const_label("version", version);
        let metrics = Self {
            reconciles: add.counters(RECONCILES, "Runs of one key", &["kind", "outcome"])?,
            reconcile_seconds: add.add(HistogramVec::new(
                HistogramOpts::new(RECONCILE_SECONDS, "Duration of runs of one key")
                    .buckets(vec![0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0]),
                &["kind"],
            )?)?,
            queue_depth: add.add(IntGauge::new(QUEUE_DEPTH, "Keys that are due and wait")?)?,
            running: add.add(IntGauge::new(RUNNING, "Keys that run")?)?,
            requests: add.counters(REQUESTS, "Requests to the API server", &["method", "code"])?,
            leader: add.add(IntGauge::new(LEADER, "1 while this process leads")?)?,
            lists: add.counters(LISTS, "Lists of all objects of a kind", &["kind"])?,
            watch_failures: add.counters(WATCH_FAILURES, "Watches that broke", &["kind"])?,
            cached: add.gauges(CACHED, "Objects in the cache", &["kind"])?,
            repairs: add.counters(REPAIRS, "Objects changed by others and put right", &["kind"])?,
            writes: add.counters(WRITES, "Writes of objects and status", &["kind"])?,
            applied_seconds: add.add(Histogram::with_opts(
                HistogramOpts::new(APPLIED_SECONDS, "From writing a configuration to its running")
                    .buckets(vec![0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0]),
            )?)?,
            events_dropped: add.add(IntCounter::new(EVENTS_DROPPED, "Events not sent")?)?,
            undecodable: add.gauges(UNDECODABLE, "Objects that cannot be decoded", &["kind"])?,
            info: add.add(Gauge::with_opts(info)?)?,
            registry: registry.clone(),
        };
        metrics.info.set(1.0);
        let process = prometheus::process_collector::ProcessCollector::for_self();
        registry.register(Box::new(process))?;
        Ok(metrics)
    }

    /// A run of one key has ended.
    pub fn reconciled(&self, kind: &str, outcome: Outcome, took: Duration) {
        let word = match outcome {
            Outcome::Done => "done",
            Outcome::Again(_) => "again",
            Outcome::Failed => "failed",
            Outcome::Gone => "gone",
        };
        self.reconciles.with_label_values(&[kind, word]).inc();
        self.reconcile_seconds.with_label_values(&[kind]).observe(took.as_secs_f64());
    }

    /// The state of the queue.
    pub fn queue(&self, (depth, running): (usize, usize)) {
        self.queue_depth.set(gauge(depth));
        self.running.set(gauge(running));
    }

    /// A request was answered with this HTTP status, or not at all.
    pub fn requested(&self, method: &str, status: Option<u16>) {
        let code = status.map_or_else(|| "error".to_owned(), |status| status.to_string());
        self.requests.with_label_values(&[method, code.as_str()]).inc();
    }

    /// Whether this process leads.
    pub fn leading(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// All objects of a kind were listed.
    pub fn listed(&self, kind: &str) {
        self.lists.with_label_values(&[kind]).inc();
    }

    /// A watch broke.
    pub fn watch_failed(&self, kind: &str) {
        self.watch_failures.with_label_values(&[kind]).inc();
    }

    /// How many objects of a kind are known.
    pub fn cached(&self, kind: &str, count: usize) {
        self.cached.with_label_values(&[kind]).set(gauge(count));
    }

    /// How many objects of a kind cannot be decoded.
    pub fn undecodable(&self, kind: &str, count: usize) {
        self.undecodable.with_label_values(&[kind]).set(gauge(count));
    }

    /// An object that somebody else had changed or deleted was put right.
    pub fn repaired(&self, kind: &str) {
        self.repairs.with_label_values(&[kind]).inc();
    }

    /// An object or a status was written.
    pub fn wrote(&self, kind: &str) {
        self.writes.with_label_values(&[kind]).inc();
    }

    /// An agent runs the configuration that was written for it this long ago.
    pub fn applied(&self, took: Duration) {
        self.applied_seconds.observe(took.as_secs_f64());
    }

    /// An event was not sent.
    pub fn event_dropped(&self) {
        self.events_dropped.inc();
    }

    /// The text for Prometheus.
    ///
    /// # Errors
    /// When the numbers cannot be written as text.
    pub fn render(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

struct Adder<'a> {
    registry: &'a Registry,
}

impl Adder<'_> {
    fn add<C: Collector + Clone + 'static>(&self, collector: C) -> prometheus::Result<C> {
        self.registry.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With every metric in it.
    fn filled() -> Metrics {
        let metrics = Metrics::new().unwrap();
        metrics.reconciled("Agent", Outcome::Done, Duration::from_millis(3));
        metrics.requested("PATCH", Some(200));
        metrics.requested("GET", None);
        metrics.queue((3, 1));
        metrics.leading(true);
        metrics.listed("Pod");
        metrics.watch_failed("Pod");
        metrics.cached("Pod", 7);
        metrics.undecodable("Pipeline", 0);
        metrics.repaired("ConfigMap");
        metrics.wrote("Agent");
        metrics.applied(Duration::from_secs(1));
        metrics.event_dropped();
        metrics
    }

    /// `docs/reference/operator-metrics.md`, of which alerts and dashboards are checked.
    /// `UPDATE=1 cargo test -p lineside-operator metrics::` writes it.
    #[test]
    fn the_page_lists_every_metric_with_its_labels() {
        let mut page = String::from(
            "# Metrics of the operator\n\n<!-- Made by operator/src/metrics.rs; do not edit. -->\n\n\
             The operator serves them at `/metrics` on port 8080 of its pods. Only the one that leads does \
             anything, so\nmost numbers of the others stand still. Counters start at 0 with the process.\n",
        );
        for family in filled().registry.gather() {
            if !family.name().starts_with("lineside_operator_") {
                continue;
            }
            let kind = format!("{:?}", family.get_field_type());
            let kind = kind[..1].to_owned() + &kind[1..].to_lowercase();
            page += &format!("\n## {}\n\n{kind}. {}.\n", family.name(), family.help());
            let labels = family.get_metric()[0].get_label().iter();
            let labels: Vec<_> = labels.map(|label| format!("`{}`", label.name())).collect();
            if !labels.is_empty() {
                page += &format!("\nLabels: {}.\n", labels.join(", "));
            }
        }
        page += "\n## Process\n\nThe usual `process_*` metrics of Prometheus clients.\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/operator-metrics.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap_or_default() == page,
            "{path} is not up to date; run: UPDATE=1 cargo test -p lineside-operator metrics::"
        );
    }

    #[test]
    fn every_number_has_its_own_name_and_shows_in_the_text() {
        let metrics = filled();
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        for line in [
            "lineside_operator_reconciles_total{kind=\"Agent\",outcome=\"done\"} 1",
            "lineside_operator_requests_total{code=\"200\",method=\"PATCH\"} 1",
            "lineside_operator_requests_total{code=\"error\",method=\"GET\"} 1",
            "lineside_operator_queue_depth 3",
            "lineside_operator_leader 1",
            "lineside_operator_cached_objects{kind=\"Pod\"} 7",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(text.contains("process_resident_memory_bytes"));
    }
}
