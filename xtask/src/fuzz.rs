//! The fuzz targets: builds them with coverage counters on the pinned toolchain and runs them.
//!
//! The compiler flags are what libFuzzer needs and nothing more; a sanitizer would need another
//! toolchain, and safe code has little for it to find. Overflow checks and debug assertions are
//! on (`fuzz/Cargo.toml`).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::Context;
use crate::process::{self, cargo, command, run as run_command};

/// Coverage counters, a table of program counters, and traced comparisons: what libFuzzer
/// reads. `cfg(fuzzing)` is what crates of the Rust fuzzing world look for.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

/// Longest a single input may take, in seconds; longer is reported as a hang.
const HANG_SECONDS: u32 = 10;

/// Most memory in MiB, so that an allocation sized by the input is found.
const MEMORY_MIB: u32 = 1024;

/// Longest input: above the largest ADU and any sensible address, enough for a YAML file.
const LONGEST_INPUT: u32 = 4096;

/// How often running targets are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// How long the targets run.
#[derive(Clone, Copy, Debug)]
pub enum Time {
    /// Seconds for each target.
    Each(u32),
    /// Seconds on the clock for all targets together.
    Total(u32),
}

impl Time {
    /// Seconds for each of `targets` when `at_once` run beside each other.
    fn each(self, targets: usize, at_once: usize) -> Result<u32> {
        match self {
            Self::Each(seconds) => Ok(seconds),
            Self::Total(seconds) => {
                let rounds = u32::try_from(targets.div_ceil(at_once.max(1)))?;
                Ok((seconds / rounds.max(1)).max(1))
            }
        }
    }
}

/// A target that runs.
struct Running<'a> {
    target: &'a str,
    child: Child,
    log: PathBuf,
    artifacts: PathBuf,
}

/// Runs the named targets, or all, one on each core; what each says goes to a file of its own.
pub fn run(context: &Context, named: &[String], time: Time) -> Result<()> {
    let known = targets(context)?;
    if let Some(unknown) = named.iter().find(|name| !known.contains(name)) {
        bail!("no fuzz target {unknown}; there are: {}", known.join(" "));
    }
    let chosen: Vec<_> =
        known.iter().filter(|name| named.is_empty() || named.contains(name)).collect();
    let program = build(context)?;
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    let each = time.each(chosen.len(), at_once)?;
    println!("fuzz: {} targets, {each} s each, {at_once} at a time", chosen.len());
    let mut waiting = chosen.into_iter();
    let mut running: Vec<Running<'_>> = Vec::new();
    let mut crashed = Vec::new();
    loop {
        while running.len() < at_once
            && let Some(target) = waiting.next()
        {
            running.push(start(context, &program, target, each)?);
        }
        if running.is_empty() {
            break;
        }
        std::thread::sleep(LOOK);
        let mut at = 0;
        while let Some(one) = running.get_mut(at) {
            match one.child.try_wait()? {
                Some(status) => {
                    let one = running.swap_remove(at);
                    if !finish(&one, status.success())? {
                        crashed.push(one.target);
                    }
                }
                None => at += 1,
            }
        }
    }
    if !crashed.is_empty() {
        bail!("inputs that crash or hang were found for {}", crashed.join(" "));
    }
    Ok(())
}

fn start<'a>(
    context: &Context,
    program: &Path,
    target: &'a str,
    seconds: u32,
) -> Result<Running<'a>> {
    let found = folder(context, "corpus", target)?;
    let artifacts = folder(context, "artifacts", target)?;
    let log = folder(context, "logs", target)?.join("last.log");
    let output = File::create(&log)?;
    let child = engine(program, target)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-print_final_stats=1", "-verbosity=0"])
        .arg(found)
        .arg(context.workspace.join("fuzz/corpus").join(target))
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .with_context(|| format!("cannot start {target}"))?;
    Ok(Running { target, child, log, artifacts })
}

/// Says how a target ended; false when it found an input that crashes or hangs.
fn finish(ended: &Running<'_>, fine: bool) -> Result<bool> {
    let Running { target, log, artifacts, .. } = ended;
    let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    if fine {
        println!("fuzz: {target}: {} inputs, none crashes or hangs", executed(&text));
        return Ok(true);
    }
    let inputs = newest(artifacts)?.map_or_else(String::new, |p| p.display().to_string());
    println!("{text}\nfuzz: {target} failed; the text above is also in {}", log.display());
    println!("fuzz: kept {inputs}\nfuzz: run: cargo xtask reproduce {target} {inputs}");
    Ok(false)
}

/// libFuzzer's own count of the inputs it ran.
fn executed(log: &str) -> &str {
    let line = log.lines().find_map(|l| l.strip_prefix("stat::number_of_executed_units:"));
    line.map_or("?", str::trim)
}

/// Runs a target once on one file.
pub fn reproduce(context: &Context, target: &str, file: &Path) -> Result<()> {
    if !targets(context)?.iter().any(|known| known == target) {
        bail!("no fuzz target {target}");
    }
    let file = std::path::absolute(file)?;
    if !file.is_file() {
        bail!("{} is not a file", file.display());
    }
    run_command(engine(&build(context)?, target).arg(file))
}

/// The targets are the folders of the committed corpora.
fn targets(context: &Context) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(context.workspace.join("fuzz/corpus"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn build(context: &Context) -> Result<PathBuf> {
    let host = process::host()?;
    // With --target the flags leave build scripts and procedural macros alone.
    let mut build = cargo(context, &host);
    build
        .current_dir(context.workspace.join("fuzz"))
        .env("CARGO_TARGET_DIR", context.target.join("fuzz"))
        .env("RUSTFLAGS", FLAGS)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .args(["build", "--quiet", "--release", "--locked", "--target", &host]);
    run_command(&mut build).context(
        "if a dependency has changed, run: cargo update --workspace --manifest-path fuzz/Cargo.toml",
    )?;
    Ok(context.target.join("fuzz").join(&host).join("release/lineside-fuzz"))
}

fn engine(program: &Path, target: &str) -> Command {
    let mut engine = command(program);
    engine
        .env("LINESIDE_FUZZ_TARGET", target)
        .arg(format!("-timeout={HANG_SECONDS}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-max_len={LONGEST_INPUT}"));
    engine
}

fn folder(context: &Context, kind: &str, target: &str) -> Result<PathBuf> {
    let dir = context.target.join("fuzz").join(kind).join(target);
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

fn newest(dir: &Path) -> Result<Option<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        files.push((entry.metadata()?.modified().context("no modification time")?, entry.path()));
    }
    Ok(files.into_iter().max().map(|(_, path)| path))
}

#[cfg(test)]
mod tests {
    use super::{Time, executed};

    #[test]
    fn a_total_is_shared_by_the_rounds_that_run_one_after_the_other() {
        assert_eq!(Time::Each(60).each(5, 2).unwrap(), 60);
        assert_eq!(Time::Total(3600).each(5, 2).unwrap(), 1200);
        assert_eq!(Time::Total(3600).each(1, 8).unwrap(), 3600);
        assert_eq!(Time::Total(1).each(5, 1).unwrap(), 1);
    }

    #[test]
    fn the_count_of_inputs_is_read_from_the_final_statistics() {
        let log = "Done 12 runs\nstat::number_of_executed_units: 12345\nstat::x: 1\n";
        assert_eq!(executed(log), "12345");
        assert_eq!(executed(""), "?");
    }
}
