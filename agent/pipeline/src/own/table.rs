//! Which of the agent's metrics are told as samples: those that answer "is it working, and if
//! not why", for somebody who sees nothing of the agent but its samples.

/// One metric and the points that are made of it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name at `/metrics`.
    pub metric: &'static str,
    /// Labels whose values make the name of the point, in this order. Over others it is summed.
    pub labels: &'static [&'static str],
    /// What the value is.
    pub kind: Kind,
}

/// What the value of a point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An amount: `u64`.
    Count,
    /// A measure: `f64`.
    Number,
    /// Yes or no: `bool`.
    Flag,
    /// The value that this label has where the metric is 1: a string.
    Word(&'static str),
}

impl Row {
    /// The name of its points, with `{label}` where the value of a label stands, e.g.
    /// `sink_health/{pipeline}/{sink}`.
    pub fn pattern(&self) -> String {
        let labels = self.labels.iter().map(|label| format!("/{{{label}}}"));
        std::iter::once(self.stem().to_owned()).chain(labels).collect()
    }

    /// What the names of its points begin with.
    pub(super) fn stem(&self) -> &'static str {
        self.metric.strip_prefix("lineside_").unwrap_or(self.metric)
    }
}

const fn row(metric: &'static str, labels: &'static [&'static str], kind: Kind) -> Row {
    Row { metric, labels, kind }
}

const AGENT: &[&str] = &[];
const DEVICE: &[&str] = &["device"];
const PIPELINE: &[&str] = &["pipeline"];
const SINK: &[&str] = &["pipeline", "sink"];
const QUALITY: &[&str] = &["device", "quality"];
const REASON: &[&str] = &["pipeline", "sink", "reason"];

/// The metrics, most important first: what is beyond the bound of a device is cut off at the end.
pub const ROWS: &[Row] = &[
    row("lineside_agent_info", AGENT, Kind::Word("version")),
    row("lineside_agent_uptime_seconds", AGENT, Kind::Number),
    row("lineside_agent_clock_synced", AGENT, Kind::Flag),
    row("lineside_agent_clock_steps_total", AGENT, Kind::Count),
    row("lineside_config_applied_total", AGENT, Kind::Count),
    row("lineside_config_problems", AGENT, Kind::Count),
    row("lineside_config_rejected_objects", AGENT, Kind::Count),
    row("process_cpu_seconds_total", AGENT, Kind::Number),
    row("process_resident_memory_bytes", AGENT, Kind::Count),
    row("lineside_pipeline_health", PIPELINE, Kind::Word("health")),
    row("lineside_pipeline_code", PIPELINE, Kind::Count),
    row("lineside_sink_health", SINK, Kind::Word("health")),
    row("lineside_sink_code", SINK, Kind::Count),
    row("lineside_device_health", DEVICE, Kind::Word("health")),
    row("lineside_device_code", DEVICE, Kind::Count),
    row("lineside_pipeline_captured_samples_total", PIPELINE, Kind::Count),
    row("lineside_sink_captured_samples_total", SINK, Kind::Count),
    row("lineside_sink_delivered_samples_total", SINK, Kind::Count),
    row("lineside_sink_unconfirmed_samples", SINK, Kind::Count),
    row("lineside_sink_buffered_samples", SINK, Kind::Count),
    row("lineside_sink_dead_lettered_samples", SINK, Kind::Count),
    row("lineside_sink_dropped_samples_total", REASON, Kind::Count),
    row("lineside_sink_lag_seconds", SINK, Kind::Number),
    row("lineside_sink_connected", SINK, Kind::Flag),
    row("lineside_sink_sessions_total", SINK, Kind::Count),
    row("lineside_sink_faults_total", SINK, Kind::Count),
    row("lineside_store_bytes", PIPELINE, Kind::Count),
    row("lineside_store_limit_bytes", PIPELINE, Kind::Count),
    row("lineside_store_degraded", PIPELINE, Kind::Flag),
    row("lineside_store_gaps", PIPELINE, Kind::Count),
    row("lineside_pipeline_agent_metrics_skipped_total", PIPELINE, Kind::Count),
    row("lineside_pipeline_agent_metrics_left_out", PIPELINE, Kind::Count),
    row("lineside_device_points", QUALITY, Kind::Count),
    row("lineside_device_samples_total", QUALITY, Kind::Count),
    row("lineside_device_faults_total", DEVICE, Kind::Count),
    row("lineside_device_sessions_total", DEVICE, Kind::Count),
];
