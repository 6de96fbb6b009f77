//! Starts programs so that none outlives xtask, however xtask ends.
//!
//! Each child asks the kernel to be killed when its parent dies (`setpriv --pdeathsig` of
//! util-linux; the system call itself would need unsafe code). Cargo is told to start test
//! programs the same way, so the chain xtask, cargo, test program, server falls from the top.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::Context;
use crate::results::Tally;

/// A program that dies with us. Start it from the main thread: the kernel's notion of the
/// parent is the thread.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Cargo in the workspace, building in the shared target directory; test programs it starts
/// die with it.
pub fn cargo(context: &Context, host: &str) -> Command {
    let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let runner = format!("CARGO_TARGET_{}_RUNNER", host.to_uppercase().replace(['-', '.'], "_"));
    cargo
        .current_dir(&context.workspace)
        .env("CARGO_TARGET_DIR", &context.target)
        .env(runner, "setpriv --pdeathsig KILL --");
    cargo
}

/// The triple that rustc builds for.
pub fn host() -> Result<String> {
    let out = output(command("rustc").arg("-vV"))?;
    let host = out.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// Runs to the end; an error unless it succeeds.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Standard output of a program that succeeds.
pub fn output(command: &mut Command) -> Result<String> {
    let out = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !out.status.success() {
        bail!("{} ended with {}", shown(command), out.status);
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Runs tests: shows standard output as it comes and counts the results in it.
pub fn run_tests(command: &mut Command, tally: &mut Tally) -> Result<()> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            tally.read(&line);
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// The command as a person would type it, without what this module adds.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    match words.as_slice() {
        [setpriv, _, _, _, program, rest @ ..] if setpriv == "setpriv" => {
            let program = program.rsplit('/').next().unwrap_or(program);
            std::iter::once(program)
                .chain(rest.iter().map(String::as_str))
                .collect::<Vec<_>>()
                .join(" ")
        }
        words => words.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::{command, shown};

    #[test]
    fn shows_a_command_without_the_wrapper() {
        assert_eq!(shown(command("/usr/bin/cargo").args(["test", "-p", "x"])), "cargo test -p x");
    }
}
