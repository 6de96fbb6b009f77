//! A sink with a feed of the test: records in, outcomes and faults out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lineside_core::clock::SystemClock;
use lineside_core::driver::Ended;
use lineside_core::fault::Fault;
use lineside_core::kit::{ScriptedFeed, test_identity};
use lineside_core::secret::Secrets;
use lineside_core::sink::{Outcome, Sink, SinkContext, SinkState};
use lineside_core::{Batch, Origin, StatusCode, TimeQuality, Value};
use lineside_crds::model::{IotdbModel, IotdbSettings, Node, ObjectKey, TablePart};
use lineside_sink_iotdb::build;
use lineside_tests::wait;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// Longest time that a few records may take.
const SOON: Duration = Duration::from_secs(30);
/// Longest time until a server notices what it looks at now and then.
const LONG: Duration = Duration::from_secs(90);
/// Time between two steps.
const STEP: Duration = Duration::from_millis(500);

/// Settings of the tree model for a server on this machine, which trust every acknowledgement.
pub fn settings(port: u16) -> IotdbSettings {
    IotdbSettings {
        nodes: vec![Node { host: "127.0.0.1".to_owned(), port }],
        tls: None,
        credentials: None,
        model: IotdbModel::Tree { prefix: "root.lineside".to_owned() },
        quality: true,
        resend: Duration::ZERO,
    }
}

/// The same for the table model.
pub fn table_settings(port: u16) -> IotdbSettings {
    let (database, table) = ("lineside".to_owned(), vec![TablePart::Device]);
    IotdbSettings { model: IotdbModel::Table { database, table }, ..settings(port) }
}

/// The device `plant/NAME` with these points.
pub fn origin(device: &str, points: &[&str]) -> Arc<Origin> {
    let points: Arc<[Arc<str>]> = points.iter().map(|point| (*point).into()).collect();
    Arc::new(Origin::new(ObjectKey::new("plant", device), None, points, Vec::new().into()))
}

/// Samples as `(point, value, time in ms)`; no value is a Bad one.
pub fn batch(origin: &Arc<Origin>, samples: &[(u32, Option<Value>, i64)]) -> Arc<Batch> {
    let quality = TimeQuality::Synced;
    let mut batch = Batch::with_capacity(origin.clone(), 1, quality, samples.len());
    for (point, value, time) in samples {
        let time = time * 1_000_000;
        match value {
            Some(value) => batch.push_good(*point, value.clone(), time),
            None => batch.push_bad(*point, StatusCode::BAD_TIMEOUT, time),
        }
    }
    Arc::new(batch)
}

/// A session under observation.
pub struct Run {
    pub feed: ScriptedFeed,
    runtime: Runtime,
    task: Option<JoinHandle<Ended>>,
    cancel: tokio_util::sync::CancellationToken,
    endpoints: Arc<Endpoints>,
}

#[derive(Default)]
struct Endpoints(Mutex<Vec<String>>);

impl SinkState for Endpoints {
    fn connected(&self, endpoint: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(endpoint.to_owned());
    }
}

impl Run {
    /// Starts a session.
    pub fn start(settings: IotdbSettings) -> Self {
        Self::with(settings, Secrets::default())
    }

    pub fn with(settings: IotdbSettings, secrets: Secrets) -> Self {
        Self::on(ScriptedFeed::new(), settings, secrets)
    }

    /// The next session on a feed: it gets what the one before has not settled.
    pub fn continuing(feed: &ScriptedFeed, settings: IotdbSettings) -> Self {
        Self::on(feed.clone(), settings, Secrets::default())
    }

    fn on(feed: ScriptedFeed, settings: IotdbSettings, secrets: Secrets) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (cancel, endpoints) =
            (tokio_util::sync::CancellationToken::new(), Arc::new(Endpoints::default()));
        let context = SinkContext {
            identity: test_identity("tsdb"),
            clock: Arc::new(SystemClock),
            secrets,
            feed: feed.session(),
            state: endpoints.clone(),
            cancel: cancel.clone(),
        };
        let task = Some(runtime.spawn(build(settings).session(context)));
        Self { feed, runtime, task, cancel, endpoints }
    }

    /// What became of these batches.
    pub fn deliver(&self, batches: impl IntoIterator<Item = Arc<Batch>>) -> Vec<Outcome> {
        let from = self.feed.settled().len();
        for batch in batches {
            self.feed.push(batch);
        }
        let done = self.runtime.block_on(self.feed.wait_all_done(SOON));
        assert!(done, "{} of {} settled", self.feed.done(), self.feed.len());
        let mut settled = self.feed.settled().split_off(from);
        settled.sort_by_key(|settled| settled.offset);
        settled.into_iter().map(|settled| settled.outcome).collect()
    }

    /// Delivers these batches and finds everything delivered.
    pub fn delivered(&self, batches: impl IntoIterator<Item = Arc<Batch>>) {
        for outcome in self.deliver(batches) {
            let all = Outcome::delivered(usize::try_from(outcome.delivered).unwrap());
            assert_eq!(outcome, all);
        }
    }

    /// Where it was connected.
    pub fn endpoints(&self) -> Vec<String> {
        self.endpoints.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the session fails by itself.
    pub fn fault(&mut self) -> Fault {
        let task = self.task.take().expect("asked once");
        let ended = self.runtime.block_on(async { tokio::time::timeout(SOON, task).await });
        match ended.expect("it ends").expect("no panic") {
            Ended::Failed(fault) => fault,
            other => panic!("{other:?}"),
        }
    }

    /// The same, doing something twice a second meanwhile.
    pub fn fault_while(&mut self, mut step: impl FnMut(&Self)) -> Fault {
        let over = |run: &Self| run.task.as_ref().is_some_and(JoinHandle::is_finished);
        let waited = wait::until("the session fails", LONG, || {
            step(self);
            wait::until("a step", STEP, || over(self)).is_ok()
        });
        waited.unwrap();
        self.fault()
    }

    /// Ends the session in order.
    pub fn end(mut self) {
        self.cancel.cancel();
        if let Some(task) = self.task.take() {
            let ended = self.runtime.block_on(async { tokio::time::timeout(SOON, task).await });
            assert!(matches!(ended.expect("it ends").expect("no panic"), Ended::Cancelled));
        }
    }
}
