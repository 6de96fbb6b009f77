//! The wire codec of Modbus TCP: bytes to frames, requests to bytes, frames to answers. Pure: no
//! clock, no socket, no task; nothing here allocates by a length that the peer names.
//!
//! Sources: MODBUS Messaging on TCP/IP Implementation Guide V1.0b (header), MODBUS Application
//! Protocol Specification V1.1b3 (functions and exceptions).
//!
//! ```text
//!  transaction  protocol  length  unit  function  data
//!  2 bytes      2, = 0    2       1     1         0..=252
//!                         '------ counts unit, function and data: 2..=254
//! ```

mod answer;
mod frame;
mod request;
pub mod serial;

pub use answer::{Answer, Exception, answer};
pub use frame::{Frame, Inbox, MAX_FRAME};
pub use request::Request;

/// The peer broke the protocol: what follows on this connection can no longer be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The protocol identifier of a frame is not 0 (V1.0b, 3.1.3).
    #[error("protocol identifier {0} instead of 0")]
    Protocol(u16),
    /// The length field of a frame is outside 2..=254 (V1.0b, 3.1.3).
    #[error("length field {0} outside 2..=254")]
    Length(u16),
    /// The answer to a transaction comes from another unit.
    #[error("answer of unit {got} to a request to unit {asked}")]
    Unit {
        /// Unit of the request.
        asked: u8,
        /// Unit of the answer.
        got: u8,
    },
    /// The answer to a transaction is of another function.
    #[error("answer of function {got} to a request of function {asked}")]
    Function {
        /// Function of the request.
        asked: u8,
        /// Function of the answer.
        got: u8,
    },
    /// The byte count, or the number of bytes after it, is not what was asked for.
    #[error("answer with {got} data bytes, byte count {count}, instead of {asked}")]
    ByteCount {
        /// Bytes that the request asks for.
        asked: usize,
        /// The byte count field; the same as `got` in an answer too short to have one.
        count: usize,
        /// Bytes that follow the field.
        got: usize,
    },
    /// An exception answer that is not exactly two bytes long (V1.1b3, section 7).
    #[error("exception answer of {0} bytes instead of 2")]
    ExceptionLength(usize),
}
