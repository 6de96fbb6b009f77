//! The time of day in the virtual machine, which boots with whole seconds only: a server on the
//! host and a client in the guest, since the judge compares times of both.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::time::{ClockId, Timespec, clock_settime};

use crate::faults::device::now;
use crate::faults::evidence::Nanos;

/// Questions of a client, which ends earlier when an answer was quick: the time is right to half
/// of what that took.
const QUESTIONS: usize = 400;
const QUICK: Duration = Duration::from_millis(4);
/// How far the clock may be off once it is set; the judge allows for some more.
const OFF: Nanos = 15_000_000;
/// How often it is set until it is right: this may be put to sleep just then.
const ATTEMPTS: usize = 10;
/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Time between two looks for a connection.
const LOOK: Duration = Duration::from_millis(5);

/// Tells the time to whoever sends a byte.
#[derive(Debug)]
pub struct Clock {
    /// Where.
    pub port: u16,
    ended: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Clock {
    /// Starts it.
    ///
    /// # Errors
    /// No port can be had.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let ended = Arc::new(AtomicBool::new(false));
        let server = {
            let ended = Arc::clone(&ended);
            thread::spawn(move || {
                while !ended.load(Ordering::SeqCst) {
                    match listener.accept() {
                        // A guest whose power is cut asks no more.
                        Ok((stream, _)) => drop(tell(&stream)),
                        Err(_) => thread::sleep(LOOK),
                    }
                }
            })
        };
        Ok(Self { port, ended, server: Some(server) })
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(server) = self.server.take() {
            // Fails only when the thread panicked, which the test's output shows.
            let _ = server.join();
        }
    }
}

fn tell(mut stream: &TcpStream) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let mut question = [0; 1];
    loop {
        match stream.read_exact(&mut question) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        stream.write_all(&now()?.to_be_bytes())?;
    }
}

/// The time of the server at this address, and how long the quickest answer took.
///
/// # Errors
/// It does not answer.
pub fn ask(address: &str) -> Result<(Nanos, Duration)> {
    let mut stream = TcpStream::connect_timeout(&address.parse()?, ANSWER)
        .with_context(|| address.to_owned())?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let mut best: Option<(Duration, Instant, Nanos)> = None;
    for _ in 0..QUESTIONS {
        if best.is_some_and(|(quickest, _, _)| quickest <= QUICK) {
            break;
        }
        let mut answer = [0; 8];
        let asked = Instant::now();
        stream.write_all(&[0])?;
        stream.read_exact(&mut answer)?;
        let took = asked.elapsed();
        if best.is_none_or(|(quickest, _, _)| took < quickest) {
            best = Some((took, asked, Nanos::from_be_bytes(answer)));
        }
    }
    let (took, asked, told) = best.context("no answer")?;
    // It was told half way between question and answer.
    let since = asked.elapsed().saturating_sub(took / 2);
    Ok((told + Nanos::try_from(since.as_nanos())?, took))
}

/// Sets the clock of this machine to the time of the server at this address; wants root. Gives
/// the time.
///
/// # Errors
/// It does not answer, or the clock cannot be set, or not well enough.
pub fn set(address: &str) -> Result<Nanos> {
    for _ in 0..ATTEMPTS {
        let (time, _) = ask(address)?;
        let (seconds, nanos) = (time.div_euclid(1_000_000_000), time.rem_euclid(1_000_000_000));
        clock_settime(ClockId::Realtime, Timespec { tv_sec: seconds, tv_nsec: nanos })?;
        let (time, took) = ask(address)?;
        let own = now()?;
        if (own - time).abs() + Nanos::try_from(took.as_nanos())? / 2 <= OFF {
            return Ok(own);
        }
    }
    bail!("the clock is not right after it was set {ATTEMPTS} times")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_told_the_time_to_the_length_of_the_quickest_answer() {
        let clock = Clock::start().unwrap();
        for _ in 0..2 {
            let before = now().unwrap();
            let (told, took) = ask(&format!("127.0.0.1:{}", clock.port)).unwrap();
            let after = now().unwrap();
            let slack = Nanos::try_from(took.as_nanos()).unwrap();
            assert!(before - slack <= told && told <= after + slack, "{before} {told} {after}");
        }
    }
}
