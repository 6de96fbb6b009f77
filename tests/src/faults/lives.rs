//! One agent over many starts: the same configuration, state and name, killed and started again.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::device::now;
use super::evidence::Nanos;
use super::lag::Lag;
use crate::agent::binary;
use crate::dir::TestDir;
use crate::process::Server;

/// Longest end after SIGTERM.
const END: Duration = Duration::from_secs(30);

/// Words in front of the program, such as `nsenter` with its options.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// Of the agent; they keep the process id.
    pub agent: Vec<String>,
    /// Of the commands that ask it.
    pub questions: Vec<String>,
}

/// An agent that is killed and started again.
#[derive(Debug)]
pub struct Lives {
    /// The process, for signals, memory and its log (JSON lines, all starts in one).
    pub server: Server,
    starts: Vec<Nanos>,
    questions: Vec<String>,
    state: PathBuf,
}

impl Lives {
    /// Starts it on the folder `config` of the test, with the state directory `state`.
    ///
    /// # Errors
    /// The binary is not built or cannot be started. Nobody waits until it is ready: it may be
    /// killed before.
    pub fn start(dir: &TestDir, state: &Path, around: &Around) -> Result<Self> {
        let mut words = around.agent.clone();
        words.push(text(&binary()?)?);
        words.push("agent".into());
        for (flag, path) in [
            ("--config", dir.folder("config")?),
            ("--secrets", dir.folder("secrets")?),
            ("--state", state.to_path_buf()),
        ] {
            words.extend([flag.into(), text(&path)?]);
        }
        let fixed = ["--name", "agent", "--http", "127.0.0.1:0", "--page", "off", "--log", "json"];
        words.extend(fixed.map(str::to_owned));
        let (program, args) = words.split_first().context("the program is a word")?;
        let started = now()?;
        let server = Server::start(dir, "agent", Path::new(program), args)?;
        let (questions, state) = (around.questions.clone(), state.to_path_buf());
        Ok(Self { server, starts: vec![started], questions, state })
    }

    /// kill -9, without a moment to write anything.
    ///
    /// # Errors
    /// It has ended by itself, which it never does.
    pub fn kill(&mut self) -> Result<()> {
        if !self.server.is_running()? {
            bail!("the agent has ended by itself; see {}", self.server.log_path().display());
        }
        self.server.kill()?;
        Ok(())
    }

    /// SIGTERM, then waits for its end.
    ///
    /// # Errors
    /// It does not end, or not well.
    pub fn end(&mut self) -> Result<()> {
        let status = self.server.term(END)?;
        if !status.success() {
            bail!("the agent ended with {status}; see {}", self.server.log_path().display());
        }
        Ok(())
    }

    /// Starts it again after [`Self::kill`] or [`Self::end`].
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_again(&mut self) -> Result<()> {
        self.starts.push(now()?);
        self.server.spawn()
    }

    /// When it was started, every time.
    pub fn starts(&self) -> &[Nanos] {
        &self.starts
    }

    /// The present start, counted from 0.
    pub fn life(&self) -> usize {
        self.starts.len() - 1
    }

    /// The ledgers and gaps, as the running agent has them.
    ///
    /// # Errors
    /// It does not answer.
    pub fn lag(&self) -> Result<Lag> {
        let output = self.lineside(&["lag", "-o", "json"])?;
        Lag::parse(&String::from_utf8(output.stdout)?)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// What `lineside status -o json` says: the whole state of the agent.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&self) -> Result<Value> {
        let output = self.lineside(&["status", "-o", "json"])?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Runs a command of `lineside` that asks this agent, with the same words in front.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn lineside(&self, command: &[&str]) -> Result<Output> {
        let mut words = self.questions.clone();
        words.push(text(&binary()?)?);
        words.extend(command.iter().map(|word| (*word).to_owned()));
        words.extend(["--state".to_owned(), text(&self.state)?]);
        Ok(Command::new("setpriv").args(["--pdeathsig", "KILL", "--"]).args(words).output()?)
    }
}

fn text(path: &Path) -> Result<String> {
    Ok(path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?.to_owned())
}
