//! `mosquitto_sub` as the consumer.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::pipeline::PATIENCE;

pub struct Consumer {
    lines: mpsc::UnboundedReceiver<String>,
    child: Child,
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // The reading thread ends with the pipe.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One message as the consumer saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub topic: String,
    pub retained: bool,
    pub qos: u8,
    pub content_type: String,
    pub user_properties: String,
    pub payload: String,
}

impl Consumer {
    /// Subscribed to `topic` when this returns.
    pub async fn start(port: u16, topic: &str) -> Self {
        Self::start_with(port, topic, &[]).await
    }

    pub async fn start_with(port: u16, topic: &str, more: &[&str]) -> Self {
        // Without line buffering its word that it has subscribed waits for the first message.
        let mut child = Command::new("stdbuf")
            .args([
                "-oL",
                "mosquitto_sub",
                "-h",
                "127.0.0.1",
                "-p",
                &port.to_string(),
                "-V",
                "5",
                "-q",
                "1",
                "-d",
            ])
            .args(["-t", topic, "-F", ">%t|%r|%q|%C|%P|%p"])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .expect("stdbuf of coreutils is not installed");
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut consumer = Self { lines, child };
        while !consumer.line().await.starts_with("Subscribed") {}
        consumer
    }

    async fn line(&mut self) -> String {
        let line = timeout(PATIENCE, self.lines.recv()).await.expect("consumer got nothing");
        line.expect("mosquitto_sub ended or is not installed; run `cargo xtask setup`")
    }

    pub async fn next(&mut self) -> Seen {
        loop {
            if let Some(seen) = Seen::parse(&self.line().await) {
                return seen;
            }
        }
    }

    /// The next message if it is there already.
    pub fn try_next(&mut self) -> Option<Seen> {
        loop {
            if let Some(seen) = Seen::parse(&self.lines.try_recv().ok()?) {
                return Some(seen);
            }
        }
    }

    pub async fn json(&mut self) -> serde_json::Value {
        serde_json::from_str(&self.next().await.payload).unwrap()
    }
}

impl Seen {
    /// A message from its line; other lines are what the consumer says about itself.
    fn parse(line: &str) -> Option<Self> {
        let parts: Vec<&str> = line.strip_prefix('>')?.splitn(6, '|').collect();
        Some(Self {
            topic: parts[0].to_owned(),
            retained: parts[1] == "1",
            qos: parts[2].parse().unwrap(),
            content_type: parts[3].to_owned(),
            user_properties: parts[4].to_owned(),
            payload: parts[5].to_owned(),
        })
    }
}
