//! One session under observation.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::SystemClock;
use crate::driver::Ended;
use crate::kit::{Finish, ScriptedFeed, lock, panic_text, test_identity};
use crate::secret::Secrets;
use crate::sink::{Sink, SinkContext, SinkState};

/// The endpoints that a session said it was connected to.
#[derive(Default)]
pub struct Endpoints {
    seen: Mutex<Vec<String>>,
    version: watch::Sender<u64>,
}

impl Endpoints {
    /// All of them, oldest first.
    pub fn all(&self) -> Vec<String> {
        lock(&self.seen).clone()
    }

    /// Waits for the first one, at most `within`; whether it came.
    pub async fn wait(&self, within: Duration) -> bool {
        let mut version = self.version.subscribe();
        tokio::time::timeout(within, version.wait_for(|v| *v > 0)).await.is_ok_and(|r| r.is_ok())
    }
}

impl SinkState for Endpoints {
    fn connected(&self, endpoint: &str) {
        lock(&self.seen).push(endpoint.to_owned());
        self.version.send_modify(|v| *v += 1);
    }
}

/// A running session of a sink with everything around it.
pub struct Session {
    /// Where it says that it is connected.
    pub endpoints: Arc<Endpoints>,
    cancel: CancellationToken,
    task: JoinHandle<Ended>,
}

impl Session {
    /// Starts the next session on `feed`. `name` is the sink's name in the pipeline: sessions
    /// that continue one another share it.
    pub fn start(sink: &Arc<dyn Sink>, name: &str, secrets: Secrets, feed: &ScriptedFeed) -> Self {
        let endpoints = Arc::new(Endpoints::default());
        let cancel = CancellationToken::new();
        let context = SinkContext {
            identity: test_identity(name),
            clock: Arc::new(SystemClock),
            secrets,
            feed: feed.session(),
            state: endpoints.clone(),
            cancel: cancel.clone(),
        };
        let sink = sink.clone();
        // `session` itself runs inside the task too: a panic in it is one of the session.
        let task = tokio::spawn(async move { sink.session(context).await });
        Self { endpoints, cancel, task }
    }

    /// Whether the session has ended.
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits for its end, at most `within`. To be called until it says how it ended, not after.
    pub async fn ended(&mut self, within: Duration) -> Finish {
        match tokio::time::timeout(within, &mut self.task).await {
            Err(_) => Finish::StillRunning,
            Ok(Ok(ended)) => Finish::Ended(ended),
            Ok(Err(error)) => Finish::Panicked(match error.try_into_panic() {
                Ok(payload) => panic_text(&*payload),
                Err(error) => error.to_string(),
            }),
        }
    }

    /// Cancels it and waits for its end, at most `within`; how it ended and how long that took.
    pub async fn cancel(&mut self, within: Duration) -> (Finish, Duration) {
        let from = Instant::now();
        self.cancel.cancel();
        let finish = self.ended(within).await;
        (finish, from.elapsed())
    }

    /// Drops the session future, as a supervisor does with one that does not listen.
    pub fn abort(&self) {
        self.task.abort();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}
