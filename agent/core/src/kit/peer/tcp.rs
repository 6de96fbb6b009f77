//! A TCP listener that plays a [`Script`] on every connection and counts.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Owned, Script, Then};

#[derive(Default)]
struct Counters {
    accepts: AtomicUsize,
    sent: AtomicU64,
    received: AtomicU64,
}

/// A listener on 127.0.0.1 with a script. It ends when it is dropped.
pub struct Peer {
    addr: SocketAddr,
    counters: Arc<Counters>,
    open: Arc<watch::Sender<usize>>,
    _task: Owned,
}

impl Peer {
    /// Listens on a free port.
    ///
    /// # Errors
    /// When there is no port to be had.
    pub async fn start(script: Script) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let counters = Arc::new(Counters::default());
        let open = Arc::new(watch::Sender::new(0));
        let task = tokio::spawn(accept(listener, script, counters.clone(), open.clone()));
        Ok(Self { addr, counters, open, _task: Owned(task) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections accepted so far.
    pub fn accepts(&self) -> usize {
        self.counters.accepts.load(Ordering::SeqCst)
    }

    /// Bytes sent so far, over all connections.
    pub fn sent(&self) -> u64 {
        self.counters.sent.load(Ordering::SeqCst)
    }

    /// Bytes received so far, over all connections.
    pub fn received(&self) -> u64 {
        self.counters.received.load(Ordering::SeqCst)
    }

    /// Connections that neither side has closed.
    pub fn open(&self) -> usize {
        *self.open.borrow()
    }

    /// Waits until no connection is open, at most `within`; whether it came to that.
    pub async fn wait_closed(&self, within: Duration) -> bool {
        let mut open = self.open.subscribe();
        tokio::time::timeout(within, open.wait_for(|n| *n == 0)).await.is_ok_and(|r| r.is_ok())
    }

    /// Waits until at least one connection is open, at most `within`; whether it came to that.
    pub async fn wait_open(&self, within: Duration) -> bool {
        let mut open = self.open.subscribe();
        tokio::time::timeout(within, open.wait_for(|n| *n > 0)).await.is_ok_and(|r| r.is_ok())
    }
}

/// Counts one connection as open for as long as it lives.
struct Open(Arc<watch::Sender<usize>>);

impl Open {
    fn new(open: &Arc<watch::Sender<usize>>) -> Self {
        open.send_modify(|n| *n += 1);
        Self(open.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

async fn accept(
    listener: TcpListener,
    script: Script,
    counters: Arc<Counters>,
    open: Arc<watch::Sender<usize>>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                counters.accepts.fetch_add(1, Ordering::SeqCst);
                let (script, counters, open) = (script.clone(), counters.clone(), Open::new(&open));
                connections.spawn(async move {
                    // An error only says that the other side has gone.
                    let _ = play(stream, &script, &counters).await;
                    drop(open);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn play(mut stream: TcpStream, script: &Script, counters: &Counters) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    if script.after_request {
        let n = stream.read(&mut buffer).await?;
        counters.received.fetch_add(n as u64, Ordering::SeqCst);
        if n == 0 {
            return Ok(());
        }
    }
    let (mut from, mut to) = stream.split();
    let send = async {
        for _ in 0..script.times {
            to.write_all(&script.send).await?;
            counters.sent.fetch_add(script.send.len() as u64, Ordering::SeqCst);
        }
        match script.then {
            Then::Silence => std::future::pending::<io::Result<()>>().await,
            Then::Close | Then::Reset => Ok(()),
        }
    };
    let receive = async {
        loop {
            let n = from.read(&mut buffer).await?;
            counters.received.fetch_add(n as u64, Ordering::SeqCst);
            if n == 0 {
                return Ok::<(), io::Error>(());
            }
        }
    };
    tokio::select! {
        done = send => done?,
        done = receive => done?,
    }
    if script.then == Then::Reset {
        stream.set_zero_linger()?;
    }
    Ok(())
}
