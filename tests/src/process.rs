//! A child process as a guard: its output in a log, signals to it alone, dead with the test.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::dir::TestDir;
use crate::wait;

/// A running server or client.
///
/// It is killed when the guard is dropped, and by the kernel when the **thread** that started
/// it ends (`setpriv --pdeathsig`), so nothing is left behind when a test program is killed.
/// Start it from the test's own thread.
#[derive(Debug)]
pub struct Server {
    name: String,
    spec: Spec,
    child: Option<Child>,
}

#[derive(Clone, Debug)]
struct Spec {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Server {
    /// Starts `program`; both outputs are appended to `<name>.log` in the test's folder.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start<I, S>(dir: &TestDir, name: &str, program: &Path, args: I) -> Result<Self>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let log = dir.join(&format!("{name}.log"));
        Self::start_with(name, program, args, &[], &log, &log)
    }

    /// Starts `program` with more environment and with separate files for its outputs.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_with<I, S>(
        name: &str,
        program: &Path,
        args: I,
        env: &[(&str, &str)],
        stdout: &Path,
        stderr: &Path,
    ) -> Result<Self>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let spec = Spec {
            program: program.to_path_buf(),
            args: args.into_iter().map(|a| a.as_ref().to_os_string()).collect(),
            env: env.iter().map(|(k, v)| (k.into(), v.into())).collect(),
            stdout: stdout.to_path_buf(),
            stderr: stderr.to_path_buf(),
        };
        let mut server = Self { name: name.to_owned(), spec, child: None };
        server.spawn()?;
        Ok(server)
    }

    /// Starts it again, with the same arguments, after [`Self::term`] or [`Self::kill`].
    ///
    /// # Errors
    /// It still runs or cannot be started.
    pub fn spawn(&mut self) -> Result<()> {
        if self.is_running()? {
            bail!("{} already runs", self.name);
        }
        let Spec { program, args, env, stdout, stderr } = &self.spec;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(args)
            .envs(env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(append(stdout)?)
            .stderr(append(stderr)?)
            .spawn()
            .with_context(|| format!("starting {} ({})", self.name, program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Process id.
    ///
    /// # Errors
    /// It does not run.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.running()?.id())
    }

    /// Waits until `127.0.0.1:port` accepts a connection. Not for a peer whose accepts are
    /// counted: this is one.
    ///
    /// # Errors
    /// It ended, or the deadline passed; the text has the end of its log.
    pub fn wait_port(&mut self, port: u16, deadline: Duration) -> Result<()> {
        self.wait_address(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), deadline)
    }

    /// The same at another address.
    ///
    /// # Errors
    /// As [`Self::wait_port`].
    pub fn wait_address(&mut self, address: SocketAddr, deadline: Duration) -> Result<()> {
        self.wait_ready("port open", deadline, || {
            TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok().map(drop)
        })
    }

    /// Waits until `look` gives a value.
    ///
    /// # Errors
    /// It ended, or the deadline passed; the text has the end of its log.
    pub fn wait_ready<T>(
        &mut self,
        what: &str,
        deadline: Duration,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        let what = format!("{}: {what}", self.name);
        let found = wait::until_some(&what, deadline, || match look() {
            Some(found) => Some(Ok(found)),
            None => match self.is_running() {
                Ok(true) => None,
                Ok(false) => Some(Err(anyhow::anyhow!("{} ended", self.name))),
                Err(error) => Some(Err(error)),
            },
        });
        found.and_then(|inner| inner).with_context(|| self.log_tail())
    }

    /// Whether it runs; reaps it when it has ended.
    ///
    /// # Errors
    /// Its state cannot be read.
    pub fn is_running(&mut self) -> Result<bool> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?.is_none()),
            None => Ok(false),
        }
    }

    /// SIGSTOP: it stays there, with its connections, and does nothing.
    ///
    /// # Errors
    /// It does not run.
    pub fn stop(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT: it goes on after [`Self::stop`].
    ///
    /// # Errors
    /// It does not run.
    pub fn cont(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// SIGUSR1, for servers that print something then.
    ///
    /// # Errors
    /// It does not run.
    pub fn usr1(&self) -> Result<()> {
        self.signal(Signal::USR1)
    }

    /// SIGHUP, for servers that read their files again then.
    ///
    /// # Errors
    /// It does not run.
    pub fn hup(&self) -> Result<()> {
        self.signal(Signal::HUP)
    }

    /// SIGTERM, then waits for its end.
    ///
    /// # Errors
    /// It does not run, or has not ended within the deadline.
    pub fn term(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait_end(deadline)
    }

    /// SIGKILL, then waits for its end.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        self.wait_end(Duration::from_secs(10))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It was not started, or has not ended within the deadline.
    pub fn wait_end(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let name = self.name.clone();
        let Some(child) = &mut self.child else { bail!("{name} does not run") };
        let status =
            wait::until_some(&format!("{name}: end"), deadline, || child.try_wait().transpose())??;
        self.child = None;
        Ok(status)
    }

    /// Resident memory in bytes (`VmRSS`).
    ///
    /// # Errors
    /// It does not run.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
        Ok(kib.context("no VmRSS in /proc/PID/status")?.trim().parse::<u64>()? * 1024)
    }

    /// What it wrote to standard error (and output, unless they are apart).
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.spec.stderr)?).into_owned())
    }

    /// Where [`Self::log`] is.
    pub fn log_path(&self) -> &Path {
        &self.spec.stderr
    }

    fn log_tail(&self) -> String {
        let log = self.log().unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(20).collect();
        let tail: Vec<_> = lines.into_iter().rev().collect();
        format!("end of {}:\n{}", self.spec.stderr.display(), tail.join("\n"))
    }

    fn running(&self) -> Result<&Child> {
        self.child.as_ref().with_context(|| format!("{} does not run", self.name))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(self.running()?), signal)
            .with_context(|| format!("signal to {}", self.name))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Both fail only when it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn append(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.with_context(|| format!("opening {}", path.display()))
}
