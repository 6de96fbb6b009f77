//! A driver that is pushed to: the peer sends `name=value #seq`, the driver acknowledges `#seq`
//! when the batch is captured, and asks `?` (answered `!`) when it has heard nothing for a while.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use lineside_core::driver::{Driver, Ended, Reading, SessionContext, Update};
use lineside_core::kit::Recorder;
use lineside_core::kit::driver::{DriverCase, GoodPeer, Session, Style, check};
use lineside_core::{Batch, Clock, Fault, FaultClass, Origin, StatusCode, SystemClock, Value};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{Device, Point, Protocol};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::device_at;
use crate::lines::Lines;

/// Acknowledgements that may be outstanding before the driver stops reading.
const MAX_OPEN_RECEIPTS: usize = 16;

pub struct PushDriver;

impl Driver for PushDriver {
    fn protocol(&self) -> &'static str {
        "TestPush"
    }

    fn session(&self, device: Arc<Device>, context: SessionContext) -> BoxFuture<'static, Ended> {
        Box::pin(async move {
            let cancel = context.cancel.clone();
            tokio::select! {
                biased;
                () = cancel.cancelled() => Ended::Cancelled,
                fault = run(device, context) => Ended::Failed(fault),
            }
        })
    }

    fn read_once(
        &self,
        device: Arc<Device>,
        clock: Arc<dyn Clock>,
    ) -> BoxFuture<'static, Result<Vec<Reading>, Fault>> {
        Box::pin(async move {
            let (mut lines, _to) = connect(&device).await?;
            let until = Instant::now() + device.timeouts.request;
            let mut readings: Vec<_> = device.points.iter().enumerate().map(unread).collect();
            while let Ok(line) = timeout_at(until, lines.next()).await {
                let line = line.map_err(|e| read_fault(&device, e))?;
                let Some((name, value, _)) = parse(&line) else { continue };
                let Some(at) = device.points.iter().position(|p| *p.name == *name) else {
                    continue;
                };
                readings[at].raw = line.clone().into_bytes();
                readings[at].value = Value::I64(value);
                readings[at].status = StatusCode::GOOD;
                readings[at].time = clock.now();
            }
            Ok(readings)
        })
    }

    fn wire_address(&self, _: &Device, point: &Point) -> String {
        point.name.to_string()
    }
}

fn unread((point, of): (usize, &Point)) -> Reading {
    Reading {
        point,
        wire_address: of.name.to_string(),
        raw: Vec::new(),
        value: Value::Null,
        status: StatusCode::BAD_TIMEOUT,
        time: SystemClock.now(),
        fault: None,
    }
}

fn fault(class: FaultClass, code: Code, device: &Device, what: &str) -> Fault {
    Fault::new(class, code, format!("{what} {}", device.protocol.endpoint()))
}

fn read_fault(device: &Device, error: io::Error) -> Fault {
    let code = match error.kind() {
        io::ErrorKind::InvalidData => Code::ProtocolViolation,
        _ => Code::ConnectionLost,
    };
    fault(FaultClass::Peer, code, device, "read from").because(error)
}

type Connection = (Lines<OwnedReadHalf>, OwnedWriteHalf);

async fn dial(device: &Device) -> Result<TcpStream, Fault> {
    let Protocol::ModbusTcp(at) = &device.protocol else { unreachable!("see device_at") };
    let address = (at.host.as_str(), at.port);
    match timeout(device.timeouts.connect, TcpStream::connect(address)).await {
        Err(_) => Err(fault(FaultClass::Unreachable, Code::ConnectTimeout, device, "connect to")),
        Ok(Err(error)) => {
            let fault = fault(FaultClass::Unreachable, Code::Unreachable, device, "connect to");
            Err(fault.because(error))
        }
        Ok(Ok(stream)) => Ok(stream),
    }
}

async fn greet(device: &Device, stream: TcpStream) -> Result<Connection, Fault> {
    let (from, to) = stream.into_split();
    let mut lines = Lines::new(from);
    match timeout(device.timeouts.request, lines.next()).await {
        Err(_) => Err(fault(FaultClass::Timeout, Code::RequestTimeout, device, "greeting of")),
        Ok(Err(error)) => Err(read_fault(device, error)),
        Ok(Ok(line)) if line == "hello" => Ok((lines, to)),
        Ok(Ok(_)) => Err(fault(FaultClass::Peer, Code::ProtocolViolation, device, "greeting of")),
    }
}

async fn connect(device: &Device) -> Result<Connection, Fault> {
    greet(device, dial(device).await?).await
}

async fn run(device: Arc<Device>, mut context: SessionContext) -> Fault {
    let stream = match dial(&device).await {
        Ok(stream) => stream,
        Err(fault) => return fault,
    };
    let mut now = Update { device, origin: context.origin.clone() };
    let fault = match greet(&now.device, stream).await {
        Ok(connection) => {
            context.emit.connected(&now.device.protocol.endpoint());
            listen(connection, &mut now, &mut context).await
        }
        Err(fault) => fault,
    };
    let mut batch = batch(&now.origin, &context);
    for point in 0..now.device.points.len() as u32 {
        batch.push_bad(point, fault.class.status(), context.clock.now());
    }
    if !batch.is_empty() {
        context.emit.emit(batch).await;
    }
    fault
}

async fn listen(connection: Connection, now: &mut Update, context: &mut SessionContext) -> Fault {
    let (mut lines, mut to) = connection;
    // Receipts complete in the order of the lines, so acknowledgements keep it too.
    let mut receipts = FuturesOrdered::new();
    let mut can_update = true;
    let mut asked = false;
    let mut quiet = Instant::now() + now.device.timeouts.request;
    loop {
        tokio::select! {
            changed = context.updates.changed(), if can_update => match changed {
                Ok(()) => *now = context.updates.borrow_and_update().clone(),
                Err(_) => can_update = false,
            },
            Some((seq, captured)) = receipts.next() => {
                let captured: Result<(), _> = captured;
                if captured.is_ok()
                    && let Err(fault) = write(&mut to, &format!("#{seq}\n"), &now.device).await
                {
                    return fault;
                }
            }
            line = lines.next(), if receipts.len() < MAX_OPEN_RECEIPTS => {
                let time = context.clock.now();
                let line = match line {
                    Ok(line) => line,
                    Err(error) => return read_fault(&now.device, error),
                };
                asked = false;
                quiet = Instant::now() + now.device.timeouts.request;
                if line == "!" {
                    continue;
                }
                let Some((name, value, seq)) = parse(&line) else {
                    return fault(FaultClass::Peer, Code::ProtocolViolation, &now.device, "line of");
                };
                let mut batch = batch(&now.origin, context);
                if let Some(point) = now.device.points.iter().position(|p| *p.name == *name) {
                    batch.push_good(point as u32, Value::I64(value), time);
                    let receipt = context.emit.emit(batch).await;
                    receipts.push_back(async move { (seq, receipt.await) });
                }
            }
            () = tokio::time::sleep_until(quiet) => {
                if asked {
                    return fault(FaultClass::Timeout, Code::RequestTimeout, &now.device, "ask");
                }
                asked = true;
                quiet = Instant::now() + now.device.timeouts.request;
                if let Err(fault) = write(&mut to, "?\n", &now.device).await {
                    return fault;
                }
            }
        }
    }
}

fn batch(origin: &Arc<Origin>, context: &SessionContext) -> Batch {
    Batch::with_capacity(origin.clone(), context.epoch, context.clock.quality(), 1)
}

async fn write(to: &mut OwnedWriteHalf, text: &str, device: &Device) -> Result<(), Fault> {
    match timeout(device.timeouts.request, to.write_all(text.as_bytes())).await {
        Err(_) => Err(fault(FaultClass::Timeout, Code::RequestTimeout, device, "write to")),
        Ok(Err(error)) => {
            Err(fault(FaultClass::Peer, Code::ConnectionLost, device, "write to").because(error))
        }
        Ok(Ok(())) => Ok(()),
    }
}

/// `name=value #seq`
fn parse(line: &str) -> Option<(&str, i64, u64)> {
    let (name, rest) = line.split_once('=')?;
    let (value, seq) = rest.split_once(" #")?;
    Some((name, value.parse().ok()?, seq.parse().ok()?))
}

/// A real peer of the protocol. It pushes what the test says, or both points every 20 ms.
pub struct PushPeer {
    addr: SocketAddr,
    say: mpsc::UnboundedSender<String>,
    acks: watch::Receiver<Vec<u64>>,
    task: tokio::task::JoinHandle<()>,
}

impl PushPeer {
    pub async fn start(by_itself: bool) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let (say, mut said) = mpsc::unbounded_channel();
        let (ack, acks) = watch::channel(Vec::new());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // One client at a time; an error only says that it has gone.
                let _ = serve(stream, &mut said, &ack, by_itself).await;
            }
        });
        Ok(Self { addr, say, acks, task })
    }

    fn push(&self, line: &str) {
        self.say.send(format!("{line}\n")).unwrap();
    }

    fn acks(&self) -> Vec<u64> {
        self.acks.borrow().clone()
    }

    async fn wait_acks(&self, count: usize) -> Vec<u64> {
        let mut acks = self.acks.clone();
        let done = acks.wait_for(|a| a.len() >= count);
        timeout(Duration::from_secs(10), done).await.expect("acknowledgements").unwrap().clone()
    }
}

async fn serve(
    stream: TcpStream,
    said: &mut mpsc::UnboundedReceiver<String>,
    acks: &watch::Sender<Vec<u64>>,
    by_itself: bool,
) -> io::Result<()> {
    let (from, mut to) = stream.into_split();
    let mut lines = Lines::new(from);
    to.write_all(b"hello\n").await?;
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let mut seq = 0;
    loop {
        tokio::select! {
            line = lines.next() => match line?.strip_prefix('#') {
                Some(seq) => acks.send_modify(|a| a.push(seq.parse().unwrap())),
                None => to.write_all(b"!\n").await?,
            },
            Some(line) = said.recv() => to.write_all(line.as_bytes()).await?,
            _ = tick.tick(), if by_itself => {
                seq += 2;
                let text = format!("a={seq} #{seq}\nb={seq} #{}\n", seq + 1);
                to.write_all(text.as_bytes()).await?;
            }
        }
    }
}

impl Drop for PushPeer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl GoodPeer for PushPeer {
    fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// The push driver, or a broken version of it, for the kit.
pub struct PushCase(pub Arc<dyn Driver>);

impl DriverCase for PushCase {
    fn driver(&self) -> Arc<dyn Driver> {
        self.0.clone()
    }

    fn style(&self) -> Style {
        Style::Subscribes
    }

    fn device(&self, peer: SocketAddr) -> Device {
        device_at(peer)
    }

    fn good_peer(&self) -> BoxFuture<'_, io::Result<Box<dyn GoodPeer>>> {
        Box::pin(async { Ok(Box::new(PushPeer::start(true).await?) as Box<dyn GoodPeer>) })
    }

    fn hostile(&self) -> Vec<Vec<u8>> {
        ["hello\na=", "hello\na=one #1\n", "hello\na=1 #-1\n", "hello\n\n", "hello \n"]
            .map(|s| s.as_bytes().to_vec())
            .to_vec()
    }

    fn shortest_answer(&self) -> usize {
        "hello\na=2 #2\n".len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_is_pushed_to_keeps_the_contract() {
    check(&PushCase(Arc::new(PushDriver))).await.assert();
}

async fn pushing() -> (PushPeer, Session) {
    let peer = PushPeer::start(false).await.unwrap();
    let recorder = Recorder::new();
    recorder.withhold_receipts();
    let driver: Arc<dyn Driver> = Arc::new(PushDriver);
    let device = device_at(peer.addr());
    (peer, Session::start_with(&driver, device, recorder, Arc::new(SystemClock)))
}

/// `DRV-13`
#[tokio::test(flavor = "multi_thread")]
async fn the_peer_sees_no_acknowledgement_before_the_batch_is_captured() {
    let (peer, session) = pushing().await;
    for seq in 1..=5 {
        peer.push(&format!("a={} #{seq}", seq * 10));
    }
    let recorder = &session.recorder;
    assert!(recorder.wait_until(Duration::from_secs(10), |r| r.withheld() == 5).await);
    // The session answers the peer meanwhile: it waits for receipts, it is not stuck.
    recorder.wait_until(Duration::from_millis(900), |_| session.is_over()).await;
    assert!(!session.is_over());
    assert_eq!(peer.acks(), Vec::<u64>::new());
    recorder.grant_receipts();
    assert_eq!(peer.wait_acks(5).await, [1, 2, 3, 4, 5]);
    let values: Vec<_> = recorder.samples().into_iter().map(|s| s.sample.value).collect();
    assert_eq!(values, [10, 20, 30, 40, 50].map(Value::I64));
}

/// `DRV-13`
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_not_captured_is_never_acknowledged() {
    let (peer, session) = pushing().await;
    peer.push("a=1 #1");
    let recorder = &session.recorder;
    assert!(recorder.wait_until(Duration::from_secs(10), |r| r.withheld() == 1).await);
    recorder.refuse_receipts();
    peer.push("a=2 #2");
    assert!(recorder.wait_until(Duration::from_secs(10), |r| r.good() == 2).await);
    recorder.grant_receipts();
    peer.push("a=3 #3");
    assert_eq!(peer.wait_acks(1).await, [3]);
}

/// `DRV-7`
#[tokio::test(flavor = "multi_thread")]
async fn outstanding_receipts_push_back_on_the_peer() {
    let (peer, session) = pushing().await;
    for seq in 0..100 {
        peer.push(&format!("a={seq} #{seq}"));
    }
    let recorder = &session.recorder;
    let full = |r: &Recorder| r.withheld() == MAX_OPEN_RECEIPTS;
    assert!(recorder.wait_until(Duration::from_secs(10), full).await);
    recorder.wait_until(Duration::from_millis(100), |r| r.withheld() > MAX_OPEN_RECEIPTS).await;
    assert_eq!(recorder.withheld(), MAX_OPEN_RECEIPTS);
    recorder.grant_receipts();
    assert_eq!(peer.wait_acks(100).await, (0..100).collect::<Vec<u64>>());
}
