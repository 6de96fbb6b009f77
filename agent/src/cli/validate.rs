//! `lineside validate -f PATH...`: the verdict that the agent and the cluster would give.

use std::io::Write;
use std::path::PathBuf;

use lineside_crds::diagnostics::Level;
use lineside_crds::yaml::Problem;

use super::{Exit, Output};
use crate::config::scan;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lineside validate -f furnace.yaml
  lineside validate -f plant/ -f shared/ -o json
  lineside validate -f plant/ --deny-warnings

Exit codes: 0 no errors, 1 errors found (or warnings with --deny-warnings), 2 usage.")]
pub struct Args {
    /// File, or directory whose *.yaml and *.yml files are read; may be repeated
    #[arg(short, long = "file", required = true, value_name = "PATH", num_args = 1..)]
    file: Vec<PathBuf>,
    /// Warnings count as findings
    #[arg(long)]
    deny_warnings: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let files = scan::read_paths(&args.file)?;
    let documents: Vec<_> = files.iter().flat_map(|f| &f.loaded).collect();
    let mut problems: Vec<Problem> = files.iter().filter_map(|f| f.unreadable.clone()).collect();
    problems.extend(documents.iter().flat_map(|d| d.problems.clone()));
    problems.extend(lineside_crds::yaml::check_set(&documents));
    problems.sort_by(|a, b| {
        (&a.file, a.line, a.column, a.code).cmp(&(&b.file, b.line, b.column, b.code))
    });
    let errors = problems.iter().filter(|p| p.code.level() == Level::Error).count();
    let warnings = problems.len() - errors;
    let objects = documents.iter().filter(|d| d.object.is_some()).count();
    let mut out = std::io::stdout().lock();
    if args.output == Output::Json {
        let report = serde_json::json!({
            "files": files.len(), "objects": objects, "errors": errors,
            "warnings": warnings, "problems": problems,
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        for problem in &problems {
            writeln!(out, "{problem}")?;
        }
        let mut seen: Vec<_> = problems.iter().map(|p| p.code).collect();
        seen.sort_unstable();
        seen.dedup();
        if !seen.is_empty() {
            writeln!(out)?;
        }
        for code in seen {
            writeln!(out, "{}: {} (lineside explain {})", code.id(), code.next(), code.id())?;
        }
        writeln!(
            out,
            "{objects} valid objects in {} files, {errors} errors, {warnings} warnings",
            files.len()
        )?;
    }
    let findings = errors > 0 || (args.deny_warnings && warnings > 0);
    Ok(if findings { Exit::Findings } else { Exit::Ok })
}
