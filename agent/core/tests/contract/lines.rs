//! Lines of text over TCP with a bound: what the test protocols are made of.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest line of the test protocols.
pub const MAX_LINE: usize = 128;

/// Reads lines; a line that is longer than [`MAX_LINE`] is an error, not a growing buffer.
pub struct Lines<R> {
    from: R,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub fn new(from: R) -> Self {
        Self { from, buffer: Vec::new() }
    }

    /// The next line without its end. Cancel-safe: what was read stays in the buffer.
    ///
    /// # Errors
    /// `UnexpectedEof` at the end, `InvalidData` for a line that is too long or not text.
    pub async fn next(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                return String::from_utf8(line).map_err(|_| invalid("a line is not text"));
            }
            if self.buffer.len() > MAX_LINE {
                return Err(invalid("a line is too long"));
            }
            let mut chunk = [0; MAX_LINE];
            match self.from.read(&mut chunk).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => self.buffer.extend_from_slice(&chunk[..n]),
            }
        }
    }
}

pub fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
