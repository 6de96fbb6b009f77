//! Who is measured, and how each is configured for the same work.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use clap::ValueEnum;

use super::lab::Lab;
use super::workload::Workload;
use crate::Context;
use crate::process::{command, run};

/// Release of Telegraf, and the plugins that are built into it.
const TELEGRAF: &str = "v1.39.3";
const TELEGRAF_TAGS: &str = "custom,inputs.modbus,outputs.mqtt,serializers.influx,serializers.json";

/// Somebody who reads the device and publishes to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// Lineside with JSON v1, its default, with quality and times; in memory, as the others are.
    Lineside,
    /// Lineside with encoding FlatJSON: the message shape of the others.
    LinesideFlat,
    /// Lineside with its store on disk, synced before samples are delivered; nobody else does that.
    LinesideDurable,
    /// libmodbus and libmosquitto in one blocking thread (tests/bench/floor.c).
    Floor,
    /// What people write by hand: pymodbus and paho-mqtt (tests/bench/peer.py).
    Python,
    /// The same with whole blocks unpacked at once.
    PythonTuned,
    /// Telegraf, one metric per request; built by `go install` when asked for.
    Telegraf,
}

/// Those that are measured when none is named.
pub const DEFAULT: [Peer; 6] = [
    Peer::Lineside,
    Peer::LinesideFlat,
    Peer::LinesideDurable,
    Peer::Floor,
    Peer::Python,
    Peer::PythonTuned,
];

/// Programs of the peers.
pub struct Programs {
    /// The release build of `lineside`.
    pub lineside: PathBuf,
    /// Folder of the C programs.
    pub c: PathBuf,
    /// Folder tests/bench of the checkout.
    pub sources: PathBuf,
    /// The interpreter with the pinned packages.
    pub python: PathBuf,
    /// Telegraf, when it was built.
    pub telegraf: Option<PathBuf>,
}

impl Peer {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lineside => "lineside",
            Self::LinesideFlat => "lineside-flat",
            Self::LinesideDurable => "lineside-durable",
            Self::Floor => "floor",
            Self::Python => "python",
            Self::PythonTuned => "python-tuned",
            Self::Telegraf => "telegraf",
        }
    }

    /// Whether it can do the work at all.
    pub fn can(self, workload: Workload) -> bool {
        match self {
            Self::Lineside | Self::LinesideFlat | Self::LinesideDurable => true,
            // It has no way to go on after an error, and idling is no work of its.
            Self::Floor => !matches!(workload, Workload::D | Workload::D1 | Workload::Idle),
            Self::Python | Self::PythonTuned => !matches!(workload, Workload::D1 | Workload::Idle),
            Self::Telegraf => workload != Workload::Idle,
        }
    }

    /// Its command, with its configuration written into the lab's folder.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn command(
        self,
        workload: Workload,
        programs: &Programs,
        lab: &Lab,
        sparse: &[u16],
    ) -> Result<Command> {
        let (modbus, mqtt) = (lab.modbus_port.to_string(), lab.mqtt_port.to_string());
        let addresses = programs.sources.join("sparse.txt");
        Ok(match self {
            Self::Lineside => lineside(workload, programs, lab, sparse, ["JSON", "Memory"])?,
            Self::LinesideFlat => {
                lineside(workload, programs, lab, sparse, ["FlatJSON", "Memory"])?
            }
            Self::LinesideDurable => {
                lineside(workload, programs, lab, sparse, ["JSON", "Durable"])?
            }
            Self::Floor => {
                let mut floor = command(programs.c.join("floor"));
                floor.args(["-P", &modbus, "-p", &mqtt, "-d", &workload.units().to_string()]);
                floor.args(["-n", &workload.points().to_string()]);
                floor.args(["-i", &workload.interval_ms().to_string()]);
                if workload == Workload::C {
                    floor.arg("-a").arg(addresses);
                }
                floor
            }
            Self::Python | Self::PythonTuned => {
                let mut python = command(&programs.python);
                python.arg(programs.sources.join("peer.py"));
                python.args(["--modbus-port", &modbus, "--mqtt-port", &mqtt]);
                python.args(["--units", &workload.units().to_string()]);
                python.args(["--points", &workload.points().to_string()]);
                let seconds = f64::from(workload.interval_ms()) / 1000.0;
                python.args(["--interval", &seconds.to_string()]);
                if workload == Workload::C {
                    python.arg("--addresses").arg(addresses);
                }
                if workload.is_u16() {
                    python.arg("--u16");
                }
                if self == Self::PythonTuned {
                    python.arg("--tuned");
                }
                python
            }
            Self::Telegraf => {
                let Some(program) = &programs.telegraf else { bail!("telegraf was not built") };
                let conf = lab.dir.join("telegraf.conf");
                fs::write(&conf, telegraf(workload, lab, sparse))?;
                let mut telegraf = command(program);
                telegraf.arg("--config").arg(conf).arg("--quiet");
                telegraf
            }
        })
    }
}

fn lineside(
    workload: Workload,
    programs: &Programs,
    lab: &Lab,
    sparse: &[u16],
    [encoding, durability]: [&str; 2],
) -> Result<Command> {
    let dir = lab.dir.join("config");
    fs::create_dir_all(&dir)?;
    let kind = if workload.is_u16() { "UINT" } else { "REAL" };
    for connection in workload.connections(sparse) {
        let shared = connection.units.len() > 1;
        let unit = connection.units.first().map_or(1, |(unit, _)| *unit);
        let mut text = format!(
            "apiVersion: lineside.dev/v1alpha1\nkind: DeviceConnection\nmetadata:\n  \
             name: {}\nspec:\n  url: modbus-tcp://127.0.0.1:{}?default-unit-identifier={unit}\
             &request-timeout=1000\n  intervalMillis: {}\n  points:\n",
            connection.name,
            lab.modbus_port,
            workload.interval_ms(),
        );
        for (unit, addresses) in &connection.units {
            for (i, address) in addresses.iter().enumerate() {
                let number = if shared { usize::from(*unit) * 1000 + i } else { i };
                let tag = if shared { format!("{{unit-id: {unit}}}") } else { String::new() };
                // PLC4X counts addresses from one.
                let _ = writeln!(
                    text,
                    "  - name: p{number:04}\n    address: 'holding-register:{}:{kind}{tag}'",
                    address + 1
                );
            }
        }
        fs::write(dir.join(format!("{}.yaml", connection.name)), text)?;
    }
    fs::write(
        dir.join("pipeline.yaml"),
        format!(
            "apiVersion: lineside.dev/v1alpha1\nkind: Pipeline\nmetadata:\n  name: bench\nspec:\n  \
             sources:\n  - name: all\n    devices: {{}}\n  sinks:\n  - name: broker\n    mqtt:\n      \
             url: mqtt://127.0.0.1:{}\n      qos: 1\n      encoding: {encoding}\n  store:\n    \
             durability: {durability}\n    maxSize: 64Mi\n",
            lab.mqtt_port
        ),
    )?;
    let mut lineside = command(&programs.lineside);
    lineside.args(["agent", "--http", "127.0.0.1:0", "--name", "bench"]);
    lineside.arg("--config").arg(dir).arg("--state").arg(lab.dir.join("state"));
    Ok(lineside)
}

/// Points of one metric: those of one request of 124 registers. With all 1,000 in one metric
/// Telegraf spends half of its time in looking for each field among the others.
const TELEGRAF_FIELDS: usize = 62;

fn telegraf(workload: Workload, lab: &Lab, sparse: &[u16]) -> String {
    let interval = workload.interval_ms();
    let batch = if workload == Workload::C { 10 } else { 2000 };
    let mut text = format!(
        "[agent]\n  interval = \"{interval}ms\"\n  flush_interval = \"{interval}ms\"\n  \
         metric_batch_size = {batch}\n  metric_buffer_limit = 20000\n  omit_hostname = true\n  \
         precision = \"1ms\"\n[[outputs.mqtt]]\n  servers = [\"tcp://127.0.0.1:{}\"]\n  \
         topic = 'tg/{{{{ .Tag \"name\" }}}}'\n  qos = 1\n  keep_alive = 30\n  layout = \"batch\"\n  \
         data_format = \"influx\"\n",
        lab.mqtt_port
    );
    let (kind, optimization, fields) = match workload {
        Workload::C => {
            let fill = "max_insert\"\n    optimization_max_register_fill = 123 # \"";
            ("FLOAT32", fill, usize::MAX)
        }
        Workload::D | Workload::D1 => ("UINT16", "none", usize::MAX),
        _ => ("FLOAT32", "none", TELEGRAF_FIELDS),
    };
    for connection in workload.connections(sparse) {
        let _ = write!(
            text,
            "[[inputs.modbus]]\n  name = \"{}\"\n  controller = \"tcp://127.0.0.1:{}\"\n  \
             timeout = \"1s\"\n  configuration_type = \"request\"\n  \
             exclude_register_type_tag = true\n",
            connection.name, lab.modbus_port
        );
        for (unit, addresses) in &connection.units {
            for (m, part) in addresses.chunks(fields.min(addresses.len())).enumerate() {
                let _ = write!(
                    text,
                    "  [[inputs.modbus.request]]\n    slave_id = {unit}\n    byte_order = \"ABCD\"\n    \
                     register = \"holding\"\n    measurement = \"m{m}\"\n    \
                     optimization = \"{optimization}\"\n    fields = [\n"
                );
                for (i, address) in part.iter().enumerate() {
                    let number = m * fields.min(addresses.len()) + i;
                    let _ = writeln!(
                        text,
                        "      {{ address={address}, name=\"p{number:04}\", type=\"{kind}\" }},"
                    );
                }
                text.push_str("    ]\n");
            }
        }
    }
    text
}

/// Telegraf in the cache, built there when it is missing.
///
/// # Errors
/// It cannot be built (no Go, no network).
pub fn build_telegraf(context: &Context) -> Result<PathBuf> {
    let dir = context.cache.root().join(format!("telegraf-{TELEGRAF}"));
    let program = dir.join("telegraf");
    if !program.exists() {
        println!("bench: building Telegraf {TELEGRAF} (once, minutes)");
        let package = format!("github.com/influxdata/telegraf/cmd/telegraf@{TELEGRAF}");
        let mut go = command("go");
        go.args(["install", "-tags", TELEGRAF_TAGS, &package]);
        run(go.env("GOTOOLCHAIN", "local").env("GOBIN", &dir))?;
    }
    Ok(program)
}

/// The C programs, built into `to`.
///
/// # Errors
/// The compiler fails.
pub fn build_c(sources: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for name in ["device", "counter", "floor"] {
        let mut cc = command("cc");
        cc.args(xtask::cache::CC_FLAGS).arg("-I/usr/include/modbus");
        cc.arg("-o").arg(to.join(name)).arg(sources.join(format!("{name}.c")));
        match name {
            "counter" => cc.arg("-lmosquitto"),
            "floor" => cc.args(["-lmodbus", "-lmosquitto"]),
            _ => &mut cc,
        };
        run(&mut cc)?;
    }
    Ok(())
}
