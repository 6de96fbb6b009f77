//! The log a peer writes: the oracle for what a device was asked and what it gave out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Values were sent.
    Values,
    /// An exception was sent.
    Exception,
    /// Nothing was sent.
    Silent,
    /// A function other than the four that read.
    Other,
}

/// One request with what was served.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Request {
    /// Which connection, counted from 1 in the order they were accepted.
    pub connection: u64,
    /// Transaction identifier.
    pub transaction: u16,
    /// Unit identifier.
    pub unit: u8,
    /// Function code.
    pub function: u8,
    /// First address on the wire, from zero.
    pub address: u16,
    /// Number of registers or bits.
    pub count: u16,
    /// When the whole request had arrived, Unix time in nanoseconds.
    pub received_ns: i64,
    /// When its answer was about to leave, Unix time in nanoseconds.
    pub time_ns: i64,
    /// What became of it.
    pub outcome: Outcome,
    /// The exception code, when the peer knows it.
    pub exception: Option<u8>,
    /// The registers or bits that were sent.
    #[serde(default)]
    pub values: Vec<u16>,
    /// Counters that the request covered, with the value that was sent.
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
    /// The counter of the libmodbus peer, likewise.
    pub counter: Option<u64>,
}

impl Request {
    /// What it was told of the counter `name`; the one counter of the libmodbus peer has no name.
    pub fn counted(&self, name: &str) -> Option<u64> {
        self.counter.or_else(|| self.counters.get(name).copied())
    }
}

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line {
    Listening { port: u16 },
    Accept {},
    Close {},
    Request(Request),
    Counters {},
    Switched {},
}

/// A peer's log file, read anew at each question.
#[derive(Clone, Debug)]
pub struct PeerLog(PathBuf);

impl PeerLog {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Every request so far, in the order they were answered.
    ///
    /// # Errors
    /// The log cannot be read or understood.
    pub fn requests(&self) -> Result<Vec<Request>> {
        let lines = self.lines()?.into_iter();
        Ok(lines
            .filter_map(|line| match line {
                Line::Request(request) => Some(request),
                _ => None,
            })
            .collect())
    }

    /// How many connections were accepted, over all starts of the peer.
    ///
    /// # Errors
    /// The log cannot be read or understood.
    pub fn accepts(&self) -> Result<usize> {
        Ok(self.lines()?.iter().filter(|line| matches!(line, Line::Accept {})).count())
    }

    /// How many connections the peer has seen end.
    ///
    /// # Errors
    /// The log cannot be read or understood.
    pub fn closes(&self) -> Result<usize> {
        Ok(self.lines()?.iter().filter(|line| matches!(line, Line::Close {})).count())
    }

    /// How often the peer has taken over other faults.
    pub(super) fn switches(&self) -> Result<usize> {
        Ok(self.lines()?.iter().filter(|line| matches!(line, Line::Switched {})).count())
    }

    /// The ports of all starts so far, the present one last.
    pub(super) fn ports(&self) -> Result<Vec<u16>> {
        let lines = self.lines()?.into_iter();
        Ok(lines
            .filter_map(|line| match line {
                Line::Listening { port } => Some(port),
                _ => None,
            })
            .collect())
    }

    /// The whole lines; a peer that was killed may have left half a one at the end of a start.
    fn lines(&self) -> Result<Vec<Line>> {
        let text = std::fs::read_to_string(&self.0).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(String::new()),
            _ => Err(error),
        })?;
        let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or_default());
        whole
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("peer log: {line}")))
            .collect()
    }
}
