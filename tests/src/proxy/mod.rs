//! A TCP fault proxy between real parts.
//!
//! Each direction has a [`Mode`] that can be changed while data flows; connections can be
//! closed, reset, refused, or cut off as by a pulled cable. It does not know the protocol,
//! except that [`Mode::Rewrite`] understands the frame header of Modbus TCP.
//!
//! ```text
//!   client --> [to_server] --> server
//!   client <-- [to_client] <-- server
//! ```

mod frame;
mod pump;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, bail};

pub use frame::Rewrite;
use pump::Connection;

use crate::{ports, wait};

/// Longest time until a changed mode, a closed or a refused connection takes effect.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They pass.
    Pass,
    /// Each piece passes this much later; pieces are handled one by one.
    Delay(Duration),
    /// They wait, and pass once the mode changes: a cable pulled and put back, where TCP
    /// repeats what was lost. Connections stay half-open.
    Stall,
    /// They are read and thrown away.
    Discard,
    /// Of the next piece only this many bytes pass, then the connection does `then`. Other
    /// connections, also later ones, pass whole.
    Truncate {
        /// How many bytes pass.
        bytes: usize,
        /// What happens after them.
        then: AfterTruncation,
    },
    /// The header of each Modbus TCP frame is changed.
    Rewrite(Rewrite),
}

/// What a connection does after half a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterTruncation {
    /// It says nothing more in this direction.
    Silence,
    /// It is closed.
    Close,
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client (who connects to the proxy) to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// A running proxy in front of one server.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// What the threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    upstream: SocketAddr,
    modes: Mutex<Modes>,
    connections: Mutex<Vec<Arc<Connection>>>,
    wanted: AtomicBool,
    listening: AtomicBool,
    ended: AtomicBool,
    accepts: AtomicU64,
    pub(crate) to_server: AtomicU64,
    pub(crate) to_client: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
struct Modes {
    to_server: Mode,
    to_client: Mode,
}

impl Proxy {
    /// A proxy in front of `127.0.0.1:port`; everything passes.
    ///
    /// # Errors
    /// No port can be had.
    pub fn start(port: u16) -> Result<Self> {
        let shared = Arc::new(Shared {
            upstream: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            modes: Mutex::new(Modes { to_server: Mode::Pass, to_client: Mode::Pass }),
            connections: Mutex::default(),
            wanted: AtomicBool::new(true),
            listening: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            accepts: AtomicU64::new(0),
            to_server: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
        });
        let port = ports::free()?;
        let acceptor = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.accept(port))
        };
        let proxy = Self { port, shared, acceptor: Some(acceptor) };
        proxy.accept_again()?;
        Ok(proxy)
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes one direction, for present and later connections.
    pub fn set(&self, direction: Direction, mode: Mode) {
        let mut modes = lock(&self.shared.modes);
        match direction {
            Direction::ToServer => modes.to_server = mode,
            Direction::ToClient => modes.to_client = mode,
        }
    }

    /// As if the cable was pulled: nothing passes either way, nobody is told. New connections
    /// are taken (the proxy cannot keep the kernel from it) but nothing passes on them.
    pub fn cut(&self) {
        self.set(Direction::ToServer, Mode::Stall);
        self.set(Direction::ToClient, Mode::Stall);
    }

    /// Everything passes again, also what waited.
    pub fn heal(&self) {
        self.set(Direction::ToServer, Mode::Pass);
        self.set(Direction::ToClient, Mode::Pass);
    }

    /// Closes every connection with a TCP reset to both sides.
    ///
    /// # Errors
    /// A connection does not end.
    pub fn reset(&self) -> Result<()> {
        for connection in lock(&self.shared.connections).iter() {
            connection.reset();
        }
        self.wait_for_none()
    }

    /// Closes every connection in the orderly way.
    ///
    /// # Errors
    /// A connection does not end.
    pub fn close(&self) -> Result<()> {
        for connection in lock(&self.shared.connections).iter() {
            connection.close();
        }
        self.wait_for_none()
    }

    /// From now on connecting is refused; present connections stay.
    ///
    /// # Errors
    /// The listener does not close.
    pub fn refuse(&self) -> Result<()> {
        self.shared.wanted.store(false, Ordering::SeqCst);
        wait::until("proxy refuses", Duration::from_secs(5), || {
            !self.shared.listening.load(Ordering::SeqCst)
        })
    }

    /// Takes connections again after [`Self::refuse`], on the same port.
    ///
    /// # Errors
    /// The port cannot be had back.
    pub fn accept_again(&self) -> Result<()> {
        self.shared.wanted.store(true, Ordering::SeqCst);
        wait::until("proxy accepts", Duration::from_secs(30), || {
            self.shared.listening.load(Ordering::SeqCst)
        })
    }

    /// Connections taken so far.
    pub fn accepts(&self) -> u64 {
        self.shared.accepts.load(Ordering::SeqCst)
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        let mut connections = lock(&self.shared.connections);
        connections.retain(|c| !c.is_over());
        connections.len()
    }

    /// Bytes that passed in a direction.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.shared.counter(direction).load(Ordering::SeqCst)
    }

    fn wait_for_none(&self) -> Result<()> {
        wait::until("connections of the proxy end", Duration::from_secs(5), || self.open() == 0)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        if let Some(acceptor) = self.acceptor.take() {
            // Fails only when the thread panicked, which the test's output shows.
            let _ = acceptor.join();
        }
        for connection in lock(&self.shared.connections).iter() {
            connection.reset();
        }
    }
}

impl Shared {
    /// The present mode of a direction.
    pub(crate) fn mode(&self, direction: Direction) -> Mode {
        let modes = *lock(&self.modes);
        match direction {
            Direction::ToServer => modes.to_server,
            Direction::ToClient => modes.to_client,
        }
    }

    /// Takes a `Truncate` for the caller alone: the first connection that has a piece.
    pub(crate) fn take_truncation(&self, direction: Direction) -> Option<(usize, AfterTruncation)> {
        let mut modes = lock(&self.modes);
        let mode = match direction {
            Direction::ToServer => &mut modes.to_server,
            Direction::ToClient => &mut modes.to_client,
        };
        let Mode::Truncate { bytes, then } = *mode else { return None };
        *mode = Mode::Pass;
        Some((bytes, then))
    }

    pub(crate) fn counter(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }

    fn accept(self: &Arc<Self>, port: u16) {
        let mut listener = None;
        while !self.ended.load(Ordering::SeqCst) {
            if !self.wanted.load(Ordering::SeqCst) {
                // Who was let in by the kernel already is not refused.
                while let Some(Ok((client, _))) = listener.as_ref().map(TcpListener::accept) {
                    self.connect(client);
                }
                listener = None;
            } else if listener.is_none() {
                listener = listen(port).ok();
            }
            self.listening.store(listener.is_some(), Ordering::SeqCst);
            match listener.as_ref().map(TcpListener::accept) {
                Some(Ok((client, _))) => self.connect(client),
                _ => thread::sleep(TICK),
            }
        }
    }

    /// The server's side of a new connection; without one the client's is closed.
    fn connect(self: &Arc<Self>, client: TcpStream) {
        self.accepts.fetch_add(1, Ordering::SeqCst);
        let server = TcpStream::connect_timeout(&self.upstream, Duration::from_secs(5));
        match server.map_err(anyhow::Error::from).and_then(|s| Connection::new(client, s)) {
            Ok(connection) => {
                let mut connections = lock(&self.connections);
                connections.retain(|c| !c.is_over());
                connection.run(self);
                connections.push(connection);
            }
            Err(error) => eprintln!("proxy: {error:#}"),
        }
    }
}

fn listen(port: u16) -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    if listener.local_addr()?.port() != port {
        bail!("another port");
    }
    Ok(listener)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
