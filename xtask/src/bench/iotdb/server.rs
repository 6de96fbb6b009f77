//! The server that all write to.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use xtask::iotdb::{Instance, Ports, READY, Release, java};

use super::super::lab::{Owned, free_port};
use super::super::usage::Usage;
use crate::Context;
use crate::process::command;

/// Longest start, on a busy machine.
const START: Duration = Duration::from_secs(120);
/// Heap of the DataNode in MiB: enough that a round does not wait for a flush to disk.
const HEAP: u32 = 2048;

/// When the server syncs its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wal {
    /// After it has acknowledged; its default.
    Async,
    /// Before.
    Sync,
}

impl Wal {
    /// As the server's settings have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Async => "ASYNC",
            Self::Sync => "SYNC",
        }
    }
}

/// A running IoTDB 2.0.10.
pub struct Server {
    /// Port for clients.
    pub port: u16,
    /// How it syncs.
    pub wal: Wal,
    data: Owned,
    _config: Owned,
}

impl Server {
    /// Starts one on an empty folder.
    ///
    /// # Errors
    /// It does not start; its log is named.
    pub fn start(context: &Context, wal: Wal) -> Result<Self> {
        let dir = context.target.join("bench/iotdb");
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        let port = free_port()?;
        let instance = Instance {
            release: Release::V2,
            dir: dir.clone(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ports: Ports {
                rpc: port,
                config: [free_port()?, free_port()?],
                data: [free_port()?, free_port()?, free_port()?, free_port()?],
            },
            heap: HEAP,
            extra: vec![format!("wal_mode={}", wal.name())],
        };
        instance.write()?;
        let (java, cache) = (java()?, &context.cache);
        let start = |log: &Path, args| -> Result<Owned> {
            let log = File::create(log)?;
            let mut program = command(&java);
            program.args(args).stdout(log.try_clone()?).stderr(log);
            Ok(Owned(program.spawn().context("cannot start java")?))
        };
        let config = start(&dir.join("config.log"), instance.config_node(cache))?;
        let log = dir.join("data.log");
        // It tries for a while to reach the other one.
        let data = start(&log, instance.data_node(cache))?;
        let until = Instant::now() + START;
        while !fs::read_to_string(&log)?.contains(READY) {
            if Instant::now() > until {
                bail!("IoTDB is not ready within {START:?}: see {}", log.display());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(Self { port, wal, data, _config: config })
    }

    /// What the DataNode uses.
    ///
    /// # Errors
    /// It has ended.
    pub fn usage(&self) -> Result<Usage> {
        Usage::of(self.data.0.id()).context("the server")
    }
}
