//! Serves HTTP on a listener within bounds: connections, the time that a peer takes to say what
//! it wants, and the time that it leaves an answer lying.
//!
//! Every listener of the agent goes through here, so that no peer holds more of it than one
//! place for a while.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinSet;
use tokio::time::Sleep;

/// What a peer may take. Further connections wait in the kernel until one is free.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at one time.
    pub connections: usize,
    /// Longest time until the head of a request is there, the wait for the next one included.
    pub request: Duration,
    /// Longest time in which a peer takes nothing of an answer.
    pub answer: Duration,
}

/// Serves until dropped; connections end with it.
pub async fn serve<L: Listener>(mut listener: L, routes: Router, bounds: Bounds) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // How one ended is its peer's business.
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            (io, _) = listener.accept(), if connections.len() < bounds.connections => {
                connections.spawn(connection(io, routes.clone(), bounds));
            }
        }
    }
}

async fn connection<S>(io: S, routes: Router, bounds: Bounds)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = Impatient { inner: io, limit: bounds.answer, waiting: None };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.request)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(routes));
    // A peer that breaks off has been told all it wants to know.
    let _ = served.await;
}

/// A connection whose writes fail when the peer takes nothing for too long.
struct Impatient<S> {
    inner: S,
    limit: Duration,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    fn within<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let limit = self.limit;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.within(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.within(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.within(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.inner).poll_shutdown(context);
        self.within(context, closed)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Instant;

    use axum::body::Body;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const SHORT: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(20);

    async fn start(bounds: Bounds) -> (SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endless = || async {
            let chunks = futures::stream::repeat_with(|| Ok::<_, io::Error>(vec![b'x'; 65_536]));
            Body::from_stream(chunks)
        };
        let routes = Router::new().route("/", get(async || "ok")).route("/endless", get(endless));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, routes, bounds));
        (address, server)
    }

    /// What the server says until it closes.
    async fn asked(address: SocketAddr, text: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut said = String::new();
        let end = tokio::time::timeout(LONG, stream.read_to_string(&mut said)).await;
        end.expect("the server closes").unwrap();
        said
    }

    #[tokio::test]
    async fn a_peer_that_does_not_say_what_it_wants_is_let_go_before_and_after_a_request() {
        let bounds = Bounds { connections: 8, request: SHORT, answer: LONG };
        let (address, _server) = start(bounds).await;
        assert_eq!(asked(address, "").await, "");
        assert_eq!(asked(address, "GET / HTTP/1.1\r\nHost: h").await, "");
        let idle = asked(address, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(idle.starts_with("HTTP/1.1 200") && idle.ends_with("ok"), "{idle}");
    }

    #[tokio::test]
    async fn a_peer_that_takes_no_answer_is_let_go() {
        let bounds = Bounds { connections: 1, request: LONG, answer: SHORT };
        let (address, _server) = start(bounds).await;
        let mut deaf = TcpStream::connect(address).await.unwrap();
        deaf.write_all(b"GET /endless HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        // The only place is free again without a byte being read.
        let next = asked(address, "GET / HTTP/1.0\r\n\r\n").await;
        assert!(next.ends_with("ok"), "{next}");
    }

    #[tokio::test]
    async fn connections_beyond_the_bound_wait_for_a_place() {
        let bounds = Bounds { connections: 2, request: Duration::from_secs(1), answer: LONG };
        let (address, _server) = start(bounds).await;
        let begun = Instant::now();
        let _held = [
            TcpStream::connect(address).await.unwrap(),
            TcpStream::connect(address).await.unwrap(),
        ];
        let next = asked(address, "GET / HTTP/1.0\r\n\r\n").await;
        assert!(next.ends_with("ok"), "{next}");
        assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    }
}
