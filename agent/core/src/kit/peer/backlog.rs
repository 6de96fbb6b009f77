//! An address to which a connection is never completed, as behind a firewall that drops.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// How long a connection on the loopback may take before it counts as not answered.
const UNANSWERED: Duration = Duration::from_millis(200);

/// Most connections that are tried to fill a backlog of the smallest size.
const MOST_FILLERS: usize = 64;

/// A listener whose backlog is full: the system drops further requests for a connection, so
/// whoever connects waits for his own deadline.
pub struct FullBacklog {
    addr: SocketAddr,
    _listener: TcpListener,
    _fillers: Vec<TcpStream>,
}

impl FullBacklog {
    /// Listens on a free port and fills the backlog.
    ///
    /// # Errors
    /// When there is no port, or the backlog cannot be filled on this system.
    pub async fn start() -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let listener = socket.listen(1)?;
        let addr = listener.local_addr()?;
        let mut fillers = Vec::new();
        for _ in 0..MOST_FILLERS {
            match tokio::time::timeout(UNANSWERED, TcpStream::connect(addr)).await {
                Ok(stream) => fillers.push(stream?),
                Err(_) => return Ok(Self { addr, _listener: listener, _fillers: fillers }),
            }
        }
        Err(io::Error::other("the backlog of a listener cannot be filled here"))
    }

    /// Where nothing answers.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}
