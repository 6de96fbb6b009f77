//! `lineside lag`: the books of every sink, and the times of which nothing was captured.

use std::collections::BTreeMap;
use std::io::Write as _;

use serde::Serialize;

use super::terminal::{self, Line, Paint, Table, duration, plain, span};
use super::{Exit, Output, local};
use crate::api::shape::{Pipeline, Sink, State};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lineside lag
  lineside lag plant/to-broker
  lineside lag -o json | jq '.pipelines[].sinks[] | select(.buffered > 0)'

All numbers are samples. For each sink, captured = delivered + unconfirmed + waiting + dead letters + dropped,
also after the agent was killed. Of the time of a gap nothing was captured, because the agent did
not run.
Exit codes: 0 nothing was dropped or waits for long, 1 something was or does, 2 usage, 3 no agent
answers.")]
pub struct Args {
    /// Only this pipeline: NAMESPACE/NAME, or NAME
    pipeline: Option<String>,
    #[command(flatten)]
    local: local::WhichAgent,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// A sink that waits for longer has to be looked at.
const LONG_SECONDS: f64 = 60.0;

/// What `-o json` prints.
#[derive(Serialize)]
struct Report<'a> {
    pipelines: Vec<PipelineReport<'a>>,
}

#[derive(Serialize)]
struct PipelineReport<'a> {
    pipeline: String,
    store: StoreReport<'a>,
    gaps: Vec<GapReport>,
    sinks: Vec<SinkReport<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StoreReport<'a> {
    id: &'a str,
    durability: &'a str,
    state: &'a str,
    code: Option<&'a str>,
    message: Option<&'a str>,
    bytes: u64,
    limit: u64,
    full_in_seconds: Option<f64>,
}

/// Nanoseconds since 1970.
#[derive(Serialize)]
struct GapReport {
    from: i64,
    to: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SinkReport<'a> {
    name: &'a str,
    captured: u64,
    delivered: u64,
    unconfirmed: u64,
    buffered: u64,
    dead_lettered: u64,
    dropped: &'a BTreeMap<String, u64>,
    lag_seconds: f64,
    caught_up_in_seconds: Option<f64>,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    local::end(show(args))
}

fn show(args: &Args) -> Result<Exit, local::Stop> {
    let client = args.local.client()?;
    let body = local::runtime()?.block_on(client.get("/api/v1/state"))?;
    let state: State = serde_json::from_slice(&body)?;
    let wanted: Vec<&Pipeline> = state.pipelines.iter().filter(|p| is_asked(args, p)).collect();
    if let Some(name) = args.pipeline.as_ref().filter(|_| wanted.is_empty()) {
        let known: Vec<_> = state.pipelines.iter().map(key).collect();
        let error = anyhow::anyhow!("no pipeline {name} runs; there are: {}", known.join(", "));
        return Err(error.into());
    }
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Json => {
            let report = Report { pipelines: wanted.iter().map(|p| report(p)).collect() };
            serde_json::to_writer(&mut out, &report)?;
            writeln!(out)?;
        }
        Output::Text => {
            let colours = terminal::colours();
            for line in lines(&wanted) {
                writeln!(out, "{}", terminal::text(&line, usize::MAX, colours))?;
            }
        }
    }
    let sinks = || wanted.iter().flat_map(|p| &p.sinks);
    let ill = |s: &Sink| s.lag_seconds > LONG_SECONDS || !s.dropped.is_empty();
    Ok(if sinks().any(ill) { Exit::Findings } else { Exit::Ok })
}

fn key(p: &Pipeline) -> String {
    format!("{}/{}", p.namespace, p.name)
}

fn is_asked(args: &Args, p: &Pipeline) -> bool {
    args.pipeline.as_ref().is_none_or(|asked| *asked == p.name || *asked == key(p))
}

fn report(p: &Pipeline) -> PipelineReport<'_> {
    PipelineReport {
        pipeline: key(p),
        store: StoreReport {
            id: &p.store.id,
            durability: &p.store.durability,
            state: &p.store.state,
            code: p.store.code.as_deref(),
            message: p.store.message.as_deref(),
            bytes: p.store.bytes,
            limit: p.store.limit_bytes,
            full_in_seconds: p.store.full_in_seconds,
        },
        gaps: p
            .store
            .gaps
            .iter()
            .map(|g| GapReport { from: g.from_nanos, to: g.to_nanos })
            .collect(),
        sinks: p.sinks.iter().map(sink_report).collect(),
    }
}

fn sink_report(s: &Sink) -> SinkReport<'_> {
    SinkReport {
        name: &s.name,
        captured: s.captured,
        delivered: s.delivered,
        unconfirmed: s.unconfirmed,
        buffered: s.buffered,
        dead_lettered: s.dead_lettered,
        dropped: &s.dropped,
        lag_seconds: s.lag_seconds,
        caught_up_in_seconds: s.caught_up_in_seconds,
    }
}

fn lines(pipelines: &[&Pipeline]) -> Vec<Line> {
    if pipelines.is_empty() {
        return vec![vec![plain("No pipelines.")]];
    }
    let mut table = Table::new(&[
        "PIPELINE",
        "SINK",
        "CAPTURED",
        "DELIVERED",
        "UNCONFIRMED",
        "WAITING",
        "LAG",
        "CAUGHT UP IN",
        "DEAD",
        "DROPPED",
    ]);
    for p in pipelines {
        for s in &p.sinks {
            let dropped: u64 = s.dropped.values().sum();
            let painted =
                |n: u64| span(n.to_string(), if n > 0 { Paint::Red } else { Paint::Plain });
            table.row(vec![
                plain(key(p)),
                plain(&s.name),
                plain(s.captured.to_string()),
                plain(s.delivered.to_string()),
                plain(s.unconfirmed.to_string()),
                plain(s.buffered.to_string()),
                plain(duration(s.lag_seconds)),
                plain(foreseen(s.caught_up_in_seconds)),
                painted(s.dead_lettered),
                painted(dropped),
            ]);
        }
    }
    let mut lines = table.lines();
    lines.push(Line::new());
    let mut table = Table::new(&["PIPELINE", "STORE", "STATE", "BYTES", "OF", "FULL IN", "GAPS"]);
    for p in pipelines {
        let paint = if p.store.state == "Full" { Paint::Plain } else { Paint::Yellow };
        table.row(vec![
            plain(key(p)),
            plain(&p.store.durability),
            span(&p.store.state, paint),
            plain(p.store.bytes.to_string()),
            plain(p.store.limit_bytes.to_string()),
            plain(foreseen(p.store.full_in_seconds)),
            plain(p.store.gaps.len().to_string()),
        ]);
    }
    lines.extend(table.lines());
    lines.extend(pipelines.iter().flat_map(|p| notes(p)));
    lines
}

/// What a table has no room for: why something was dropped, why the disk takes nothing, the
/// newest gaps.
fn notes(p: &Pipeline) -> Vec<Line> {
    const NEWEST: usize = 5;
    let mut lines = Vec::new();
    if let (Some(code), Some(message)) = (&p.store.code, &p.store.message) {
        lines.push(vec![span(code, Paint::Yellow), plain(format!("  {}  {message}", key(p)))]);
    }
    for s in &p.sinks {
        for (reason, samples) in &s.dropped {
            lines.push(vec![plain(format!("{}/{}  {samples} dropped: {reason}", key(p), s.name))]);
        }
    }
    let newest = p.store.gaps.len().saturating_sub(NEWEST);
    for gap in &p.store.gaps[newest..] {
        lines.push(vec![plain(format!("{}  nothing from {} to {}", key(p), gap.from, gap.to))]);
    }
    if !lines.is_empty() {
        lines.insert(0, Line::new());
    }
    lines
}

fn foreseen(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".into(), duration)
}
