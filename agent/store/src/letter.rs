//! Dead letters: records, or parts of them, that a sink's remote refused. Each is a frame that
//! needs no other file: it holds its own origin. Pure.

use std::sync::Arc;

use lineside_core::{Batch, UnixNanos};

use crate::codec::{self, Encoded, Preamble};
use crate::definition::{self, DefinitionId};
use crate::fields::{BadField, Reader, put_block, put_varint};
use crate::frame::{Header, Kind, Seal};
use crate::settled::Place;

/// Which letter: the record's offset, and the number of the refused message in it.
pub(crate) type Key = (u64, Option<u32>);

/// Why it is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Why<'a> {
    /// Of the registry, e.g. `LNS-3010`.
    pub(crate) code: &'a str,
    pub(crate) message: &'a str,
    pub(crate) failed_at: UnixNanos,
}

/// The frame of a letter.
pub(crate) fn encode(
    seal: &Seal,
    place: Place,
    part: Option<u32>,
    why: &Why<'_>,
    batch: &Batch,
) -> Vec<u8> {
    let mut payload = Vec::new();
    put_part(&mut payload, part);
    put_block(&mut payload, why.code.as_bytes());
    put_block(&mut payload, why.message.as_bytes());
    definition::encode(batch.origin(), &mut payload);
    codec::encode(batch, Preamble { definition: DefinitionId::default(), era: 0 }, &mut payload);
    let mut frame = Vec::new();
    seal.put(
        &mut frame,
        &header(Kind::DeadLetter, place, batch.len() as u32, why.failed_at),
        &payload,
    );
    frame
}

/// The frame that says that a letter is gone.
pub(crate) fn encode_gone(seal: &Seal, key: Key) -> Vec<u8> {
    let mut payload = Vec::new();
    put_part(&mut payload, key.1);
    let mut frame = Vec::new();
    let place = Place { offset: key.0, number: 0 };
    seal.put(&mut frame, &header(Kind::DeadLetterGone, place, 0, 0), &payload);
    frame
}

fn header(kind: Kind, place: Place, samples: u32, failed_at: UnixNanos) -> Header {
    let Place { offset, number } = place;
    let (flags, gap_from, committed_to) = (0, failed_at, 0);
    Header { kind, flags, samples, offset, number, captured_at: failed_at, gap_from, committed_to }
}

fn put_part(out: &mut Vec<u8>, part: Option<u32>) {
    put_varint(out, part.map_or(0, |p| u64::from(p) + 1));
}

/// The key of a frame of either kind.
pub(crate) fn key(header: &Header, payload: &[u8]) -> Result<Key, BadField> {
    Ok((header.offset, part(&mut Reader(payload))?))
}

fn part(reader: &mut Reader<'_>) -> Result<Option<u32>, BadField> {
    let part = reader.varint("part")?.checked_sub(1).map(u32::try_from);
    part.transpose().map_err(|_| BadField("part"))
}

/// What a letter's payload holds.
pub(crate) struct Opened {
    pub(crate) code: Arc<str>,
    pub(crate) message: Arc<str>,
    pub(crate) batch: Batch,
}

pub(crate) fn decode(header: &Header, payload: &[u8]) -> Result<Opened, BadField> {
    let mut reader = Reader(payload);
    part(&mut reader)?;
    let (code, message) = (reader.text("code")?.into(), reader.text("message")?.into());
    let origin = Arc::new(definition::decode(&mut reader)?);
    let batch = Encoded::new(reader.0)?.batch(header.samples as usize, origin, None)?;
    Ok(Opened { code, message, batch })
}

#[cfg(test)]
mod tests {
    use lineside_core::{Origin, TimeQuality, Value};
    use lineside_crds::model::ObjectKey;
    use proptest::prelude::*;

    use super::*;
    use crate::frame::HEADER;

    #[test]
    fn a_letter_comes_back_with_its_reason_and_its_origin() {
        let key_of = ObjectKey::new("plant", "press");
        let origin = Origin::new(key_of, None, vec!["p".into()].into(), Vec::new().into());
        let mut batch = Batch::with_capacity(Arc::new(origin), 1, TimeQuality::Synced, 1);
        batch.push_good(0, Value::U8(5), 9);
        let seal = Seal::new(&[1; 16], 2, false);
        let why = Why { code: "LNS-3010", message: "no", failed_at: 77 };
        let frame = encode(&seal, Place { offset: 4, number: 8 }, Some(0), &why, &batch);
        let found = seal.header(&frame).unwrap();
        let payload = &frame[HEADER..HEADER + found.length];
        assert_eq!(key(&found.header, payload), Ok((4, Some(0))));
        let opened = decode(&found.header, payload).unwrap();
        assert_eq!((&*opened.code, &*opened.message, opened.batch.len()), ("LNS-3010", "no", 1));
        assert_eq!(&*opened.batch.origin().path, "plant/press");
        let gone = encode_gone(&seal, (4, None));
        let found = seal.header(&gone).unwrap();
        assert_eq!(key(&found.header, &gone[HEADER..HEADER + found.length]), Ok((4, None)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let header = header(Kind::DeadLetter, Place::default(), 3, 0);
            let _ = decode(&header, &bytes);
        }
    }
}
