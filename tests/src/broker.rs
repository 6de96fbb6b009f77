//! Mosquitto with a configuration of the test's own.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::dir::TestDir;
use crate::process::Server;
use crate::tls::Certificates;
use crate::{ports, tools};

/// Longest start of the broker.
const START: Duration = Duration::from_secs(20);

/// How the broker is set up; the default is plain, anonymous, persistent.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Serve TLS with these.
    pub tls: Option<Certificates>,
    /// Ask for a client certificate of the same authority.
    pub require_client_certificate: bool,
    /// The only user and password let in.
    pub user: Option<(String, String)>,
    /// Keep nothing over a restart (the default keeps everything).
    pub transient: bool,
    /// Where it listens, instead of the loopback address.
    pub address: Option<IpAddr>,
    /// More lines of `mosquitto.conf`.
    pub extra: Vec<String>,
}

impl Options {
    /// Where it listens.
    pub fn address(&self) -> IpAddr {
        self.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }
}

/// A running broker, on the loopback address unless its options name another.
#[derive(Debug)]
pub struct Broker {
    /// The process, for signals.
    pub server: Server,
    /// Its port, the same after a restart.
    pub port: u16,
    /// How it was set up.
    pub options: Options,
}

impl Broker {
    /// Starts a broker; `name` names its files in the test's folder.
    ///
    /// # Errors
    /// Mosquitto is not installed or does not start.
    pub fn start(dir: &TestDir, name: &str, options: Options) -> Result<Self> {
        let port = ports::free()?;
        let config = configuration(dir, name, port, &options)?;
        let path = dir.write(&format!("{name}.conf"), &config)?;
        let program = tools::program("mosquitto")?;
        let server = Server::start(dir, name, &program, ["-c".into(), path.into_os_string()])?;
        let mut broker = Self { server, port, options };
        broker.wait()?;
        Ok(broker)
    }

    /// Stops it as an administrator would: SIGTERM, on which it saves what it holds.
    ///
    /// # Errors
    /// It does not end within its time.
    pub fn term(&mut self) -> Result<ExitStatus> {
        self.server.term(START)
    }

    /// Starts it again on the same port with what it saved.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.server.spawn()?;
        self.wait()
    }

    /// `host:port`.
    pub fn endpoint(&self) -> String {
        format!("{}:{}", self.options.address(), self.port)
    }

    /// Lets the same user in with another password from the next start on; `name` is the one
    /// that it was started under.
    ///
    /// # Errors
    /// It has no user, or the file cannot be written.
    pub fn set_password(&mut self, dir: &TestDir, name: &str, password: &str) -> Result<()> {
        let Some((user, known)) = &mut self.options.user else { bail!("the broker has no user") };
        password_file(dir, name, user, password)?;
        password.clone_into(known);
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        let address = (self.options.address(), self.port).into();
        self.server.wait_address(address, START)
    }
}

fn configuration(dir: &TestDir, name: &str, port: u16, options: &Options) -> Result<String> {
    let mut conf = format!("listener {port} {}\n", options.address());
    if let Some(tls) = &options.tls {
        writeln!(conf, "cafile {}", tls.ca.display())?;
        writeln!(conf, "certfile {}", tls.server_cert.display())?;
        writeln!(conf, "keyfile {}", tls.server_key.display())?;
        writeln!(conf, "require_certificate {}", options.require_client_certificate)?;
    }
    match &options.user {
        Some((user, password)) => {
            let file = password_file(dir, name, user, password)?;
            writeln!(conf, "allow_anonymous false\npassword_file {}", file.display())?;
        }
        None => conf.push_str("allow_anonymous true\n"),
    }
    if options.transient {
        conf.push_str("persistence false\n");
    } else {
        let data = dir.folder(&format!("{name}-data"))?;
        writeln!(conf, "persistence true\npersistence_location {}/", data.display())?;
    }
    // No limit on what is queued for a subscriber: what is lost, we lost. As root Mosquitto
    // would change to a user that cannot write here. `subscribe` tells when one is in place.
    conf.push_str("max_queued_messages 0\nmax_inflight_messages 100\nuser root\n");
    conf.push_str("set_tcp_nodelay true\nlog_dest stderr\nlog_timestamp_format %FT%T\n");
    for kind in ["error", "warning", "notice", "information", "subscribe"] {
        writeln!(conf, "log_type {kind}")?;
    }
    for line in &options.extra {
        writeln!(conf, "{line}")?;
    }
    Ok(conf)
}

fn password_file(dir: &TestDir, name: &str, user: &str, password: &str) -> Result<PathBuf> {
    let path = dir.join(&format!("{name}.passwd"));
    let mut tool = Command::new(tools::program("mosquitto_passwd")?);
    let status = tool.args(["-b", "-c"]).arg(&path).args([user, password]).status()?;
    if !status.success() {
        bail!("mosquitto_passwd ended with {status}");
    }
    Ok(path)
}
