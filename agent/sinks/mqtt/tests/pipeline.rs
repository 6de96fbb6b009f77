//! The pipeline's side of a sink, played by the test.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use lineside_core::driver::Ended;
use lineside_core::secret::Secrets;
use lineside_core::sink::{
    Feed, Outcome, Record, RecordId, Sink, SinkContext, SinkIdentity, SinkState,
};
use lineside_core::{Batch, Fault, Origin, SystemClock, TimeQuality, Value};
use lineside_crds::model::{
    Encoding, MqttSettings, MqttVersion, ObjectKey, Qos, TopicPart, TopicTemplate,
};
use lineside_sink_mqtt::{Deadlines, build};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub const PATIENCE: Duration = Duration::from_secs(20);
pub const STORE: &str = "00112233445566778899aabbccddeeff";

/// A session that runs, and the ends of it that the pipeline holds.
pub struct Running {
    records: mpsc::UnboundedSender<Record>,
    outcomes: mpsc::UnboundedReceiver<(u64, Outcome)>,
    connected: mpsc::UnboundedReceiver<String>,
    pub cancel: CancellationToken,
    task: JoinHandle<Ended>,
}

struct ScriptedFeed {
    records: mpsc::UnboundedReceiver<Record>,
    outcomes: mpsc::UnboundedSender<(u64, Outcome)>,
}

impl Feed for ScriptedFeed {
    fn next(&mut self) -> BoxFuture<'_, Record> {
        async {
            match self.records.recv().await {
                Some(record) => record,
                None => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn settle(&mut self, id: &RecordId, outcome: Outcome) {
        let _ = self.outcomes.send((id.offset, outcome));
    }

    fn accepted(&mut self, _: &RecordId, _: Outcome, _: u64) {
        unreachable!("a broker does not lose what it acknowledged");
    }

    fn confirmed(&mut self, _: u64) {}
}

struct Connected(mpsc::UnboundedSender<String>);

impl SinkState for Connected {
    fn connected(&self, endpoint: &str) {
        let _ = self.0.send(endpoint.to_owned());
    }
}

pub fn settings(port: u16, version: MqttVersion) -> MqttSettings {
    MqttSettings {
        host: "127.0.0.1".to_owned(),
        port,
        tls: None,
        version,
        topic: TopicTemplate(vec![
            TopicPart::Literal("data/".to_owned()),
            TopicPart::Namespace,
            TopicPart::Literal("/".to_owned()),
            TopicPart::Device,
        ]),
        qos: Qos::AtLeastOnce,
        encoding: Encoding::Json,
        int64_as_string: false,
        credentials: None,
    }
}

pub fn identity() -> SinkIdentity {
    SinkIdentity {
        agent_uid: "7d9f".into(),
        agent: "edge-1".into(),
        pipeline: ObjectKey::new("plant", "all"),
        sink: "broker".into(),
    }
}

pub fn start(settings: MqttSettings) -> Running {
    start_with(settings, Deadlines::default(), Secrets::default())
}

pub fn start_with(settings: MqttSettings, deadlines: Deadlines, secrets: Secrets) -> Running {
    let (records, records_rx) = mpsc::unbounded_channel();
    let (outcomes_tx, outcomes) = mpsc::unbounded_channel();
    let (connected_tx, connected) = mpsc::unbounded_channel();
    let cancel = CancellationToken::new();
    let context = SinkContext {
        identity: identity(),
        clock: Arc::new(SystemClock),
        secrets,
        feed: Box::new(ScriptedFeed { records: records_rx, outcomes: outcomes_tx }),
        state: Arc::new(Connected(connected_tx)),
        cancel: cancel.clone(),
    };
    let session = build(settings).with_deadlines(deadlines).session(context);
    Running { records, outcomes, connected, cancel, task: tokio::spawn(session) }
}

impl Running {
    pub async fn connected(&mut self) -> String {
        timeout(PATIENCE, self.connected.recv()).await.expect("no connection").unwrap()
    }

    pub fn send(&self, record: Record) {
        self.records.send(record).unwrap();
    }

    pub async fn settled(&mut self) -> (u64, Outcome) {
        timeout(PATIENCE, self.outcomes.recv()).await.expect("nothing settled").unwrap()
    }

    /// What is settled at this moment.
    pub fn try_settled(&mut self) -> Option<(u64, Outcome)> {
        self.outcomes.try_recv().ok()
    }

    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    pub async fn ended(self) -> Ended {
        timeout(PATIENCE, self.task).await.expect("session goes on").unwrap()
    }

    pub async fn fault(self) -> Fault {
        match self.ended().await {
            Ended::Failed(fault) => fault,
            other => panic!("expected a fault, got {other:?}"),
        }
    }

    pub async fn cancelled(self) {
        self.cancel.cancel();
        assert!(matches!(self.ended().await, Ended::Cancelled));
    }
}

pub fn origin(points: usize) -> Arc<Origin> {
    let names: Vec<Arc<str>> = (0..points).map(|i| format!("p{i}").into()).collect();
    let key = ObjectKey::new("plant", "press");
    Arc::new(Origin::new(key, None, names.into(), Vec::new().into()))
}

/// A record with one good value per point; values count up from `offset`.
pub fn record(origin: &Arc<Origin>, offset: u64) -> Record {
    let mut batch = Batch::with_capacity(origin.clone(), 0, TimeQuality::Synced, 1);
    for point in 0..origin.points.len() as u32 {
        batch.push_good(point, Value::U64(offset + u64::from(point)), 1_795_601_789_000_000_000);
    }
    with_id(batch, offset)
}

pub fn with_id(batch: Batch, offset: u64) -> Record {
    let id = RecordId { store: STORE.into(), stream: 3, offset, part: None };
    Record { id, batch: Arc::new(batch) }
}
