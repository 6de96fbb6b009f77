//! `lineside`: the edge agent and its command line. This file only picks the command.

mod api;
mod cli;
mod client;
mod config;
#[cfg(feature = "demo")]
mod demo;
mod http;
mod identity;
mod page;
mod registry;
mod standalone;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::try_parse() {
        Ok(cli) => cli.run(),
        Err(error) => {
            // --help and --version are answers, everything else is a usage error.
            let code = if error.use_stderr() { cli::Exit::Usage } else { cli::Exit::Ok };
            // Nothing is left to do when the terminal is gone.
            let _ = error.print();
            code.into()
        }
    }
}
