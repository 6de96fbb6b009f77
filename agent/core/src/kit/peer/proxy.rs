//! A TCP proxy in front of a real peer that injects faults between two real parts.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Owned;

/// What the proxy lets through. Bytes that are held stay in order and go on later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Everything.
    Pass,
    /// Nothing, in both directions; connections stay open.
    Hold,
    /// Requests pass, replies of the peer are held.
    HoldReplies,
    /// Replies pass, requests are held: the peer never sees them.
    HoldRequests,
}

#[derive(Clone, Copy)]
struct State {
    flow: Flow,
    /// Bytes of replies that still pass; `None` = any number.
    replies_left: Option<usize>,
    /// Connections of an earlier generation are closed.
    generation: u64,
}

/// A proxy on 127.0.0.1 towards one target. It ends, with its connections, when it is dropped.
pub struct Proxy {
    addr: SocketAddr,
    state: Arc<watch::Sender<State>>,
    accepts: Arc<AtomicUsize>,
    open: Arc<watch::Sender<usize>>,
    _task: Owned,
}

impl Proxy {
    /// Listens on a free port; connects to `target` once per accepted connection.
    ///
    /// # Errors
    /// When there is no port to be had.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let start = State { flow: Flow::Pass, replies_left: None, generation: 0 };
        let state = Arc::new(watch::Sender::new(start));
        let accepts = Arc::new(AtomicUsize::new(0));
        let open = Arc::new(watch::Sender::new(0));
        let shared = Shared { target, state: state.clone(), open: open.clone() };
        let task = tokio::spawn(accept(listener, shared, accepts.clone()));
        Ok(Self { addr, state, accepts, open, _task: Owned(task) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections accepted so far.
    pub fn accepts(&self) -> usize {
        self.accepts.load(Ordering::SeqCst)
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        *self.open.borrow()
    }

    /// Waits until no connection is open, at most `within`; whether it came to that.
    pub async fn wait_closed(&self, within: Duration) -> bool {
        let mut open = self.open.subscribe();
        tokio::time::timeout(within, open.wait_for(|n| *n == 0)).await.is_ok_and(|r| r.is_ok())
    }

    /// Changes what passes from now on, on all connections.
    pub fn set(&self, flow: Flow) {
        self.state.send_modify(|s| {
            s.flow = flow;
            s.replies_left = None;
        });
    }

    /// Lets `bytes` more bytes of replies pass (over all connections), then holds replies: half a
    /// frame, then silence.
    pub fn replies_left(&self, bytes: usize) {
        self.state.send_modify(|s| {
            s.flow = Flow::Pass;
            s.replies_left = Some(bytes);
        });
    }

    /// Closes every connection; new ones are accepted.
    pub fn cut(&self) {
        self.state.send_modify(|s| s.generation += 1);
    }
}

#[derive(Clone)]
struct Shared {
    target: SocketAddr,
    state: Arc<watch::Sender<State>>,
    open: Arc<watch::Sender<usize>>,
}

async fn accept(listener: TcpListener, shared: Shared, accepts: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                accepts.fetch_add(1, Ordering::SeqCst);
                let shared = shared.clone();
                connections.spawn(async move {
                    shared.open.send_modify(|n| *n += 1);
                    // An error only says that one side has gone.
                    let _ = serve(stream, &shared).await;
                    shared.open.send_modify(|n| *n -= 1);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(client: TcpStream, shared: &Shared) -> io::Result<()> {
    let generation = shared.state.borrow().generation;
    let mut watch_cut = shared.state.subscribe();
    let target = TcpStream::connect(shared.target).await?;
    client.set_nodelay(true)?;
    target.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_target, to_target) = target.into_split();
    tokio::select! {
        done = forward(from_client, to_target, shared, Direction::Request) => done,
        done = forward(from_target, to_client, shared, Direction::Reply) => done,
        _ = watch_cut.wait_for(|s| s.generation != generation) => Ok(()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Reply,
}

/// Copies one direction until one side closes. Reading goes on only when writing may, so a held
/// connection pushes back on its sender as a stalled peer does.
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    direction: Direction,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    let mut state = shared.state.subscribe();
    loop {
        let n = from.read(&mut buffer).await?;
        let mut rest = buffer.get(..n).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        while !rest.is_empty() {
            let _ = state.wait_for(|s| passes(s, direction)).await;
            let granted = take_budget(&shared.state, direction, rest.len());
            let (now, later) = rest.split_at(granted);
            to.write_all(now).await?;
            rest = later;
        }
    }
}

fn passes(state: &State, direction: Direction) -> bool {
    match (state.flow, direction) {
        (Flow::Hold, _)
        | (Flow::HoldReplies, Direction::Reply)
        | (Flow::HoldRequests, Direction::Request) => false,
        (_, Direction::Reply) => state.replies_left != Some(0),
        (_, Direction::Request) => true,
    }
}

/// How many of `want` bytes may pass now; takes them off the budget of replies.
fn take_budget(state: &watch::Sender<State>, direction: Direction, want: usize) -> usize {
    let mut granted = want;
    state.send_if_modified(|s| {
        if !passes(s, direction) {
            granted = 0;
        } else if let (Direction::Reply, Some(left)) = (direction, s.replies_left.as_mut()) {
            granted = want.min(*left);
            *left -= granted;
        }
        false
    });
    granted
}
