//! The libmodbus server (`tests/peers/libmodbus_server.c`): tables set by libmodbus' own
//! setters from arguments; which there are is described at the top of that file.

use anyhow::Result;

use super::{PeerLog, START};
use crate::dir::TestDir;
use crate::process::Server;
use crate::{ports, tools};

/// A running libmodbus server.
#[derive(Debug)]
pub struct Libmodbus {
    /// The process, for signals.
    pub server: Server,
    /// Its port, the same after a restart.
    pub port: u16,
    /// What it served.
    pub log: PeerLog,
}

impl Libmodbus {
    /// Starts one with arguments such as `--set`, `3:100:float_abcd:21.5`; `name` names its
    /// files in the test's folder.
    ///
    /// # Errors
    /// The server is not built, or refuses its arguments.
    pub fn start(dir: &TestDir, name: &str, args: &[&str]) -> Result<Self> {
        let port = ports::free()?;
        let requests = dir.join(&format!("{name}.requests"));
        let (path, number) = (requests.display().to_string(), port.to_string());
        let own = ["--log", &path, "--port", &number];
        let program = tools::c_peer("libmodbus_server")?;
        let server = Server::start(dir, name, &program, own.iter().chain(args))?;
        let mut peer = Self { server, port, log: PeerLog::new(requests) };
        peer.wait_for_start(1)?;
        Ok(peer)
    }

    /// Starts it again on the same port after it was ended; its counter starts anew.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> Result<()> {
        let starts = self.log.ports()?.len();
        self.server.spawn()?;
        self.wait_for_start(starts + 1)
    }

    fn wait_for_start(&mut self, starts: usize) -> Result<()> {
        let log = self.log.clone();
        self.server.wait_ready("listening", START, || {
            log.ports().ok().filter(|ports| ports.len() == starts).map(drop)
        })
    }
}
