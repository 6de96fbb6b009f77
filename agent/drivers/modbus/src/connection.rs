//! One TCP connection to a Modbus server: dial, ask, notice when it ends. One request is under
//! way at a time; every wait has a deadline that the caller names.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lineside_core::{Fault, FaultClass};
use lineside_crds::diagnostics::Code;
use lineside_crds::modbus::Settings;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::wire::{Answer, Exception, Inbox, Request, answer};

/// Silence after which the kernel probes the peer, and the pause between its probes: a device
/// that is polled once an hour is still known to be there, and firewalls keep the connection.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// What came back for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Data, in [`Connection::data`].
    Data,
    /// The device refused.
    Exception(Exception),
    /// No answer in time. The connection is still in step: a late answer is discarded by its
    /// transaction identifier.
    Timeout,
}

/// What happened on one connection so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests sent.
    pub requests: u64,
    /// Exceptions received.
    pub exceptions: u64,
    /// Requests without an answer in time.
    pub timeouts: u64,
    /// Answers that belonged to no request under way, discarded.
    pub stale: u64,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    endpoint: String,
    inbox: Inbox,
    transaction: u16,
    data: Vec<u8>,
    stats: Stats,
}

impl Connection {
    /// Resolves the host and connects, all within `limit`.
    ///
    /// # Errors
    /// `HostNotFound`, `ConnectTimeout` or `Unreachable`, all of class `Unreachable`.
    pub async fn dial(settings: &Settings, limit: Duration) -> Result<Self, Fault> {
        let endpoint = settings.endpoint();
        let deadline = Instant::now() + limit;
        let addresses = resolve(settings, &endpoint, deadline).await?;
        let mut failure = None;
        for (tried, address) in addresses.iter().enumerate() {
            // A host with a dead address leaves time for its others.
            let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let share = deadline.saturating_duration_since(Instant::now()) / left;
            match timeout_at(Instant::now() + share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    return match tune(&stream) {
                        Ok(()) => Ok(Self::new(stream, endpoint)),
                        Err(e) => Err(unreachable(&endpoint).because(e)),
                    };
                }
                Ok(Err(e)) => failure = Some(unreachable(&endpoint).because(e)),
                Err(_) => {
                    let text = format!("no connection to {endpoint} within {limit:?}");
                    failure = Some(Fault::new(FaultClass::Unreachable, Code::ConnectTimeout, text));
                }
            }
        }
        Err(failure.unwrap_or_else(|| not_found(&endpoint)))
    }

    fn new(stream: TcpStream, endpoint: String) -> Self {
        Self {
            stream,
            endpoint,
            inbox: Inbox::default(),
            transaction: 0,
            data: Vec::with_capacity(crate::wire::MAX_FRAME),
            stats: Stats::default(),
        }
    }

    /// Sends `request` and waits for its answer until `limit` has passed.
    ///
    /// # Errors
    /// `ConnectionLost` or `ProtocolViolation`; the connection is of no further use then.
    pub async fn ask(&mut self, request: &Request, limit: Duration) -> Result<Outcome, Fault> {
        let deadline = Instant::now() + limit;
        self.transaction = self.transaction.wrapping_add(1);
        self.stats.requests += 1;
        let bytes = request.encode(self.transaction);
        match timeout_at(deadline, self.stream.write_all(&bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(self.lost().because(e)),
            // Part of the request may be on its way, so the next one would not be understood.
            Err(_) => return Err(self.lost().because("the peer takes no more requests")),
        }
        loop {
            if let Some(outcome) = self.take_answer(request)? {
                return Ok(outcome);
            }
            // A peer that floods with foreign frames keeps the socket readable for ever.
            if Instant::now() >= deadline {
                self.stats.timeouts += 1;
                return Ok(Outcome::Timeout);
            }
            match timeout_at(deadline, self.stream.read(self.inbox.room())).await {
                Ok(Ok(0)) => return Err(self.lost()),
                Ok(Ok(count)) => self.inbox.filled(count),
                Ok(Err(e)) => return Err(self.lost().because(e)),
                Err(_) => {
                    self.stats.timeouts += 1;
                    return Ok(Outcome::Timeout);
                }
            }
        }
    }

    /// The answer to `request` among the frames received so far.
    fn take_answer(&mut self, request: &Request) -> Result<Option<Outcome>, Fault> {
        loop {
            let said = match self.inbox.take() {
                Ok(None) => return Ok(None),
                Ok(Some(frame)) => answer(request, self.transaction, &frame),
                Err(violation) => Err(violation),
            };
            match said {
                Ok(Answer::Data(data)) => {
                    self.data.clear();
                    self.data.extend_from_slice(data);
                    return Ok(Some(Outcome::Data));
                }
                Ok(Answer::Exception(exception)) => {
                    self.stats.exceptions += 1;
                    return Ok(Some(Outcome::Exception(exception)));
                }
                Ok(Answer::Stale) => self.stats.stale += 1,
                Err(violation) => return Err(self.violated().because(violation)),
            }
        }
    }

    /// Waits, while no request is under way, until the connection ends, and says how. Late
    /// answers are discarded. Dropping the future loses nothing.
    pub async fn watch(&mut self) -> Fault {
        loop {
            loop {
                match self.inbox.take() {
                    Ok(None) => break,
                    Ok(Some(_)) => self.stats.stale += 1,
                    Err(violation) => return self.violated().because(violation),
                }
            }
            match self.stream.read(self.inbox.room()).await {
                Ok(0) => return self.lost(),
                Ok(count) => self.inbox.filled(count),
                Err(e) => return self.lost().because(e),
            }
        }
    }

    /// The data of the last [`Outcome::Data`].
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// What happened so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// `host:port` as configured.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn lost(&self) -> Fault {
        let text = format!("connection to {} lost", self.endpoint);
        Fault::new(FaultClass::Unreachable, Code::ConnectionLost, text)
    }

    fn violated(&self) -> Fault {
        let text = format!("{} broke the protocol", self.endpoint);
        Fault::new(FaultClass::Peer, Code::ProtocolViolation, text)
    }
}

async fn resolve(
    settings: &Settings,
    endpoint: &str,
    deadline: Instant,
) -> Result<Vec<SocketAddr>, Fault> {
    if let Ok(address) = settings.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, settings.port)]);
    }
    let lookup = tokio::net::lookup_host((settings.host.as_str(), settings.port));
    let found: Vec<SocketAddr> = match timeout_at(deadline, lookup).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(e)) => return Err(not_found(endpoint).because(e)),
        Err(_) => return Err(not_found(endpoint).because("the resolver does not answer")),
    };
    if found.is_empty() { Err(not_found(endpoint)) } else { Ok(found) }
}

/// Requests are small and each waits for its answer, so none may wait to be merged with another.
fn tune(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (time, interval) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(time).with_interval(interval);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

fn unreachable(endpoint: &str) -> Fault {
    Fault::new(FaultClass::Unreachable, Code::Unreachable, format!("cannot connect to {endpoint}"))
}

fn not_found(endpoint: &str) -> Fault {
    let text = format!("no address for the host of {endpoint}");
    Fault::new(FaultClass::Unreachable, Code::HostNotFound, text)
}
