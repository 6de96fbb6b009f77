//! `lineside validate -f PATH...`: the verdict that the agent and the cluster would give.

use std::io::Write;
use std::path::PathBuf;

use lineside_crds::diagnostics::Level;
use lineside_crds::model::{Device, Point};
use lineside_crds::yaml::{LoadedDocument, Object, Problem};

use super::{Exit, Output};
use crate::config::scan;
use crate::registry;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lineside validate -f furnace.yaml
  lineside validate -f plant/ -f shared/ -o json
  lineside validate -f plant/ --deny-warnings
  lineside validate -f plant/ --points

Exit codes: 0 no errors, 1 errors found (or warnings with --deny-warnings), 2 usage.")]
pub struct Args {
    /// File, or directory whose *.yaml and *.yml files are read; may be repeated
    #[arg(short, long = "file", required = true, value_name = "PATH", num_args = 1..)]
    file: Vec<PathBuf>,
    /// Also list every point of the valid devices with the address that goes over the wire
    #[arg(long)]
    points: bool,
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
        let points: Vec<_> = documents
            .iter()
            .filter_map(|d| device(d))
            .flat_map(|d| d.points.iter().map(move |p| (d, p)))
            .map(|(d, p)| {
                let wire = wire_address(d, p);
                serde_json::json!({"device": d.key.to_string(), "name": p.name, "wire": wire})
            })
            .collect();
        let report = serde_json::json!({
            "files": files.len(), "objects": objects, "errors": errors,
            "warnings": warnings, "problems": problems, "points": args.points.then_some(points),
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
        for device in documents.iter().filter_map(|d| device(d)).filter(|_| args.points) {
            writeln!(out, "{} at {}", device.key, device.protocol.endpoint())?;
            for point in device.points.iter() {
                writeln!(out, "  {}  {}", point.name, wire_address(device, point))?;
            }
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

fn device(document: &LoadedDocument) -> Option<&Device> {
    match &document.object {
        Some(Object::Device(device)) => Some(device),
        _ => None,
    }
}

fn wire_address(device: &Device, point: &Point) -> String {
    let protocol = device.protocol.type_name();
    match registry::drivers().iter().find(|d| d.protocol() == protocol) {
        Some(driver) => driver.wire_address(device, point),
        None => format!("(this build has no driver for {protocol})"),
    }
}
