//! `lineside man`: the manual pages, made from the same words as `--help`.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::CommandFactory as _;
use clap_mangen::Man;

use super::{Cli, Exit};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lineside man | man -l -
  lineside man tap | man -l -
  lineside man --dir ~/.local/share/man/man1")]
pub struct Args {
    /// The command whose page is printed [default: that of lineside itself]
    #[arg(conflicts_with = "dir")]
    command: Option<String>,
    /// Writes the pages of all commands into this directory instead, made if it is not there
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut cli = Cli::command();
    if let Some(dir) = &args.dir {
        let write = || {
            std::fs::create_dir_all(dir)?;
            clap_mangen::generate_to(cli, dir)
        };
        write().with_context(|| format!("write the pages into {}", dir.display()))?;
        return Ok(Exit::Ok);
    }
    cli.build();
    let page = match &args.command {
        None => cli,
        Some(name) => match cli.find_subcommand(name) {
            Some(command) => command.clone(),
            None => bail!("there is no command {name}; `lineside --help` lists them"),
        },
    };
    let mut text = Vec::new();
    Man::new(page).render(&mut text).context("make the page")?;
    std::io::stdout().write_all(&text)?;
    Ok(Exit::Ok)
}
