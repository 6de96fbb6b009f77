//! A driver that is dialled: it listens on UDP for `device point value [time]` and learns its
//! devices by itself.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use lineside_core::driver::{Driver, Ended, Reading, SessionContext, Update};
use lineside_core::kit::driver::{ListenerCase, Session, check_listener};
use lineside_core::{Batch, Clock, Fault, FaultClass, Origin, Sample, StatusCode, Value};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{Device, Point, Protocol};
use tokio::net::UdpSocket;

use crate::device_at;

/// Most devices that one session learns.
const MAX_LEARNED: usize = 32;

/// Longest datagram that can be right; a longer one is cut and thereby wrong.
const MAX_DATAGRAM: usize = 256;

pub struct ListenDriver;

impl Driver for ListenDriver {
    fn protocol(&self) -> &'static str {
        "TestListen"
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
        // What speaks within one request timeout is what there is to read.
        Box::pin(async move {
            let socket = bind(&device).await?;
            let mut readings: Vec<_> = device.points.iter().enumerate().map(silent).collect();
            let until = tokio::time::Instant::now() + device.timeouts.request;
            let mut buffer = [0; MAX_DATAGRAM + 1];
            while let Ok(Ok(n)) = tokio::time::timeout_at(until, socket.recv(&mut buffer)).await {
                let Some(said) = parse(&buffer[..n]) else { continue };
                let Some(at) = device.points.iter().position(|p| *p.name == *said.point) else {
                    continue;
                };
                readings[at].raw = buffer[..n].to_vec();
                readings[at].value = Value::F64(said.value);
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

fn silent((point, of): (usize, &Point)) -> Reading {
    Reading {
        point,
        wire_address: of.name.to_string(),
        raw: Vec::new(),
        value: Value::Null,
        status: StatusCode::BAD_TIMEOUT,
        time: 0,
        fault: None,
    }
}

async fn bind(device: &Device) -> Result<UdpSocket, Fault> {
    let Protocol::ModbusTcp(at) = &device.protocol else { unreachable!("see device_at") };
    UdpSocket::bind((at.host.as_str(), at.port)).await.map_err(|error| {
        let text = format!("listen at {}", at.endpoint());
        Fault::new(FaultClass::Unreachable, Code::Unreachable, text).because(error)
    })
}

async fn run(device: Arc<Device>, mut context: SessionContext) -> Fault {
    let lost = |error| {
        Fault::new(FaultClass::Unreachable, Code::Unreachable, "receive datagrams").because(error)
    };
    let socket = match bind(&device).await {
        Ok(socket) => socket,
        Err(fault) => return fault,
    };
    match socket.local_addr() {
        Ok(at) => context.emit.connected(&at.to_string()),
        Err(error) => return lost(error),
    }
    let mut now = Update { device, origin: context.origin.clone() };
    let mut learned: HashMap<String, Arc<Origin>> = HashMap::new();
    let mut can_update = true;
    let mut buffer = [0; MAX_DATAGRAM + 1];
    loop {
        let n = tokio::select! {
            changed = context.updates.changed(), if can_update => {
                match changed {
                    Ok(()) => {
                        now = context.updates.borrow_and_update().clone();
                        for (name, origin) in &mut learned {
                            *origin = below(&now, name);
                        }
                    }
                    Err(_) => can_update = false,
                }
                continue;
            }
            received = socket.recv(&mut buffer) => match received {
                Ok(n) => n,
                Err(error) => return lost(error),
            },
        };
        let time = context.clock.now();
        let Some(said) = parse(&buffer[..n]) else { continue };
        let Some(point) = now.device.points.iter().position(|p| *p.name == *said.point) else {
            continue;
        };
        let origin = match learned.get(said.device) {
            Some(origin) => origin.clone(),
            None if learned.len() < MAX_LEARNED => {
                let origin = below(&now, said.device);
                learned.insert(said.device.to_owned(), origin.clone());
                origin
            }
            None => continue,
        };
        let mut batch = Batch::with_capacity(origin, context.epoch, context.clock.quality(), 1);
        batch.push(Sample {
            point: point as u32,
            value: Value::F64(said.value),
            status: StatusCode::GOOD,
            source_time: said.time,
            agent_time: time,
        });
        context.emit.emit(batch).await;
    }
}

/// The origin of a device learned behind the DeviceConnection.
fn below(now: &Update, name: &str) -> Arc<Origin> {
    Arc::new(Origin::new(
        now.device.key.clone(),
        Some(name.into()),
        now.origin.points.clone(),
        now.device.location.clone(),
    ))
}

struct Said<'a> {
    device: &'a str,
    point: &'a str,
    value: f64,
    time: Option<i64>,
}

/// `device point value [time in ns since 1970]`
fn parse(datagram: &[u8]) -> Option<Said<'_>> {
    if datagram.len() > MAX_DATAGRAM {
        return None;
    }
    let mut words = std::str::from_utf8(datagram).ok()?.split(' ');
    let (device, point, value) = (words.next()?, words.next()?, words.next()?);
    let time = words.next().map(str::parse).transpose().ok()?;
    let is_name = !device.is_empty()
        && device.len() <= 63
        && device.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !is_name || words.next().is_some() {
        return None;
    }
    let value: f64 = value.parse().ok()?;
    value.is_finite().then_some(Said { device, point, value, time })
}

pub struct ListenCase(pub Arc<dyn Driver>);

impl ListenerCase for ListenCase {
    fn driver(&self) -> Arc<dyn Driver> {
        self.0.clone()
    }

    fn device(&self, bind: SocketAddr) -> Device {
        device_at(bind)
    }

    fn good(&self) -> Vec<Vec<u8>> {
        vec![b"meter-1 a 21.5".to_vec(), b"meter-1 b 7 1764000000000000001".to_vec()]
    }

    fn hostile(&self) -> Vec<Vec<u8>> {
        let mut long = b"meter-1 a 1".to_vec();
        long.resize(MAX_DATAGRAM + 1, b'1');
        vec![
            b"".to_vec(),
            b"meter-1 a".to_vec(),
            b"meter-1 a NaN".to_vec(),
            b"meter-1 c 1".to_vec(),
            b"METER a 1".to_vec(),
            b"meter-1 a 1 soon".to_vec(),
            b"meter-1 a 1 1 1".to_vec(),
            b"meter-1 a 1\xff".to_vec(),
            long,
        ]
    }

    fn learned(&self, n: u64) -> Option<Vec<u8>> {
        Some(format!("meter-{n} a {n}").into_bytes())
    }

    fn max_learned(&self) -> usize {
        MAX_LEARNED
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_listens_and_learns_keeps_the_contract() {
    check_listener(&ListenCase(Arc::new(ListenDriver))).await.assert();
}

/// `SMP-4`
#[tokio::test(flavor = "multi_thread")]
async fn a_sample_has_a_source_time_exactly_when_the_source_gave_one() {
    let case = ListenCase(Arc::new(ListenDriver));
    let session = Session::start(&case.driver(), case.device(([127, 0, 0, 1], 0).into()));
    let limit = std::time::Duration::from_secs(10);
    assert!(session.recorder.wait_until(limit, |r| !r.endpoints().is_empty()).await);
    let at: SocketAddr = session.recorder.endpoints()[0].parse().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for (i, datagram) in case.good().iter().enumerate() {
        socket.send_to(datagram, at).await.unwrap();
        assert!(session.recorder.wait_until(limit, |r| r.good() > i as u64).await);
    }
    let samples = session.recorder.samples();
    let times: Vec<_> = samples.iter().map(|r| r.sample.source_time).collect();
    assert_eq!(times, [None, Some(1_764_000_000_000_000_001)]);
    assert_eq!(samples[0].sample.time(), samples[0].sample.agent_time);
    assert_eq!(&*samples[0].origin.path, "plant/press/meter-1");
}
