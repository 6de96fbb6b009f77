//! The fuzz targets: builds them with coverage counters on the pinned toolchain and runs them.
//!
//! The compiler flags are what libFuzzer needs and nothing more; a sanitizer would need another
//! toolchain, and safe code has little for it to find. Overflow checks and debug assertions are
//! on (`fuzz/Cargo.toml`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// Runs the named targets, or all, for `seconds` in total.
pub fn run(context: &Context, named: &[String], seconds: u32) -> Result<()> {
    let known = targets(context)?;
    if let Some(unknown) = named.iter().find(|name| !known.contains(name)) {
        bail!("no fuzz target {unknown}; there are: {}", known.join(" "));
    }
    let chosen: Vec<_> =
        known.iter().filter(|name| named.is_empty() || named.contains(name)).collect();
    let program = build(context)?;
    let each = (seconds / u32::try_from(chosen.len())?.max(1)).max(1);
    let mut crashed = Vec::new();
    for target in chosen {
        println!("fuzz: {target} for {each} s");
        let found = folder(context, "corpus", target)?;
        let artifacts = folder(context, "artifacts", target)?;
        let mut fuzz = engine(&program, target);
        fuzz.arg(format!("-max_total_time={each}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .args(["-print_final_stats=1", "-verbosity=0"])
            .arg(found)
            .arg(context.workspace.join("fuzz/corpus").join(target));
        if run_command(&mut fuzz).is_err() {
            let inputs = newest(&artifacts)?.map_or_else(String::new, |p| p.display().to_string());
            println!("fuzz: kept {inputs}\nfuzz: run: cargo xtask reproduce {target} {inputs}");
            crashed.push(target.as_str());
        }
    }
    if !crashed.is_empty() {
        bail!("inputs that crash or hang were found for {}", crashed.join(" "));
    }
    Ok(())
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
