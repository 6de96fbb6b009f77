//! The real agent: the `lineside` binary as a user runs it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::dir::{TestDir, target_dir};
use crate::metrics::Metrics;
use crate::process::Server;

/// Longest start, from exec to the line that tells the address of `/metrics`.
const START: Duration = Duration::from_secs(20);

/// Longest answer of the agent's own pages.
const PAGE: Duration = Duration::from_secs(5);

/// A running `lineside agent`.
#[derive(Debug)]
pub struct Agent {
    /// The process, for signals, memory and its log (JSON lines).
    pub server: Server,
    http: SocketAddr,
}

impl Agent {
    /// Starts `lineside agent` on the folder `config` of the test, with `<name>-state` and
    /// `secrets` beside it, logging JSON; `more` are further arguments.
    ///
    /// # Errors
    /// The binary is not built, or the agent does not start; the text has the end of its log.
    pub fn start(dir: &TestDir, name: &str, config: &Path, more: &[&str]) -> Result<Self> {
        let state = dir.folder(&format!("{name}-state"))?;
        let secrets = dir.folder("secrets")?;
        let mut args: Vec<std::ffi::OsString> = vec!["agent".into()];
        for (flag, path) in [("--config", config), ("--state", &state), ("--secrets", &secrets)] {
            args.extend([flag.into(), path.into()]);
        }
        args.extend(["--name", name, "--http", "127.0.0.1:0", "--log", "json"].map(Into::into));
        args.extend(more.iter().map(Into::into));
        let log = dir.join(&format!("{name}.log"));
        let mut server = Server::start_with(name, &binary()?, args, &[], &log, &log)?;
        let http = server.wait_ready("log line with the field http", START, || {
            http_address(&std::fs::read_to_string(&log).ok()?)
        })?;
        Ok(Self { server, http })
    }

    /// Address of `/metrics`, `/livez`, `/readyz`.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Status code and body of one of its pages.
    ///
    /// # Errors
    /// It does not answer in time, or not in HTTP.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.http, PAGE)?;
        stream.set_read_timeout(Some(PAGE))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no end of headers")?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        Ok((status, body.to_owned()))
    }

    /// One scrape of `/metrics`.
    ///
    /// # Errors
    /// It does not answer with 200.
    pub fn metrics(&self) -> Result<Metrics> {
        match self.get("/metrics")? {
            (200, body) => Ok(Metrics::parse(&body)),
            (status, body) => bail!("/metrics answers {status}: {body}"),
        }
    }

    /// Its log so far: every line that is a JSON object, with `fields` lifted to the top.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn log(&self) -> Result<Vec<Value>> {
        Ok(self.server.log()?.lines().filter_map(event).collect())
    }
}

/// Runs `lineside` to its end with these arguments.
///
/// # Errors
/// The binary is not built or cannot be started.
pub fn lineside<I, S>(args: I) -> Result<Output>
where
    I: IntoIterator<Item = S>,
    S: AsRef<std::ffi::OsStr>,
{
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(binary()?).args(args);
    Ok(command.output()?)
}

/// The binary that was built into the same target directory as this test program.
///
/// # Errors
/// It is not there.
pub fn binary() -> Result<PathBuf> {
    let path = target_dir()?.join("lineside");
    if !path.is_file() {
        bail!("{} is not built; run: cargo build -p lineside", path.display());
    }
    Ok(path)
}

fn event(line: &str) -> Option<Value> {
    let Value::Object(mut event) = serde_json::from_str(line).ok()? else { return None };
    if let Some(Value::Object(fields)) = event.remove("fields") {
        event.extend(fields);
    }
    Some(Value::Object(event))
}

fn http_address(log: &str) -> Option<SocketAddr> {
    log.lines().filter_map(event).find_map(|event| event.get("http")?.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::http_address;

    #[test]
    fn finds_the_address_in_flat_and_nested_log_lines() {
        let nested = r#"{"level":"INFO","fields":{"message":"Started","http":"127.0.0.1:4001"}}"#;
        let flat = r#"{"level":"INFO","message":"Started","http":"127.0.0.1:4002"}"#;
        assert_eq!(http_address(&format!("text\n{nested}\n")).unwrap().port(), 4001);
        assert_eq!(http_address(flat).unwrap().port(), 4002);
        assert_eq!(http_address("{}\nno json"), None);
    }
}
