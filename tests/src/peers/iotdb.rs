//! A real Apache IoTDB: ConfigNode and DataNode in a folder of the test, on free ports of the
//! loopback address.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use xtask::iotdb::{Instance, Ports, READY, SMALL_HEAP};

use crate::dir::TestDir;
use crate::process::Server;
use crate::{ports, tools};

pub use xtask::iotdb::Release;

/// Longest start of each of the two programs, on a busy machine.
const START: Duration = Duration::from_secs(120);
/// Longest orderly end of each.
const END: Duration = Duration::from_secs(60);
/// Longest time from its word that it is ready to an open port.
const LISTEN: Duration = Duration::from_secs(20);

/// A running IoTDB.
#[derive(Debug)]
pub struct Iotdb {
    /// The ConfigNode.
    pub config: Server,
    /// The DataNode, which serves clients.
    pub data: Server,
    /// Where it listens.
    pub address: IpAddr,
    /// The port for clients, the same after a restart.
    pub port: u16,
    config_port: u16,
    starts: usize,
}

impl Iotdb {
    /// Starts one with more lines of `iotdb-system.properties`; `name` names its files in the
    /// test's folder.
    ///
    /// # Errors
    /// It is not installed, or does not start; the text has the end of its log.
    pub fn start(dir: &TestDir, name: &str, release: Release, extra: &[&str]) -> Result<Self> {
        Self::start_within(dir, name, release, extra, &[])
    }

    /// The same with words in front of the DataNode's program, such as those that let it see a
    /// volume at the folder `dn` of its own.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_within(
        dir: &TestDir,
        name: &str,
        release: Release,
        extra: &[&str],
        words: &[String],
    ) -> Result<Self> {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self::start_with(dir, name, release, address, extra, words)
    }

    /// The same at another address of this machine.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_at(dir: &TestDir, name: &str, release: Release, address: IpAddr) -> Result<Self> {
        Self::start_with(dir, name, release, address, &[], &[])
    }

    fn start_with(
        dir: &TestDir,
        name: &str,
        release: Release,
        address: IpAddr,
        extra: &[&str],
        words: &[String],
    ) -> Result<Self> {
        let rpc = ports::free()?;
        let config = [ports::free()?, ports::free()?];
        let data = [ports::free()?, ports::free()?, ports::free()?, ports::free()?];
        let instance = Instance {
            release,
            dir: dir.join(name),
            address,
            ports: Ports { rpc, config, data },
            heap: SMALL_HEAP,
            extra: extra.iter().map(|line| (*line).to_owned()).collect(),
        };
        instance.write()?;
        let (cache, java) = tools::iotdb(release)?;
        let [config_port, _] = config;
        let log = format!("{name}-config");
        let mut config = Server::start(dir, &log, &java, instance.config_node(&cache))?;
        config.wait_address((address, config_port).into(), START)?;
        let words = words.iter().map(OsString::from);
        let mut line = words.chain([java.into_os_string()]).chain(instance.data_node(&cache));
        let program = line.next().context("a program")?;
        let data = Server::start(dir, name, Path::new(&program), line)?;
        let mut iotdb = Self { config, data, address, port: rpc, config_port, starts: 1 };
        iotdb.wait()?;
        Ok(iotdb)
    }

    /// Starts again what was ended, on the same data. Not for 1.3, see [`xtask::iotdb`].
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> Result<()> {
        if !self.config.is_running()? {
            self.config.spawn()?;
            self.config.wait_address((self.address, self.config_port).into(), START)?;
        }
        if !self.data.is_running()? {
            self.starts += 1;
            self.data.spawn()?;
        }
        self.wait()
    }

    /// SIGKILL to both programs at once.
    ///
    /// # Errors
    /// One of them does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.data.kill()?;
        self.config.kill().map(drop)
    }

    /// Ends both in order; nothing is lost.
    ///
    /// # Errors
    /// They do not end in time.
    pub fn term(&mut self) -> Result<()> {
        self.data.term(END)?;
        self.config.term(END).map(drop)
    }

    fn wait(&mut self) -> Result<()> {
        let (log, starts) = (self.data.log_path().to_owned(), self.starts);
        let ready = || {
            let log = std::fs::read_to_string(&log).ok()?;
            (log.matches(READY).count() >= starts).then_some(())
        };
        self.data.wait_ready(READY, START, ready)?;
        self.data
            .wait_address((self.address, self.port).into(), LISTEN)
            .context("the port for clients")
    }
}
