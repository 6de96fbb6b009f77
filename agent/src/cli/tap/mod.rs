//! `lineside tap`: what flows, as it happens: the bytes of the device, the sample made of them,
//! and its delivery.

mod rows;

use std::io::Write as _;
use std::time::Duration;

use anyhow::bail;
use lineside_crds::model::Glob;
use tokio::time::{Instant, MissedTickBehavior};

use super::local::Stop;
use super::{Exit, Output, local, terminal};
use crate::api::query;
use crate::api::shape::{State, Tapped};
use crate::client::Client;
use crate::standalone;
use rows::Rows;

/// How often rows that are complete are printed.
const PRINT_PERIOD: Duration = Duration::from_millis(100);
/// Silence after which the agent is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(5);

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lineside tap                          (every point of every device)
  lineside tap press-01                 (every point of one device)
  lineside tap 'press-*/temp*' --limit 20
  lineside tap 'furnace/*' --for 10 -o json

Columns: the bytes as the device sent them, the value made of them with its quality, and the
pipeline, sink and record id when the remote has accepted it; `-` where there is none. In a glob
`*` is any run of characters and `?` one. Looking costs the agent little, and it never waits for
you: events that you are too slow for are lost and counted.
Exit codes: 0 something was seen, 1 nothing flowed, 2 usage, 3 no agent answers.")]
pub struct Args {
    /// Which devices and points
    #[arg(value_name = "DEVICE[/POINT]")]
    what: Option<String>,
    /// Only devices of these namespaces
    #[arg(short, long, value_name = "GLOB")]
    namespace: Option<String>,
    #[command(flatten)]
    local: local::WhichAgent,
    /// Ends after so many rows (with json, lines)
    #[arg(short, long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Ends after so long
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Output format; json is that of /api/v1/tap, one object a line
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// What is looked at, as globs of the API.
struct Wanted {
    device: String,
    point: Option<String>,
}

impl Wanted {
    fn of(args: &Args) -> Self {
        let what = args.what.as_deref().unwrap_or("*");
        let (device, point) = match what.split_once('/') {
            Some((device, point)) => (device, Some(point.to_owned())),
            None => (what, None),
        };
        let device = match &args.namespace {
            Some(namespace) => format!("{namespace}/{device}"),
            None => device.to_owned(),
        };
        Self { device, point }
    }

    fn path(&self, limit: Option<u64>) -> String {
        let mut path = format!("/api/v1/tap?device={}", query::encode(&self.device));
        if let Some(point) = &self.point {
            path.push_str(&format!("&point={}", query::encode(point)));
        }
        if let Some(limit) = limit {
            path.push_str(&format!("&limit={limit}"));
        }
        path
    }

    /// Refuses a glob that no device answers to, which would be waited for in vain.
    async fn check(&self, client: &Client) -> Result<(), Stop> {
        let state: State = serde_json::from_slice(&client.get("/api/v1/state").await?)?;
        let glob = Glob(self.device.clone());
        let full = self.device.contains('/');
        let wanted = |d: &crate::api::shape::Device| {
            let path = format!("{}/{}", d.namespace, d.name);
            glob.matches(if full { &path } else { &d.name })
        };
        if state.devices.iter().any(wanted) {
            return Ok(());
        }
        let there: Vec<&str> = state.devices.iter().take(20).map(|d| d.name.as_str()).collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        let refuse = || -> anyhow::Result<()> {
            bail!("no device is {:?}; there are: {there}", self.device);
        };
        Ok(refuse()?)
    }
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let client = args.local.client()?;
    let wanted = Wanted::of(args);
    let done = local::runtime()?.block_on(async {
        let mut seen = 0;
        let end = standalone::told_to_end()?;
        let over = async {
            match args.seconds {
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
        };
        let enough = tokio::select! {
            done = look(args, &client, &wanted, &mut seen) => done.map(|()| true),
            () = over => Ok(seen > 0),
            () = end => Ok(true),
        };
        enough.map(|enough| if enough { Exit::Ok } else { Exit::Findings })
    });
    local::end(done)
}

/// Prints until the limit is reached; counts what it printed.
async fn look(args: &Args, client: &Client, wanted: &Wanted, seen: &mut u64) -> Result<(), Stop> {
    wanted.check(client).await?;
    let json = args.output == Output::Json;
    let mut lines = client.lines(&wanted.path(args.limit.filter(|_| json))).await?;
    let mut printer = Printer::new(args.limit);
    let mut period = tokio::time::interval(PRINT_PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    loop {
        tokio::select! {
            line = lines.next() => {
                last = Instant::now();
                match line? {
                    Some(line) if json => {
                        let mut out = std::io::stdout().lock();
                        writeln!(out, "{line}")?;
                        out.flush()?;
                        *seen += 1;
                    }
                    Some(line) => printer.rows.take(serde_json::from_str::<Tapped>(&line)?),
                    None if json && args.limit == Some(*seen) => return Ok(()),
                    None => return ended(),
                }
            }
            _ = period.tick() => {
                if !json && printer.print(seen)? {
                    return Ok(());
                }
                if last.elapsed() > SILENCE {
                    client.get("/api/v1/state").await?;
                    last = Instant::now();
                }
            }
        }
    }
}

fn ended() -> Result<(), Stop> {
    let text = "the agent ended".to_owned();
    Err(Stop::Agent(crate::client::ClientError::Broken(text)))
}

/// Rows on standard output.
struct Printer {
    rows: Rows,
    limit: Option<u64>,
    colours: bool,
    headed: bool,
}

impl Printer {
    fn new(limit: Option<u64>) -> Self {
        let colours = terminal::colours();
        Self { rows: Rows::default(), limit, colours, headed: false }
    }

    /// Prints the rows that are complete; whether the limit is reached.
    fn print(&mut self, seen: &mut u64) -> Result<bool, Stop> {
        let lost = self.rows.lost();
        if lost > 0 {
            eprintln!("lineside: {lost} events lost: more flows than can be shown here");
        }
        let left = self.limit.map_or(u64::MAX, |limit| limit - *seen);
        let rows = self.rows.ready(Instant::now(), usize::try_from(left).unwrap_or(usize::MAX));
        if rows.is_empty() {
            return Ok(false);
        }
        let mut out = std::io::stdout().lock();
        if !self.headed {
            writeln!(out, "{}", terminal::text(&self.rows.heading(), usize::MAX, self.colours))?;
            self.headed = true;
        }
        for row in rows {
            writeln!(out, "{}", terminal::text(&row, usize::MAX, self.colours))?;
            *seen += 1;
        }
        out.flush()?;
        Ok(self.limit.is_some_and(|limit| *seen >= limit))
    }
}
