//! The surroundings of one measurement: device, broker, counter. Everything is started on free
//! ports of 127.0.0.1, owned here and killed by its own handle.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::workload::{BAD_ADDRESSES, SILENT_UNIT, Workload};
use crate::process::command;

/// How long a broker may take to listen.
const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// A process that ends with its owner.
pub struct Owned(pub Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program of ours that answers lines with lines.
pub struct Talker {
    process: Owned,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Talker {
    pub fn start(program: &Path, args: &[String]) -> Result<Self> {
        let mut child = command(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let input = child.stdin.take().context("standard input is a pipe")?;
        let output = BufReader::new(child.stdout.take().context("standard output is a pipe")?);
        Ok(Self { process: Owned(child), input, output })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("a program of the bench has ended");
        }
        Ok(line)
    }

    pub fn ask(&mut self, what: &str) -> Result<String> {
        writeln!(self.input, "{what}")?;
        self.input.flush()?;
        self.line()
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }
}

/// Totals of the counter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    /// When, in seconds of the monotonic clock.
    pub time: f64,
    /// Messages.
    pub msgs: f64,
    /// Points with a value.
    pub points: f64,
    /// Payload bytes.
    pub bytes: f64,
}

/// The surroundings.
pub struct Lab {
    device: Talker,
    counter: Talker,
    broker: Owned,
    /// Port of the device.
    pub modbus_port: u16,
    /// Port of the broker.
    pub mqtt_port: u16,
    /// Folder for configurations and state.
    pub dir: PathBuf,
}

impl Lab {
    /// Starts all for a workload; `programs` has the built C programs, `dir` is made anew.
    ///
    /// # Errors
    /// One of them does not start.
    pub fn start(workload: Workload, programs: &Path, dir: PathBuf) -> Result<Self> {
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        let mut args = Vec::new();
        if workload.is_u16() {
            let bad: Vec<String> = BAD_ADDRESSES.iter().map(ToString::to_string).collect();
            args = vec!["-x".to_owned(), format!("1:{}", bad.join(","))];
            args.extend(["-d".to_owned(), SILENT_UNIT.to_string()]);
        }
        let mut device = Talker::start(&programs.join("device"), &args)?;
        let port = device.line()?;
        let modbus_port = port.trim().strip_prefix("port ").context("the device names its port")?;
        let modbus_port = modbus_port.parse().context("the device names its port")?;
        let mqtt_port = free_port()?;
        let broker = broker(mqtt_port, &dir)?;
        let args = ["-p".to_owned(), mqtt_port.to_string()];
        let counter = Talker::start(&programs.join("counter"), &args)?;
        Ok(Self { device, counter, broker, modbus_port, mqtt_port, dir })
    }

    /// Requests that the device has taken.
    ///
    /// # Errors
    /// It has ended.
    pub fn requests(&mut self) -> Result<f64> {
        number(&self.device.ask("stats")?, "requests")
    }

    /// What the counter has seen.
    ///
    /// # Errors
    /// It has ended.
    pub fn counted(&mut self) -> Result<Counted> {
        let line = self.counter.ask("stats")?;
        let get = |key| number(&line, key);
        Ok(Counted {
            time: get("time")?,
            msgs: get("msgs")?,
            points: get("points")?,
            bytes: get("bytes")?,
        })
    }

    /// The messages since this was last asked: topic number and time.
    ///
    /// # Errors
    /// The counter has ended.
    pub fn arrivals(&mut self) -> Result<Vec<(u32, f64)>> {
        let line = self.counter.ask("arrivals")?;
        let entry = |word: &str| {
            let (topic, time) = word.split_once(':')?;
            Some((topic.parse().ok()?, time.parse().ok()?))
        };
        Ok(line.split_whitespace().filter_map(entry).collect())
    }

    /// Process id of the broker.
    pub fn broker_pid(&self) -> u32 {
        self.broker.0.id()
    }

    /// Process id of the counter.
    pub fn counter_pid(&self) -> u32 {
        self.counter.pid()
    }

    /// Process id of the device.
    pub fn device_pid(&self) -> u32 {
        self.device.pid()
    }
}

fn number(line: &str, key: &str) -> Result<f64> {
    let mut words = line.split_whitespace();
    let value = words.by_ref().find(|w| *w == key).and_then(|_| words.next());
    value.and_then(|v| v.parse().ok()).with_context(|| format!("no {key} in {line:?}"))
}

/// A port that was free a moment ago.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A Mosquitto without limits of its own, so that none of its queues drops a message.
fn broker(port: u16, dir: &Path) -> Result<Owned> {
    let conf = dir.join("mosquitto.conf");
    fs::write(
        &conf,
        format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n\
             max_inflight_messages 0\nmax_queued_messages 0\nset_tcp_nodelay true\n\
             log_type error\nlog_type warning\n"
        ),
    )?;
    // Debian keeps daemons in sbin, which is not on everyone's PATH.
    let program = Path::new("/usr/sbin/mosquitto");
    let program = if program.exists() { program } else { Path::new("mosquitto") };
    let child = command(program)
        .arg("-c")
        .arg(&conf)
        .spawn()
        .context("cannot start mosquitto; `cargo xtask setup` installs it")?;
    let broker = Owned(child);
    let started = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if started.elapsed() > STARTS_WITHIN {
            bail!("mosquitto does not listen on port {port}");
        }
        sleep(Duration::from_millis(20));
    }
    Ok(broker)
}
