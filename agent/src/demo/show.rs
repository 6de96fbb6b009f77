//! What the demo says on standard output: once what runs and what to try, then, on a terminal, a
//! line of status. A terminal that is gone is no reason to end.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use lineside_core::{Value, encode};
use lineside_crds::model::ObjectKey;
use lineside_pipeline::Snapshot;
use lineside_pipeline::health::Health;
use lineside_pipeline::snapshot::PointsSnapshot;

use super::files::{self, Ports};

/// Back to the start of the line, and empty it (ECMA-48: CR, EL 2).
pub const CLEAR_LINE: &str = "\r\x1b[2K";

/// What runs.
#[derive(Debug)]
pub struct Introduction<'a> {
    /// The page of the agent.
    pub page: SocketAddr,
    /// Where everything listens.
    pub ports: Ports,
    /// The directory of the YAML.
    pub dir: &'a Path,
    /// Whether the directory stays.
    pub kept: bool,
    /// The agent's state directory.
    pub state: &'a Path,
}

impl Introduction<'_> {
    /// The text.
    pub fn text(&self) -> String {
        let Ports { furnace, conveyor, broker } = self.ports;
        let (dir, state) = (self.dir.display(), self.state.display());
        let program = program();
        let names: Vec<_> = files::names().collect();
        let end = if self.kept {
            "Ctrl-C ends it; the directory stays."
        } else {
            "Ctrl-C ends it and removes the directory."
        };
        format!(
            "\
Lineside demo: a small furnace line, simulated, on this machine only.

  Page      http://{page}/
  Devices   furnace, power-meter   modbus-tcp://127.0.0.1:{furnace}  units 1 and 2
            conveyor               modbus-tcp://127.0.0.1:{conveyor}  unit 1
  Broker    mqtt://127.0.0.1:{broker}  (MQTT 3.1.1)
  YAML      {dir}
            {files}

Subscribe:  mosquitto_sub -h 127.0.0.1 -p {broker} -t 'lineside/#' -v

Once a minute the conveyor drops off the network for 10 s (first after about 20 s) and the sensor
of the exhaust temperature breaks for 12 s (first after about 45 s). Both recover by themselves.

Try next, while it runs:
  1. In {dir}/furnace.yaml
     change `intervalMillis: 1000` to 200 and save: the furnace is read five times as often.
  2. Break that file, e.g. write `adress:` for `address:`. The error appears here with its line,
     and the furnace is read on as before. `{program} validate -f {dir}` says the same.
  3. {program} top --state {state}
     {program} tap --state {state} 'furnace/*'

{end}
",
            page = self.page,
            files = names.join(" "),
        )
    }
}

/// How this program is called from here.
fn program() -> String {
    let Ok(path) = std::env::current_exe() else { return "lineside".into() };
    let on_path = std::env::var_os("PATH").is_some_and(|path_list| {
        path.parent().is_some_and(|dir| std::env::split_paths(&path_list).any(|p| p == dir))
    });
    let name = path.file_name().map(PathBuf::from);
    let here = std::env::current_dir().ok();
    let short = here.and_then(|dir| path.strip_prefix(dir).ok().map(Path::to_owned));
    let said = if on_path { name } else { short };
    said.unwrap_or(path).display().to_string()
}

/// Prints text as it is.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    // The agent goes on when nobody reads.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The line of status: two values, who is not well, and what was delivered.
pub fn status(
    snapshot: &Snapshot,
    points: impl Fn(&ObjectKey) -> Option<PointsSnapshot>,
) -> String {
    let mut line = String::new();
    for (device, point) in [("furnace", "temperature"), ("conveyor", "parts")] {
        let shown = points(&ObjectKey::new("default", device)).and_then(|p| value(&p, point));
        let shown = shown.unwrap_or_else(|| "-".into());
        let _ = write!(line, "{device}/{point} {shown} | ");
    }
    let well = snapshot.devices.iter().filter(|d| d.verdict.health == Health::Healthy).count();
    let _ = write!(line, "{well} of {} devices healthy", snapshot.devices.len());
    for d in &snapshot.devices {
        if let Some(code) = d.verdict.code {
            let _ = write!(line, ", {} {} ({})", d.device.key.name, code.reason(), code.id());
        }
    }
    let sinks = snapshot.pipelines.iter().flat_map(|p| &p.sinks);
    let delivered: u64 = sinks.map(|s| s.numbers.ledger.delivered + s.numbers.unconfirmed).sum();
    let _ = write!(line, " | {delivered} samples delivered");
    line
}

/// As much of a line as stays on one row of the terminal, where it can be written over.
pub fn fit(line: &str, columns: usize) -> String {
    line.chars().take(columns.saturating_sub(1)).collect()
}

/// The value of a point with its unit; `Bad` when it has none.
fn value(points: &PointsSnapshot, name: &str) -> Option<String> {
    let (point, now) =
        points.device.points.iter().zip(&points.points).find(|(p, _)| &*p.name == name)?;
    let status = now.status?;
    if status.is_bad() || now.value == Value::Null {
        return Some("Bad".into());
    }
    let mut text = Vec::new();
    match &now.value {
        Value::F32(x) => write!(text, "{x:.1}").ok()?,
        value => encode::value_text(value, false, &mut text),
    }
    let mut text = String::from_utf8_lossy(&text).into_owned();
    if let Some(unit) = &point.unit {
        text = format!("{text} {unit}");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_never_reaches_the_last_column() {
        assert_eq!(fit("abcdef", 4), "abc");
        assert_eq!(fit("ab", 80), "ab");
        assert_eq!(fit("ab", 0), "");
    }

    #[test]
    fn the_introduction_names_everything_that_one_can_do_next() {
        let text = Introduction {
            page: SocketAddr::from(([127, 0, 0, 1], 40_000)),
            ports: Ports { furnace: 40_001, conveyor: 40_002, broker: 40_003 },
            dir: Path::new("/d"),
            kept: false,
            state: Path::new("/d/state"),
        }
        .text();
        for part in [
            "http://127.0.0.1:40000/",
            "modbus-tcp://127.0.0.1:40001",
            "modbus-tcp://127.0.0.1:40002",
            "mosquitto_sub -h 127.0.0.1 -p 40003 -t 'lineside/#' -v",
            "/d/furnace.yaml",
            "top --state /d/state",
            "removes the directory",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        assert!(files::names().all(|name| text.contains(name)));
    }
}
