//! `cargo xtask test`: the suites that CI runs, each with its time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::process::{self, cargo, command, run as run_command, run_tests};
use crate::results::Tally;
use crate::{Context, fuzz, generate, image, lab, setup};

/// A part of the tests, in the order they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// Servers and tools are installed.
    Setup,
    /// The code is formatted.
    Fmt,
    /// Clippy has nothing to say.
    Clippy,
    /// Generated files are up to date.
    Gen,
    /// Unit, vector and property tests of every crate.
    Unit,
    /// Licences, banned crates and sources of dependencies.
    Deny,
    /// Tests against real servers, and the crate graph.
    Integration,
    /// Tests on a real two-node Kubernetes, with our images; wants root.
    E2e,
    /// The fuzz targets, one minute each.
    Fuzz,
}

/// Time of each target in the suite `fuzz`.
const FUZZ_SECONDS: u32 = 60;

struct Outcome {
    suite: Suite,
    took: Duration,
    tally: Tally,
    error: Option<anyhow::Error>,
}

/// Runs the named suites, or all. `args` go to the test programs.
pub fn run(context: &Context, named: &[Suite], args: &[String]) -> Result<()> {
    let host = process::host()?;
    let mut outcomes = Vec::new();
    for suite in Suite::value_variants() {
        if !named.is_empty() && !named.contains(suite) {
            continue;
        }
        println!("\n=== {} ===", name(*suite));
        let started = Instant::now();
        let mut tally = Tally::default();
        let mut error = one(context, &host, *suite, args, &mut tally).err();
        if error.is_none() && tally.ignored > 0 {
            error = Some(anyhow::anyhow!("{} ignored tests; the house has none", tally.ignored));
        }
        if let Some(error) = &error {
            eprintln!("error: {}: {error:#}", name(*suite));
            // A suite that failed before any test did (it did not build, say) counts as one.
            tally.failed = tally.failed.max(1);
        }
        outcomes.push(Outcome { suite: *suite, took: started.elapsed(), tally, error });
    }
    summary(&outcomes)
}

fn summary(outcomes: &[Outcome]) -> Result<()> {
    println!("\n{:<12} {:<7} {:>8} {:>7} {:>7}", "suite", "result", "seconds", "passed", "failed");
    let mut all = Tally::default();
    for o in outcomes {
        let result = if o.error.is_some() { "FAILED" } else { "ok" };
        let (seconds, suite) = (o.took.as_secs_f64(), name(o.suite));
        let Tally { passed, failed, .. } = o.tally;
        println!("{suite:<12} {result:<7} {seconds:>8.1} {passed:>7} {failed:>7}");
        all.add(o.tally);
    }
    println!("\n{} passed, {} failed", all.passed, all.failed);
    let failed: Vec<_> =
        outcomes.iter().filter(|o| o.error.is_some()).map(|o| name(o.suite)).collect();
    if !failed.is_empty() {
        bail!("failed suites: {}", failed.join(" "));
    }
    Ok(())
}

fn name(suite: Suite) -> String {
    suite.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned())
}

fn one(
    context: &Context,
    host: &str,
    suite: Suite,
    args: &[String],
    tally: &mut Tally,
) -> Result<()> {
    let cargo = || cargo(context, host);
    match suite {
        Suite::Setup => setup::run(context),
        Suite::Fmt => run_command(cargo().args(["fmt", "--all", "--check"])),
        Suite::Clippy => {
            run_command(
                cargo()
                    .args(["clippy", "--quiet", "--workspace", "--all-targets"])
                    .args(DENY_WARNINGS),
            )?;
            let with_kube = ["clippy", "--quiet", "-p", "lineside-crds", "-p", "xtask"];
            let features = ["--all-targets", "--features", "lineside-crds/kube,xtask/gen"];
            run_command(cargo().args(with_kube).args(features).args(DENY_WARNINGS))
        }
        Suite::Gen => generate::run(context, true),
        Suite::Unit => {
            // What exists only with the Kubernetes derives is tested apart, so that the agent
            // is built, here as everywhere, without them.
            let workspace =
                ["test", "--workspace", "--exclude", "lineside-tests", "--no-fail-fast"];
            let with_kube = ["test", "-p", "lineside-crds", "--features", "kube", "--no-fail-fast"];
            let first = run_tests(cargo().args(workspace).arg("--").args(args), tally);
            run_tests(cargo().args(with_kube).arg("--").args(args), tally)?;
            first
        }
        Suite::Deny => {
            let program = setup::cargo_deny(context)?;
            let mut deny = command(program);
            deny.current_dir(&context.workspace).args([
                "--workspace",
                "--all-features",
                "check",
                "licenses",
                "bans",
                "sources",
            ]);
            run_command(&mut deny)
        }
        Suite::Integration => {
            run_command(cargo().args(["build", "--quiet", "-p", "lineside"]))?;
            let tests = ["test", "-p", "lineside-tests", "--lib", "--test", "integration"];
            run_tests(cargo().args(tests).args(["--no-fail-fast", "--"]).args(args), tally)
        }
        Suite::E2e => {
            image::for_tests(context)?;
            let tests = ["test", "-p", "lineside-tests", "--test", "e2e", "--no-fail-fast", "--"];
            let tested = run_tests(cargo().args(tests).args(args), tally);
            // The test program is gone; the guard of its lab may still be at work.
            lab::wait_for_tests(context)?;
            tested
        }
        Suite::Fuzz => fuzz::run(context, &[], fuzz::Time::Each(FUZZ_SECONDS)),
    }
}

const DENY_WARNINGS: [&str; 3] = ["--", "-D", "warnings"];
