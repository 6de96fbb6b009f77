//! One session under observation.

use std::sync::Arc;
use std::time::Duration;

use lineside_crds::model::{Device, Point};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::batch::Origin;
use crate::clock::{Clock, SystemClock, UnixNanos};
use crate::driver::{Driver, Ended, SessionContext, Update};
use crate::kit::{Finish, Recorder, panic_text};

/// The epoch that every kit session runs with.
pub const KIT_EPOCH: u64 = 7;

/// A running session of a driver with everything around it.
pub struct Session {
    /// What it emits.
    pub recorder: Arc<Recorder>,
    /// The device that it was started with.
    pub device: Arc<Device>,
    /// The origin that it was started with.
    pub origin: Arc<Origin>,
    /// The machine's clock at the start.
    pub started: UnixNanos,
    cancel: CancellationToken,
    updates: Option<watch::Sender<Update>>,
    task: JoinHandle<Ended>,
}

impl Session {
    /// Starts a session that records into a fresh recorder.
    pub fn start(driver: &Arc<dyn Driver>, device: Device) -> Self {
        Self::start_with(driver, device, Recorder::new(), Arc::new(SystemClock))
    }

    /// Starts a session with a recorder prepared by the caller and a clock of his.
    pub fn start_with(
        driver: &Arc<dyn Driver>,
        device: Device,
        recorder: Arc<Recorder>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let device = Arc::new(device);
        let origin = origin_of(&device);
        let update = Update { device: device.clone(), origin: origin.clone() };
        let (updates, receiver) = watch::channel(update);
        let cancel = CancellationToken::new();
        let context = SessionContext {
            clock,
            epoch: KIT_EPOCH,
            origin: origin.clone(),
            emit: recorder.clone(),
            updates: receiver,
            cancel: cancel.clone(),
        };
        let started = SystemClock.now();
        let (driver, its_device) = (driver.clone(), device.clone());
        // `session` itself runs inside the task too: a panic in it is one of the session.
        let task = tokio::spawn(async move { driver.session(its_device, context).await });
        Self { recorder, device, origin, started, cancel, updates: Some(updates), task }
    }

    /// Path of the device itself, as in [`Recorder::tally`].
    pub fn path(&self) -> &str {
        &self.origin.path
    }

    /// Number of points that it was started with.
    pub fn points(&self) -> usize {
        self.device.points.len()
    }

    /// Whether the session has ended.
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits for its end, at most `within`. To be called until it says how it ended, not after.
    pub async fn ended(&mut self, within: Duration) -> Finish {
        match tokio::time::timeout(within, &mut self.task).await {
            Err(_) => Finish::StillRunning,
            Ok(Ok(ended)) => Finish::Ended(ended),
            Ok(Err(error)) => Finish::Panicked(match error.try_into_panic() {
                Ok(payload) => panic_text(&*payload),
                Err(error) => error.to_string(),
            }),
        }
    }

    /// Cancels it and waits for its end, at most `within`; how it ended and how long that took.
    pub async fn cancel(&mut self, within: Duration) -> (Finish, Duration) {
        let from = Instant::now();
        self.cancel.cancel();
        let finish = self.ended(within).await;
        (finish, from.elapsed())
    }

    /// Hands over a newer version of the device; the origin that belongs to it.
    pub fn update(&self, device: Device) -> Arc<Origin> {
        let device = Arc::new(device);
        let origin = origin_of(&device);
        if let Some(updates) = &self.updates {
            updates.send_replace(Update { device, origin: origin.clone() });
        }
        origin
    }

    /// Drops the sending end of the updates: no further one can come.
    pub fn end_updates(&mut self) {
        self.updates = None;
    }

    /// Drops the session future, as a supervisor does with one that does not listen.
    pub fn abort(&self) {
        self.task.abort();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The origin of a device itself.
fn origin_of(device: &Device) -> Arc<Origin> {
    let points: Arc<[Arc<str>]> = device.points.iter().map(|p| p.name.clone()).collect();
    Arc::new(Origin::new(device.key.clone(), None, points, device.location.clone()))
}

/// The device with other intervals or timeouts.
pub fn device_with(
    mut device: Device,
    interval: Option<Duration>,
    timeout: Option<Duration>,
) -> Device {
    if let Some(interval) = interval {
        let points: Arc<[Point]> =
            device.points.iter().map(|p| Point { interval, ..p.clone() }).collect();
        device.points = points;
    }
    if let Some(timeout) = timeout {
        device.timeouts.connect = timeout;
        device.timeouts.request = timeout;
    }
    device
}
