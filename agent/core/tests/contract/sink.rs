//! A small real sink: after the remote's `hello`, it sends `offset number`; the remote answers
//! `ok offset` or `no offset reason`.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use lineside_core::driver::Ended;
use lineside_core::kit::sink::{Remote, SinkCase, check};
use lineside_core::kit::{number_of, numbered_batch, numbered_origin};
use lineside_core::sink::{Guarantee, Outcome, RecordId, Sink, SinkContext};
use lineside_core::{Batch, Fault, FaultClass, StatusCode, TimeQuality};
use lineside_crds::diagnostics::Code;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use crate::lines::Lines;

/// Records that may wait for their answer.
const WINDOW: usize = 32;

/// Longest wait for the remote.
const DEADLINE: Duration = Duration::from_millis(600);

/// A number that the remote refuses.
const POISON: i64 = -666;

pub struct LineSink(pub SocketAddr);

impl Sink for LineSink {
    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn ordered(&self) -> bool {
        true
    }

    fn session(&self, context: SinkContext) -> BoxFuture<'static, Ended> {
        let remote = self.0;
        Box::pin(async move {
            let cancel = context.cancel.clone();
            tokio::select! {
                biased;
                () = cancel.cancelled() => Ended::Cancelled,
                fault = run(remote, context) => Ended::Failed(fault),
            }
        })
    }
}

async fn run(remote: SocketAddr, mut context: SinkContext) -> Fault {
    let stream = match timeout(DEADLINE, TcpStream::connect(remote)).await {
        Err(_) => return Fault::new(FaultClass::Unreachable, Code::SinkTimeout, "connect"),
        Ok(Err(error)) => {
            let fault = Fault::new(FaultClass::Unreachable, Code::SinkUnavailable, "connect");
            return fault.because(error);
        }
        Ok(Ok(stream)) => stream,
    };
    let (from, mut to) = stream.into_split();
    let mut lines = Lines::new(from);
    match timeout(DEADLINE, lines.next()).await {
        Err(_) => return silent(),
        Ok(Ok(line)) if line == "hello" => context.state.connected(&remote.to_string()),
        Ok(Ok(_)) => return wrong("the greeting"),
        Ok(Err(error)) => return wrong("the greeting").because(error),
    }
    // What waits for an answer, oldest first, with the time it was sent.
    let mut open: VecDeque<(RecordId, Instant)> = VecDeque::new();
    loop {
        let overdue = open.front().map(|(_, sent)| *sent + DEADLINE);
        tokio::select! {
            line = lines.next() => {
                let line = match line {
                    Ok(line) => line,
                    Err(error) => return wrong("an answer").because(error),
                };
                let Some((offset, outcome)) = parse(&line) else { return wrong("an answer") };
                let answered = open.pop_front().filter(|(id, _)| id.offset == offset);
                let Some((id, _)) = answered else { return wrong("the offset of an answer") };
                context.feed.settle(&id, outcome);
            }
            record = context.feed.next(), if open.len() < WINDOW => {
                let offset = record.id.offset;
                let Some(number) = number_of(&record.batch) else {
                    context.feed.settle(&record.id, Outcome::skipped(record.batch.len()));
                    continue;
                };
                open.push_back((record.id.clone(), Instant::now()));
                let line = format!("{offset} {number}\n");
                match timeout(DEADLINE, to.write_all(line.as_bytes())).await {
                    Err(_) => return silent(),
                    Ok(Err(error)) => return wrong("a write").because(error),
                    Ok(Ok(())) => {}
                }
            }
            () = tokio::time::sleep_until(overdue.unwrap_or_else(Instant::now)),
                if overdue.is_some() => return silent(),
        }
    }
}

fn silent() -> Fault {
    Fault::new(FaultClass::Timeout, Code::SinkSilent, "wait for an answer")
}

fn wrong(what: &str) -> Fault {
    Fault::new(FaultClass::Peer, Code::SinkProtocol, format!("{what} is not what it should be"))
}

fn parse(line: &str) -> Option<(u64, Outcome)> {
    let (word, rest) = line.split_once(' ')?;
    match (word, rest.split_once(' ')) {
        ("ok", None) => Some((rest.parse().ok()?, Outcome::delivered(1))),
        ("no", Some((offset, reason))) => {
            let outcome = Outcome::rejected(1, Code::RecordRejected, reason);
            Some((offset.parse().ok()?, outcome))
        }
        _ => None,
    }
}

/// A real remote of the protocol.
struct LineRemote {
    addr: SocketAddr,
    received: Arc<Mutex<Vec<i64>>>,
    task: tokio::task::JoinHandle<()>,
}

impl LineRemote {
    async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let received = Arc::new(Mutex::new(Vec::new()));
        let into = received.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // An error only says that the client has gone.
                let _ = serve(stream, &into).await;
            }
        });
        Ok(Self { addr, received, task })
    }
}

async fn serve(stream: TcpStream, received: &Mutex<Vec<i64>>) -> io::Result<()> {
    let (from, mut to) = stream.into_split();
    let mut lines = Lines::new(from);
    to.write_all(b"hello\n").await?;
    loop {
        let line = lines.next().await?;
        let (offset, number) = line.split_once(' ').unwrap();
        let number: i64 = number.parse().unwrap();
        let answer = if number == POISON {
            format!("no {offset} not a number of mine\n")
        } else {
            received.lock().unwrap().push(number);
            format!("ok {offset}\n")
        };
        to.write_all(answer.as_bytes()).await?;
    }
}

impl Drop for LineRemote {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Remote for LineRemote {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn received(&self) -> BoxFuture<'_, io::Result<Vec<i64>>> {
        Box::pin(async { Ok(self.received.lock().unwrap().clone()) })
    }
}

/// The line sink, or a broken version of it, for the kit.
pub struct LineCase(pub fn(LineSink) -> Arc<dyn Sink>);

impl SinkCase for LineCase {
    fn sink(&self, remote: SocketAddr) -> Arc<dyn Sink> {
        (self.0)(LineSink(remote))
    }

    fn remote(&self) -> BoxFuture<'_, io::Result<Box<dyn Remote>>> {
        Box::pin(async { Ok(Box::new(LineRemote::start().await?) as Box<dyn Remote>) })
    }

    fn deadline(&self) -> Duration {
        DEADLINE
    }

    fn max_in_flight(&self) -> usize {
        WINDOW
    }

    fn hostile(&self) -> Vec<Vec<u8>> {
        ["hello\nok 4\n", "hello\nok -1\n", "hello\nno 0\n", "hello\n\n", "hello\nok"]
            .map(|s| s.as_bytes().to_vec())
            .to_vec()
    }

    fn poison(&self) -> Option<Arc<Batch>> {
        Some(numbered_batch(&numbered_origin(), POISON))
    }

    fn skipped(&self) -> Option<Arc<Batch>> {
        let mut batch = Batch::with_capacity(numbered_origin(), 1, TimeQuality::Synced, 1);
        batch.push_bad(0, StatusCode::BAD_TIMEOUT, 1);
        Some(Arc::new(batch))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_with_acknowledgements_keeps_the_contract() {
    check(&LineCase(|sink| Arc::new(sink))).await.assert();
}
