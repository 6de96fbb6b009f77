//! `lineside query`: what a pipeline wrote into a time series database, read back.

mod show;
mod source;
mod time;

use std::io::Write as _;
use std::time::Duration;

use clap::ValueEnum;
use lineside_core::fault::{Fault, FaultClass};
use lineside_core::{Clock as _, SystemClock, UnixNanos};
use lineside_crds::model::ObjectKey;
use lineside_sink_iotdb::query::{Answer, Found, Question, Reader, What};

use super::{Exit, local};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    ask: Ask,
}

const EXAMPLES: &str = "\
Examples:
  lineside query last furnace-1 -f plant/
  lineside query last plant/press-1 --point temperature --url iotdb://10.0.0.3:6667
  lineside query raw press-1 -f plant/ --from 15m --limit 100 -o csv
  lineside query window press-1 -f plant/ --every 1m --from 2026-11-28T00:00:00Z -o json

A device is NAMESPACE/NAME, or NAME of the namespace default. Without --user the user is that of the
pipeline's Secret (--secrets DIR), or root as on a new server.
Exit codes: 0 something was found, 1 nothing or not all points were, 2 usage, 3 the server cannot be
reached.";

#[derive(Debug, clap::Subcommand)]
enum Ask {
    /// The newest value of each point, and its quality when that is newer
    #[command(after_help = EXAMPLES)]
    Last(Common),
    /// Samples one by one, oldest first
    #[command(after_help = EXAMPLES)]
    Raw {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        span: time::Span,
    },
    /// Count, average, least, greatest and last value of equal parts of a time
    #[command(after_help = EXAMPLES)]
    Window {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        span: time::Span,
        /// Length of a part: a number with ms, s, m, h or d
        #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = time::duration)]
        every: i64,
    },
}

#[derive(Debug, clap::Args)]
struct Common {
    /// The device: NAMESPACE/NAME, or NAME
    #[arg(value_parser = device)]
    device: ObjectKey,
    /// Only this point; may be repeated
    #[arg(short, long = "point", value_name = "NAME")]
    points: Vec<String>,
    #[command(flatten)]
    source: source::Source,
    /// Most samples or windows that are shown
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Longest wait for the connection and for each answer
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u16).range(1..=3600))]
    timeout_seconds: u16,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// How the answer is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A table for people
    #[default]
    Text,
    /// One JSON object
    Json,
    /// Comma-separated values with a heading
    Csv,
}

fn device(text: &str) -> Result<ObjectKey, String> {
    match text.split_once('/') {
        None if !text.is_empty() => Ok(ObjectKey::new("default", text)),
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok(ObjectKey::new(namespace, name))
        }
        _ => Err("expected NAMESPACE/NAME, or NAME".into()),
    }
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let now = SystemClock.now();
    let (common, what) = match &args.ask {
        Ask::Last(common) => (common, What::Last),
        Ask::Raw { common, span } => {
            let (from, to) = span.ends(now)?;
            (common, What::Raw { from, to })
        }
        Ask::Window { common, span, every } => {
            let (from, to) = span.ends(now)?;
            (common, What::Windows { from, to, every: *every })
        }
    };
    let destination = common.source.destination()?;
    let question = Question {
        device: common.device.clone(),
        points: common.points.clone(),
        what,
        most: common.limit as usize,
    };
    let timeout = Duration::from_secs(common.timeout_seconds.into());
    let asked = async {
        let source::Destination { settings, pipeline, secrets, credentials } = destination;
        let mut reader =
            Reader::open(settings, &pipeline, &secrets, credentials.as_ref(), timeout).await?;
        let answer = reader.ask(&question).await?;
        Ok::<_, Fault>((reader.endpoint().to_owned(), answer))
    };
    match local::runtime()?.block_on(asked) {
        Ok((endpoint, answer)) => show(common, &endpoint, &answer, question.what == What::Last),
        Err(fault) => {
            eprintln!("lineside: {} {}: {}", fault.code.id(), fault.code.reason(), fault.chain());
            eprintln!("  Next: {} (lineside explain {})", fault.code.next(), fault.code.id());
            let reached = matches!(fault.class, FaultClass::Unreachable | FaultClass::Timeout);
            Ok(if reached { Exit::Unreachable } else { Exit::Findings })
        }
    }
}

fn show(common: &Common, endpoint: &str, answer: &Answer, newest: bool) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    let device = common.device.to_string();
    let written = match common.output {
        Output::Text => show::text(&mut out, answer),
        Output::Json => show::json(&mut out, endpoint, &device, answer),
        Output::Csv => show::csv(&mut out, answer),
    };
    match written.and_then(|()| out.flush()) {
        // The reader has seen enough (`| head`).
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => return Ok(Exit::Ok),
        other => other?,
    }
    let found = match &answer.found {
        Found::Samples(samples) => samples.len(),
        Found::Windows(windows) => windows.len(),
    };
    for point in &answer.unknown {
        eprintln!("lineside: {endpoint} has no point {point} of {device}");
    }
    if let Some(from) = answer.more_from {
        let (limit, from) = (common.limit, show::rfc3339(from));
        eprintln!("lineside: cut at {limit}; go on with --from {from}, or raise --limit");
    } else if found == 0 {
        let next = match newest {
            true => "is its name right, and does a pipeline with this sink select it?",
            false => "`lineside query last` says what is newest",
        };
        eprintln!("lineside: nothing of {device} at {endpoint}; {next}");
    }
    let whole = answer.unknown.is_empty() && (found > 0 || answer.more_from.is_some());
    Ok(if whole { Exit::Ok } else { Exit::Findings })
}

/// How far back is looked when nobody says.
const HOUR: UnixNanos = 3_600_000_000_000;
