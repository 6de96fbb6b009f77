//! What the transforms of a pipeline remembered when a former process ended, by device, and how
//! that fits to what its store has.
//!
//! ```text
//! version u8 | devices u32 | each: namespace, name, waiting since i64?, state of its chain
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lineside_core::{Batch, UnixNanos};
use lineside_crds::model::{ObjectKey, Transform};

use super::bytes::{Reader, Writer};
use super::{Chain, StateError};

/// Of the format.
const VERSION: u8 = 1;

/// The memory of one device's transforms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    /// When the oldest sample came of which something waits.
    pub since: Option<UnixNanos>,
    /// [`Chain::state`].
    pub state: Vec<u8>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Former {
    devices: BTreeMap<ObjectKey, Memory>,
    /// Points by origin of which something was captured after the state was taken.
    captured: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// When the oldest sample came that is lost with a state that cannot be used.
    lost_since: Option<UnixNanos>,
}

impl Former {
    /// From the bytes that [`write`] gave.
    ///
    /// # Errors
    /// They are none of this release.
    pub fn read(body: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader(body);
        match reader.u8()? {
            VERSION => {}
            other => return Err(StateError::OtherVersion(other)),
        }
        let mut devices = BTreeMap::new();
        for _ in 0..reader.count()? {
            let device = ObjectKey::new(reader.text()?, reader.text()?);
            let since = reader.option(Reader::i64)?;
            devices.insert(device, Memory { since, state: reader.raw()?.to_vec() });
        }
        Ok(Self { devices, ..Self::default() })
    }

    /// A batch that was captured after the state was taken.
    pub fn captured(&mut self, batch: &Batch) {
        let origin = batch.origin();
        let points = self.captured.entry(origin.path.clone()).or_default();
        for sample in batch.iter() {
            if let Some(point) = origin.point(sample.point)
                && !points.contains(point)
            {
                points.insert(point.clone());
            }
        }
    }

    /// The chain of a device that goes on with what it remembered, as far as that fits to what was
    /// captured since; `None` if there is nothing to go on with.
    pub(super) fn take(&mut self, device: &ObjectKey, transforms: &[Transform]) -> Option<Chain> {
        let Memory { since, state } = self.devices.remove(device)?;
        match Chain::restore(transforms, &state) {
            Ok(mut chain) => {
                let captured = &self.captured;
                chain.resume(|path, point| captured.get(path).is_some_and(|c| c.contains(point)));
                Some(chain)
            }
            Err(error) => {
                tracing::warn!(%device, %error, "Transforms begin anew");
                self.lose(since);
                None
            }
        }
    }

    /// Nobody may go on with it, for it is not known what was captured since.
    pub fn forget(&mut self) {
        for memory in std::mem::take(&mut self.devices).into_values() {
            self.lose(memory.since);
        }
    }

    /// Gives up what no device has taken. When the oldest sample came of which something is lost
    /// with it, given once.
    pub(super) fn give_up(&mut self) -> Option<UnixNanos> {
        for (device, memory) in std::mem::take(&mut self.devices) {
            if memory.since.is_some() {
                tracing::warn!(%device, "What waited in transforms is lost with the device");
            }
            self.lose(memory.since);
        }
        self.captured.clear();
        self.lost_since.take()
    }

    fn lose(&mut self, since: Option<UnixNanos>) {
        self.lost_since = self.lost_since.into_iter().chain(since).min();
    }
}

/// The bytes of a memory in which nothing is remembered.
pub fn nothing_remembered() -> Vec<u8> {
    write(&BTreeMap::new())
}

/// The memories of all devices as bytes.
pub(super) fn write(devices: &BTreeMap<ObjectKey, Memory>) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.u8(VERSION);
    writer.count(devices.len());
    for (device, memory) in devices {
        writer.text(&device.namespace);
        writer.text(&device.name);
        writer.option(memory.since.as_ref(), |w, since| w.i64(*since));
        writer.raw(&memory.state);
    }
    writer.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_come_back_and_those_of_no_device_say_since_when_something_is_lost() {
        let memory = |since| Memory { since, state: vec![9; 3] };
        let key = |name: &str| ObjectKey::new("plant", name);
        let devices = [("a", Some(7)), ("b", None), ("c", Some(5))];
        let devices = devices.map(|(name, since)| (key(name), memory(since))).into();
        let bytes = write(&devices);
        let mut former = Former::read(&bytes).unwrap();
        assert_eq!(former.devices, devices);
        // Its state is no state.
        assert!(former.take(&key("a"), &[]).is_none());
        assert_eq!((former.give_up(), former.give_up()), (Some(5), None));
        for length in 0..bytes.len() {
            assert!(Former::read(&bytes[..length]).is_err(), "{length}");
        }
    }
}
