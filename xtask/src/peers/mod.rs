//! `cargo xtask peers`: real servers to try Lineside with. Without more words, those of
//! `examples/first` on this machine ([`first`]); with `up`, in a lab at fixed addresses
//! ([`cluster`]).

mod cluster;
mod first;

use anyhow::Result;
use clap::{Args as Arguments, Subcommand};
use lineside_lab::RunId;

use crate::Context;
use crate::lab::RUN;
use cluster::Peer;

/// Which servers where.
#[derive(Arguments)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The lab that has them.
    #[arg(long, global = true, default_value = RUN, value_name = "NAME")]
    run: RunId,
    #[command(subcommand)]
    command: Option<Action>,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask peers                  then, beside it: cargo run -- agent --config examples/first/
  cargo xtask lab up; cargo xtask peers up
  cargo xtask peers up mosquitto pymodbus
  cargo xtask peers up iotdb-2.0 iotdb-1.3
  cargo xtask peers status
  cargo xtask peers down";

#[derive(Subcommand)]
enum Action {
    /// Start servers in a lab, where pods find them by name and address.
    Up {
        /// Which ones; none: broker and devices, no database.
        #[arg(value_enum)]
        names: Vec<Peer>,
    },
    /// Stop servers of a lab.
    Down {
        /// Which ones; none: all.
        #[arg(value_enum)]
        names: Vec<Peer>,
    },
    /// Names, addresses and logs of a lab's servers.
    Status,
}

/// Does it.
pub fn run(context: &Context, args: &Args) -> Result<()> {
    match &args.command {
        None => first::run(context),
        Some(Action::Up { names }) => cluster::up(context, &args.run, names),
        Some(Action::Down { names }) => cluster::down(context, &args.run, names),
        Some(Action::Status) => cluster::status(context, &args.run),
    }
}
