//! `lineside demo`: a plant, a broker and the agent in one process, on this machine only.

use std::io::{ErrorKind, IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;

use super::Exit;
use crate::api::listen::PageAt;
use crate::demo::files::{self, Ports};
use crate::demo::server::{Seat, serve};
use crate::demo::show::{self, CLEAR_LINE, Introduction};
use crate::demo::{Plant, Station, broker};
use crate::identity::State;
use crate::runner::{self, Runner, Shown};

/// Longest time to deliver what is held at the end.
const DRAIN: Duration = Duration::from_secs(2);
/// Time between two lines of status.
const STATUS_PERIOD: Duration = Duration::from_secs(2);
/// The broker reports every client that leaves as an error; its troubles show at the sink.
const LOG: &str = "warn,rumqttd=off";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lineside demo
  lineside demo --dir my-line          (keeps the YAML)
  lineside demo --page 127.0.0.1:8080 --seed 7
  lineside demo --for 30

Needs no cluster, no root and no network. RUST_LOG=info shows more of the agent.
Exit codes: 0 ended by Ctrl-C or --for, 2 it cannot run here.")]
pub struct Args {
    /// Directory for the YAML and the state, made if it is not there and kept at the end; it
    /// must be empty [default: a new temporary one, removed at the end]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Address of the page, on the loopback interface; port 0 takes a free one
    /// [default: 127.0.0.1:9465, or a free port when it is taken]
    #[arg(long, value_name = "ADDRESS", value_parser = loopback)]
    page: Option<SocketAddr>,
    /// Number that decides noise, first counts, and the second in which things fail
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Ends by itself after so long [default: at Ctrl-C]
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(address),
        Ok(_) => Err("the demo stays on this machine; give an address as 127.0.0.1:9465".into()),
        Err(_) => Err("expected ADDRESS:PORT, e.g. 127.0.0.1:9465".into()),
    }
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let status = std::io::stdout().is_terminal();
    start_log(status);
    runner::block_on(runner::runtime()?, async {
        // First of all, so that an early signal leaves nothing behind either.
        let told = told_to_end()?;
        let home = Home::make(args.dir.as_deref())?;
        let done = play(args, &home, told, status).await;
        home.leave()?;
        done
    })
}

/// Completes at Ctrl-C, SIGTERM, or when the terminal goes away.
fn told_to_end() -> anyhow::Result<impl Future<Output = ()>> {
    let told = runner::told_to_end()?;
    let mut hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    Ok(async move {
        tokio::select! {
            () = told => {}
            _ = hangup.recv() => {}
        }
    })
}

async fn play(
    args: &Args,
    home: &Home,
    told: impl Future<Output = ()>,
    status: bool,
) -> anyhow::Result<Exit> {
    let (furnace, conveyor) = (seat()?, seat()?);
    let broker = tokio::task::spawn_blocking(broker::start);
    let broker = broker.await.context("start the broker")?.context("start the broker")?;
    let ports = Ports { furnace: furnace.port(), conveyor: conveyor.port(), broker };
    let dir = home.path();
    files::write(dir, ports).with_context(|| format!("write YAML into {}", dir.display()))?;
    let state = dir.join("state");
    let agent = Runner {
        config: dir.to_owned(),
        cluster: None,
        secrets: None,
        state: State::open(&state, None)?,
        name: "demo".into(),
        http: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        page: args.page.map_or(PageAt::Usual, PageAt::Exactly),
        drain: DRAIN,
    };

    let plant = Plant::start(args.seed);
    let mut servers = JoinSet::new();
    servers.spawn(serve(plant.clone(), Station::Furnace, furnace));
    servers.spawn(serve(plant, Station::Conveyor, conveyor));
    let end = async {
        tokio::select! {
            () = told => Ok(()),
            () = after(args.seconds) => Ok(()),
            ended = servers.join_next() => match ended {
                Some(Ok(Err(error))) => Err(error).context("serve a simulated device"),
                _ => bail!("a simulated device ended"),
            },
        }
    };
    let mut ended = Ok(());
    let mut watchers = JoinSet::new();
    let up = |addresses: runner::Addresses, shown: &Arc<Shown>| {
        let kept = home.is_kept();
        let page = addresses.page.unwrap_or(addresses.http);
        show::print(&Introduction { page, ports, dir, kept, state: &state }.text());
        if status {
            watchers.spawn(tell(shown.clone()));
        }
    };
    // What the demo holds at its end is worth nothing, delivered or not.
    let _ = agent.run(async { ended = end.await }, up).await?;
    watchers.shutdown().await;
    if status {
        show::print(CLEAR_LINE);
    }
    ended.map(|()| Exit::Ok)
}

fn seat() -> anyhow::Result<Seat> {
    Seat::take().context("take a port on 127.0.0.1 for a simulated device")
}

async fn after(seconds: Option<u64>) {
    match seconds {
        Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        None => std::future::pending().await,
    }
}

/// Keeps the last line of the terminal up to date.
async fn tell(shown: Arc<Shown>) {
    let mut period = tokio::time::interval(STATUS_PERIOD);
    loop {
        period.tick().await;
        let line = show::status(&shown.view.snapshot(), |key| shown.view.points(key));
        show::print(&format!("{CLEAR_LINE}{}", show::fit(&line, columns())));
    }
}

/// Width of the terminal; 80 when it does not say.
fn columns() -> usize {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => 80,
    }
}

/// Logs to standard error, over the line of status where there is one.
fn start_log(status: bool) {
    let terminal = std::io::stderr().is_terminal();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG));
    let writer = move || {
        let mut stderr = std::io::stderr();
        if status && terminal {
            // A log that cannot be written cannot be reported either.
            let _ = stderr.write_all(CLEAR_LINE.as_bytes());
        }
        stderr
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_target(false)
        .with_ansi(terminal)
        .init();
}

/// The directory of one run.
#[derive(Debug)]
enum Home {
    /// Given by the user, who keeps it.
    Given(PathBuf),
    /// Ours, removed at the end.
    Temporary(TempDir),
}

impl Home {
    fn make(given: Option<&Path>) -> anyhow::Result<Self> {
        let Some(dir) = given else {
            let dir = tempfile::Builder::new().prefix("lineside-demo-").tempdir();
            return Ok(Self::Temporary(dir.context("make a temporary directory (TMPDIR)")?));
        };
        match std::fs::read_dir(dir) {
            Ok(mut inside) => {
                if inside.next().is_some() {
                    bail!("--dir {} is not empty; give a new or an empty one", dir.display());
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                std::fs::create_dir_all(dir)
                    .with_context(|| format!("make --dir {}", dir.display()))?;
            }
            Err(error) => {
                return Err(error).with_context(|| format!("read --dir {}", dir.display()));
            }
        }
        Ok(Self::Given(dir.to_owned()))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Given(dir) => dir,
            Self::Temporary(dir) => dir.path(),
        }
    }

    fn is_kept(&self) -> bool {
        matches!(self, Self::Given(_))
    }

    fn leave(self) -> anyhow::Result<()> {
        match self {
            Self::Given(_) => Ok(()),
            Self::Temporary(dir) => {
                let path = dir.path().to_owned();
                dir.close().with_context(|| format!("remove {}", path.display()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_stays_on_the_loopback_interface() {
        assert!(loopback("127.0.0.1:0").is_ok() && loopback("[::1]:80").is_ok());
        for refused in ["0.0.0.0:80", "10.0.0.1:80", "[::]:80", "localhost", "127.0.0.1"] {
            assert!(loopback(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_given_directory_must_be_empty_and_stays_and_a_temporary_one_goes() {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("new");
        let home = Home::make(Some(&dir)).unwrap();
        std::fs::write(dir.join("x.yaml"), "").unwrap();
        home.leave().unwrap();
        let refused = Home::make(Some(&dir)).unwrap_err().to_string();
        assert!(refused.contains("not empty"), "{refused}");

        let home = Home::make(None).unwrap();
        let path = home.path().to_owned();
        std::fs::write(path.join("x.yaml"), "").unwrap();
        home.leave().unwrap();
        assert!(!path.exists());
    }
}
