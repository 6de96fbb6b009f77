//! Who writes, each in a program of its own that takes the same requests.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use xtask::iotdb::{Release, java};

use super::super::lab::Talker;
use crate::Context;
use crate::process::{cargo, host, run as run_command};

/// A client with one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// The sink's session (agent/sinks/iotdb/examples/insert.rs).
    Lineside,
    /// The Java client of the server's release (tests/bench/IotdbInsert.java).
    Java,
    /// The Python client with lists as values (tests/bench/iotdb_insert.py).
    Python,
    /// The same with numpy arrays.
    PythonNumpy,
}

/// Everybody.
pub const ALL: [Peer; 4] = [Peer::Lineside, Peer::Java, Peer::Python, Peer::PythonNumpy];

impl Peer {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lineside => "lineside",
            Self::Java => "java",
            Self::Python => "python",
            Self::PythonNumpy => "python-numpy",
        }
    }

    /// Its name in a path.
    pub fn word(self) -> &'static str {
        match self {
            Self::PythonNumpy => "numpy",
            other => other.name(),
        }
    }
}

/// What is started for each.
pub struct Programs {
    lineside: PathBuf,
    java: PathBuf,
    jars: PathBuf,
    python: PathBuf,
    sources: PathBuf,
}

impl Programs {
    /// Builds ours; the others are there.
    ///
    /// # Errors
    /// It does not compile, or something is not installed.
    pub fn build(context: &Context) -> Result<Self> {
        let mut build = cargo(context, &host()?);
        build.args(["build", "--release", "-p", "lineside-sink-iotdb", "--example", "insert"]);
        run_command(&mut build)?;
        Ok(Self {
            lineside: context.target.join("release/examples/insert"),
            java: java()?,
            // The client's jars are among the server's.
            jars: Release::V2.data().folder(&context.cache).join("lib/*"),
            python: context.cache.python()?,
            sources: context.workspace.join("tests/bench"),
        })
    }

    /// Starts one, which opens its session.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(&self, peer: Peer, port: u16) -> Result<Talker> {
        let port = port.to_string();
        let source = |name: &str| self.sources.join(name).display().to_string();
        let script = || vec![source("iotdb_insert.py"), port.clone()];
        let (program, args) = match peer {
            Peer::Lineside => (&self.lineside, vec![port]),
            Peer::Java => {
                let mut args = vec!["-Xmx1g".to_owned(), "-cp".to_owned()];
                args.extend([self.jars.display().to_string(), source("IotdbInsert.java"), port]);
                (&self.java, args)
            }
            Peer::Python => (&self.python, script()),
            Peer::PythonNumpy => {
                let numpy = "--numpy".to_owned();
                (&self.python, script().into_iter().chain([numpy]).collect())
            }
        };
        Talker::start(program, &args).with_context(|| format!("starting {}", peer.name()))
    }
}
