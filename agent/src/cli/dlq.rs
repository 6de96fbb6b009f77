//! `lineside dlq`: what remotes refused for good, kept for a person to look at.

use std::io::Write as _;

use super::terminal::{self, Line, Paint, Table, plain, span};
use super::{Exit, Output, local};
use crate::api::query;
use crate::api::shape::{Changed, Letter, Letters};
use crate::client::Client;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lineside dlq ls plant/to-broker/broker
  lineside dlq show plant/to-broker/broker 4711.2
  lineside dlq retry plant/to-broker/broker --all
  lineside dlq drop plant/to-broker/broker 4711.2 4712

A message that the remote refuses for good, or that makes it break the connection, is kept here
with what the remote said, and the rest goes on. `retry` sends it again under the same identity;
when it is accepted it counts as delivered. What is dropped counts as dropped{Discarded}.
Exit codes: 0 done, 1 ls found letters, 2 usage, 3 no agent answers.")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the dead letters of a sink
    Ls(Asked),
    /// Show every sample of some letters
    Show(Named),
    /// Send letters again
    Retry(Chosen),
    /// Give letters up
    Drop(Chosen),
}

/// Which sink.
#[derive(Debug, clap::Args)]
struct Asked {
    /// The sink: NAMESPACE/PIPELINE/SINK
    #[arg(value_parser = parse_sink)]
    sink: SinkName,
    #[command(flatten)]
    local: local::WhichAgent,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Some letters of it.
#[derive(Debug, clap::Args)]
struct Named {
    #[command(flatten)]
    asked: Asked,
    /// Identities as `ls` prints them, or their last part
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

/// Some letters of it, or all.
#[derive(Debug, clap::Args)]
struct Chosen {
    #[command(flatten)]
    asked: Asked,
    /// Identities as `ls` prints them, or their last part
    #[arg(required_unless_present = "all", value_name = "ID")]
    ids: Vec<String>,
    /// All letters of the sink
    #[arg(long, conflicts_with = "ids")]
    all: bool,
}

#[derive(Clone, Debug)]
struct SinkName {
    namespace: String,
    pipeline: String,
    sink: String,
}

impl SinkName {
    fn path(&self) -> String {
        let [namespace, pipeline, sink] =
            [&self.namespace, &self.pipeline, &self.sink].map(|name| query::encode(name));
        format!("/api/v1/deadletters/{namespace}/{pipeline}/{sink}")
    }
}

fn parse_sink(text: &str) -> Result<SinkName, String> {
    let parts: Vec<&str> = text.split('/').collect();
    let (namespace, pipeline, sink) = match parts[..] {
        [namespace, pipeline, sink] => (namespace, pipeline, sink),
        [pipeline, sink] => ("default", pipeline, sink),
        _ => return Err("expected NAMESPACE/PIPELINE/SINK, as `lineside lag` lists them".into()),
    };
    let [namespace, pipeline, sink] = [namespace, pipeline, sink].map(str::to_owned);
    Ok(SinkName { namespace, pipeline, sink })
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    local::end(match &args.action {
        Action::Ls(asked) => list(asked),
        Action::Show(named) => show(named),
        Action::Retry(chosen) => change(chosen, "retry"),
        Action::Drop(chosen) => change(chosen, "drop"),
    })
}

/// All letters of the sink, page by page.
async fn letters(
    client: &Client,
    sink: &SinkName,
    points: bool,
) -> Result<Vec<Letter>, local::Stop> {
    let mut all: Vec<Letter> = Vec::new();
    loop {
        let after = all.last().map(|l| format!("after={}&", query::encode(&l.id)));
        let after = after.unwrap_or_default();
        let path = format!("{}?{after}points={points}", sink.path());
        let page: Letters = serde_json::from_slice(&client.get(&path).await?)?;
        let ends = !page.more || page.letters.is_empty();
        all.extend(page.letters);
        if ends {
            return Ok(all);
        }
    }
}

fn list(asked: &Asked) -> Result<Exit, local::Stop> {
    let client = asked.local.client()?;
    let found = local::runtime()?.block_on(letters(&client, &asked.sink, false))?;
    print(asked.output, &found)?;
    Ok(if found.is_empty() { Exit::Ok } else { Exit::Findings })
}

fn show(named: &Named) -> Result<Exit, local::Stop> {
    let Named { asked, ids } = named;
    let client = asked.local.client()?;
    let mut found = local::runtime()?.block_on(letters(&client, &asked.sink, true))?;
    found.retain(|letter| ids.iter().any(|id| is_named(letter, id)));
    if found.len() < ids.len() {
        let error =
            anyhow::anyhow!("not all of these letters are there; `lineside dlq ls` lists them");
        return Err(error.into());
    }
    print(asked.output, &found)?;
    Ok(Exit::Ok)
}

fn is_named(letter: &Letter, id: &str) -> bool {
    letter.id == id || letter.id.rsplit('/').next() == Some(id)
}

fn change(chosen: &Chosen, what: &str) -> Result<Exit, local::Stop> {
    let Chosen { asked, ids, all } = chosen;
    let client = asked.local.client()?;
    let named: Vec<String> = ids.iter().map(|id| format!("id={}", query::encode(id))).collect();
    let query = if *all { "all=true".to_owned() } else { named.join("&") };
    let path = format!("{}/{what}?{query}", asked.sink.path());
    let body = local::runtime()?.block_on(client.post(&path))?;
    let mut out = std::io::stdout().lock();
    match asked.output {
        Output::Json => {
            out.write_all(&body)?;
            writeln!(out)?;
        }
        Output::Text => {
            let changed: Changed = serde_json::from_slice(&body)?;
            match (changed.letters, changed.samples) {
                (Some(letters), _) => writeln!(out, "{letters} letters are sent again")?,
                (_, samples) => {
                    writeln!(out, "{} samples are given up", samples.unwrap_or_default())?
                }
            }
            if changed.left > 0 {
                writeln!(out, "{} letters are left; ask again for them", changed.left)?;
            }
        }
    }
    Ok(Exit::Ok)
}

fn print(output: Output, found: &[Letter]) -> Result<(), local::Stop> {
    let mut out = std::io::stdout().lock();
    match output {
        Output::Json => {
            serde_json::to_writer(&mut out, &found)?;
            writeln!(out)?;
        }
        Output::Text => {
            let colours = terminal::colours();
            for line in lines(found) {
                writeln!(out, "{}", terminal::text(&line, usize::MAX, colours))?;
            }
        }
    }
    Ok(())
}

fn lines(found: &[Letter]) -> Vec<Line> {
    if found.is_empty() {
        return vec![vec![plain("No dead letters.")]];
    }
    let mut table = Table::new(&["ID", "FAILED AT", "DEVICE", "SAMPLES", "CODE", "MESSAGE"]);
    for letter in found {
        table.row(vec![
            plain(&letter.id),
            plain(&letter.failed_at),
            plain(&letter.device),
            plain(letter.samples.to_string()),
            span(&letter.code, Paint::Red),
            plain(&letter.message),
        ]);
    }
    let mut lines = table.lines();
    for letter in found {
        let Some(points) = &letter.points else { continue };
        lines.push(Line::new());
        lines.push(vec![span(&letter.id, Paint::Bold)]);
        let mut table = Table::new(&["POINT", "VALUE", "QUALITY", "TIME"]);
        for point in points {
            let value = point.value.as_ref().map_or("-", |value| value.get());
            table.row(vec![
                plain(&point.name),
                plain(value),
                plain(&point.quality),
                plain(&point.time),
            ]);
        }
        lines.extend(table.lines());
    }
    lines
}
