//! The thread that commits.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lineside_core::{Clock, SystemClock};

use super::{Volume, lock};
use crate::log::Now;

/// Commits as long as it lives; dropping it closes the volume's logs cleanly.
pub struct Committer {
    volume: Arc<Volume>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the thread that commits what is appended.
///
/// # Errors
/// The operating system gives no thread.
pub fn spawn(volume: Arc<Volume>) -> io::Result<Committer> {
    let stop = Arc::new(AtomicBool::new(false));
    let (own, flag) = (volume.clone(), stop.clone());
    let run = move || {
        while !flag.load(Ordering::Acquire) {
            let next = own.commit(now()).next;
            own.wait(next, &flag);
        }
    };
    let thread = thread::Builder::new().name("store".to_owned()).spawn(run)?;
    Ok(Committer { volume, stop, thread: Some(thread) })
}

fn now() -> Now {
    Now { unix: SystemClock.now() }
}

impl Volume {
    /// Waits until something is appended and others had the time to join it, or for `most`.
    fn wait(&self, most: Duration, stop: &AtomicBool) {
        let shared = &self.shared;
        let until = Instant::now() + most;
        let mut wanted = lock(&shared.wanted);
        while !*wanted && !stop.load(Ordering::Acquire) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            wanted = match shared.woken.wait_timeout(wanted, left) {
                Ok((guard, _)) => guard,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        drop(wanted);
        if !stop.load(Ordering::Acquire) {
            thread::sleep(shared.options.commit_window.min(most));
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.volume.shared.wake();
        {
            // Under the lock of the wait, so that the thread does not miss it.
            let _wanted = lock(&self.volume.shared.wanted);
            self.volume.shared.woken.notify_all();
        }
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so itself; the logs are closed all the same.
            let _ = thread.join();
        }
        self.volume.close(now());
    }
}
