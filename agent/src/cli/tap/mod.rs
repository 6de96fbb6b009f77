//! `lineside tap`: what flows, as it happens: the bytes of the device, the sample made of them,
//! and its delivery.

mod notices;
mod rows;
mod wanted;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::local::Stop;
use super::{Exit, Output, local, terminal};
use crate::api::query;
use crate::api::shape::{Device, DevicePoints, Point, State, Tapped};
use crate::client::{Client, ClientError};
use crate::runner;
use notices::Notices;
use rows::Rows;
use wanted::Wanted;

/// How often rows that are complete are printed.
const PRINT_PERIOD: Duration = Duration::from_millis(100);
/// How often the agent is asked how the devices are, and so whether it is still there.
const STATE_PERIOD: Duration = Duration::from_secs(1);

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
you: events that you are too slow for are lost and counted. A device that is not well is said on
standard error, with the code, its bad points and what to do, at once and when that changes.
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

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let client = args.local.client()?;
    let wanted = Wanted::new(args.what.as_deref(), args.namespace.as_deref());
    let done = local::runtime()?.block_on(async {
        let mut seen = 0;
        let end = runner::told_to_end()?;
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
    let mut devices = Devices { client, wanted, notices: Notices::default() };
    let state = devices.state().await?;
    devices.check(&state).await?;
    devices.tell(&state).await?;
    let json = args.output == Output::Json;
    let mut lines = client.lines(&wanted.path(args.limit.filter(|_| json))).await?;
    let mut printer = Printer::new(args.limit);
    printer.rows.await_delivery(delivers(&state));
    let mut period = tokio::time::interval(PRINT_PERIOD);
    let mut looks = tokio::time::interval_at(Instant::now() + STATE_PERIOD, STATE_PERIOD);
    for interval in [&mut period, &mut looks] {
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        tokio::select! {
            line = lines.next() => {
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
            }
            _ = looks.tick() => {
                let state = devices.state().await?;
                devices.tell(&state).await?;
                printer.rows.await_delivery(delivers(&state));
            }
        }
    }
}

/// Whether a delivery may come.
fn delivers(state: &State) -> bool {
    state.pipelines.iter().any(|p| p.sinks.iter().any(|s| s.connected))
}

/// The devices that are looked at, and what was said of them.
struct Devices<'a> {
    client: &'a Client,
    wanted: &'a Wanted,
    notices: Notices,
}

impl Devices<'_> {
    async fn state(&self) -> Result<State, Stop> {
        Ok(serde_json::from_slice(&self.client.get("/api/v1/state").await?)?)
    }

    async fn points(&self, device: &Device) -> Result<Vec<Point>, Stop> {
        let [namespace, name] = [&device.namespace, &device.name].map(|part| query::encode(part));
        let path = format!("/api/v1/devices/{namespace}/{name}");
        match self.client.get(&path).await {
            Ok(body) => Ok(serde_json::from_slice::<DevicePoints>(&body)?.points),
            // Removed since the state was told.
            Err(ClientError::Refused { .. }) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Refuses a glob that nothing answers to, which would be waited for in vain.
    async fn check(&self, state: &State) -> Result<(), Stop> {
        let devices: Vec<&Device> =
            state.devices.iter().filter(|d| self.wanted.device(d)).collect();
        if devices.is_empty() {
            return Err(anyhow::Error::msg(self.wanted.no_device(state)).into());
        }
        if !self.wanted.has_point() {
            return Ok(());
        }
        let mut names = BTreeSet::new();
        for device in devices {
            for point in self.points(device).await? {
                if self.wanted.point(&point.name) {
                    return Ok(());
                }
                names.insert(point.name);
            }
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Err(anyhow::Error::msg(self.wanted.no_point(&names)).into())
    }

    /// Says, on standard error, which devices are not well since the last time, and why.
    async fn tell(&mut self, state: &State) -> Result<(), Stop> {
        let news = self.notices.news(state.devices.iter().filter(|d| self.wanted.device(d)));
        for device in news.ill {
            let points = match device.points.bad {
                0 => Vec::new(),
                _ => self.points(device).await?,
            };
            say(&notices::ill(device, &points, self.wanted));
        }
        for device in news.well {
            say(&[notices::well(device)]);
        }
        if news.more > 0 {
            say(&[format!("{} more devices are not well; lineside status names all", news.more)]);
        }
        Ok(())
    }
}

fn say(lines: &[String]) {
    for (number, line) in lines.iter().enumerate() {
        let lead = if number == 0 { "lineside: " } else { "" };
        eprintln!(
            "{}",
            terminal::text(&[terminal::plain(format!("{lead}{line}"))], usize::MAX, false)
        );
    }
}

fn ended() -> Result<(), Stop> {
    let text = "the agent ended".to_owned();
    Err(Stop::Agent(ClientError::Broken(text)))
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
