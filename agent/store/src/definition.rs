//! Definitions: origins (a device and its point names) by number, so that a record names its
//! origin in a few bytes. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use lineside_core::Origin;
use lineside_crds::model::ObjectKey;

use crate::fields::{BadField, Reader, put_block, put_varint};

/// What a record names its origin by. The checksum binds the two: a number that is given again
/// because its definition cannot be read any more does not give old records a new origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DefinitionId {
    pub(crate) number: u32,
    /// Of the definition's payload.
    pub(crate) check: u32,
}

impl DefinitionId {
    pub(crate) fn new(number: u32, payload: &[u8]) -> Self {
        Self { number, check: crc32fast::hash(payload) }
    }
}

/// Appends an origin to `out`.
pub(crate) fn encode(origin: &Origin, out: &mut Vec<u8>) {
    put_block(out, origin.device.namespace.as_bytes());
    put_block(out, origin.device.name.as_bytes());
    out.push(u8::from(origin.learned.is_some()));
    if let Some(learned) = &origin.learned {
        put_block(out, learned.as_bytes());
    }
    put_varint(out, origin.points.len() as u64);
    for point in origin.points.iter() {
        put_block(out, point.as_bytes());
    }
    put_varint(out, origin.location.len() as u64);
    for level in origin.location.iter() {
        put_block(out, level.as_bytes());
    }
}

/// Reads an origin, which ends where `reader` ends or more follows.
pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Origin, BadField> {
    let device = ObjectKey::new(reader.text("namespace")?, reader.text("device")?);
    let learned = match reader.u8("learned")? {
        0 => None,
        1 => Some(Arc::from(reader.text("learned")?)),
        _ => return Err(BadField("learned")),
    };
    let points = texts(reader, "points", |text| Arc::<str>::from(text))?;
    let location = texts(reader, "location", str::to_owned)?;
    Ok(Origin::new(device, learned, points.into(), location.into()))
}

fn texts<T>(
    reader: &mut Reader<'_>,
    name: &'static str,
    make: impl Fn(&str) -> T,
) -> Result<Vec<T>, BadField> {
    let count = usize::try_from(reader.varint(name)?).map_err(|_| BadField(name))?;
    // Each takes a byte for its length at least.
    if count > reader.remaining() {
        return Err(BadField(name));
    }
    (0..count).map(|_| reader.text(name).map(&make)).collect()
}

fn same(a: &Origin, b: &Origin) -> bool {
    a.path == b.path
        && a.device == b.device
        && a.learned == b.learned
        && a.points == b.points
        && a.location == b.location
}

/// The definitions of a log that are in use.
#[derive(Debug, Default)]
pub(crate) struct Definitions {
    origins: BTreeMap<DefinitionId, Arc<Origin>>,
    by_path: BTreeMap<Arc<str>, Vec<DefinitionId>>,
    next: u32,
}

impl Definitions {
    /// What names an origin, given just now if need be.
    pub(crate) fn name(&mut self, origin: &Arc<Origin>) -> DefinitionId {
        let known = self.by_path.entry(origin.path.clone()).or_default();
        // Newest first: that is what the device has now. Nearly always it is the very same one.
        for id in known.iter().rev() {
            if let Some(one) = self.origins.get(id)
                && (Arc::ptr_eq(one, origin) || same(one, origin))
            {
                return *id;
            }
        }
        let mut payload = Vec::new();
        encode(origin, &mut payload);
        let id = DefinitionId::new(self.next, &payload);
        self.next += 1;
        known.push(id);
        self.origins.insert(id, origin.clone());
        id
    }

    /// Numbers below this are never given again.
    pub(crate) fn not_below(&mut self, next: u32) {
        self.next = self.next.max(next);
    }

    pub(crate) fn get(&self, id: DefinitionId) -> Option<&Arc<Origin>> {
        self.origins.get(&id)
    }

    /// Forgets all but those for which `keep` says true.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(DefinitionId) -> bool) {
        self.origins.retain(|id, _| keep(*id));
        let origins = &self.origins;
        self.by_path.retain(|_, known| {
            known.retain(|id| origins.contains_key(id));
            !known.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn origin(points: &[&str]) -> Arc<Origin> {
        let points: Vec<Arc<str>> = points.iter().map(|p| Arc::from(*p)).collect();
        let key = ObjectKey::new("plant", "press");
        Arc::new(Origin::new(key, Some("child".into()), points.into(), vec!["hall".into()].into()))
    }

    #[test]
    fn an_origin_comes_back_and_bytes_cut_short_are_refused() {
        let mut bytes = Vec::new();
        encode(&origin(&["a", "b"]), &mut bytes);
        let back = decode(&mut Reader(&bytes)).unwrap();
        assert!(same(&back, &origin(&["a", "b"])));
        for end in 0..bytes.len() {
            assert!(decode(&mut Reader(&bytes[..end])).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn equal_origins_share_a_number_and_others_get_a_new_one() {
        let mut all = Definitions::default();
        let first = all.name(&origin(&["a"]));
        assert_eq!((first.number, all.name(&origin(&["a"]))), (0, first));
        let second = all.name(&origin(&["a", "b"]));
        assert_eq!((second.number, all.name(&origin(&["a"]))), (1, first));
        assert_ne!(first.check, second.check);
        all.retain(|id| id == second);
        assert_eq!(all.name(&origin(&["a"])).number, 2, "a number is never given again");
        assert!(all.get(first).is_none(), "what is forgotten is gone");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&mut Reader(&bytes));
        }
    }
}
