//! The thread that commits.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lineside_core::{Clock, SystemClock};

use super::{Volume, Wanted, lock};
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
        let _watch = Watch(own.clone());
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

/// Tells when the thread panics. What it was writing is half done, so nothing is written after it
/// until the store is opened anew.
struct Watch(Arc<Volume>);

impl Drop for Watch {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fall(now());
        }
    }
}

impl Volume {
    /// Waits until something is appended and others had the time to join it, or for `most`.
    fn wait(&self, most: Duration, stop: &AtomicBool) {
        if self.wait_for(Wanted::Something, most, stop) {
            let window = self.shared.options.commit_window;
            self.wait_for(Wanted::Much, window.min(most), stop);
        }
    }

    /// Waits until so much is there to be committed, or for `most`; whether it is.
    fn wait_for(&self, wanted: Wanted, most: Duration, stop: &AtomicBool) -> bool {
        let less = |has: &mut Wanted| *has < wanted && !stop.load(Ordering::Acquire);
        let has = lock(&self.shared.wanted);
        let waited = self.shared.woken.wait_timeout_while(has, most, less);
        *waited.unwrap_or_else(PoisonError::into_inner).0 >= wanted
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        {
            // Under the lock of the wait, so that the thread does not miss it.
            let _wanted = lock(&self.volume.shared.wanted);
            self.volume.shared.woken.notify_all();
        }
        if let Some(thread) = self.thread.take() {
            // One that panicked has left the volume degraded, and closing it does nothing.
            let _ = thread.join();
        }
        self.volume.close(now());
    }
}
