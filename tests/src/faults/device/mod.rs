//! A Modbus TCP device whose every answer holds values that it has never given out before, and
//! which knows when it gave out which.
//!
//! It belongs to the test's own program, so its times are those of the machine and its log is
//! complete when it is read. Each answer is also a line of `<name>.served`, for people.

mod answer;

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Read as _, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

use self::answer::{HEADER, MOST_POINTS, Outcome, Request, frame_length, value};
use super::evidence::{Nanos, Served};
use crate::dir::TestDir;

/// Longest time until a device that is dropped has ended.
const TICK: Duration = Duration::from_millis(50);

/// One answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Counted from the device's first one.
    pub number: u32,
    /// First point of it.
    pub first: u32,
    /// The point after its last one.
    pub end: u32,
    /// When the whole request had arrived.
    pub received: Nanos,
    /// When the answer was about to leave.
    pub sent: Nanos,
    /// The connection was gone before it could leave: nobody can have it.
    pub failed: bool,
}

/// A running device.
#[derive(Debug)]
pub struct Device {
    /// Its port.
    pub port: u16,
    /// Its name in the namespace `default`.
    pub name: String,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    addresses: Vec<u16>,
    first_number: u32,
    log: Mutex<Log>,
    ended: AtomicBool,
}

#[derive(Debug)]
struct Log {
    answers: Vec<Answer>,
    file: BufWriter<File>,
}

impl Device {
    /// A device with a counter of two registers at each of these wire addresses, as points `p0`,
    /// `p1` and so on. `place` (0 to 15) tells the devices of a test apart by their values.
    ///
    /// # Errors
    /// The addresses are not in order or too many, or no port can be had.
    pub fn start(dir: &TestDir, name: &str, place: u32, addresses: &[u16]) -> Result<Self> {
        if addresses.windows(2).any(|w| w[0].saturating_add(2) > w[1])
            || addresses.len() > MOST_POINTS as usize
        {
            bail!("{name}: addresses of counters are ascending, two registers apart");
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let file = BufWriter::new(File::create(dir.join(&format!("{name}.served")))?);
        let shared = Arc::new(Shared {
            addresses: addresses.to_vec(),
            first_number: 1 + (place << 18),
            log: Mutex::new(Log { answers: Vec::new(), file }),
            ended: AtomicBool::new(false),
        });
        let acceptor = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.accept(&listener))
        };
        Ok(Self { port, name: name.to_owned(), shared, acceptor: Some(acceptor) })
    }

    /// Everything that it gave out so far.
    pub fn answers(&self) -> Vec<Answer> {
        self.shared.log().answers.clone()
    }

    /// How many answers it gave so far.
    pub fn count(&self) -> usize {
        self.shared.log().answers.len()
    }

    /// The same, value by value, as [`judge`](super::judge) wants it.
    pub fn served(&self) -> Vec<Served> {
        let answers = self.answers();
        let sent = answers.iter().filter(|answer| !answer.failed);
        let values = sent.flat_map(|answer| (answer.first..answer.end).map(move |p| (answer, p)));
        values
            .map(|(answer, place)| Served {
                device: format!("default/{}", self.name),
                point: point(place),
                value: value(answer.number, place),
                received: answer.received,
                sent: answer.sent,
            })
            .collect()
    }

    /// The DeviceConnection that reads all of it.
    pub fn yaml(&self, interval: Duration, request_timeout: Duration) -> String {
        self.yaml_at("127.0.0.1", interval, request_timeout)
    }

    /// The same for an agent that finds this machine under another address.
    pub fn yaml_at(&self, host: &str, interval: Duration, request_timeout: Duration) -> String {
        let mut yaml = format!(
            "apiVersion: lineside.dev/v1alpha1\nkind: DeviceConnection\nmetadata:\n  name: {}\n\
             spec:\n  url: modbus-tcp://{host}:{}?default-unit-identifier=1\n  \
             intervalMillis: {}\n  timeouts: {{requestMillis: {}}}\n  points:\n",
            self.name,
            self.port,
            interval.as_millis(),
            request_timeout.as_millis(),
        );
        for (place, address) in (0..).zip(&self.shared.addresses) {
            // PLC4X counts from one.
            let tag = u32::from(*address) + 1;
            let name = point(place);
            yaml.push_str(&format!(
                "  - {{name: {name}, address: \"holding-register:{tag}:UDINT\"}}\n"
            ));
        }
        yaml
    }
}

fn point(place: u32) -> String {
    format!("p{place}")
}

impl Drop for Device {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        if let Some(acceptor) = self.acceptor.take() {
            // Fails only when the thread panicked, which the test's output shows.
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        let mut sessions = Vec::new();
        while !self.has_ended() {
            match listener.accept() {
                Ok((stream, _)) => {
                    let shared = Arc::clone(self);
                    // A session ends as the client wants, in the middle of anything.
                    sessions.push(thread::spawn(move || drop(shared.session(stream))));
                }
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
            sessions.retain(|session| !session.is_finished());
        }
        for session in sessions {
            // As above.
            let _ = session.join();
        }
    }

    fn session(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TICK))?;
        let mut pending: Vec<u8> = Vec::new();
        let mut buffer = [0; 4096];
        while !self.has_ended() {
            let read = match stream.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            let received = now()?;
            pending.extend_from_slice(&buffer[..read]);
            while let Some(frame) = take_frame(&mut pending)? {
                self.serve(&mut stream, &frame, received)?;
            }
        }
        Ok(())
    }

    fn serve(&self, stream: &mut TcpStream, frame: &[u8], received: Nanos) -> Result<()> {
        let Some(request) = Request::parse(frame) else { bail!("not a request: {frame:02x?}") };
        let (first, end) = match request.outcome(&self.addresses) {
            Outcome::Exception(code) => return Ok(stream.write_all(&request.refuse(code))?),
            Outcome::Points(first, end) => (first, end),
        };
        // In the log before anybody can have it.
        let (at, number, sent) = {
            let mut log = self.log();
            let at = log.answers.len();
            let number = self.first_number + u32::try_from(at)?;
            let sent = now()?;
            log.answers.push(Answer { number, first, end, received, sent, failed: false });
            (at, number, sent)
        };
        let written = stream.write_all(&request.answer(number, first..end, &self.addresses));
        let mut log = self.log();
        if let (Err(_), Some(answer)) = (&written, log.answers.get_mut(at)) {
            answer.failed = true;
        }
        written?;
        let (least, most) = (value(number, first), value(number, end - 1));
        writeln!(
            log.file,
            "{{\"received\":{received},\"sent\":{sent},\"values\":[{least},{most}]}}"
        )?;
        Ok(())
    }
}

/// The first whole frame of what has arrived.
fn take_frame(pending: &mut Vec<u8>) -> Result<Option<Vec<u8>>> {
    let Some(header) = pending.first_chunk::<HEADER>() else { return Ok(None) };
    let Some(length) = frame_length(header) else { bail!("not Modbus: {header:02x?}") };
    if pending.len() < length {
        return Ok(None);
    }
    Ok(Some(pending.drain(..length).collect()))
}

/// The present Unix time.
///
/// # Errors
/// The clock is before 1970.
pub fn now() -> Result<Nanos> {
    Ok(Nanos::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}

#[cfg(test)]
mod tests;
