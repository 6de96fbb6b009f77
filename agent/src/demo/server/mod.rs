//! The Modbus TCP server of a simulated station: it listens while the station can be reached and
//! keeps its port, refusing, while it cannot.

mod codec;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lineside_driver_modbus::wire::Inbox;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Plant, Station};

/// Connections of one station; one more is closed at once.
const MOST_CONNECTIONS: usize = 32;
/// A client that asks nothing for so long has left.
const IDLE: Duration = Duration::from_secs(300);
/// Longest time to take an answer.
const WRITE: Duration = Duration::from_secs(5);
/// Wait after an accept that failed, e.g. for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A port of the loopback address, kept for one station as long as this lives.
#[derive(Debug)]
pub struct Seat {
    /// Bound but never listening: connections are refused unless [`Seat::listen`]'s socket is
    /// there too, and nobody else gets the port.
    _keeper: TcpSocket,
    address: SocketAddr,
}

impl Seat {
    /// Takes a free port.
    ///
    /// # Errors
    /// The system has none.
    pub fn take() -> io::Result<Self> {
        let keeper = socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = keeper.local_addr()?;
        Ok(Self { _keeper: keeper, address })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    fn listen(&self) -> io::Result<TcpListener> {
        socket(self.address)?.listen(16)
    }
}

/// A bound socket that shares its port with the others of the seat, and with no stranger:
/// SO_REUSEADDR would let one in as long as nobody listens.
fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Serves a station until dropped.
///
/// # Errors
/// The port cannot be listened on.
pub async fn serve(plant: Arc<Plant>, station: Station, seat: Seat) -> io::Result<()> {
    loop {
        let (reachable, change) = plant.reachable(station);
        if reachable {
            let listener = seat.listen()?;
            tokio::select! {
                () = accept(&listener, &plant, station) => {}
                () = until(change) => {}
            }
        } else {
            until(change).await;
        }
    }
}

async fn until(change: Option<Instant>) {
    match change {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Accepts for ever; dropping it closes every connection.
async fn accept(listener: &TcpListener, plant: &Arc<Plant>, station: Station) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < MOST_CONNECTIONS => {
                    connections.spawn(converse(stream, plant.clone(), station));
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Answers one client until it leaves, or stops speaking Modbus.
async fn converse(mut stream: TcpStream, plant: Arc<Plant>, station: Station) {
    // Only latency is lost when it cannot be set.
    let _ = stream.set_nodelay(true);
    let mut inbox = Inbox::default();
    loop {
        match timeout(IDLE, stream.read(inbox.room())).await {
            Ok(Ok(count)) if count > 0 => inbox.filled(count),
            _ => return,
        }
        loop {
            let answer = match inbox.take() {
                Ok(Some(frame)) => codec::answer(&frame, |unit| plant.image(station, unit)),
                Ok(None) => break,
                Err(_) => return,
            };
            match timeout(WRITE, stream.write_all(&answer)).await {
                Ok(Ok(())) => {}
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    async fn connect(port: u16) -> io::Result<TcpStream> {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await
    }

    #[tokio::test]
    async fn a_seat_refuses_until_it_listens_and_again_after() {
        let seat = Seat::take().unwrap();
        for _ in 0..3 {
            let refused = connect(seat.port()).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            let listener = seat.listen().unwrap();
            connect(seat.port()).await.unwrap();
            drop(listener);
        }
        let taken = std::net::TcpListener::bind(seat.address).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn requests_sent_together_are_answered_in_order_and_garbage_ends_the_connection() {
        let seat = Seat::take().unwrap();
        let port = seat.port();
        let server = tokio::spawn(serve(Plant::start(1), Station::Furnace, seat));
        let mut client = loop {
            if let Ok(client) = connect(port).await {
                break client;
            }
            tokio::task::yield_now().await;
        };
        let mut both = vec![0, 7, 0, 0, 0, 6, 1, 3, 0, 2, 0, 2];
        both.extend([0, 8, 0, 0, 0, 6, 2, 6, 0, 0, 0, 0]);
        client.write_all(&both).await.unwrap();
        let mut answers = [0; 13 + 9];
        client.read_exact(&mut answers).await.unwrap();
        // The setpoint starts at 850.0 = 44 54 80 00 (IEEE 754).
        assert_eq!(answers[..13], [0, 7, 0, 0, 0, 7, 1, 3, 4, 0x44, 0x54, 0x80, 0]);
        assert_eq!(answers[13..], [0, 8, 0, 0, 0, 3, 2, 0x86, 1]);
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let rest = client.read(&mut [0; 16]).await;
        assert!(matches!(rest, Ok(0) | Err(_)), "{rest:?}");
        server.abort();
    }
}
