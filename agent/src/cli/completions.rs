//! `lineside completions SHELL`: a script that completes commands and options.

use std::io::Write as _;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, Exit};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lineside completions bash > ~/.local/share/bash-completion/completions/lineside
  lineside completions zsh > ~/.zfunc/_lineside
  lineside completions fish > ~/.config/fish/completions/lineside.fish")]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "lineside", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(Exit::Ok)
}
