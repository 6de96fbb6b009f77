//! What the commands that ask a running agent share: its state directory, and how they say that
//! there is none.

use std::io;
use std::path::PathBuf;

use anyhow::{Context, bail};
use tokio::runtime::Runtime;

use super::Exit;
use crate::client::{Client, ClientError};
use crate::identity;

/// Which agent is asked.
#[derive(Debug, clap::Args)]
pub struct WhichAgent {
    /// State directory of the agent [default: ~/.local/state/lineside]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl WhichAgent {
    /// A client of the agent.
    ///
    /// # Errors
    /// Nobody says where the state directory is.
    pub fn client(&self) -> anyhow::Result<Client> {
        match self.state.clone().or_else(identity::default_dir) {
            Some(dir) => Ok(Client::new(&dir)),
            None => bail!("no home directory for the state; name the agent's with --state DIR"),
        }
    }
}

/// The runtime of a command that asks.
///
/// # Errors
/// The system gives none.
pub fn runtime() -> anyhow::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("start the runtime")
}

/// Why a command of this kind ends early.
pub enum Stop {
    /// The agent does not answer.
    Agent(ClientError),
    /// The reader of our output is gone (`| head`): nothing is wrong.
    Closed,
    /// Anything else.
    Failed(anyhow::Error),
}

impl From<ClientError> for Stop {
    fn from(error: ClientError) -> Self {
        Self::Agent(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(anyhow::Error::new(error).context("write the output")),
        }
    }
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<serde_json::Error> for Stop {
    fn from(error: serde_json::Error) -> Self {
        Self::Agent(ClientError::Broken(error.to_string()))
    }
}

/// The end of a command, with the reason on standard error.
///
/// # Errors
/// What is no matter of the agent.
pub fn end(done: Result<Exit, Stop>) -> anyhow::Result<Exit> {
    match done {
        Ok(exit) => Ok(exit),
        Err(Stop::Closed) => Ok(Exit::Ok),
        Err(Stop::Failed(error)) => Err(error),
        Err(Stop::Agent(error)) => {
            eprintln!("lineside: {error}");
            eprintln!("  Next: {}", error.next());
            Ok(Exit::Unreachable)
        }
    }
}
