//! `lineside store`: looks at the files of a store without changing them, also beside a running
//! agent and for a store that was sent in by somebody.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use lineside_core::{Batch, UnixNanos};
use lineside_store::fs::RealFs;
use lineside_store::{Dumped, Payload};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Exit, Output, local};
use crate::api::text;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lineside store verify ~/.local/state/lineside
  lineside store dump /var/lib/lineside | less
  lineside store dump /var/lib/lineside -o json | jq -c 'select(.kind == \"Gap\")'

DIR is an agent's state directory, or the store in it. Nothing is written, and a running agent is
not disturbed; what it writes at that moment may be seen half. `dump` prints every record that is
still on disk, with its values.
Exit codes: 0 all is well, 1 verify found something, 2 usage.")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Read every file and say what is damaged
    Verify(Place),
    /// Print every record
    Dump(Place),
}

#[derive(Debug, clap::Args)]
struct Place {
    /// State directory of an agent, or the store in it
    dir: PathBuf,
    /// Output format; json is one object a line
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

impl Place {
    fn store(&self) -> PathBuf {
        let inside = self.dir.join("store");
        if inside.is_dir() { inside } else { self.dir.clone() }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    local::end(match &args.action {
        Action::Verify(place) => verify(place),
        Action::Dump(place) => dump(place),
    })
}

#[derive(Serialize)]
struct FindingLine<'a> {
    file: String,
    position: Option<u64>,
    finding: &'a str,
}

fn verify(place: &Place) -> Result<Exit, local::Stop> {
    let dir = place.store();
    let findings = lineside_store::verify(&RealFs, &dir).with_context(|| cannot_read(&dir))?;
    let mut out = std::io::stdout().lock();
    for found in &findings {
        let (file, position) = (found.path.display().to_string(), found.position);
        match (place.output, position) {
            (Output::Json, _) => {
                let line = FindingLine { file, position, finding: &found.what };
                serde_json::to_writer(&mut out, &line)?;
                writeln!(out)?;
            }
            (Output::Text, Some(position)) => writeln!(out, "{file}:{position}: {}", found.what)?,
            (Output::Text, None) => writeln!(out, "{file}: {}", found.what)?,
        }
    }
    if findings.is_empty() && place.output == Output::Text {
        writeln!(out, "{}: everything can be read", dir.display())?;
    }
    Ok(if findings.is_empty() { Exit::Ok } else { Exit::Findings })
}

fn cannot_read(dir: &Path) -> String {
    format!("read the store in {}", dir.display())
}

/// One record, as `-o json` prints it; which members there are depends on `kind`.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct RecordLine {
    /// `Batch`, `Gap`, `ClockCorrection`, `Dropped` or `Unreadable`.
    kind: &'static str,
    pipeline: Option<String>,
    id: String,
    /// Samples of the log before it.
    number: u64,
    captured_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    points: Option<Vec<PointLine>>,
    /// Nanoseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<UnixNanos>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<UnixNanos>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    samples: Option<u64>,
}

#[derive(Serialize)]
struct PointLine {
    name: String,
    value: Option<Box<RawValue>>,
    status: u32,
    time: String,
}

fn dump(place: &Place) -> Result<Exit, local::Stop> {
    let dir = place.store();
    let records =
        lineside_store::dump(Arc::new(RealFs), &dir).with_context(|| cannot_read(&dir))?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for record in records {
        let line = line(&record.with_context(|| cannot_read(&dir))?);
        match place.output {
            Output::Json => {
                serde_json::to_writer(&mut out, &line)?;
                writeln!(out)?;
            }
            Output::Text => print(&mut out, &line)?,
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}

fn line(record: &Dumped) -> RecordLine {
    let mut line = RecordLine {
        pipeline: record.pipeline.as_ref().map(ToString::to_string),
        id: record.id.to_string(),
        number: record.number,
        captured_at: text::time(record.captured_at),
        ..RecordLine::default()
    };
    match &record.payload {
        Payload::Batch(batch) => {
            line.kind = "Batch";
            line.device = Some(batch.origin().path.to_string());
            line.samples = Some(batch.len() as u64);
            line.points = Some(points(batch));
        }
        Payload::Gap { from, to } => {
            (line.kind, line.from, line.to) = ("Gap", Some(*from), Some(*to));
        }
        Payload::ClockCorrection { delta, .. } => {
            (line.kind, line.delta) = ("ClockCorrection", Some(*delta));
        }
        Payload::Dropped { reason, samples } => {
            line.kind = "Dropped";
            (line.reason, line.samples) = (Some(reason.label()), Some(*samples));
        }
        Payload::Unreadable => line.kind = "Unreadable",
    }
    line
}

fn points(batch: &Batch) -> Vec<PointLine> {
    let name = |point| batch.origin().point(point).map(|n| n.to_string()).unwrap_or_default();
    let points = batch.iter().map(|sample| PointLine {
        name: name(sample.point),
        value: text::value(sample.value),
        status: sample.status.0,
        time: text::time(sample.time()),
    });
    points.collect()
}

fn print(out: &mut impl std::io::Write, line: &RecordLine) -> std::io::Result<()> {
    let pipeline = line.pipeline.as_deref().unwrap_or("-");
    write!(out, "{} {} {pipeline} {}", line.id, line.captured_at, line.kind)?;
    match (line.kind, &line.points) {
        (_, Some(points)) => {
            write!(out, " {}", line.device.as_deref().unwrap_or_default())?;
            for point in points {
                let value = point.value.as_ref().map_or("-", |value| value.get());
                write!(out, " {}={value}", point.name)?;
            }
        }
        ("Gap", _) => {
            let time = |t: Option<UnixNanos>| t.map(text::time).unwrap_or_default();
            write!(out, " from {} to {}", time(line.from), time(line.to))?;
        }
        ("Dropped", _) => {
            let samples = line.samples.unwrap_or_default();
            write!(out, " {samples} samples: {}", line.reason.unwrap_or_default())?;
        }
        ("ClockCorrection", _) => write!(out, " {} ns", line.delta.unwrap_or_default())?,
        _ => {}
    }
    writeln!(out)
}
