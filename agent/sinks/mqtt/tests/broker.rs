//! A Mosquitto of one test: own port, own directory, ended when dropped.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub struct Broker {
    child: Child,
    pub port: u16,
    pub dir: TempDir,
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The program, from PATH or where Debian puts servers.
fn program() -> &'static str {
    let on_path = Command::new("mosquitto").arg("-h").stdout(Stdio::null()).status().is_ok();
    if on_path { "mosquitto" } else { "/usr/sbin/mosquitto" }
}

impl Broker {
    /// One listener for everyone, with more lines of configuration after it.
    pub fn start(more: &str) -> Self {
        Self::start_in(TempDir::new().unwrap(), &format!("allow_anonymous true\n{more}"))
    }

    /// A broker whose configuration names files in `dir` as `{dir}/NAME`.
    pub fn start_in(dir: TempDir, configuration: &str) -> Self {
        // The port may be taken between choosing and listening, so a second try is fair.
        let mut dir = Some(dir);
        for _ in 0..5 {
            match Self::try_start(dir.take().unwrap(), configuration) {
                Ok(broker) => return broker,
                Err(back) => dir = Some(back),
            }
        }
        let log = fs::read_to_string(dir.unwrap().path().join("log")).unwrap_or_default();
        panic!("mosquitto does not start; log:\n{log}");
    }

    fn try_start(dir: TempDir, configuration: &str) -> Result<Self, TempDir> {
        let port = free_port();
        let path = dir.path().to_str().unwrap();
        let text = format!(
            "per_listener_settings false\nuser root\nlog_type all\nlistener {port} 127.0.0.1\n{}\n",
            configuration.replace("{dir}", path)
        );
        let file = dir.path().join("mosquitto.conf");
        fs::write(&file, text).unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let mut child = Command::new(program())
            .arg("-c")
            .arg(&file)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("mosquitto is not installed; run `cargo xtask setup`");
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(Self { child, port, dir });
            }
            if child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::yield_now();
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(dir)
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap()
    }

    /// The broker keeps its connections and does nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        // The child is reaped only on drop, so its id is its own until then.
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
