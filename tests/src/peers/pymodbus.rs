//! The pymodbus server (`tests/peers/pymodbus_server.py`): units, tables, counters and faults
//! from a JSON fixture; what it may hold is described at the top of that file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{PeerLog, START};
use crate::dir::TestDir;
use crate::process::Server;
use crate::{ports, tools, wait};

/// A running pymodbus server.
#[derive(Debug)]
pub struct Pymodbus {
    /// The process, for signals.
    pub server: Server,
    /// Its port, the same after a restart.
    pub port: u16,
    /// What it served.
    pub log: PeerLog,
    fixture: PathBuf,
}

impl Pymodbus {
    /// Starts one; `name` names its files in the test's folder.
    ///
    /// # Errors
    /// The Python environment is missing, or the server refuses the fixture.
    pub fn start(dir: &TestDir, name: &str, fixture: &Value) -> Result<Self> {
        let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), ports::free()?);
        Self::start_at(dir, name, fixture, loopback)
    }

    /// The same at an address of the caller's, in the network of the caller's thread.
    ///
    /// # Errors
    /// As [`Self::start`], or the address is taken or not this machine's.
    pub fn start_at(dir: &TestDir, name: &str, fixture: &Value, at: SocketAddr) -> Result<Self> {
        let port = at.port();
        let fixture =
            dir.write(&format!("{name}.json"), &serde_json::to_string_pretty(fixture)?)?;
        let requests = dir.join(&format!("{name}.requests"));
        let args = [
            tools::python_peer("pymodbus_server.py").into_os_string(),
            "--fixture".into(),
            fixture.clone().into_os_string(),
            "--log".into(),
            requests.clone().into_os_string(),
            "--host".into(),
            at.ip().to_string().into(),
            "--port".into(),
            port.to_string().into(),
        ];
        let server = Server::start(dir, name, &tools::python()?, args)?;
        let mut peer = Self { server, port, log: PeerLog::new(requests), fixture };
        peer.wait_for_start(1)?;
        Ok(peer)
    }

    /// Starts it again on the same port after it was ended.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> Result<()> {
        let starts = self.log.ports()?.len();
        self.server.spawn()?;
        self.wait_for_start(starts + 1)
    }

    /// Takes over the faults of another fixture while it runs; values and counters go on.
    ///
    /// # Errors
    /// It does not run, or refuses the fixture.
    pub fn switch(&self, fixture: &Value) -> Result<()> {
        std::fs::write(&self.fixture, serde_json::to_string_pretty(fixture)?)?;
        let before = self.log.switches()?;
        self.server.hup()?;
        wait::until("faults switched", START, || self.log.switches().is_ok_and(|now| now > before))
            .with_context(|| format!("see {}", self.server.log_path().display()))
    }

    fn wait_for_start(&mut self, starts: usize) -> Result<()> {
        let log = self.log.clone();
        self.server.wait_ready("listening", START, || {
            log.ports().ok().filter(|ports| ports.len() == starts).map(drop)
        })
    }
}
