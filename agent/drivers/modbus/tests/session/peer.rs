//! A Modbus TCP peer that misbehaves as told. Values of well-behaved servers are read from real
//! ones in the workspace's integration tests; no real server answers late, with a foreign
//! transaction or half a frame.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use lineside_driver_modbus::wire::{Frame, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// One request as the peer got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Number of the request since the peer started, from 0.
    pub number: usize,
    pub transaction: u16,
    pub request: Request,
}

/// What the peer does with it.
#[derive(Debug)]
pub enum Do {
    /// Sends these bytes, perhaps none.
    Send(Vec<u8>),
    /// Sends these bytes and closes the connection.
    SendAndClose(Vec<u8>),
}

/// Value of every register: a function of its address, so a shifted answer is noticed.
pub fn register(address: u16) -> u16 {
    address.wrapping_mul(7).wrapping_add(3)
}

impl Ask {
    /// The right answer.
    pub fn good(&self) -> Vec<u8> {
        let Request { start, quantity, area, .. } = self.request;
        let mut pdu = vec![area.function()];
        let addresses = (0..quantity).map(|i| start + i);
        if area.is_bits() {
            let bits: Vec<bool> = addresses.map(|a| a % 3 == 0).collect();
            pdu.push(u8::try_from(bits.len().div_ceil(8)).unwrap());
            pdu.extend(bits.chunks(8).map(|byte| {
                byte.iter().enumerate().fold(0, |all, (i, on)| all | u8::from(*on) << i)
            }));
        } else {
            pdu.push(u8::try_from(quantity * 2).unwrap());
            pdu.extend(addresses.flat_map(|a| register(a).to_be_bytes()));
        }
        self.frame(self.transaction, self.request.unit, &pdu)
    }

    pub fn exception(&self, code: u8) -> Vec<u8> {
        let function = self.request.area.function() | 0x80;
        self.frame(self.transaction, self.request.unit, &[function, code])
    }

    pub fn frame(&self, transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
        let mut out = transaction.to_be_bytes().to_vec();
        out.extend([0, 0]);
        out.extend(u16::try_from(pdu.len() + 1).unwrap().to_be_bytes());
        out.push(unit);
        out.extend(pdu);
        out
    }

    /// Whether the request reads this address.
    pub fn covers(&self, address: u16) -> bool {
        (self.request.start..self.request.start + self.request.quantity).contains(&address)
    }
}

/// A running peer; it ends when dropped.
pub struct Peer {
    pub port: u16,
    accepts: Arc<AtomicUsize>,
    asks: Arc<Mutex<Vec<Ask>>>,
    _tasks: JoinSet<()>,
}

impl Peer {
    /// A peer that answers as `script` says.
    pub async fn start(script: impl FnMut(&Ask) -> Do + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, script)
    }

    /// The same on a socket that is bound already.
    pub fn on(listener: TcpListener, script: impl FnMut(&Ask) -> Do + Send + 'static) -> Self {
        let port = listener.local_addr().unwrap().port();
        let (accepts, asks) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (accepted, asked) = (accepts.clone(), asks.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let script = Arc::new(Mutex::new(script));
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                let (script, asked) = (script.clone(), asked.clone());
                connections.spawn(serve(stream, asked, move |ask| (script.lock().unwrap())(ask)));
            }
        });
        Self { port, accepts, asks, _tasks: tasks }
    }

    /// Connections accepted so far.
    pub fn accepts(&self) -> usize {
        self.accepts.load(Ordering::SeqCst)
    }

    /// Requests received so far.
    pub fn asks(&self) -> Vec<Ask> {
        self.asks.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    asked: Arc<Mutex<Vec<Ask>>>,
    mut script: impl FnMut(&Ask) -> Do,
) {
    let mut bytes = Vec::new();
    while stream.read_buf(&mut bytes).await.is_ok_and(|n| n > 0) {
        while let Some((frame, used)) = Frame::parse(&bytes).expect("the driver sends frames") {
            let request = Request::parse(&frame).expect("the driver sends read requests");
            let transaction = frame.transaction;
            bytes.drain(..used);
            let ask = {
                let mut all = asked.lock().unwrap();
                let ask = Ask { number: all.len(), transaction, request };
                all.push(ask);
                ask
            };
            let (out, close) = match script(&ask) {
                Do::Send(out) => (out, false),
                Do::SendAndClose(out) => (out, true),
            };
            if stream.write_all(&out).await.is_err() || close {
                return;
            }
        }
    }
}
