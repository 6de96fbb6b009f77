//! One connection of the proxy: two threads, each moving bytes one way.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::Result;
use rustix::net::sockopt::set_socket_linger;

use super::{AfterTruncation, Direction, Mode, Shared, TICK};

/// A client's connection with the one to the server behind it.
#[derive(Debug)]
pub(super) struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// Set once: both threads end and both sockets close.
    dead: AtomicBool,
    /// Directions whose thread has ended.
    ended: AtomicU8,
}

impl Connection {
    pub(super) fn new(client: TcpStream, server: TcpStream) -> Result<Arc<Self>> {
        for stream in [&client, &server] {
            // The listener does not block; on some systems its children inherit that.
            stream.set_nonblocking(false)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TICK))?;
            stream.set_write_timeout(Some(TICK))?;
        }
        Ok(Arc::new(Self { client, server, dead: false.into(), ended: 0.into() }))
    }

    /// Starts both threads. They hold the sockets, which close when both have ended.
    pub(super) fn run(self: &Arc<Self>, shared: &Arc<Shared>) {
        for direction in [Direction::ToServer, Direction::ToClient] {
            let (me, shared) = (Arc::clone(self), Arc::clone(shared));
            thread::spawn(move || {
                if me.pump(&shared, direction).is_err() {
                    me.dead.store(true, Ordering::SeqCst);
                }
                if me.ended.fetch_add(1, Ordering::SeqCst) == 1 {
                    // The owner's list may hold us a little longer: close now.
                    me.shut();
                }
            });
        }
    }

    /// Both sides get a TCP reset.
    pub(super) fn reset(&self) {
        for stream in [&self.client, &self.server] {
            // Fails only on a socket that is closed already.
            let _ = set_socket_linger(stream, Some(std::time::Duration::ZERO));
        }
        self.dead.store(true, Ordering::SeqCst);
    }

    /// Both sides see an orderly end.
    pub(super) fn close(&self) {
        self.dead.store(true, Ordering::SeqCst);
        self.shut();
    }

    pub(super) fn is_over(&self) -> bool {
        self.ended.load(Ordering::SeqCst) == 2
    }

    fn shut(&self) {
        let lingers = rustix::net::sockopt::socket_linger(&self.client);
        if !matches!(lingers, Ok(Some(time)) if time.is_zero()) {
            for stream in [&self.client, &self.server] {
                // Fails only on a connection the peer has ended already.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    fn pump(&self, shared: &Shared, direction: Direction) -> Result<()> {
        let (mut from, to) = match direction {
            Direction::ToServer => (&self.client, &self.server),
            Direction::ToClient => (&self.server, &self.client),
        };
        let mut buffer = vec![0; 64 * 1024];
        let mut frames = Vec::new();
        let mut silent = false;
        while !self.dead.load(Ordering::SeqCst) {
            if shared.mode(direction) == Mode::Stall {
                thread::sleep(TICK);
                continue;
            }
            let read = match from.read(&mut buffer) {
                Ok(0) => {
                    to.shutdown(Shutdown::Write)?;
                    return Ok(());
                }
                Ok(n) => n,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            let piece = buffer.get(..read).unwrap_or_default();
            if silent {
                continue;
            }
            // A cut while we were waiting for this piece holds it back too.
            while shared.mode(direction) == Mode::Stall && !self.dead.load(Ordering::SeqCst) {
                thread::sleep(TICK);
            }
            match shared.mode(direction) {
                Mode::Pass | Mode::Stall => self.write(shared, direction, to, piece)?,
                Mode::Delay(time) => {
                    self.pause(time);
                    self.write(shared, direction, to, piece)?;
                }
                Mode::Discard => {}
                Mode::Truncate { .. } => match shared.take_truncation(direction) {
                    Some((bytes, then)) => {
                        let part = piece.get(..bytes.min(read)).unwrap_or_default();
                        self.write(shared, direction, to, part)?;
                        match then {
                            AfterTruncation::Silence => silent = true,
                            AfterTruncation::Close => self.close(),
                        }
                    }
                    None => self.write(shared, direction, to, piece)?,
                },
                Mode::Rewrite(rewrite) => {
                    frames.extend_from_slice(piece);
                    self.write(shared, direction, to, &rewrite.take(&mut frames))?;
                }
            }
        }
        Ok(())
    }

    fn pause(&self, time: std::time::Duration) {
        let started = Instant::now();
        while started.elapsed() < time && !self.dead.load(Ordering::SeqCst) {
            thread::sleep(TICK.min(time.saturating_sub(started.elapsed())));
        }
    }

    /// All of `bytes`, however slowly the other side takes them.
    fn write(
        &self,
        shared: &Shared,
        direction: Direction,
        mut to: &TcpStream,
        mut bytes: &[u8],
    ) -> Result<()> {
        while !bytes.is_empty() && !self.dead.load(Ordering::SeqCst) {
            match to.write(bytes) {
                Ok(n) => {
                    bytes = bytes.get(n..).unwrap_or_default();
                    shared.counter(direction).fetch_add(u64::try_from(n)?, Ordering::SeqCst);
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}
