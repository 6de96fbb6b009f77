//! `/api/v1/deadletters/...`: what remotes refused, and what shall become of it. Looking is for
//! everybody who may look; changing is for the unix socket alone.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::ObjectKey;
use lineside_store::{DeadLetter, Log, StoreError};
use tokio::task::spawn_blocking;

use super::shape::{Changed, Letter, LetterPoint, Letters};
use super::{answer, query, refuse, text};
use crate::runner::Shown;

/// Most letters of one answer, so that it stays small whatever was refused.
const MOST: usize = 100;

const NEXT: &str = "ask for /api/v1/deadletters/NAMESPACE/PIPELINE/SINK; /api/v1/state lists them";

type SinkPath = Result<Path<(String, String, String)>, PathRejection>;

/// Where a letter is in its sink: the record's offset, and the part that was refused.
type Place = (u64, Option<u32>);

/// Why there is no answer.
struct Refused {
    status: StatusCode,
    message: String,
    next: &'static str,
}

impl Refused {
    fn not_found(message: String, next: &'static str) -> Self {
        Self { status: StatusCode::NOT_FOUND, message, next }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        refuse(self.status, self.message, self.next)
    }
}

/// What is done to the letters of a sink: those named, or all.
type Act = fn(&Log, &str, Option<&[Place]>) -> Result<Changed, StoreError>;

/// The route that looks.
pub(super) fn looking(shown: Arc<Shown>) -> Router {
    let look = async move |path: SinkPath, RawQuery(query): RawQuery| {
        let (log, sink) = match find(&shown, path) {
            Ok(found) => found,
            Err(refused) => return refused.into_response(),
        };
        let (after, with_points) = match asked(query.as_deref()) {
            Ok(asked) => asked,
            Err(message) => return refuse(StatusCode::BAD_REQUEST, message, NEXT),
        };
        let read = move || log.dead_letters(&sink, after, MOST + 1);
        match blocking(read).await {
            Ok(found) => answer(&letters(found, with_points)),
            Err(refused) => refused.into_response(),
        }
    };
    Router::new().route("/deadletters/{namespace}/{pipeline}/{sink}", get(look))
}

/// The routes that change something.
pub(super) fn changing(shown: Arc<Shown>) -> Router {
    let (to_retry, to_drop) = (shown.clone(), shown);
    let retry = async move |path: SinkPath, RawQuery(query): RawQuery| {
        change(&to_retry, path, query.as_deref(), |log, sink, which| {
            let done = log.retry_dead_letters(sink, which)?;
            Ok(Changed { letters: Some(done.letters), samples: None, left: done.left })
        })
        .await
    };
    let drop = async move |path: SinkPath, RawQuery(query): RawQuery| {
        change(&to_drop, path, query.as_deref(), |log, sink, which| {
            let done = log.drop_dead_letters(sink, which)?;
            Ok(Changed { letters: None, samples: Some(done.samples), left: done.left })
        })
        .await
    };
    let at = |what: &str| format!("/deadletters/{{namespace}}/{{pipeline}}/{{sink}}/{what}");
    Router::new().route(&at("retry"), post(retry)).route(&at("drop"), post(drop))
}

async fn change(shown: &Shown, path: SinkPath, query: Option<&str>, act: Act) -> Response {
    let (log, sink) = match find(shown, path) {
        Ok(found) => found,
        Err(refused) => return refused.into_response(),
    };
    let which = match which(query) {
        Ok(which) => which,
        Err(message) => {
            let next = "name letters with ?id=ID, as often as you like, or all with ?all=true";
            return refuse(StatusCode::BAD_REQUEST, message, next);
        }
    };
    match blocking(move || act(&log, &sink, which.as_deref())).await {
        Ok(changed) => answer(&changed),
        Err(refused) => refused.into_response(),
    }
}

fn find(shown: &Shown, path: SinkPath) -> Result<(Arc<Log>, String), Refused> {
    let Path((namespace, pipeline, sink)) = path.map_err(|error| Refused {
        status: error.status(),
        message: error.body_text(),
        next: NEXT,
    })?;
    let key = ObjectKey::new(namespace, pipeline);
    match shown.view.log(&key) {
        Some(Some(log)) => Ok((log, sink)),
        Some(None) => {
            let message = format!("pipeline {key} is in memory, where dead letters are not kept");
            Err(Refused::not_found(message, "write store: {durability: Durable}"))
        }
        None => Err(Refused::not_found(format!("there is no pipeline {key}"), NEXT)),
    }
}

/// Runs what waits for the disk where that is allowed.
async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Refused> {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    match spawn_blocking(run).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error @ StoreError::Unknown(_))) => Err(Refused::not_found(error.to_string(), NEXT)),
        Ok(Err(error)) => {
            let next = "look at the disk: `lineside store verify DIR`";
            Err(Refused { status, message: error.to_string(), next })
        }
        Err(_) => {
            let next = "report it with the log lines of this moment";
            Err(Refused { status, message: "the answer failed".to_owned(), next })
        }
    }
}

fn asked(query: Option<&str>) -> Result<(Option<Place>, bool), String> {
    let (mut after, mut with_points) = (None, false);
    for (name, value) in query::parse(query, &["after", "points"])? {
        match name.as_str() {
            "after" => after = Some(place(&value)?),
            _ => with_points = value == "true",
        }
    }
    Ok((after, with_points))
}

/// The letters that are named; `None` = all.
fn which(query: Option<&str>) -> Result<Option<Vec<Place>>, String> {
    let (mut named, mut all) = (Vec::new(), false);
    for (name, value) in query::parse(query, &["id", "all"])? {
        match name.as_str() {
            "id" => named.push(place(&value)?),
            _ => all = value == "true",
        }
    }
    match (named.is_empty(), all) {
        (false, false) => Ok(Some(named)),
        (true, true) => Ok(None),
        (true, false) => Err("no letter is named".to_owned()),
        (false, true) => Err("some are named, and all".to_owned()),
    }
}

/// `STORE/STREAM/OFFSET[.PART]`, or the last segment of it.
fn place(id: &str) -> Result<Place, String> {
    let last = id.rsplit('/').next().unwrap_or_default();
    let (offset, part) = match last.split_once('.') {
        Some((offset, part)) => (offset, Some(part)),
        None => (last, None),
    };
    let broken = || format!("{id:?} is no identity of a dead letter");
    let part = part.map(str::parse).transpose().map_err(|_| broken())?;
    Ok((offset.parse().map_err(|_| broken())?, part))
}

fn letters(mut found: Vec<DeadLetter>, with_points: bool) -> Letters {
    let more = found.len() > MOST;
    found.truncate(MOST);
    Letters { letters: found.iter().map(|l| letter(l, with_points)).collect(), more }
}

fn letter(letter: &DeadLetter, with_points: bool) -> Letter {
    let code = Code::parse(&letter.code);
    let origin = letter.batch.origin();
    let points = letter.batch.iter().map(|sample| LetterPoint {
        name: origin.point(sample.point).map(|name| name.to_string()).unwrap_or_default(),
        value: text::value(sample.value),
        quality: sample.status.severity().to_owned(),
        status: sample.status.0,
        time: text::time(sample.time()),
    });
    Letter {
        id: letter.id.to_string(),
        device: origin.path.to_string(),
        samples: letter.batch.len() as u64,
        code: letter.code.to_string(),
        reason: code.map(|code| code.reason().to_owned()).unwrap_or_default(),
        message: letter.message.to_string(),
        next: code.map(|code| code.next().to_owned()),
        failed_at: text::time(letter.failed_at),
        points: with_points.then(|| points.collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_named_by_its_identity_or_the_end_of_it() {
        assert_eq!(place("00ff/3/17.2"), Ok((17, Some(2))));
        assert_eq!(place("17"), Ok((17, None)));
        for broken in ["", "x", "1.", "1.x", "a/b/-1"] {
            assert!(place(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn all_letters_have_to_be_meant() {
        assert!(which(None).is_err());
        assert_eq!(which(Some("all=true")), Ok(None));
        assert_eq!(which(Some("id=s/0/1&id=s/0/2.0")), Ok(Some(vec![(1, None), (2, Some(0))])));
        assert!(which(Some("id=1&all=true")).is_err());
    }
}
