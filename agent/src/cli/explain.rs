//! `lineside explain CODE`.

use std::io::Write;

use anyhow::bail;
use lineside_crds::diagnostics::Code;

use super::{Exit, Output};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lineside explain LNS-1003
  lineside explain UnknownField
  lineside explain --all -o json")]
pub struct Args {
    /// A code (LNS-1003 or 1003) or a reason (UnknownField)
    #[arg(required_unless_present = "all")]
    code: Option<String>,
    /// Every code there is
    #[arg(long, conflicts_with = "code")]
    all: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let codes: Vec<Code> = match &args.code {
        None => Code::ALL.to_vec(),
        Some(text) => match Code::parse(text) {
            Some(code) => vec![code],
            None => bail!("there is no code {text:?}; `lineside explain --all` lists them"),
        },
    };
    let mut out = std::io::stdout().lock();
    if args.output == Output::Json {
        let rows: Vec<_> = codes
            .iter()
            .map(|c| {
                serde_json::json!({
                    "code": c.id(), "reason": c.reason(), "level": format!("{:?}", c.level()),
                    "text": c.text(), "next": c.next(), "docs": c.docs(),
                })
            })
            .collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?;
        return Ok(Exit::Ok);
    }
    for code in codes {
        writeln!(out, "{} {} ({:?})", code.id(), code.reason(), code.level())?;
        writeln!(out, "  {}", code.text())?;
        writeln!(out, "  Next: {}", code.next())?;
        writeln!(out, "  Docs: {}", code.docs())?;
    }
    Ok(Exit::Ok)
}
