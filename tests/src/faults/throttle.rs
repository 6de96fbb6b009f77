//! A slow broker: a proxy in front of a real one that passes one acknowledgement at a time.
//!
//! Only PUBACKs are held back, as by a server that takes its time to store; what keeps the
//! connection alive passes. MQTT allows it: an answer to a ping has no order among them.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Longest time until a changed period or an end takes effect.
const TICK: Duration = Duration::from_millis(10);
/// Packet type PUBACK in the first four bits (MQTT 5, 2.1.2).
const PUBACK: u8 = 4;

/// A running throttle.
#[derive(Debug)]
pub struct Throttle {
    /// The port to connect to.
    pub port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    upstream: u16,
    period: Mutex<Duration>,
    acknowledged: AtomicU64,
    ended: AtomicBool,
}

impl Throttle {
    /// In front of `127.0.0.1:port`; acknowledgements are `period` apart.
    ///
    /// # Errors
    /// No port can be had.
    pub fn start(port: u16, period: Duration) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let own = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            upstream: port,
            period: Mutex::new(period),
            acknowledged: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let acceptor = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.accept(&listener))
        };
        Ok(Self { port: own, shared, acceptor: Some(acceptor) })
    }

    /// Another time between acknowledgements, at once; zero: none is held back.
    pub fn set(&self, period: Duration) {
        *self.shared.period.lock().unwrap_or_else(PoisonError::into_inner) = period;
    }

    /// Acknowledgements that passed.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::SeqCst)
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        if let Some(acceptor) = self.acceptor.take() {
            // Fails only when the thread panicked, which the test's output shows.
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        while !self.has_ended() {
            match listener.accept().map(|(client, _)| self.connect(client)) {
                Ok(Ok(pair)) => threads.extend(pair),
                Ok(Err(error)) => eprintln!("throttle: {error:#}"),
                Err(_) => thread::sleep(TICK),
            }
            threads.retain(|thread| !thread.is_finished());
        }
        for thread in threads {
            // As above.
            let _ = thread.join();
        }
    }

    fn connect(self: &Arc<Self>, client: TcpStream) -> Result<[JoinHandle<()>; 2]> {
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, self.upstream))?;
        for stream in [&client, &server] {
            stream.set_nonblocking(false)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TICK))?;
        }
        let (up, down) = (Arc::clone(self), Arc::clone(self));
        let (client_up, server_up) = (client.try_clone()?, server.try_clone()?);
        // Either end ends both: the other side's reader sees the shutdown.
        let up = thread::spawn(move || {
            let _ = up.pass(&client_up, &server_up);
            close(&client_up, &server_up);
        });
        let down = thread::spawn(move || {
            let _ = down.hold(&server, &client);
            close(&client, &server);
        });
        Ok([up, down])
    }

    fn pass(&self, mut from: &TcpStream, mut to: &TcpStream) -> Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        while !self.has_ended() {
            match read(&mut from, &mut buffer)? {
                Some(0) => return Ok(()),
                Some(n) => to.write_all(buffer.get(..n).unwrap_or_default())?,
                None => {}
            }
        }
        Ok(())
    }

    fn hold(&self, mut from: &TcpStream, mut to: &TcpStream) -> Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let mut pending = Vec::new();
        let mut held = VecDeque::new();
        let mut last = Instant::now();
        while !self.has_ended() {
            match read(&mut from, &mut buffer)? {
                Some(0) => return Ok(()),
                Some(n) => pending.extend_from_slice(buffer.get(..n).unwrap_or_default()),
                None => {}
            }
            while let Some(packet) = take_packet(&mut pending)? {
                match packet.first().map(|first| first >> 4) {
                    Some(PUBACK) => held.push_back(packet),
                    _ => to.write_all(&packet)?,
                }
            }
            let period = *self.period.lock().unwrap_or_else(PoisonError::into_inner);
            while last.elapsed() >= period
                && let Some(packet) = held.pop_front()
            {
                self.acknowledged.fetch_add(1, Ordering::SeqCst);
                to.write_all(&packet)?;
                last = Instant::now();
            }
        }
        Ok(())
    }
}

fn close(one: &TcpStream, other: &TcpStream) {
    for stream in [one, other] {
        // Fails only on a connection that has ended already.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// What has arrived; none: nothing within a tick.
fn read(from: &mut &TcpStream, buffer: &mut [u8]) -> Result<Option<usize>> {
    match from.read(buffer) {
        Ok(n) => Ok(Some(n)),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The first whole packet: type, remaining length as a variable byte integer (MQTT 5, 1.5.5),
/// and so many bytes.
fn take_packet(pending: &mut Vec<u8>) -> Result<Option<Vec<u8>>> {
    let mut length = 0;
    for at in 1..=4 {
        let Some(byte) = pending.get(at) else { return Ok(None) };
        length |= usize::from(byte & 0x7f) << (7 * (at - 1));
        if byte & 0x80 == 0 {
            let whole = at + 1 + length;
            return Ok((pending.len() >= whole).then(|| pending.drain(..whole).collect()));
        }
    }
    bail!("not MQTT: {:02x?}", pending.get(..5))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::{Throttle, take_packet};

    #[test]
    fn packets_are_cut_at_their_length_and_halves_are_left() {
        let mut pending = vec![0xd0, 0, 0x40, 2, 0, 1, 0x30, 0x80, 0x01];
        assert_eq!(take_packet(&mut pending).unwrap(), Some(vec![0xd0, 0]));
        assert_eq!(take_packet(&mut pending).unwrap(), Some(vec![0x40, 2, 0, 1]));
        assert_eq!(take_packet(&mut pending).unwrap(), None);
        pending.resize(3 + 128, 7);
        assert_eq!(take_packet(&mut pending).unwrap().unwrap().len(), 131);
        assert!(pending.is_empty());
        assert!(take_packet(&mut vec![0x30, 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    #[test]
    fn acknowledgements_come_one_by_one_and_a_ping_is_answered_at_once() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let period = Duration::from_millis(200);
        let throttle = Throttle::start(server.local_addr().unwrap().port(), period).unwrap();
        let mut client = TcpStream::connect(("127.0.0.1", throttle.port)).unwrap();
        let (mut broker, _) = server.accept().unwrap();
        let begin = Instant::now();
        broker.write_all(&[0x40, 2, 0, 1, 0x40, 2, 0, 2, 0xd0, 0]).unwrap();
        let mut ping = [0; 2];
        client.read_exact(&mut ping).unwrap();
        assert_eq!(ping, [0xd0, 0]);
        let mut acks = [0; 8];
        client.read_exact(&mut acks).unwrap();
        assert_eq!(acks, [0x40, 2, 0, 1, 0x40, 2, 0, 2]);
        assert!(begin.elapsed() >= period * 2, "{:?}", begin.elapsed());
        assert_eq!(throttle.acknowledged(), 2);
        client.write_all(&[1, 2, 3]).unwrap();
        let mut up = [0; 3];
        broker.read_exact(&mut up).unwrap();
        assert_eq!(up, [1, 2, 3]);
    }
}
