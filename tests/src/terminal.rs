//! A pseudo-terminal with a program in it, for what only shows to a person: what was written to
//! the screen, keys, a window that changes its size, a terminal that goes away.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::dup;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::wait;

/// A program on a terminal of its own. Killed when dropped, and with the thread that started it.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    ours: File,
    /// The program's side, kept open so that its modes can be looked at after the program.
    theirs: OwnedFd,
    written: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Starts `program` as the leader of a terminal with so many rows and columns.
    ///
    /// # Errors
    /// There is no terminal, or the program cannot be started.
    pub fn start(program: &Path, args: &[&str], rows: u16, columns: u16) -> Result<Self> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let name = ptsname(&ours, Vec::new())?;
        let theirs = open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
        tcsetwinsize(&ours, size(rows, columns))?;
        let child = Command::new("setsid")
            .args(["--ctty", "setpriv", "--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(args)
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(dup(&theirs)?)
            .stdout(dup(&theirs)?)
            .stderr(dup(&theirs)?)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let written = Arc::new(Mutex::new(Vec::new()));
        let mut from = File::from(dup(&ours)?);
        let to = written.clone();
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The read fails once nobody has the program's side any more.
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                to.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend_from_slice(&bytes[..count]);
            }
        });
        Ok(Self { child, ours: ours.into(), theirs, written, reader: Some(reader) })
    }

    /// Everything that was written to it so far.
    pub fn written(&self) -> String {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&written).into_owned()
    }

    /// Presses keys; `\u{3}` is Ctrl-C.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.ours.write_all(keys.as_bytes())?)
    }

    /// Gives the window another size.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        Ok(tcsetwinsize(&self.ours, size(rows, columns))?)
    }

    /// Whether keys come line by line and are shown, as a shell expects to find it.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn is_usual(&self) -> Result<bool> {
        let modes = tcgetattr(&self.theirs)?.local_modes;
        Ok(modes.contains(LocalModes::ICANON | LocalModes::ECHO))
    }

    /// Waits for the end of the program.
    ///
    /// # Errors
    /// It has not ended within the deadline.
    pub fn wait_end(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let child = &mut self.child;
        wait::until_some("the end of the program", deadline, || child.try_wait().transpose())?
            .map_err(Into::into)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its reader waits for bytes as long as anybody has the program's side: it is left to
        // the end of the test program.
        drop(self.reader.take());
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
