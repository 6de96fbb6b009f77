//! The official Python client of Apache IoTDB as an oracle (`tests/peers/iotdb_client.py`, where
//! the form of requests is described): what it would send, and what it reads back.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::dir::TestDir;
use crate::tools;

/// Rows as text; see the script.
pub type Rows = Vec<Vec<Option<String>>>;

/// The running client; it ends when it is dropped.
#[derive(Debug)]
pub struct IotdbClient {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl IotdbClient {
    /// Starts it; `name` names its log in the test's folder.
    ///
    /// # Errors
    /// The Python environment is missing.
    pub fn start(dir: &TestDir, name: &str) -> Result<Self> {
        Self::start_for(dir, name, IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// The same for servers at another address.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_for(dir: &TestDir, name: &str, host: IpAddr) -> Result<Self> {
        let log = File::create(dir.join(&format!("{name}.log")))?;
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(tools::python()?)
            .arg(tools::python_peer("iotdb_client.py"))
            .arg(host.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("starting the client of IoTDB")?;
        let requests = child.stdin.take().context("its input")?;
        let answers = BufReader::new(child.stdout.take().context("its output")?);
        Ok(Self { child, requests, answers })
    }

    /// The whole request that it would send for a tablet in a session of this number.
    ///
    /// # Errors
    /// It refuses the tablet.
    pub fn encode(&mut self, table: bool, session: i64, tablet: &Value) -> Result<Vec<u8>> {
        let request = json!({"op": "encode", "table": table, "session": session, "tablet": tablet});
        let answer = self.ask(&request)?;
        let digits = answer["frame"].as_str().context("no frame")?;
        bytes(digits).context("a frame of hexadecimal digits")
    }

    /// Inserts a tablet.
    ///
    /// # Errors
    /// The server refuses it.
    pub fn insert(&mut self, port: u16, table: bool, tablet: &Value) -> Result<()> {
        self.ask(&json!({"op": "insert", "port": port, "table": table, "tablet": tablet})).map(drop)
    }

    /// Runs statements without a result set.
    ///
    /// # Errors
    /// The server refuses one of them.
    pub fn run(&mut self, port: u16, table: bool, sql: &[&str]) -> Result<()> {
        self.ask(&json!({"op": "run", "port": port, "table": table, "sql": sql})).map(drop)
    }

    /// Runs a query.
    ///
    /// # Errors
    /// The server refuses it.
    pub fn query(&mut self, port: u16, table: bool, sql: &str) -> Result<Rows> {
        let answer = self.ask(&json!({"op": "query", "port": port, "table": table, "sql": sql}))?;
        Ok(serde_json::from_value(answer["rows"].clone())?)
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        writeln!(self.requests, "{request}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line)
            .with_context(|| format!("the client of IoTDB answers {line:?}"))?;
        match answer.get("error") {
            Some(error) => bail!("{request}: {error}"),
            None => Ok(answer),
        }
    }
}

impl Drop for IotdbClient {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pair = |at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(pair).collect()
}
