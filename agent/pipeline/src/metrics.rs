//! Prometheus text of a [`Snapshot`]. The numbers are made from the snapshot at each scrape, so
//! there is no second set of counters that could disagree with the ledger. Names are listed in
//! `docs/reference/metrics.md`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lineside_core::TimeQuality;
use lineside_core::clock::Clock;
use lineside_core::fault::FaultClass;
use lineside_store::DropReason;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, GaugeVec, IntCounterVec, Opts, Registry, TextEncoder};

use crate::health::{Health, Verdict};
use crate::snapshot::{DeviceSnapshot, PipelineSnapshot, Snapshot};
use crate::transform::Numbers;

/// Numbers of the agent itself.
#[derive(Clone, Debug, Default)]
pub struct AgentNumbers {
    /// Configurations applied since the start.
    pub config_applied: u64,
    /// Problems (errors) in the configuration that is on disk now.
    pub config_problems: u64,
    /// Objects of it that could not be read or are invalid.
    pub config_rejected: u64,
    /// Time since the start.
    pub uptime: Duration,
    /// How often the wall clock was set since then.
    pub clock_steps: u64,
    /// Whether the wall clock was set since the machine started.
    pub clock_synced: bool,
}

/// What the agent counts of itself, shared by those who count and those who show.
#[derive(Debug)]
pub struct AgentCounts {
    /// Configurations applied.
    pub config_applied: AtomicU64,
    /// Errors in the configuration on disk.
    pub config_problems: AtomicU64,
    /// Objects on disk that are not applied.
    pub config_rejected: AtomicU64,
    /// Start of the process.
    pub started: Instant,
}

impl Default for AgentCounts {
    /// The process starts now.
    fn default() -> Self {
        Self {
            config_applied: 0.into(),
            config_problems: 0.into(),
            config_rejected: 0.into(),
            started: Instant::now(),
        }
    }
}

impl AgentCounts {
    /// The numbers at this moment, with those of the agent's clock.
    pub fn numbers(&self, clock: &dyn Clock) -> AgentNumbers {
        AgentNumbers {
            config_applied: self.config_applied.load(Ordering::Relaxed),
            config_problems: self.config_problems.load(Ordering::Relaxed),
            config_rejected: self.config_rejected.load(Ordering::Relaxed),
            uptime: self.started.elapsed(),
            clock_steps: clock.steps(),
            clock_synced: clock.quality() == TimeQuality::Synced,
        }
    }
}

/// A metric could not be made: a fault in this file.
#[derive(Debug, thiserror::Error)]
#[error("make metrics")]
pub struct MetricsError(#[from] prometheus::Error);

/// The Prometheus text format 0.0.4 of everything.
///
/// # Errors
/// Never for any snapshot; the library's signature allows it.
pub fn render(snapshot: &Snapshot, agent: &AgentNumbers) -> Result<Vec<u8>, MetricsError> {
    let mut text = Vec::new();
    TextEncoder::new().encode(&families(snapshot, agent)?, &mut text)?;
    Ok(text)
}

/// The metrics of everything, of which [`render`] makes a page and `own` makes samples.
pub(crate) fn families(
    snapshot: &Snapshot,
    agent: &AgentNumbers,
) -> Result<Vec<MetricFamily>, MetricsError> {
    let sheet = Sheet { registry: Registry::new() };
    sheet.agent(agent)?;
    sheet.given_up(snapshot)?;
    sheet.devices(&snapshot.devices)?;
    sheet.pipelines(&snapshot.pipelines)?;
    let mut families = sheet.registry.gather();
    families.extend(prometheus::gather());
    Ok(families)
}

struct Sheet {
    registry: Registry,
}

impl Sheet {
    fn add(&self, metric: impl Collector + 'static) -> Result<(), MetricsError> {
        Ok(self.registry.register(Box::new(metric))?)
    }

    fn counter(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        rows: impl IntoIterator<Item = (Vec<String>, u64)>,
    ) -> Result<(), MetricsError> {
        let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
        for (values, number) in rows {
            metric.get_metric_with_label_values(&values)?.inc_by(number);
        }
        self.add(metric)
    }

    fn gauge(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        rows: impl IntoIterator<Item = (Vec<String>, f64)>,
    ) -> Result<(), MetricsError> {
        let metric = GaugeVec::new(Opts::new(name, help), labels)?;
        for (values, number) in rows {
            metric.get_metric_with_label_values(&values)?.set(number);
        }
        self.add(metric)
    }

    fn agent(&self, a: &AgentNumbers) -> Result<(), MetricsError> {
        let one = |n: u64| [(Vec::new(), n)];
        self.counter(
            "lineside_config_applied_total",
            "Configurations applied since the start.",
            &[],
            one(a.config_applied),
        )?;
        self.gauge(
            "lineside_config_problems",
            "Errors in the configuration as it is on disk.",
            &[],
            [(Vec::new(), a.config_problems as f64)],
        )?;
        self.gauge(
            "lineside_config_rejected_objects",
            "Objects of the configuration that are not applied because they are broken.",
            &[],
            [(Vec::new(), a.config_rejected as f64)],
        )?;
        self.gauge(
            "lineside_agent_uptime_seconds",
            "Time since the agent started.",
            &[],
            [(Vec::new(), a.uptime.as_secs_f64())],
        )?;
        self.gauge(
            "lineside_agent_info",
            "The version of this agent, always 1.",
            &["version"],
            [(vec![env!("CARGO_PKG_VERSION").to_owned()], 1.0)],
        )?;
        self.gauge(
            "lineside_agent_clock_synced",
            "1 while the wall clock is set; times before it was are marked as not trusted.",
            &[],
            [(Vec::new(), flag(a.clock_synced))],
        )?;
        self.counter(
            "lineside_agent_clock_steps_total",
            "How often the wall clock was set while the agent ran.",
            &[],
            one(a.clock_steps),
        )
    }

    fn given_up(&self, snapshot: &Snapshot) -> Result<(), MetricsError> {
        self.counter(
            "lineside_pipeline_given_up_samples_total",
            "Undelivered samples that were given up with their sink or pipeline, by reason.",
            &["reason"],
            snapshot.given_up.iter().map(|(reason, n)| (vec![(*reason).to_owned()], *n)),
        )
    }

    fn devices(&self, all: &[DeviceSnapshot]) -> Result<(), MetricsError> {
        let key = |d: &DeviceSnapshot, more: &[&str]| {
            let key = [&*d.device.key.namespace, &*d.device.key.name];
            key.iter().chain(more).map(|s| (*s).to_owned()).collect::<Vec<_>>()
        };
        self.counter(
            "lineside_device_samples_total",
            "Samples that the device's sessions (or the staleness rule) made, by quality.",
            &["namespace", "device", "quality"],
            all.iter().flat_map(|d| {
                [(key(d, &["Good"]), d.counters.good), (key(d, &["Bad"]), d.counters.bad)]
            }),
        )?;
        self.counter(
            "lineside_device_samples_absorbed_total",
            "Repetitions of an unchanged Bad status that were not passed on.",
            &["namespace", "device"],
            all.iter().map(|d| (key(d, &[]), d.counters.absorbed)),
        )?;
        self.counter(
            "lineside_device_sessions_total",
            "Connections that were established.",
            &["namespace", "device"],
            all.iter().map(|d| (key(d, &[]), d.counters.sessions)),
        )?;
        self.counter(
            "lineside_device_faults_total",
            "Sessions that ended with a fault, by class.",
            &["namespace", "device", "class"],
            all.iter().flat_map(|d| {
                let by_class = FaultClass::ALL.iter().zip(d.counters.faults);
                by_class.map(|(c, n)| (key(d, &[c.label()]), n)).collect::<Vec<_>>()
            }),
        )?;
        self.gauge(
            "lineside_device_connected",
            "1 while a session is connected.",
            &["namespace", "device"],
            all.iter().map(|d| (key(d, &[]), flag(d.connected))),
        )?;
        self.gauge(
            "lineside_device_points",
            "Points by the quality of their last sample.",
            &["namespace", "device", "quality"],
            all.iter().flat_map(|d| {
                [("Good", d.good), ("Bad", d.bad), ("None", d.waiting)]
                    .map(|(quality, n)| (key(d, &[quality]), n as f64))
            }),
        )?;
        self.verdicts(
            "device",
            &["namespace", "device"],
            all.iter().map(|d| (key(d, &[]), &d.verdict)),
        )
    }

    /// Health and code of one sort of object.
    fn verdicts<'a>(
        &self,
        what: &str,
        labels: &[&str],
        rows: impl Iterator<Item = (Vec<String>, &'a Verdict)> + Clone,
    ) -> Result<(), MetricsError> {
        let health = |(key, verdict): (Vec<String>, &Verdict)| {
            let now = verdict.health;
            let row = |h: Health| ([key.as_slice(), &[h.label().to_owned()]].concat(), h == now);
            Health::ALL.map(row).map(|(key, is)| (key, flag(is)))
        };
        self.gauge(
            &format!("lineside_{what}_health"),
            &format!("1 for the health that the {what} has now."),
            &[labels, &["health"]].concat(),
            rows.clone().flat_map(health),
        )?;
        self.gauge(
            &format!("lineside_{what}_code"),
            &format!("Number of the diagnostics code of what is wrong with the {what}, else 0."),
            labels,
            rows.map(|(key, verdict)| {
                (key, f64::from(verdict.code.map_or(0, |code| code.number())))
            }),
        )
    }

    fn transforms(&self, all: &[PipelineSnapshot]) -> Result<(), MetricsError> {
        const PIPELINE: [&str; 2] = ["namespace", "pipeline"];
        let key = |p: &PipelineSnapshot| {
            [&p.pipeline.key.namespace, &p.pipeline.key.name].map(|s| s.to_string()).to_vec()
        };
        type Count = fn(&Numbers) -> u64;
        let counters: [(&str, &str, Count); 4] = [
            (
                "lineside_pipeline_in_samples_total",
                "Samples that came to the pipeline: in + derived = absorbed + captured + held.",
                |n| n.received,
            ),
            ("lineside_pipeline_derived_samples_total", "Samples that transforms made.", |n| {
                n.derived
            }),
            (
                "lineside_pipeline_absorbed_samples_total",
                "Samples that ended in transforms: left out, filtered, taken into windows.",
                |n| n.absorbed,
            ),
            (
                "lineside_pipeline_unanswered_samples_total",
                "Samples for which an expression of a transform had no answer.",
                |n| n.unanswered,
            ),
        ];
        for (name, help, number) in counters {
            self.counter(
                name,
                help,
                &PIPELINE,
                all.iter().map(|p| (key(p), number(&p.transforms))),
            )?;
        }
        self.gauge(
            "lineside_pipeline_held_samples",
            "Samples that wait in swinging doors.",
            &PIPELINE,
            all.iter().map(|p| (key(p), p.transforms.held() as f64)),
        )
    }

    /// How pipelines with a source `agentMetrics` get on with it.
    fn own(&self, all: &[PipelineSnapshot]) -> Result<(), MetricsError> {
        let told = || {
            let key = |p: &PipelineSnapshot| {
                [&p.pipeline.key.namespace, &p.pipeline.key.name].map(|s| s.to_string()).to_vec()
            };
            all.iter().filter_map(move |p| Some((key(p), p.own?)))
        };
        self.counter(
            "lineside_pipeline_agent_metrics_skipped_total",
            "Times at which the agent did not tell its metrics, for those before were not captured.",
            &["namespace", "pipeline"],
            told().map(|(key, own)| (key, own.skipped)),
        )?;
        self.gauge(
            "lineside_pipeline_agent_metrics_left_out",
            "Points of the agent's metrics that are beyond the bound of a device and not told.",
            &["namespace", "pipeline"],
            told().map(|(key, own)| (key, own.left_out as f64)),
        )
    }

    fn pipelines(&self, all: &[PipelineSnapshot]) -> Result<(), MetricsError> {
        let key = |p: &PipelineSnapshot, more: &[&str]| {
            let key = [&*p.pipeline.key.namespace, &*p.pipeline.key.name];
            key.iter().chain(more).map(|s| (*s).to_owned()).collect::<Vec<_>>()
        };
        let pairs = || all.iter().flat_map(|p| p.sinks.iter().map(move |s| (p, s)));
        const SINK: [&str; 3] = ["namespace", "pipeline", "sink"];
        self.transforms(all)?;
        self.own(all)?;
        self.verdicts("pipeline", &SINK[..2], all.iter().map(|p| (key(p, &[]), &p.verdict)))?;
        self.verdicts(
            "sink",
            &SINK,
            pairs().map(|(p, s)| (key(p, &[&s.name]), &s.station.verdict)),
        )?;
        self.counter(
            "lineside_pipeline_captured_samples_total",
            "Samples taken into the pipeline's store.",
            &SINK[..2],
            all.iter().map(|p| (key(p, &[]), p.store.captured)),
        )?;
        self.gauge(
            "lineside_store_bytes",
            "Bytes in the pipeline's store.",
            &SINK[..2],
            all.iter().map(|p| (key(p, &[]), p.store.bytes as f64)),
        )?;
        self.gauge(
            "lineside_store_limit_bytes",
            "Bound of the pipeline's store.",
            &SINK[..2],
            all.iter().map(|p| (key(p, &[]), p.store.limit as f64)),
        )?;
        self.gauge(
            "lineside_store_degraded",
            "1 while what is captured cannot be written to the disk and is held in memory.",
            &SINK[..2],
            all.iter().map(|p| (key(p, &[]), flag(p.trouble.is_some()))),
        )?;
        self.gauge(
            "lineside_store_gaps",
            "Times of which nothing was captured because the agent did not run, at most 64.",
            &SINK[..2],
            all.iter().map(|p| (key(p, &[]), p.store.gaps.len() as f64)),
        )?;
        self.counter(
            "lineside_sink_captured_samples_total",
            "Samples captured for the sink: delivered + unconfirmed + buffered + dead-lettered + dropped.",
            &SINK,
            pairs().map(|(p, s)| (key(p, &[&s.name]), s.numbers.ledger.captured)),
        )?;
        self.counter(
            "lineside_sink_delivered_samples_total",
            "Samples that the remote accepted and cannot lose any more.",
            &SINK,
            pairs().map(|(p, s)| (key(p, &[&s.name]), s.numbers.ledger.delivered)),
        )?;
        self.gauge(
            "lineside_sink_buffered_samples",
            "Samples that wait for the sink.",
            &SINK,
            pairs().map(|(p, s)| (key(p, &[&s.name]), s.numbers.waiting() as f64)),
        )?;
        self.gauge(
            "lineside_sink_unconfirmed_samples",
            "Samples that the remote accepted and may still lose; they are kept until it cannot.",
            &SINK,
            pairs().map(|(p, s)| (key(p, &[&s.name]), s.numbers.unconfirmed as f64)),
        )?;
        self.gauge(
            "lineside_sink_dead_lettered_samples",
            "Samples that the remote refused and that are kept for `lineside dlq`.",
            &SINK,
            pairs().map(|(p, s)| (key(p, &[&s.name]), s.numbers.ledger.dead_lettered as f64)),
        )?;
        self.counter(
            "lineside_sink_dropped_samples_total",
            "Samples given up, by reason.",
            &["namespace", "pipeline", "sink", "reason"],
            pairs().flat_map(|(p, s)| {
                DropReason::ALL.map(|r| {
                    let n = s.numbers.ledger.dropped.get(&r).copied().unwrap_or_default();
                    (key(p, &[&s.name, r.label()]), n)
                })
            }),
        )?;
        self.gauge(
            "lineside_sink_lag_seconds",
            "Age of the oldest sample that waits for the sink.",
            &SINK,
            pairs().map(|(p, s)| (key(p, &[&s.name]), s.numbers.lag.as_secs_f64())),
        )?;
        self.gauge(
            "lineside_sink_connected",
            "1 while a session is connected.",
            &SINK,
            pairs().map(|(p, s)| (key(p, &[&s.name]), flag(s.station.connected))),
        )?;
        self.counter(
            "lineside_sink_sessions_total",
            "Connections that were established.",
            &SINK,
            pairs().map(|(p, s)| (key(p, &[&s.name]), s.station.sessions)),
        )?;
        self.counter(
            "lineside_sink_faults_total",
            "Sessions that ended with a fault, by class.",
            &["namespace", "pipeline", "sink", "class"],
            pairs().flat_map(|(p, s)| {
                let by_class = FaultClass::ALL.iter().zip(s.station.faults);
                by_class.map(|(c, n)| (key(p, &[&s.name, c.label()]), n)).collect::<Vec<_>>()
            }),
        )
    }
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}
