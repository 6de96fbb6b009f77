//! `/api/v1/stream`: the state and the asked devices, at once and then every second, as
//! server-sent events (WHATWG HTML, section 9.2).
//!
//! A looker pulls: the next events are made when it has taken the last ones, from what is true
//! then. Nothing queues up for a slow one.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::RawQuery;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use lineside_crds::model::ObjectKey;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior};

use super::{Service, json, query, refuse, state};
use crate::runner::Shown;

/// Time between two rounds of events.
const PERIOD: Duration = Duration::from_secs(1);
/// Most devices of one stream.
const MOST_DEVICES: usize = 16;

struct Looker {
    shown: Arc<Shown>,
    devices: Vec<ObjectKey>,
    period: Interval,
    _place: OwnedSemaphorePermit,
}

/// The handler.
pub async fn get(service: Arc<Service>, RawQuery(query): RawQuery) -> Response {
    let next = "ask with ?device=NAMESPACE/NAME, at most 16 times, or without for the state alone";
    let asked = match query::parse(query.as_deref(), &["device"]) {
        Ok(asked) => asked,
        Err(message) => return refuse(StatusCode::BAD_REQUEST, message, next),
    };
    if asked.len() > MOST_DEVICES {
        let message = format!("{} devices asked for", asked.len());
        return refuse(StatusCode::BAD_REQUEST, message, next);
    }
    let mut devices = Vec::with_capacity(asked.len());
    for (_, path) in asked {
        match path.split_once('/') {
            Some((namespace, name)) => devices.push(ObjectKey::new(namespace, name)),
            None => {
                let message = format!("{path:?} is no NAMESPACE/NAME");
                return refuse(StatusCode::BAD_REQUEST, message, next);
            }
        }
    }
    let Some(place) = service.place() else { return super::crowded() };
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let looker = Looker { shown: service.shown.clone(), devices, period, _place: place };
    let events = stream::unfold(looker, async |mut looker| {
        looker.period.tick().await;
        Some((Ok::<_, Infallible>(looker.round()), looker))
    });
    let kind = [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")];
    (kind, Body::from_stream(events)).into_response()
}

impl Looker {
    /// One round: a comment as heartbeat, the state, each device that there is.
    fn round(&self) -> String {
        let mut text = String::from(": beat\n");
        event(&mut text, "state", &json(&state::state(&self.shown)));
        for key in &self.devices {
            if let Some(device) = state::device_points(&self.shown, key) {
                event(&mut text, "device", &json(&device));
            }
        }
        text
    }
}

/// JSON has no line breaks outside strings and escapes those in them, so one line holds it.
fn event(text: &mut String, name: &str, data: &str) {
    // Writing to a string does not fail.
    let _ = write!(text, "event: {name}\ndata: {data}\n\n");
}
