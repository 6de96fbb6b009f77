//! An independent consumer: `mosquitto_sub` writing what it gets, and when, to a file.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::broker::Broker;
use crate::dir::TestDir;
use crate::process::Server;
use crate::{tools, wait};

/// Longest time until the subscription is in place.
const START: Duration = Duration::from_secs(20);

/// Unix time, retained flag, topic, payload.
const FORMAT: &str = "%U %r %t %p";

/// One message as `mosquitto_sub` printed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// When it was received, Unix time in nanoseconds.
    pub time_ns: i64,
    /// Whether the broker had kept it for new subscribers.
    pub retained: bool,
    /// Topic.
    pub topic: String,
    /// Payload as text; bytes that are not UTF-8 are replaced.
    pub payload: String,
}

/// A persistent QoS 1 subscription.
#[derive(Debug)]
pub struct Subscriber {
    /// The process, for signals and restarts: the broker keeps what it misses.
    pub server: Server,
    output: PathBuf,
    read: u64,
    partial: Vec<u8>,
    messages: Vec<Message>,
}

impl Subscriber {
    /// Subscribes to `topic` on the broker under the client id `name`, and waits until the
    /// subscription is in place.
    ///
    /// # Errors
    /// `mosquitto_sub` is not installed, or the subscription does not come about.
    pub fn start(dir: &TestDir, name: &str, broker: &Broker, topic: &str) -> Result<Self> {
        let output = dir.join(&format!("{name}.messages"));
        let program = tools::program("mosquitto_sub")?;
        let host = broker.options.address().to_string();
        let mut args = vec!["-h", &host, "-i", name, "-c", "-q", "1", "-t", topic]
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>();
        args.extend(["-F".into(), FORMAT.into()]);
        args.extend(["-p".into(), broker.port.to_string()]);
        if let Some(tls) = &broker.options.tls {
            args.extend(["--cafile".into(), tls.ca.display().to_string()]);
            if broker.options.require_client_certificate {
                args.extend(["--cert".into(), tls.client_cert.display().to_string()]);
                args.extend(["--key".into(), tls.client_key.display().to_string()]);
            }
        }
        if let Some((user, password)) = &broker.options.user {
            args.extend(["-u".into(), user.clone(), "-P".into(), password.clone()]);
        }
        let errors = dir.join(&format!("{name}.log"));
        let mut server = Server::start_with(name, &program, args, &[], &output, &errors)?;
        let line = format!(": {name} 1 {topic}");
        server.wait_ready("subscription in the broker's log", START, || {
            broker.server.log().ok().filter(|log| log.lines().any(|l| l.ends_with(&line)))
        })?;
        Ok(Self { server, output, read: 0, partial: Vec::new(), messages: Vec::new() })
    }

    /// Subscribes to `topic` on a broker of another kind at `127.0.0.1:port`; nothing waits for
    /// the subscription, and what is missed while it is not there is not sent later.
    ///
    /// # Errors
    /// `mosquitto_sub` is not installed.
    pub fn on_port(dir: &TestDir, name: &str, port: u16, topic: &str) -> Result<Self> {
        let output = dir.join(&format!("{name}.messages"));
        let program = tools::program("mosquitto_sub")?;
        let port = port.to_string();
        let args = ["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", topic, "-F", FORMAT];
        let errors = dir.join(&format!("{name}.log"));
        let server = Server::start_with(name, &program, args, &[], &output, &errors)?;
        Ok(Self { server, output, read: 0, partial: Vec::new(), messages: Vec::new() })
    }

    /// Everything received so far, in order.
    ///
    /// # Errors
    /// The file cannot be read or holds a line of another shape.
    pub fn messages(&mut self) -> Result<&[Message]> {
        let mut file = File::open(&self.output)?;
        file.seek(SeekFrom::Start(self.read))?;
        let new = file.read_to_end(&mut self.partial)?;
        self.read += u64::try_from(new)?;
        let whole = self.partial.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.partial.drain(..whole).collect();
        for line in String::from_utf8_lossy(&lines).lines() {
            self.messages.push(parse(line)?);
        }
        Ok(&self.messages)
    }

    /// Waits until the messages satisfy `enough`.
    ///
    /// # Errors
    /// The deadline passed, or the file cannot be read.
    pub fn wait_until(
        &mut self,
        what: &str,
        deadline: Duration,
        enough: impl Fn(&[Message]) -> bool,
    ) -> Result<&[Message]> {
        wait::until_some(what, deadline, || match self.messages() {
            Ok(messages) => enough(messages).then_some(Ok(())),
            Err(error) => Some(Err(error)),
        })
        .and_then(|inner| inner)
        .with_context(|| format!("{} messages so far", self.messages.len()))?;
        Ok(&self.messages)
    }
}

/// Unix time with nine decimals, retained flag, topic, payload. Topics here have no spaces.
fn parse(line: &str) -> Result<Message> {
    let bad = || format!("not a line of mosquitto_sub: {line:?}");
    let mut parts = line.splitn(4, ' ');
    let mut next = || parts.next().with_context(bad);
    let (time, retained, topic, payload) = (next()?, next()?, next()?, next()?);
    let (seconds, nanos) = time.split_once('.').with_context(bad)?;
    let seconds: i64 = seconds.parse().with_context(bad)?;
    let nanos: i64 = format!("{nanos:0<9}").parse().with_context(bad)?;
    Ok(Message {
        time_ns: seconds * 1_000_000_000 + nanos,
        retained: retained == "1",
        topic: topic.to_owned(),
        payload: payload.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Message, parse};

    #[test]
    fn a_line_is_time_flag_topic_and_the_rest() {
        let want = Message {
            time_ns: 1_700_000_000_012_345_678,
            retained: true,
            topic: "a/b".into(),
            payload: r#"{"x": 1}"#.into(),
        };
        assert_eq!(parse(r#"1700000000.012345678 1 a/b {"x": 1}"#).unwrap(), want);
        assert_eq!(parse("1.000000000 0 t ").unwrap().payload, "");
        assert!(parse("connection lost").is_err());
    }
}
