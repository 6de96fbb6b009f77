//! `cargo xtask bench iotdb`: values per second into a real IoTDB, from the sink's session and from
//! the official clients, with the same tablets in the same run. Prints numbers and asserts nothing
//! about speed; that the server has every value that was sent is checked.

mod peer;
mod server;
mod shape;
mod table;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::lab::Talker;
use super::usage::{Usage, machine_busy};
use crate::{Context, setup};
use peer::Peer;
use server::{Server, Wal};
use shape::{SHAPES, Shape};
use table::{Round, Row};

/// The compiler of the Java peer, besides what the tests need.
const PACKAGES: [(&str, &str); 1] =
    [("openjdk-17-jdk-headless", "/usr/share/doc/openjdk-17-jdk-headless")];

/// Longest time in which the server may see what it has just taken.
const COUNTED_WITHIN: Duration = Duration::from_secs(60);

/// Arguments of the command.
#[derive(clap::Args)]
#[command(after_help = "\
Shapes:
  small   a device of 10 columns, 100 rows a tablet
  large   a device of 100 columns, 1,000 rows a tablet
  fleet   100 devices of 10 points with their qualities (20 columns), one row each, in one request

Examples:
  cargo xtask bench iotdb
  cargo xtask bench iotdb --wal SYNC --shapes small --rounds 11")]
pub struct Args {
    /// Rounds of each peer, by turns; one more before them is thrown away
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// When the server syncs its log: ASYNC, its default, acknowledges before it does
    #[arg(
        long,
        value_delimiter = ',',
        value_enum,
        ignore_case = true,
        default_value = "async,sync"
    )]
    wal: Vec<Wal>,
    /// small, large, fleet; default: all
    #[arg(long, value_delimiter = ',')]
    shapes: Vec<String>,
    /// Who is measured; default: all
    #[arg(long, value_delimiter = ',', value_enum)]
    peers: Vec<Peer>,
}

/// Runs the command.
pub fn run(context: &Context, args: &Args) -> Result<()> {
    let known = |name: &String| SHAPES.iter().any(|shape| shape.name == name.as_str());
    if let Some(name) = args.shapes.iter().find(|name| !known(name)) {
        bail!("there is no shape {name:?}: small, large, fleet");
    }
    let wanted = |shape: &&Shape| {
        args.shapes.is_empty() || args.shapes.iter().any(|name| name == shape.name)
    };
    let shapes: Vec<_> = SHAPES.iter().filter(wanted).collect();
    setup::run(context)?;
    setup::debian_packages(&PACKAGES)?;
    let peers = if args.peers.is_empty() { peer::ALL.to_vec() } else { args.peers.clone() };
    let programs = peer::Programs::build(context)?;
    let mut rows = Vec::new();
    for wal in &args.wal {
        let server = Server::start(context, *wal)?;
        let mut oracle = programs.start(Peer::Python, server.port)?;
        for shape in &shapes {
            println!("bench: iotdb {} {}", wal.name(), shape.name);
            let measured = measure(args, &programs, &peers, &server, shape, &mut oracle)?;
            println!("{}", table::table(&measured));
            rows.extend(measured);
        }
    }
    println!("\n{}", table::table(&rows));
    Ok(())
}

/// A peer in one shape.
struct Contestant {
    peer: Peer,
    path: String,
    talker: Talker,
    /// First time of its next round, in milliseconds.
    next: i64,
    rounds: Vec<Round>,
}

fn measure(
    args: &Args,
    programs: &peer::Programs,
    peers: &[Peer],
    server: &Server,
    shape: &Shape,
    oracle: &mut Talker,
) -> Result<Vec<Row>> {
    let contestant = |peer: &Peer| {
        let path = format!("root.bench.{}_{}", peer.word(), shape.name);
        let talker = programs.start(*peer, server.port)?;
        let (next, rounds) = (shape::FIRST, Vec::new());
        Ok(Contestant { peer: *peer, path, talker, next, rounds })
    };
    let mut all = peers.iter().map(contestant).collect::<Result<Vec<_>>>()?;
    for round in 0..=args.rounds {
        let turn = usize::from(round) % all.len();
        for i in 0..all.len() {
            // Nobody always comes behind the same one.
            let at = (i + turn) % all.len();
            let one = all.get_mut(at).context("a peer")?;
            let measured = one.round(shape, server)?;
            if round > 0 {
                one.rounds.push(measured);
            }
        }
    }
    let mut rows = Vec::new();
    for one in &all {
        let sent = shape.values(server.wal) * (u64::from(args.rounds) + 1);
        let found = counted(oracle, &one.path, sent)?;
        rows.push(Row {
            wal: server.wal.name(),
            shape: shape.name,
            peer: one.peer.name(),
            rounds: one.rounds.clone(),
            sent,
            found,
        });
    }
    Ok(rows)
}

impl Contestant {
    fn round(&mut self, shape: &Shape, server: &Server) -> Result<Round> {
        let request = shape.request(&self.path, self.next, server.wal);
        self.next += shape.span(server.wal);
        expect(&mut self.talker, &request, "built")?;
        let pid = self.talker.pid();
        let before = (Usage::of(pid)?, server.usage()?, machine_busy());
        let seconds: f64 = expect(&mut self.talker, "go", "done")?.parse().context("seconds")?;
        let after = (Usage::of(pid)?, server.usage()?, machine_busy());
        let cpu = after.0.cpu_since(&before.0);
        let server_cpu = after.1.cpu_since(&before.1);
        let values = shape.values(server.wal);
        let others = (after.2 - before.2 - cpu - server_cpu).max(0.0) / seconds;
        Ok(Round { values, seconds, cpu, server_cpu, others })
    }
}

/// Asks and returns what follows the word that is expected.
fn expect(talker: &mut Talker, request: &str, word: &str) -> Result<String> {
    let answer = talker.ask(request).with_context(|| format!("asked to {request}"))?;
    let rest = answer.trim().strip_prefix(word);
    Ok(rest.with_context(|| format!("{request}: {answer:?}"))?.trim().to_owned())
}

/// Values of all columns below the path, as the official client counts them.
fn counted(oracle: &mut Talker, path: &str, sent: u64) -> Result<u64> {
    let until = std::time::Instant::now() + COUNTED_WITHIN;
    loop {
        let found = expect(oracle, &format!("count {path}"), "values")?.parse()?;
        if found == sent {
            return Ok(found);
        }
        if std::time::Instant::now() > until {
            bail!("{path}: {sent} values were sent, the server has {found}");
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}
