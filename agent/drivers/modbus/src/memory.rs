//! What the driver remembers of a device from one session to the next. A device that drops its
//! connection each minute keeps its holes, and finding them costs many requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lineside_core::plan::Learned;
use lineside_crds::model::{Device, ObjectKey};

use crate::reason::Reasons;
use crate::session;
use crate::slowness::Slowness;

/// Most devices remembered; far more than one agent has, so only deleted ones are forgotten.
const MAX_DEVICES: usize = 2048;

/// What one session leaves to the next.
#[derive(Debug)]
pub struct Remembered {
    /// The version of the device that it read.
    pub device: Arc<Device>,
    /// What its reader has learned.
    pub learned: Learned,
    /// What the device said to its points, by their index in `device`.
    pub reasons: Reasons,
    /// What was said about missed ticks.
    pub slowness: Slowness,
}

/// The devices whose sessions have ended, with the number of the end: the lowest is the oldest.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Ended>);

#[derive(Debug, Default)]
struct Ended {
    devices: HashMap<ObjectKey, (u64, Remembered)>,
    count: u64,
}

impl Memory {
    /// What is remembered of a device, as long as it is read in the same way. It is gone then:
    /// the session that takes it brings it back.
    pub fn take(&self, device: &Device) -> Option<Remembered> {
        let (_, known) = self.lock().devices.remove(&device.key)?;
        session::is_read_alike(&known.device, device).then_some(known)
    }

    /// Remembers a device.
    pub fn put(&self, remembered: Remembered) {
        let mut ended = self.lock();
        let key = remembered.device.key.clone();
        if ended.devices.len() >= MAX_DEVICES && !ended.devices.contains_key(&key) {
            let oldest = ended.devices.iter().min_by_key(|(_, (number, _))| *number);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                ended.devices.remove(&oldest);
            }
        }
        ended.count += 1;
        let number = ended.count;
        ended.devices.insert(key, (number, remembered));
    }

    fn lock(&self) -> MutexGuard<'_, Ended> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
