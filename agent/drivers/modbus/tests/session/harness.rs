//! A session under test: device, collected output, the task that runs it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use lineside_core::driver::{Driver, Emit, Ended, Receipt, SessionContext, Update};
use lineside_core::{Batch, Origin, Sample, StatusCode, SystemClock, Value};
use lineside_crds::modbus::{ByteOrder, Settings};
use lineside_crds::model::{
    Address, Availability, Device, Mode, ObjectKey, Point, Protocol, Timeouts,
};
use lineside_driver_modbus::ModbusTcp;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Longest wait for anything in a test.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A device on this machine; points are name, address and period in milliseconds.
pub fn device(port: u16, points: &[(&str, &str, u64)]) -> Device {
    Device {
        key: ObjectKey::new("plant", "press"),
        uid: None,
        generation: None,
        labels: Default::default(),
        mode: Mode::Running,
        availability: Availability::Continuous,
        protocol: Protocol::ModbusTcp(Settings {
            host: "127.0.0.1".into(),
            port,
            unit_id: 1,
            byte_order: ByteOrder::BigEndian,
            max_registers: 125,
            max_bits: 2000,
            max_gap: 16,
        }),
        points: points
            .iter()
            .map(|(name, address, millis)| Point {
                name: (*name).into(),
                address: Address::Modbus(address.parse().unwrap()),
                interval: Duration::from_millis(*millis),
                group: None,
                unit: None,
            })
            .collect(),
        timeouts: Timeouts { connect: Duration::from_secs(2), request: Duration::from_millis(200) },
        max_requests_per_second: None,
        placement: Default::default(),
        location: Arc::new([]),
    }
}

pub fn origin(device: &Device) -> Arc<Origin> {
    let names = device.points.iter().map(|p| p.name.clone()).collect();
    Arc::new(Origin::new(device.key.clone(), None, names, device.location.clone()))
}

/// Collects what a session emits; takes batches only while it has permits.
pub struct Collected {
    batches: Mutex<Vec<(Instant, Batch)>>,
    endpoints: Mutex<Vec<String>>,
    permits: Semaphore,
    looked_at: AtomicBool,
    asked_for_raw: AtomicUsize,
    raw: Mutex<Vec<(String, Vec<u8>)>>,
}

impl Emit for Collected {
    fn emit(&self, batch: Batch) -> BoxFuture<'_, Receipt> {
        let taken = self.permits.acquire().map(move |permit| {
            permit.unwrap().forget();
            self.batches.lock().unwrap().push((Instant::now(), batch));
            Receipt::captured()
        });
        taken.boxed()
    }

    fn connected(&self, endpoint: &str) {
        self.endpoints.lock().unwrap().push(endpoint.to_owned());
    }

    fn raw_wanted(&self) -> bool {
        self.asked_for_raw.fetch_add(1, Ordering::Relaxed);
        self.looked_at.load(Ordering::Relaxed)
    }

    fn raw(&self, origin: &Arc<Origin>, point: u32, bytes: &[u8]) {
        let name = origin.point(point).unwrap().to_string();
        self.raw.lock().unwrap().push((name, bytes.to_vec()));
    }
}

impl Collected {
    pub fn with_permits(permits: usize) -> Arc<Self> {
        Arc::new(Self {
            batches: Mutex::default(),
            endpoints: Mutex::default(),
            permits: Semaphore::new(permits),
            looked_at: AtomicBool::new(false),
            asked_for_raw: AtomicUsize::new(0),
            raw: Mutex::default(),
        })
    }

    /// Somebody looks at raw bytes from now on.
    pub fn look(&self) {
        self.looked_at.store(true, Ordering::Relaxed);
    }

    /// How often the session asked whether somebody looks.
    pub fn asked_for_raw(&self) -> usize {
        self.asked_for_raw.load(Ordering::Relaxed)
    }

    /// Raw bytes so far with the name of their point.
    pub fn raw(&self) -> Vec<(String, Vec<u8>)> {
        self.raw.lock().unwrap().clone()
    }

    /// Lets the session hand over more batches.
    pub fn permit(&self, count: usize) {
        self.permits.add_permits(count);
    }

    pub fn endpoints(&self) -> Vec<String> {
        self.endpoints.lock().unwrap().clone()
    }

    pub fn batches(&self) -> Vec<Batch> {
        self.batches.lock().unwrap().iter().map(|(_, batch)| batch.clone()).collect()
    }

    /// When each sample of a point was handed over, and its status.
    pub fn handed_over(&self, point: &str) -> Vec<(Instant, StatusCode)> {
        let batches = self.batches.lock().unwrap();
        let all = batches.iter().flat_map(|(at, b)| {
            let origin = b.origin().clone();
            b.iter()
                .filter(move |s| origin.point(s.point).is_some_and(|name| **name == *point))
                .map(|s| (*at, s.status))
        });
        all.collect()
    }

    /// Every sample so far with the name of its point.
    pub fn samples(&self) -> Vec<(String, Sample)> {
        let batches = self.batches.lock().unwrap();
        let named = batches.iter().flat_map(|(_, b)| {
            b.iter().map(|s| (b.origin().point(s.point).unwrap().to_string(), s.to_sample()))
        });
        named.collect()
    }

    /// The samples of one point as value and status.
    pub fn of(&self, point: &str) -> Vec<(Value, StatusCode)> {
        let all = self.samples().into_iter().filter(|(name, _)| name == point);
        all.map(|(_, s)| (s.value, s.status)).collect()
    }

    pub fn good(&self, point: &str) -> Vec<Value> {
        self.of(point).into_iter().filter(|(_, s)| s.is_good()).map(|(v, _)| v).collect()
    }

    pub fn statuses(&self, point: &str) -> Vec<StatusCode> {
        self.of(point).into_iter().map(|(_, s)| s).collect()
    }
}

/// A session that runs.
pub struct Running {
    pub collected: Arc<Collected>,
    pub cancel: CancellationToken,
    pub updates: watch::Sender<Update>,
    task: JoinHandle<Ended>,
}

impl Running {
    pub fn start(device: Device) -> Self {
        Self::with(device, Collected::with_permits(Semaphore::MAX_PERMITS))
    }

    pub fn with(device: Device, collected: Arc<Collected>) -> Self {
        Self::of(&ModbusTcp::default(), device, collected)
    }

    /// A session of this driver, which may have had others.
    pub fn of(driver: &ModbusTcp, device: Device, collected: Arc<Collected>) -> Self {
        let device = Arc::new(device);
        let origin = origin(&device);
        let (updates, receiver) =
            watch::channel(Update { device: device.clone(), origin: origin.clone() });
        let cancel = CancellationToken::new();
        let context = SessionContext {
            clock: Arc::new(SystemClock),
            epoch: 4,
            origin,
            emit: collected.clone(),
            updates: receiver,
            cancel: cancel.clone(),
        };
        let task = tokio::spawn(driver.session(device, context));
        Self { collected, cancel, updates, task }
    }

    /// Hands a new version of the device to the session.
    pub fn update(&self, device: Device) {
        let origin = origin(&device);
        self.updates.send(Update { device: Arc::new(device), origin }).unwrap();
    }

    /// The session alone, its sender of updates gone.
    pub fn without_updates(self) -> JoinHandle<Ended> {
        self.task
    }

    /// Why the session ended; fails when it does not.
    pub async fn ended(self) -> Ended {
        timeout(PATIENCE, self.task).await.expect("the session ends").unwrap()
    }

    /// Cancels the session and checks that it ends within its second.
    pub async fn stop(self) {
        let asked = Instant::now();
        self.cancel.cancel();
        assert!(matches!(self.ended().await, Ended::Cancelled));
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    }
}

/// Waits until `condition` holds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
