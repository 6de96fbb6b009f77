//! `lineside read URL --point NAME=ADDRESS...`: one look at a device, without YAML.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, bail};
use lineside_core::clock::SystemClock;
use lineside_core::driver::Reading;
use lineside_core::fault::{Fault, FaultClass};
use lineside_core::{StatusCode, Value, encode};
use lineside_crds::diagnostics::Diagnostic;
use lineside_crds::model::{Device, ObjectKey};
use lineside_crds::validate::{self, Meta};

use super::{Exit, Output};
use crate::{registry, runner};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lineside read modbus-tcp://10.20.0.11 --point temp=holding-register:100:REAL
  lineside read 'modbus-tcp://10.20.0.11?default-unit-identifier=3' \\
      --point run=coil:1 --point name=holding-register:1:CHAR[16] -o json

Addresses are Apache PLC4X tag addresses (Modbus counts from 1); the table shows the address
that went over the wire (counted from 0).
Exit codes: 0 every point is good, 1 some are not, 2 usage, 3 the device cannot be reached.")]
pub struct Args {
    /// The device, as an Apache PLC4X connection string
    url: String,
    /// A point to read; may be repeated
    #[arg(short, long = "point", required = true, value_name = "NAME=ADDRESS", value_parser = point)]
    points: Vec<(String, String)>,
    /// Longest wait for the connection and for each answer
    #[arg(long, value_name = "MILLIS", default_value_t = 2000,
          value_parser = clap::value_parser!(u32).range(10..=600_000))]
    timeout_millis: u32,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

fn point(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, address)) if !name.is_empty() && !address.is_empty() => {
            Ok((name.to_owned(), address.to_owned()))
        }
        _ => Err("expected NAME=ADDRESS, e.g. temp=holding-register:100:REAL".into()),
    }
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let device = Arc::new(device(&args)?);
    let protocol = device.protocol.type_name();
    let Some(driver) = registry::drivers().into_iter().find(|d| d.protocol() == protocol) else {
        bail!("this build has no driver for {protocol}");
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let read = driver.read_once(device.clone(), Arc::new(SystemClock));
    match runner::block_on(runtime, read) {
        Ok(readings) => print(&args, &device, &readings),
        Err(fault) => {
            explain(&args, &device, &fault)?;
            let reached = !matches!(
                fault.class,
                FaultClass::Unreachable | FaultClass::Timeout | FaultClass::Peer
            );
            Ok(if reached { Exit::Findings } else { Exit::Unreachable })
        }
    }
}

/// The device that the command line asks for, by the rules of the YAML.
fn device(args: &Args) -> anyhow::Result<Device> {
    let points: Vec<_> = args
        .points
        .iter()
        .map(|(name, address)| serde_json::json!({"name": name, "address": address}))
        .collect();
    let spec = serde_json::json!({
        "url": args.url,
        "points": points,
        "timeouts": {"connectMillis": args.timeout_millis, "requestMillis": args.timeout_millis},
    });
    let judged = validate::judge_device(&Meta::new(ObjectKey::new("default", "read")), &spec);
    match judged.object {
        Some(device) => Ok(device),
        None => {
            let lines: Vec<String> =
                judged.findings.iter().map(|d| format!("  {}", found(args, d))).collect();
            bail!("the device cannot be read as asked:\n{}", lines.join("\n"))
        }
    }
}

/// A finding in the words of the command line.
fn found(args: &Args, finding: &Diagnostic) -> String {
    let field = finding.field.to_string();
    let place = args.points.iter().enumerate().find_map(|(i, (name, address))| {
        field.starts_with(&format!("spec.points[{i}]")).then(|| format!("--point {name}={address}"))
    });
    let place = place.unwrap_or_else(|| args.url.clone());
    let (id, next) = (finding.code.id(), finding.code.next());
    format!("{place}: {id} {}: {} Next: {next}", finding.code.reason(), finding.message)
}

/// Says why nothing was read; with json also on standard output, where programs look.
fn explain(args: &Args, device: &Device, fault: &Fault) -> anyhow::Result<()> {
    if args.output == Output::Json {
        let report = serde_json::json!({
            "endpoint": device.protocol.endpoint(), "points": [], "error": trouble(fault),
        });
        writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&report)?)?;
    }
    eprintln!("lineside: {} {}: {}", fault.code.id(), fault.code.reason(), fault.chain());
    eprintln!("  Next: {} (lineside explain {})", fault.code.next(), fault.code.id());
    Ok(())
}

/// What is wrong and what to do, for programs.
fn trouble(fault: &Fault) -> serde_json::Value {
    serde_json::json!({
        "code": fault.code.id(), "reason": fault.code.reason(),
        "message": fault.chain(), "next": fault.code.next(),
    })
}

fn print(args: &Args, device: &Device, readings: &[Reading]) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    let rows: Vec<Row> = readings
        .iter()
        .filter_map(|r| {
            let (name, address) = args.points.get(r.point)?;
            Some(Row { name, address, reading: r })
        })
        .collect();
    if args.output == Output::Json {
        let rows: Vec<_> = rows.iter().map(Row::json).collect();
        let report = serde_json::json!({"endpoint": device.protocol.endpoint(), "points": rows});
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        let mut table =
            vec![["POINT", "ADDRESS", "WIRE", "RAW", "TYPE", "VALUE", "QUALITY"].map(String::from)];
        table.extend(rows.iter().map(Row::cells));
        let width = |c: usize| table.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..7).map(width).collect();
        for row in &table {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:width$}  "));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        for row in &rows {
            if let Some(fault) = &row.reading.fault {
                writeln!(out, "{}: {} {}", row.name, fault.code.id(), fault.chain())?;
                writeln!(out, "  Next: {}", fault.code.next())?;
            }
        }
    }
    let all_good = readings.iter().all(|r| r.status.is_good());
    Ok(if all_good { Exit::Ok } else { Exit::Findings })
}

struct Row<'a> {
    name: &'a str,
    address: &'a str,
    reading: &'a Reading,
}

impl Row<'_> {
    fn raw(&self) -> String {
        let bytes: Vec<String> = self.reading.raw.iter().map(|b| format!("{b:02X}")).collect();
        bytes.join(" ")
    }

    fn value(&self) -> String {
        match &self.reading.value {
            Value::Null => "-".into(),
            value => {
                let mut text = Vec::new();
                encode::value_text(value, false, &mut text);
                String::from_utf8_lossy(&text).into_owned()
            }
        }
    }

    fn cells(&self) -> [String; 7] {
        let dash = |s: String| if s.is_empty() { "-".into() } else { s };
        [
            self.name.into(),
            self.address.into(),
            self.reading.wire_address.clone(),
            dash(self.raw()),
            if self.reading.value == Value::Null { "-" } else { self.reading.value.type_name() }
                .into(),
            self.value(),
            quality(self.reading.status),
        ]
    }

    fn json(&self) -> serde_json::Value {
        let value = match &self.reading.value {
            Value::Null => serde_json::Value::Null,
            _ => serde_json::from_str(&self.value()).unwrap_or(serde_json::Value::Null),
        };
        serde_json::json!({
            "name": self.name, "address": self.address, "wire": self.reading.wire_address,
            "raw": self.raw(), "type": self.reading.value.type_name(), "value": value,
            "quality": self.reading.status.severity(), "status": self.reading.status.0,
            "code": self.reading.fault.as_ref().map(|f| f.code.id()),
            "message": self.reading.fault.as_ref().map(|f| f.chain()),
            "next": self.reading.fault.as_ref().map(|f| f.code.next()),
        })
    }
}

fn quality(status: StatusCode) -> String {
    if status.is_good() { "Good".into() } else { status.to_string() }
}
