//! Definitions: origins (a device and its point names) by number, so that a record names its
//! origin in a byte or two. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use lineside_core::Origin;
use lineside_crds::model::ObjectKey;

use crate::fields::{BadField, Reader, put_block, put_varint};

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
    by_number: HashMap<u32, Arc<Origin>>,
    by_path: HashMap<Arc<str>, Vec<u32>>,
    next: u32,
}

impl Definitions {
    /// The number of an origin, and whether it was given just now.
    pub(crate) fn number(&mut self, origin: &Arc<Origin>) -> (u32, bool) {
        let numbers = self.by_path.entry(origin.path.clone()).or_default();
        // Newest first: that is what the device has now. Nearly always it is the very same one.
        for number in numbers.iter().rev() {
            if let Some(known) = self.by_number.get(number)
                && (Arc::ptr_eq(known, origin) || same(known, origin))
            {
                return (*number, false);
            }
        }
        let number = self.next;
        self.next += 1;
        numbers.push(number);
        self.by_number.insert(number, origin.clone());
        (number, true)
    }

    /// Numbers below this are never given again.
    pub(crate) fn not_below(&mut self, next: u32) {
        self.next = self.next.max(next);
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Arc<Origin>> {
        self.by_number.get(&number)
    }

    /// Forgets all but those for which `keep` says true.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(u32) -> bool) {
        self.by_number.retain(|number, _| keep(*number));
        let by_number = &self.by_number;
        self.by_path.retain(|_, numbers| {
            numbers.retain(|n| by_number.contains_key(n));
            !numbers.is_empty()
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
        assert_eq!(all.number(&origin(&["a"])), (0, true));
        assert_eq!(all.number(&origin(&["a"])), (0, false));
        assert_eq!(all.number(&origin(&["a", "b"])), (1, true));
        assert_eq!(all.number(&origin(&["a"])), (0, false));
        all.retain(|number| number == 1);
        assert_eq!(all.number(&origin(&["a"])), (2, true), "a number is never given again");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&mut Reader(&bytes));
        }
    }
}
