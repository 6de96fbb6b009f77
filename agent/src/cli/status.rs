//! `lineside status`: is it working, and if not why.

use std::io::Write as _;

use super::{Exit, Output, local, overview, terminal};
use crate::api::shape::State;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lineside status
  lineside status --state /var/lib/lineside -o json
  lineside status > /dev/null || echo 'something is wrong'

Asks the agent that runs with the state directory. What is wrong is said with its code and the
next step; what is suspended, or may be switched off and is, is not wrong.
Exit codes: 0 everything is healthy, 1 something is not, 2 usage, 3 no agent answers.")]
pub struct Args {
    #[command(flatten)]
    local: local::WhichAgent,
    /// Output format; json is the answer of /api/v1/state
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    local::end(show(args))
}

fn show(args: &Args) -> Result<Exit, local::Stop> {
    let client = args.local.client()?;
    let body = local::runtime()?.block_on(client.get("/api/v1/state"))?;
    let state: State = serde_json::from_slice(&body)?;
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Json => {
            out.write_all(&body)?;
            writeln!(out)?;
        }
        Output::Text => {
            let colours = terminal::colours();
            for line in overview::lines(&state, None) {
                writeln!(out, "{}", terminal::text(&line, usize::MAX, colours))?;
            }
        }
    }
    Ok(if overview::is_well(&state) { Exit::Ok } else { Exit::Findings })
}
