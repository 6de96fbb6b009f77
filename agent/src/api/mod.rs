//! The local API v1: what page, command line and tests see of a running agent. It only reads, but
//! for the dead letters on the unix socket; this module owns the routes and their answers,
//! [`listen`] where they are served.
//!
//! ```text
//! view, windows --state--> shape --JSON--> /state, /devices, /stream (SSE)
//!              \--tap----> shape --NDJSON-> /tap
//! log of a pipeline <--letters--> shape --JSON--> /deadletters
//! ```

mod host;
mod letters;
pub mod listen;
pub mod query;
pub mod serve;
pub mod shape;
mod socket;
mod state;
mod stream;
mod tap;
pub mod text;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request};
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use lineside_crds::model::ObjectKey;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::runner::Shown;
use shape::{Refusal, RefusalText};

pub use socket::SocketPath;

/// Streams and taps at one time. A forgotten browser tab holds one place; nobody can hold
/// memory without end.
const MOST_STREAMS: usize = 64;

/// What the handlers share.
struct Service {
    shown: Arc<Shown>,
    places: Arc<Semaphore>,
}

impl Service {
    /// A place for one more stream.
    fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// Whoever may open the unix socket: the agent's own user, who may also change something.
    CommandLine,
    /// A browser on this machine: it only looks.
    Browser,
}

/// The routes below `/api/`, with places of their own for streams: browsers do not take those of
/// the command line.
pub fn router(shown: Arc<Shown>, asker: Asker) -> Router {
    let mut letters = letters::looking(shown.clone());
    if asker == Asker::CommandLine {
        letters = letters.merge(letters::changing(shown.clone()));
    }
    let service = Arc::new(Service { shown, places: Arc::new(Semaphore::new(MOST_STREAMS)) });
    let (on_state, on_device, on_stream, on_tap) =
        (service.clone(), service.clone(), service.clone(), service);
    let v1 = Router::new()
        .route("/state", get(async move |query| whole_state(&on_state, query)))
        .route(
            "/devices/{namespace}/{name}",
            get(async move |path, query| one_device(&on_device, path, query)),
        )
        .route("/stream", get(async move |query| stream::get(on_stream, query).await))
        .route("/tap", get(async move |query| tap::get(on_tap, query).await))
        .merge(letters)
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method);
    Router::new().nest("/api/v1", v1).fallback(no_such_path).layer(middleware::from_fn(headers))
}

fn whole_state(service: &Service, RawQuery(query): RawQuery) -> Response {
    match query::parse(query.as_deref(), &[]) {
        Ok(_) => answer(&state::state(&service.shown)),
        Err(message) => refuse(StatusCode::BAD_REQUEST, message, "ask for /api/v1/state alone"),
    }
}

fn one_device(
    service: &Service,
    path: Result<Path<(String, String)>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Response {
    let next = "ask for /api/v1/devices/NAMESPACE/NAME; /api/v1/state lists the devices";
    let Path((namespace, name)) = match path {
        Ok(path) => path,
        Err(error) => return refuse(error.status(), error.body_text(), next),
    };
    if let Err(message) = query::parse(query.as_deref(), &[]) {
        return refuse(StatusCode::BAD_REQUEST, message, next);
    }
    let key = ObjectKey::new(namespace, name);
    match state::device_points(&service.shown, &key) {
        Some(device) => answer(&device),
        None => refuse(StatusCode::NOT_FOUND, format!("there is no device {key}"), next),
    }
}

async fn no_such_path(request: Request) -> Response {
    refuse(
        StatusCode::NOT_FOUND,
        format!("there is no {}", request.uri().path()),
        "ask for /api/v1/state, /api/v1/devices/NAMESPACE/NAME, /api/v1/stream, /api/v1/tap or \
         /api/v1/deadletters/NAMESPACE/PIPELINE/SINK",
    )
}

/// Answers another method than GET or HEAD.
pub async fn wrong_method(request: Request) -> Response {
    let message = format!("{} is not allowed here", request.method());
    refuse(StatusCode::METHOD_NOT_ALLOWED, message, "ask with GET; the local API only reads")
}

fn crowded() -> Response {
    refuse(
        StatusCode::SERVICE_UNAVAILABLE,
        format!("{MOST_STREAMS} streams are open"),
        "close pages or taps that nobody looks at",
    )
}

fn answer(body: &impl Serialize) -> Response {
    ([(CONTENT_TYPE, "application/json")], json(body)).into_response()
}

/// An answer that is not a success.
pub fn refuse(status: StatusCode, message: impl Into<String>, next: &str) -> Response {
    let error = RefusalText { message: message.into(), next: next.to_owned() };
    (status, answer(&Refusal { error })).into_response()
}

/// JSON of a shape of this module: those have string keys and no failing serializer.
fn json(body: &impl Serialize) -> String {
    serde_json::to_string(body).unwrap_or_default()
}

/// Sent with every answer that does not say it otherwise.
const HEADERS: [(HeaderName, &str); 3] = [
    (CACHE_CONTROL, "no-store"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
