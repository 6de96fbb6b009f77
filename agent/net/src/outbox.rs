//! Bytes on their way to the remote.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// From here on no further message is encoded until the network has taken some: with the codec's
/// own copy this bounds the memory of a session to the next message beyond it.
const HIGH_WATER: usize = 256 * 1024;

/// Beyond this the buffer is given back when it runs empty.
const KEEP: usize = 2 * HIGH_WATER;

/// A write buffer that knows how much has left it.
#[derive(Default)]
pub struct Outbox {
    /// What waits; a sink appends to it.
    pub buffer: BytesMut,
    written: u64,
    flushed: u64,
    needs_flush: bool,
}

impl Outbox {
    /// Whether another message may be encoded.
    pub fn has_room(&self) -> bool {
        self.buffer.len() < HIGH_WATER
    }

    /// Whether [`Outbox::write`] has something to do.
    pub fn is_pending(&self) -> bool {
        !self.buffer.is_empty() || self.needs_flush
    }

    /// Position in the stream of the byte after the last one queued.
    pub fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Position in the stream up to which the connection has taken the bytes.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Position in the stream up to which a flush was seen to its end. TLS keeps up to 64 KiB of
    /// what it has taken until then.
    pub fn flushed(&self) -> u64 {
        self.flushed
    }

    /// Makes one step: writes some bytes, or flushes when all are written. Cancel-safe: what was
    /// not written stays queued.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn write(&mut self, to: &mut (impl AsyncWrite + Unpin + ?Sized)) -> io::Result<()> {
        if self.buffer.is_empty() {
            to.flush().await?;
            self.needs_flush = false;
            self.flushed = self.written;
            if self.buffer.capacity() > KEEP {
                self.buffer = BytesMut::new();
            }
            return Ok(());
        }
        let count = to.write(&self.buffer).await?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.buffer.advance(count);
        self.written += count as u64;
        self.needs_flush = true;
        Ok(())
    }
}
