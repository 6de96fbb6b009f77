//! The disk of the virtual machine, served to the emulator over the loopback address.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::nbd::{self, Answer, Command, INVALID, OK, Request};
use super::volatile::{Loss, Volatile};
use crate::faults::dice::Dice;
use crate::wait;

/// Longest time until the end of the emulator is noticed.
const NOTICED: Duration = Duration::from_secs(10);
/// Time that a flush takes, as on flash: cuts come in the middle of some.
const FLUSH: Duration = Duration::from_millis(15);
/// Time between two looks for a connection.
const LOOK: Duration = Duration::from_millis(5);
/// Time between two looks for something in the cache.
const GLANCE: Duration = Duration::from_millis(1);

/// A disk that one emulator at a time may use.
#[derive(Debug)]
pub struct Disk {
    /// Where it is served.
    pub port: u16,
    shared: Arc<Shared>,
    server: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    bytes: Mutex<Volatile>,
    /// The emulator that uses it.
    user: Mutex<Option<TcpStream>>,
    /// Flushes have to wait.
    holds: AtomicBool,
    ended: AtomicBool,
}

impl Disk {
    /// A disk that holds this.
    ///
    /// # Errors
    /// No port can be had.
    pub fn start(bytes: Vec<u8>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            bytes: Mutex::new(Volatile::new(bytes)),
            user: Mutex::default(),
            holds: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let server = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.serve(&listener))
        };
        Ok(Self { port, shared, server: Some(server) })
    }

    /// What a power cut does to it, once the emulator is gone.
    ///
    /// # Errors
    /// It is still used.
    pub fn cut(&self, dice: &mut Dice) -> Result<Loss> {
        wait::until("nobody uses the disk", NOTICED, || lock(&self.shared.user).is_none())?;
        self.shared.holds.store(false, Ordering::SeqCst);
        Ok(lock(&self.shared.bytes).cut(dice))
    }

    /// Waits for so long at most until something is in its cache, and keeps it there: no flush
    /// comes to its end any more before the cut.
    pub fn wait_for_writes(&self, longest: Duration) {
        self.shared.holds.store(true, Ordering::SeqCst);
        let begin = Instant::now();
        while lock(&self.shared.bytes).cached() == 0 && begin.elapsed() < longest {
            thread::sleep(GLANCE);
        }
    }

    /// How often it was flushed.
    pub fn flushes(&self) -> u64 {
        lock(&self.shared.bytes).flushes()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        if let Some(user) = lock(&self.shared.user).as_ref() {
            // Fails when the emulator has gone already.
            let _ = user.shutdown(Shutdown::Both);
        }
        if let Some(server) = self.server.take() {
            // Fails only when the thread panicked, which the test's output shows.
            let _ = server.join();
        }
    }
}

impl Shared {
    fn serve(&self, listener: &TcpListener) {
        while !self.ended.load(Ordering::SeqCst) {
            match listener.accept() {
                Ok((stream, _)) => {
                    // The emulator is killed in the middle of anything; what else is wrong shows
                    // in the guest, and here for people.
                    if let Err(error) = self.session(&stream)
                        && error.downcast_ref::<std::io::Error>().is_none()
                    {
                        eprintln!("disk: {error:#}");
                    }
                    lock(&self.user).take();
                }
                Err(_) => thread::sleep(LOOK),
            }
        }
    }

    fn session(&self, stream: &TcpStream) -> Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        *lock(&self.user) = Some(stream.try_clone()?);
        if handshake(stream, lock(&self.bytes).size())? {
            self.requests(stream)?;
        }
        Ok(())
    }

    fn requests(&self, mut stream: &TcpStream) -> Result<()> {
        while !self.ended.load(Ordering::SeqCst) {
            let mut header = [0; Request::HEADER];
            stream.read_exact(&mut header)?;
            let request = Request::parse(&header).context("no NBD request")?;
            let mut reply = request.reply(OK);
            match request.command {
                Command::Read { offset, length } => {
                    match lock(&self.bytes).read(offset, usize::try_from(length)?) {
                        Some(bytes) => reply.extend_from_slice(bytes),
                        None => reply = request.reply(INVALID),
                    }
                }
                Command::Write { offset, length } => {
                    let mut bytes = vec![0; usize::try_from(length)?];
                    stream.read_exact(&mut bytes)?;
                    if !lock(&self.bytes).write(offset, bytes) {
                        reply = request.reply(INVALID);
                    }
                }
                Command::Flush => {
                    thread::sleep(FLUSH);
                    while self.holds.load(Ordering::SeqCst) && !is_gone(stream)? {
                        thread::sleep(GLANCE);
                    }
                    if is_gone(stream)? {
                        return Ok(());
                    }
                    lock(&self.bytes).flush();
                }
                Command::Disconnect => return Ok(()),
                Command::Other => reply = request.reply(INVALID),
            }
            stream.write_all(&reply)?;
        }
        Ok(())
    }
}

/// Whether the other side has ended.
fn is_gone(stream: &TcpStream) -> Result<bool> {
    stream.set_nonblocking(true)?;
    let seen = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    match seen {
        Ok(bytes) => Ok(bytes == 0),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether requests follow.
fn handshake(mut stream: &TcpStream, size: usize) -> Result<bool> {
    stream.write_all(&nbd::greeting())?;
    let mut flags = [0; 4];
    stream.read_exact(&mut flags)?;
    loop {
        let mut header = [0; 16];
        stream.read_exact(&mut header)?;
        let Some((option, length)) = nbd::option(&header) else { bail!("no NBD option") };
        let mut data = vec![0; usize::try_from(length)?];
        stream.read_exact(&mut data)?;
        match nbd::answer(option, u64::try_from(size)?) {
            Answer::Next(bytes) => stream.write_all(&bytes)?,
            Answer::Begin(bytes) => {
                stream.write_all(&bytes)?;
                return Ok(true);
            }
            Answer::End(bytes) => {
                stream.write_all(&bytes)?;
                return Ok(false);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
