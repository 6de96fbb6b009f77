//! A TCP proxy between sink and broker that reads along and can be cut.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

pub struct Proxy {
    pub port: u16,
    counts: Arc<Mutex<Counts>>,
    task: JoinHandle<()>,
}

/// Packets that went through. Both directions are counted where the proxy reads them, so
/// `in_flight` is never less than what the sink believes.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    /// PUBLISH with QoS 1 from the sink.
    pub published: i64,
    /// PUBACK from the broker.
    pub acknowledged: i64,
    /// Most of the former without the latter.
    pub most_in_flight: i64,
    /// Connections accepted.
    pub connections: u32,
}

impl Proxy {
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serving(listener, to, None)
    }

    /// A slow line to the broker: so many bytes per second, and hardly any buffer of its own.
    pub fn throttled(to: u16, bytes_per_second: usize) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(PIECE as u32).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let wait = Duration::from_secs_f64(PIECE as f64 / bytes_per_second as f64);
        Self::serving(socket.listen(8).unwrap(), to, Some(wait))
    }

    fn serving(listener: TcpListener, to: u16, wait: Option<Duration>) -> Self {
        let port = listener.local_addr().unwrap().port();
        let counts = Arc::new(Mutex::new(Counts::default()));
        let task = tokio::spawn(serve(listener, to, wait, counts.clone()));
        Self { port, counts, task }
    }

    pub fn counts(&self) -> Counts {
        *self.counts.lock().unwrap()
    }

    /// Waits until a condition on the counts holds.
    pub async fn until(&self, condition: impl Fn(Counts) -> bool) {
        let deadline = tokio::time::Instant::now() + crate::pipeline::PATIENCE;
        while !condition(self.counts()) {
            assert!(tokio::time::Instant::now() < deadline, "condition never holds");
            tokio::task::yield_now().await;
        }
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        self.task.abort();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Bytes that a slow line passes on at once.
const PIECE: usize = 4 * 1024;

async fn serve(listener: TcpListener, to: u16, wait: Option<Duration>, counts: Arc<Mutex<Counts>>) {
    // One connection at a time is what a sink makes; all of it ends with this future.
    loop {
        let (sink, _) = listener.accept().await.unwrap();
        counts.lock().unwrap().connections += 1;
        let broker = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
        let (sink_read, sink_write) = sink.into_split();
        let (broker_read, broker_write) = broker.into_split();
        let up = pump(sink_read, broker_write, wait, |first| {
            // Type 3 is PUBLISH, and bit 1 of its flags is QoS 1.
            if first >> 4 == 3 && first & 0b10 != 0 {
                let mut counts = counts.lock().unwrap();
                counts.published += 1;
                let in_flight = counts.published - counts.acknowledged;
                counts.most_in_flight = counts.most_in_flight.max(in_flight);
            }
        });
        let down = pump(broker_read, sink_write, None, |first| {
            if first >> 4 == 4 {
                counts.lock().unwrap().acknowledged += 1;
            }
        });
        tokio::select! { () = up => {} () = down => {} }
    }
}

/// Forwards bytes, with a wait after every piece on a slow line, and shows the first byte of every MQTT packet in them.
async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    wait: Option<Duration>,
    mut packet: impl FnMut(u8),
) {
    let mut seen = Vec::new();
    let mut buffer = vec![0; if wait.is_some() { PIECE } else { 16 * 1024 }];
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        seen.extend_from_slice(&buffer[..count]);
        while let Some(length) = packet_length(&seen) {
            if seen.len() < length {
                break;
            }
            packet(seen[0]);
            seen.drain(..length);
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        if let Some(wait) = wait {
            tokio::time::sleep(wait).await;
        }
    }
}

/// Length of the packet at the front, once its fixed header is there (MQTT 5, 1.5.5).
fn packet_length(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for (i, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * i);
        if byte & 0x80 == 0 {
            return Some(2 + i + length);
        }
    }
    None
}
