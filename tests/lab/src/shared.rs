//! One lab for all tests of a program, taken down whenever and however the program ends.
//!
//! Nothing runs at the end of a program that was killed, so somebody else must do it: a guard,
//! a process of its own that reads from a pipe whose other end only the test program holds.
//!
//! ```text
//!   test program                      guard (own session)
//!     start ------------------------> takes the run's lock, removes what is left of it
//!     <------------------- "ready" --
//!     Lab::up, tests                  waits for the end of the pipe
//!     ends, panics, is killed ------> removes the lab, gives the lock back
//! ```

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::ops::Deref;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::{Lab, Options, RunId, wait};

/// What the guard says when the run is the caller's.
const READY: &str = "ready";

/// How long a guard may take to remove its lab.
const REMOVED: Duration = Duration::from_secs(120);

/// A lab that ends with this value, and so with this process. In a static it is there for all.
#[derive(Debug)]
pub struct Shared {
    lab: Lab,
    /// Its standard input is the pipe.
    guard: Child,
}

impl Shared {
    /// Ends the lab and waits until it is removed.
    ///
    /// # Errors
    /// The guard could not remove it.
    pub fn down(mut self) -> Result<()> {
        drop(self.guard.stdin.take());
        let mut ended = None;
        wait::until("the guard has removed the lab", REMOVED, || {
            ended = self.guard.try_wait()?;
            Ok(ended.is_some())
        })?;
        match ended {
            Some(status) if status.success() => Ok(()),
            _ => bail!("the guard could not remove lab {}", self.lab.layout().run()),
        }
    }
}

impl Deref for Shared {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

/// Starts the guard and then the lab. Waits up to `patience` for another program that has the
/// run.
///
/// `guard` is a program whose `main` is [`guard`].
///
/// # Errors
/// The guard does not start, the run is not free in time, or the lab does not start.
pub fn start(guard: &Path, options: &Options, patience: Duration) -> Result<Shared> {
    let run = &options.run;
    let mut child = Command::new("setsid")
        .arg(guard)
        .arg(&options.root)
        .arg(run.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", guard.display()))?;
    let output = child.stdout.take().context("the guard has an output")?;
    let (send, said) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(output).read_line(&mut line);
        // Nobody listens any more when patience was at an end.
        let _ = send.send(read.map(|_| line));
    });
    match said.recv_timeout(patience) {
        Ok(Ok(line)) if line.trim() == READY => {}
        Ok(_) => bail!("the guard of lab {run} ended before it was ready"),
        Err(_) => bail!("lab {run} is not free after {} s", patience.as_secs()),
    }
    let lab = Lab::up(options)?;
    Ok(Shared { lab, guard: child })
}

/// The `main` of a guard: the arguments are the folder of the labs and the run.
pub fn guard() -> ExitCode {
    match keep() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab guard: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn keep() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let root = PathBuf::from(arguments.next().context("no folder given")?);
    let run: RunId = arguments.next().context("no run given")?.to_string_lossy().parse()?;
    fs::create_dir_all(&root)?;
    let path = lock_file(&root, &run);
    let _lock = lock(&path)?;
    Lab::remove(&root, run.clone())?;
    println!("{READY}");
    std::io::stdout().flush()?;
    // Nothing is ever written; the end is all that is waited for.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Lab::remove(&root, run)?;
    fs::remove_file(path)?;
    Ok(())
}

/// The lock on the file that is there. Who had it before us may have removed the one we opened.
fn lock(path: &Path) -> Result<File> {
    loop {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        file.lock()?;
        let ours = file.metadata()?.ino();
        if fs::metadata(path).is_ok_and(|there| there.ino() == ours) {
            return Ok(file);
        }
    }
}

/// Waits until no program has the run, and its lab is gone.
///
/// # Errors
/// It is not free within `bound`.
pub fn wait_for_end(root: &Path, run: &RunId, bound: Duration) -> Result<()> {
    let path = lock_file(root, run);
    let file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        opened => opened.with_context(|| path.display().to_string())?,
    };
    wait::until(&format!("lab {run} taken down"), bound, || match file.try_lock() {
        Ok(()) => Ok(true),
        Err(fs::TryLockError::WouldBlock) => Ok(false),
        Err(fs::TryLockError::Error(error)) => Err(error.into()),
    })
}

fn lock_file(root: &Path, run: &RunId) -> PathBuf {
    root.join(format!("{run}.lock"))
}
