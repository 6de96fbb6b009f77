//! `lineside`: the edge agent and its command line. This file only picks the command.

mod api;
mod check;
mod cli;
mod client;
mod cluster;
mod config;
#[cfg(feature = "demo")]
mod demo;
mod http;
mod identity;
mod page;
mod registry;
mod runner;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    if !cli::plugin::is_plugin(args.first()) {
        return run(args);
    }
    // kubectl hands over what the user typed, which was text.
    let words = args.iter().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    match cli::plugin::run(words) {
        Ok(Some(words)) => {
            run(std::iter::once("lineside".to_owned()).chain(words).map(Into::into).collect())
        }
        Ok(None) => cli::Exit::Ok.into(),
        Err(error) => {
            eprintln!("kubectl lineside: {error:#}");
            cli::Exit::Usage.into()
        }
    }
}

fn run(args: Vec<OsString>) -> ExitCode {
    match cli::Cli::try_parse_from(args) {
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
