//! `/api/v1/tap`: what flows, one JSON object a line, as it happens.
//!
//! The data path shows events only while somebody looks, and never waits: a looker that is too
//! slow loses the oldest and is told how many.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::RawQuery;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use lineside_core::{Batch, Origin};
use lineside_crds::model::Glob;
use lineside_pipeline::tap::Seen;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::shape::Tapped;
use super::{Service, json, query, refuse, text};

/// The handler.
pub async fn get(service: Arc<Service>, RawQuery(query): RawQuery) -> Response {
    let next = "ask with ?device=GLOB&point=GLOB&limit=LINES, each once or not at all";
    let (filter, limit) = match asked(query.as_deref()) {
        Ok(asked) => asked,
        Err(message) => return refuse(StatusCode::BAD_REQUEST, message, next),
    };
    let Some(place) = service.place() else { return super::crowded() };
    let events = service.shown.windows.tap.look();
    let looker = Looker { events, filter, left: limit, _place: place };
    let lines = stream::unfold(looker, async |mut looker| {
        let lines = looker.next().await?;
        Some((Ok::<_, Infallible>(lines), looker))
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (kind, Body::from_stream(lines)).into_response()
}

/// Which points are looked at.
struct Filter {
    device: Option<Glob>,
    point: Option<Glob>,
}

impl Filter {
    /// A device glob with a slash is for `namespace/name`, one without for the name alone.
    fn wants_device(&self, origin: &Origin) -> bool {
        self.device.as_ref().is_none_or(|glob| {
            glob.matches(if glob.0.contains('/') { &origin.path } else { origin.device_name() })
        })
    }

    fn wants_point(&self, name: &str) -> bool {
        self.point.as_ref().is_none_or(|glob| glob.matches(name))
    }
}

fn asked(query: Option<&str>) -> Result<(Filter, Option<u64>), String> {
    let mut filter = Filter { device: None, point: None };
    let mut limit = None;
    for (name, value) in query::parse(query, &["device", "point", "limit"])? {
        let twice = match name.as_str() {
            "device" => filter.device.replace(Glob(value)).is_some(),
            "point" => filter.point.replace(Glob(value)).is_some(),
            _ => match value.parse() {
                Ok(lines) if lines > 0 => limit.replace(lines).is_some(),
                _ => return Err(format!("limit {value:?} is no number of lines")),
            },
        };
        if twice {
            return Err(format!("{name} is there twice"));
        }
    }
    Ok((filter, limit))
}

struct Looker {
    events: Receiver<Seen>,
    filter: Filter,
    /// Lines that may still be said; `None` = any number.
    left: Option<u64>,
    _place: OwnedSemaphorePermit,
}

impl Looker {
    /// The lines of the next event that has any; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        while self.left != Some(0) {
            let mut text = String::new();
            match self.events.recv().await {
                Ok(Seen::Raw { origin, point, bytes, time }) => {
                    let Some(name) = self.point(&origin, point) else { continue };
                    let bytes: Vec<String> = bytes.iter().map(|b| format!("{b:02X}")).collect();
                    let line = Tapped {
                        stage: "raw".into(),
                        device: Some(origin.path.to_string()),
                        point: Some(name),
                        time: Some(text::time(time)),
                        raw: Some(bytes.join(" ")),
                        ..Tapped::default()
                    };
                    self.say(&line, &mut text);
                }
                Ok(Seen::Decoded(batch)) => self.samples(&batch, "decoded", |_| {}, &mut text),
                Ok(Seen::Delivered { pipeline, sink, id, batch }) => {
                    let by = |line: &mut Tapped| {
                        line.pipeline = Some(pipeline.to_string());
                        line.sink = Some(sink.to_string());
                        line.id = Some(id.to_string());
                    };
                    self.samples(&batch, "delivered", by, &mut text);
                }
                Err(RecvError::Lagged(events)) => {
                    let stage = "lost".into();
                    let line = Tapped { stage, events: Some(events), ..Tapped::default() };
                    self.say(&line, &mut text);
                }
                Err(RecvError::Closed) => return None,
            }
            if !text.is_empty() {
                return Some(text);
            }
        }
        None
    }

    /// The name of a point that is looked at.
    fn point(&self, origin: &Origin, point: u32) -> Option<String> {
        let name = origin.point(point).filter(|name| self.filter.wants_point(name))?;
        self.filter.wants_device(origin).then(|| name.to_string())
    }

    fn samples(
        &mut self,
        batch: &Batch,
        stage: &str,
        more: impl Fn(&mut Tapped),
        text: &mut String,
    ) {
        let origin = batch.origin();
        if !self.filter.wants_device(origin) {
            return;
        }
        for sample in batch.iter() {
            let name = origin.point(sample.point).filter(|name| self.filter.wants_point(name));
            let Some(name) = name else { continue };
            let mut line = Tapped {
                stage: stage.to_owned(),
                device: Some(origin.path.to_string()),
                point: Some(name.to_string()),
                time: Some(text::time(sample.time())),
                value: text::value(sample.value),
                quality: Some(sample.status.severity().to_owned()),
                status: Some(sample.status.0),
                ..Tapped::default()
            };
            more(&mut line);
            self.say(&line, text);
        }
    }

    fn say(&mut self, line: &Tapped, text: &mut String) {
        match &mut self.left {
            Some(0) => return,
            Some(left) => *left -= 1,
            None => {}
        }
        text.push_str(&json(line));
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(device: &str) -> Origin {
        let key = lineside_crds::model::ObjectKey::new("plant", device);
        Origin::new(key, None, Vec::new().into(), Vec::new().into())
    }

    #[test]
    fn a_device_glob_with_a_slash_names_the_namespace_too() {
        for (glob, wanted) in [
            ("press-*", true),
            ("press", false),
            ("plant/press-*", true),
            ("other/press-*", false),
            ("*/press-01", true),
            ("*", true),
        ] {
            let filter = Filter { device: Some(Glob(glob.into())), point: None };
            assert_eq!(filter.wants_device(&origin("press-01")), wanted, "{glob}");
        }
    }

    #[test]
    fn parameters_are_checked() {
        assert!(asked(Some("device=a&point=b&limit=3")).is_ok());
        for wrong in ["limit=0", "limit=x", "device=a&device=b", "points=x", "limit=-1"] {
            assert!(asked(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
