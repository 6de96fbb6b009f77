//! `/metrics`, `/livez`, `/readyz`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Metrics;
use crate::queue::{Key, Queue};

/// A queue that did not look at its work for this long is stuck.
const STUCK: Duration = Duration::from_secs(60);

/// What the operator is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// It has not yet seen who leads.
    Starting,
    /// Somebody else leads; it is ready to take over.
    Standby,
    /// It leads and lists what is there.
    Loading,
    /// It leads and works.
    Working,
}

/// What the probes look at.
#[derive(Debug)]
pub struct Probes {
    phase: AtomicU8,
    queue: Mutex<Option<Queue<Key>>>,
    metrics: Metrics,
}

impl Probes {
    /// Probes of an operator that starts.
    pub fn new(metrics: Metrics) -> Self {
        Self { phase: AtomicU8::new(Phase::Starting as u8), queue: Mutex::new(None), metrics }
    }

    /// The operator is in another phase. `queue` is watched for progress from now on.
    pub fn enter(&self, phase: Phase, queue: Option<Queue<Key>>) {
        *self.queue() = queue;
        self.phase.store(phase as u8, Ordering::Release);
        self.metrics.leading(matches!(phase, Phase::Loading | Phase::Working));
    }

    fn is_ready(&self) -> bool {
        let phase = self.phase.load(Ordering::Acquire);
        phase == Phase::Standby as u8 || phase == Phase::Working as u8
    }

    /// Alive says nothing about the API server: restarting does not bring that back.
    fn is_stuck(&self) -> bool {
        self.queue().as_ref().is_some_and(|queue| queue.silence() > STUCK)
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Option<Queue<Key>>> {
        // One assignment; a panic elsewhere does not spoil it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Binds the address.
///
/// # Errors
/// When it is taken.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address} (choose another with --http ADDRESS)"))
}

/// Serves until dropped.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, probes: Arc<Probes>) -> std::io::Result<()> {
    let (live, ready) = (probes.clone(), probes.clone());
    let app = Router::new()
        .route("/livez", get(async move || answer(!live.is_stuck(), "the work queue is stuck\n")))
        .route(
            "/readyz",
            get(async move || answer(ready.is_ready(), "not everything is listed yet\n")),
        )
        .route("/metrics", get(async move || metrics(&probes)));
    axum::serve(listener, app).await
}

fn answer(good: bool, otherwise: &'static str) -> (StatusCode, &'static str) {
    match good {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, otherwise),
    }
}

fn metrics(probes: &Probes) -> Response {
    if let Some(queue) = probes.queue().as_ref() {
        probes.metrics.queue(queue.depth());
    }
    match probes.metrics.render() {
        Ok(text) => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Settings;

    #[tokio::test(start_paused = true)]
    async fn a_queue_whose_loop_does_not_run_makes_the_process_not_alive() {
        let probes = Probes::new(Metrics::new().unwrap());
        assert!(!probes.is_ready() && !probes.is_stuck());
        probes.enter(Phase::Standby, None);
        assert!(probes.is_ready());
        let queue: Queue<Key> = Queue::new(Settings::default());
        probes.enter(Phase::Loading, Some(queue));
        assert!(!probes.is_ready());
        tokio::time::advance(STUCK + Duration::from_secs(1)).await;
        assert!(probes.is_stuck());
    }
}
