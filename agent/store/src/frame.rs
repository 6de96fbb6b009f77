//! Frames: how records lie in segments, definitions and dead letters alike. Pure.
//!
//! ```text
//! | magic | header crc | length | payload crc | kind flags version | samples | offset | number |
//! | captured_at | gap_from | committed_to |  payload  | zeros to a multiple of 8 |
//! ```
//!
//! The header's checksum starts from the identity of the store and the log, which no device
//! knows: bytes that a device sends cannot look like a frame, and a file that was put into the
//! wrong directory has none.

use crate::fields::{BadField, Reader};

/// Bytes of a header.
pub(crate) const HEADER: usize = 64;

/// Frames begin at multiples of this.
pub(crate) const ALIGN: usize = 8;

/// Longest payload.
pub(crate) const MAX_PAYLOAD: usize = 16 * 1024 * 1024;

/// Version of the frame format.
pub(crate) const VERSION: u16 = 1;

const MAGIC: u32 = u32::from_le_bytes(*b"LSF1");

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    /// First frame of a file: what the file belongs to.
    Head = 1,
    /// Samples of one device.
    Batch = 2,
    /// Data was not taken in between two times.
    Gap = 3,
    /// Times of an era are wrong by a difference.
    ClockCorrection = 4,
    /// Point list of a device, named by a number.
    Definition = 5,
    /// A record, or a part of it, that a sink refused.
    DeadLetter = 6,
    /// The dead letter of this offset and part is gone: delivered or given up.
    DeadLetterGone = 7,
    /// Samples that were given up before they were written, or thinned out since.
    Dropped = 8,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Head,
            2 => Self::Batch,
            3 => Self::Gap,
            4 => Self::ClockCorrection,
            5 => Self::Definition,
            6 => Self::DeadLetter,
            7 => Self::DeadLetterGone,
            8 => Self::Dropped,
            _ => return None,
        })
    }
}

/// The fields of a header that are not derived from the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// For [`Kind::Dropped`] the reason.
    pub(crate) flags: u8,
    /// Samples in the payload, or given up.
    pub(crate) samples: u32,
    /// Position in the log.
    pub(crate) offset: u64,
    /// Samples of the log before this record.
    pub(crate) number: u64,
    pub(crate) captured_at: i64,
    /// From when on data is missing if this is the last record before a kill.
    pub(crate) gap_from: i64,
    /// All offsets below were durable when this was written.
    pub(crate) committed_to: u64,
}

/// A payload with its checksum, which is taken while the bytes are at hand and not when they are
/// written.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    bytes: Vec<u8>,
    crc: u32,
}

impl Packed {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let crc = crc32fast::hash(&bytes);
        Self { bytes, crc }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// A header as found, with what it says of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) header: Header,
    pub(crate) length: usize,
    payload_crc: u32,
}

impl Found {
    /// Bytes of the frame with header and padding.
    pub(crate) fn size(&self) -> usize {
        size(self.length)
    }

    /// Whether this is the payload that was written.
    pub(crate) fn holds(&self, payload: &[u8], seal: &Seal) -> bool {
        payload.len() == self.length && (seal.blind || crc32fast::hash(payload) == self.payload_crc)
    }
}

/// Bytes that a frame with a payload of `length` takes.
pub(crate) fn size(length: usize) -> usize {
    HEADER + length.next_multiple_of(ALIGN)
}

/// The identity that header checksums start from.
#[derive(Clone, Debug)]
pub(crate) struct Seal {
    start: crc32fast::Hasher,
    /// For the mutation of the model test that ignores checksums.
    blind: bool,
}

impl Seal {
    pub(crate) fn new(store: &[u8; 16], stream: u32, blind: bool) -> Self {
        let mut start = crc32fast::Hasher::new();
        start.update(store);
        start.update(&stream.to_le_bytes());
        Self { start, blind }
    }

    /// Checksum of bytes that belong to this store and log.
    pub(crate) fn checksum(&self, rest: &[u8]) -> u32 {
        let mut hasher = self.start.clone();
        hasher.update(rest);
        hasher.finalize()
    }

    pub(crate) fn is_blind(&self) -> bool {
        self.blind
    }

    /// Appends a frame to `out`.
    pub(crate) fn put(&self, out: &mut Vec<u8>, header: &Header, payload: &[u8]) {
        self.put_frame(out, header, payload, crc32fast::hash(payload));
    }

    /// Appends a frame whose payload has its checksum to `out`.
    pub(crate) fn put_packed(&self, out: &mut Vec<u8>, header: &Header, payload: &Packed) {
        self.put_frame(out, header, &payload.bytes, payload.crc);
    }

    fn put_frame(&self, out: &mut Vec<u8>, header: &Header, payload: &[u8], crc: u32) {
        debug_assert!(payload.len() <= MAX_PAYLOAD);
        let start = out.len();
        out.reserve(size(payload.len()));
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        out.extend_from_slice(&crc.to_le_bytes());
        out.push(header.kind as u8);
        out.push(header.flags);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&header.samples.to_le_bytes());
        out.extend_from_slice(&header.offset.to_le_bytes());
        out.extend_from_slice(&header.number.to_le_bytes());
        out.extend_from_slice(&header.captured_at.to_le_bytes());
        out.extend_from_slice(&header.gap_from.to_le_bytes());
        out.extend_from_slice(&header.committed_to.to_le_bytes());
        let checksum = self.checksum(&out[start + 8..]);
        out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
        out.extend_from_slice(payload);
        out.resize(start + size(payload.len()), 0);
    }

    /// The header at the beginning of `bytes`; `None` when there is none that this log wrote.
    pub(crate) fn header(&self, bytes: &[u8]) -> Option<Found> {
        let header = bytes.get(..HEADER)?;
        if !header.starts_with(&MAGIC.to_le_bytes()) {
            return None;
        }
        self.parse(header).ok().flatten()
    }

    fn parse(&self, bytes: &[u8]) -> Result<Option<Found>, BadField> {
        let mut reader = Reader(bytes);
        reader.u32("magic")?;
        let crc = reader.u32("header crc")?;
        if crc != self.checksum(reader.0) && !self.blind {
            return Ok(None);
        }
        let length = reader.u32("length")? as usize;
        let payload_crc = reader.u32("payload crc")?;
        let kind = Kind::from_byte(reader.u8("kind")?);
        let flags = reader.u8("flags")?;
        let version = u16::from_le_bytes(reader.array("version")?);
        let (Some(kind), VERSION, ..=MAX_PAYLOAD) = (kind, version, length) else {
            return Ok(None);
        };
        let header = Header {
            kind,
            flags,
            samples: reader.u32("samples")?,
            offset: reader.u64("offset")?,
            number: reader.u64("number")?,
            captured_at: reader.i64("captured at")?,
            gap_from: reader.i64("gap from")?,
            committed_to: reader.u64("committed to")?,
        };
        Ok(Some(Found { header, length, payload_crc }))
    }

    /// Position of the first header in `bytes` at or after `from`, a multiple of [`ALIGN`]; only
    /// headers that begin at a multiple of it and lie in `bytes` whole count.
    pub(crate) fn find(&self, bytes: &[u8], from: usize) -> Option<(usize, Found)> {
        (from..bytes.len().saturating_sub(HEADER - 1))
            .step_by(ALIGN)
            .find_map(|at| Some((at, self.header(bytes.get(at..)?)?)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seal() -> Seal {
        Seal::new(&[7; 16], 3, false)
    }

    fn header(offset: u64) -> Header {
        Header {
            kind: Kind::Batch,
            flags: 0,
            samples: 5,
            offset,
            number: 40,
            captured_at: -1,
            gap_from: i64::MIN,
            committed_to: 9,
        }
    }

    #[test]
    fn a_frame_comes_back_and_is_found_behind_rubbish() {
        let mut bytes = vec![0x55; 24];
        seal().put(&mut bytes, &header(10), b"eleven byte");
        assert_eq!(bytes.len() % ALIGN, 0);
        assert!(seal().header(&bytes).is_none());
        let (at, found) = seal().find(&bytes, 0).unwrap();
        assert_eq!((at, found.header, found.size()), (24, header(10), HEADER + 16));
        assert!(found.holds(b"eleven byte", &seal()));
        assert!(!found.holds(b"eleven bytf", &seal()));
    }

    #[test]
    fn a_frame_of_another_store_or_log_is_none() {
        let mut bytes = Vec::new();
        seal().put(&mut bytes, &header(1), b"x");
        assert!(Seal::new(&[8; 16], 3, false).header(&bytes).is_none());
        assert!(Seal::new(&[7; 16], 4, false).header(&bytes).is_none());
        assert!(seal().header(&bytes).is_some());
    }

    #[test]
    fn every_flipped_bit_of_header_and_payload_is_noticed() {
        let mut bytes = Vec::new();
        seal().put(&mut bytes, &header(1), b"payload!");
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let intact = seal().header(&bytes).is_some_and(|f| f.holds(&bytes[HEADER..], &seal()));
            assert!(!intact, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_search_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let blind = Seal::new(&[0; 16], 0, true);
            let mut marked = bytes.clone();
            for at in (0..marked.len().saturating_sub(4)).step_by(64) {
                marked[at..at + 4].copy_from_slice(&MAGIC.to_le_bytes());
            }
            blind.find(&marked, 0);
            prop_assert!(seal().find(&bytes, 0).is_none());
        }
    }
}
