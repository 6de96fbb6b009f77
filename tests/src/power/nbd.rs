//! The server's half of the network block device protocol, as far as one client without
//! extensions needs it. Pure; numbers are those of `doc/proto.md` of the NBD project.

/// `NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES`.
const HANDSHAKE_FLAGS: u16 = 0b11;
/// `NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH`. No forced unit access: the client flushes instead.
const TRANSMISSION_FLAGS: u16 = 0b101;
/// Longest data of an option and longest read or write (32 MiB is the protocol's default).
const LONGEST_OPTION: u32 = 4096;
const LONGEST: u32 = 32 << 20;

const GREETING_MAGIC: [u8; 8] = *b"NBDMAGIC";
const OPTION_MAGIC: [u8; 8] = *b"IHAVEOPT";
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

const OPTION_ABORT: u32 = 2;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_UNSUPPORTED: u32 = (1 << 31) + 1;
const INFO_EXPORT: u16 = 0;

/// Nothing went wrong.
pub(super) const OK: u32 = 0;
/// `NBD_EINVAL`.
pub(super) const INVALID: u32 = 22;

/// What the server says first.
pub(super) fn greeting() -> Vec<u8> {
    [&GREETING_MAGIC[..], &OPTION_MAGIC, &HANDSHAKE_FLAGS.to_be_bytes()].concat()
}

/// The option that a header names, and how much data follows; none: it is no NBD.
pub(super) fn option(header: &[u8; 16]) -> Option<(u32, u32)> {
    let [m0, m1, m2, m3, m4, m5, m6, m7, o0, o1, o2, o3, l0, l1, l2, l3] = *header;
    let length = u32::from_be_bytes([l0, l1, l2, l3]);
    let magic = [m0, m1, m2, m3, m4, m5, m6, m7] == OPTION_MAGIC;
    (magic && length <= LONGEST_OPTION).then_some((u32::from_be_bytes([o0, o1, o2, o3]), length))
}

/// What follows an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// This, and another option.
    Next(Vec<u8>),
    /// This, and requests.
    Begin(Vec<u8>),
    /// This, and the end.
    End(Vec<u8>),
}

/// The answer to an option, for a disk of `size` bytes.
pub(super) fn answer(option: u32, size: u64) -> Answer {
    match option {
        OPTION_GO => {
            let mut info = INFO_EXPORT.to_be_bytes().to_vec();
            info.extend(size.to_be_bytes());
            info.extend(TRANSMISSION_FLAGS.to_be_bytes());
            let mut replies = option_reply(option, REPLY_INFO, &info);
            replies.extend(option_reply(option, REPLY_ACK, &[]));
            Answer::Begin(replies)
        }
        OPTION_ABORT => Answer::End(option_reply(option, REPLY_ACK, &[])),
        _ => Answer::Next(option_reply(option, REPLY_UNSUPPORTED, &[])),
    }
}

fn option_reply(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let mut reply = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    for field in [option, kind, length] {
        reply.extend(field.to_be_bytes());
    }
    reply.extend_from_slice(data);
    reply
}

/// What the client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Bytes from a place on.
    Read {
        /// The place.
        offset: u64,
        /// How many.
        length: u32,
    },
    /// Bytes, which follow, to a place.
    Write {
        /// The place.
        offset: u64,
        /// How many.
        length: u32,
    },
    /// Everything that was written is to be kept.
    Flush,
    /// The end.
    Disconnect,
    /// Something that was not offered.
    Other,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// What the reply has to carry.
    pub(super) cookie: [u8; 8],
    /// What is wanted.
    pub(super) command: Command,
}

impl Request {
    /// Bytes of a request without what is to be written.
    pub(super) const HEADER: usize = 28;

    /// Reads the header; none: it is no NBD, or too much is asked for at once.
    pub(super) fn parse(header: &[u8; Self::HEADER]) -> Option<Self> {
        let (magic, rest) = header.split_first_chunk::<4>()?;
        let (_flags, rest) = rest.split_first_chunk::<2>()?;
        let (kind, rest) = rest.split_first_chunk::<2>()?;
        let (cookie, rest) = rest.split_first_chunk::<8>()?;
        let (offset, rest) = rest.split_first_chunk::<8>()?;
        let (length, _) = rest.split_first_chunk::<4>()?;
        let (offset, length) = (u64::from_be_bytes(*offset), u32::from_be_bytes(*length));
        if u32::from_be_bytes(*magic) != REQUEST_MAGIC || length > LONGEST {
            return None;
        }
        let command = match u16::from_be_bytes(*kind) {
            0 => Command::Read { offset, length },
            1 => Command::Write { offset, length },
            2 => Command::Disconnect,
            3 => Command::Flush,
            _ => Command::Other,
        };
        Some(Self { cookie: *cookie, command })
    }

    /// The head of the reply, which what was read follows.
    pub(super) fn reply(&self, error: u32) -> Vec<u8> {
        [&REPLY_MAGIC.to_be_bytes()[..], &error.to_be_bytes(), &self.cookie].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_told_size_and_flags_when_it_wants_to_begin() {
        assert_eq!(greeting(), b"NBDMAGICIHAVEOPT\0\x03");
        let header = *b"IHAVEOPT\0\0\0\x07\0\0\0\x06";
        assert_eq!(option(&header), Some((OPTION_GO, 6)));
        let Answer::Begin(bytes) = answer(OPTION_GO, 1 << 20) else { panic!("begins") };
        let expected = [
            0, 3, 0xe8, 0x89, 4, 0x55, 0x65, 0xa9, 0, 0, 0, 7, 0, 0, 0, 3, 0, 0, 0, 12, 0, 0, 0, 0,
            0, 0, 0, 0x10, 0, 0, 0, 5, 0, 3, 0xe8, 0x89, 4, 0x55, 0x65, 0xa9, 0, 0, 0, 7, 0, 0, 0,
            1, 0, 0, 0, 0,
        ];
        assert_eq!(bytes, expected);
    }

    #[test]
    fn an_extension_is_refused_and_the_client_may_go_on_or_leave() {
        let Answer::Next(bytes) = answer(8, 0) else { panic!("goes on") };
        assert_eq!(bytes[8..], [0, 0, 0, 8, 0x80, 0, 0, 1, 0, 0, 0, 0]);
        assert!(matches!(answer(OPTION_ABORT, 0), Answer::End(_)));
        assert_eq!(option(b"IHAVEOPT\0\0\0\x07\0\x01\0\0"), None);
        assert_eq!(option(b"NBDMAGIC\0\0\0\x07\0\0\0\0"), None);
    }

    #[test]
    fn a_request_names_its_place_and_its_reply_carries_its_cookie() {
        let mut header = [0; Request::HEADER];
        header[..4].copy_from_slice(&[0x25, 0x60, 0x95, 0x13]);
        header[7] = 1;
        header[8..16].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        header[22] = 0x10;
        header[26] = 2;
        let request = Request::parse(&header).unwrap();
        assert_eq!(request.command, Command::Write { offset: 0x1000, length: 0x200 });
        let reply = request.reply(INVALID);
        assert_eq!(reply, [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 22, 1, 2, 3, 4, 5, 6, 7, 8]);
        header[7] = 3;
        assert_eq!(Request::parse(&header).unwrap().command, Command::Flush);
        header[24] = 0xff;
        assert_eq!(Request::parse(&header), None);
    }
}
