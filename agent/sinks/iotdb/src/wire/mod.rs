//! The client protocol of Apache IoTDB (`IClientRPCService`): Thrift binary protocol in frames.
//! Bytes in, values out; no socket, no clock.
//!
//! Field and method names are those of the interface description in IoTDB's source,
//! `iotdb-protocol/thrift-datanode/src/main/thrift/client.thrift` and
//! `thrift-commons/src/main/thrift/common.thrift`; the service speaks protocol version V3.

mod block;
mod reply;
mod request;
mod tablet;
pub mod thrift;

pub use block::{Column as ResultColumn, ColumnValues, Rows, Shape};
pub use reply::{
    Answer, Executed, Fetched, Opened, Properties, Status, executed, fetched, first_status, opened,
    properties, reply, statement_id, status,
};
pub use request::{
    Login, close_operation, close_session, execute, fetch, get_properties, get_time_zone,
    insert_tablet, insert_tablets, open_session, query, request_statement_id,
};
pub use tablet::{Category, Cell, Column, DataType, Tablet, TypeMismatch};

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// Longest answer that is read, in bytes. An answer to an insertion has one status for each tablet
/// that failed; a result set comes in blocks of a megabyte.
pub const LONGEST_FRAME: usize = 8 * 1024 * 1024;

/// What a peer sent is not what the protocol allows; names the part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("malformed: {0}")]
pub struct Malformed(pub &'static str);

/// Takes the next whole frame out of `inbox`; `None` when it has not arrived yet.
///
/// # Errors
/// Its length is no length, or above [`LONGEST_FRAME`].
pub fn frame(inbox: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
    let Some(head) = inbox.first_chunk::<4>() else { return Ok(None) };
    let length = i32::from_be_bytes(*head);
    let length = usize::try_from(length).map_err(|_| Malformed("a frame's length"))?;
    if length == 0 || length > LONGEST_FRAME {
        return Err(Malformed("a frame's length"));
    }
    if inbox.len() < 4 + length {
        return Ok(None);
    }
    inbox.advance(4);
    Ok(Some(inbox.split_to(length).freeze()))
}

#[cfg(test)]
mod tests;
