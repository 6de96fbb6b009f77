//! `/metrics`, `/livez`, `/readyz`: all that listens on the network.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use lineside_pipeline::metrics::render;
use tokio::net::TcpListener;

use crate::api::serve::{self, Bounds};
use crate::runner::Shown;

/// Binds the address.
///
/// # Errors
/// When it is taken.
pub async fn bind(address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address} (choose another with --http ADDRESS)"))?;
    let bound = listener.local_addr().context("listen")?;
    Ok((listener, bound))
}

/// What the network may take: a few scrapers and probes, each for a short while.
const BOUNDS: Bounds =
    Bounds { connections: 64, request: Duration::from_secs(10), answer: Duration::from_secs(10) };

/// Serves until dropped.
pub async fn serve(listener: TcpListener, shown: Arc<Shown>) {
    let (alive, ready) = (shown.clone(), shown.clone());
    let app = Router::new()
        .route(
            "/livez",
            get(move || async move {
                if alive.watchdog.is_alive() {
                    (StatusCode::OK, "ok\n")
                } else {
                    (StatusCode::SERVICE_UNAVAILABLE, "the agent does not turn\n")
                }
            }),
        )
        .route(
            "/readyz",
            get(move || async move {
                if ready.ready.load(Ordering::Relaxed) {
                    (StatusCode::OK, "ok\n")
                } else {
                    (StatusCode::SERVICE_UNAVAILABLE, "no configuration applied yet\n")
                }
            }),
        )
        .route("/metrics", get(move || async move { metrics(&shown) }))
        .fallback(async || (StatusCode::NOT_FOUND, "there is /metrics, /livez and /readyz\n"));
    serve::serve(listener, app, BOUNDS).await;
}

fn metrics(shown: &Shown) -> axum::response::Response {
    let numbers = shown.counts.numbers(&*shown.clock);
    match render(&shown.view.snapshot(), &numbers) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
