//! What a session makes of a peer that answers well: `DRV-10` to `DRV-12`, `DRV-15`, `DRV-17`, `DRV-18`
//! and the rules of `docs/specs/sample.md`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{DriverCase, GoodPeer, KIT_EPOCH, Session, Style, no_socket, silence_deadline};
use crate::clock::{Clock, SystemClock, TimeQuality, UnixNanos};
use crate::kit::{ALLOWANCE, Recorded, Recorder, Report};
use crate::value::Value;

/// For a state that can be seen.
const REACH: Duration = Duration::from_secs(10);

pub(super) async fn check(case: &dyn DriverCase) -> Report {
    let mut report = Report::new();
    let what = "the peer answers well";
    let good = match case.good_peer().await {
        Ok(good) => good,
        Err(error) => {
            no_socket(&mut report, what, &error);
            return report;
        }
    };
    flows(case, &*good, &mut report).await;
    back_pressure(case, &*good, &mut report).await;
    unset_clock(case, &*good, &mut report).await;
    if case.style() == Style::Polls {
        read_once(case, &*good, &mut report).await;
    }
    report
}

async fn flows(case: &dyn DriverCase, good: &dyn GoodPeer, report: &mut Report) {
    let what = "the peer answers well";
    let session = Session::start(&case.driver(), case.device(good.addr()));
    let (path, points) = (session.path().to_owned(), session.points());
    // Three samples of every point: the schedule goes on, it is not one read.
    let want = if case.style() == Style::Polls { 3 } else { 1 };
    let deadline = silence_deadline(&session.device) * ALLOWANCE;
    let all = session
        .recorder
        .wait_until(deadline, |r| r.points_without(&path, points, |t| t.good >= want).is_empty())
        .await;
    report.require("DRV-10", what, all, || {
        let without = session.recorder.points_without(&path, points, |t| t.good >= want);
        format!("points {without:?} had fewer than {want} good samples within {deadline:?}")
    });
    if case.style() == Style::Polls {
        let unasked = session.recorder.unasked();
        report.require("DRV-18", what, unasked == 0, || {
            format!("{unasked} good samples arrived before the session said that it asks")
        });
    }
    let endpoints = session.recorder.endpoints();
    report.require("DRV-11", what, endpoints.len() == 1, || {
        format!("connected was called {} times for one connection", endpoints.len())
    });
    judge_samples(&session, what, report);
}

/// The rules that every recorded sample keeps, whoever sent it.
pub(super) fn judge_samples(session: &Session, what: &str, report: &mut Report) {
    let recorder = &session.recorder;
    report.require("DRV-15", what, recorder.empty_batches() == 0, || {
        format!("{} batches had no sample", recorder.empty_batches())
    });
    report.require("DRV-12", what, recorder.most_pending() <= 1, || {
        format!("{} emits of one origin were pending at once", recorder.most_pending())
    });
    let mut newest: HashMap<(Arc<str>, u32), UnixNanos> = HashMap::new();
    for recorded in recorder.samples() {
        let Recorded { origin, point, sample, epoch, emitted_at, .. } = recorded;
        report.require(
            "SMP-1",
            what,
            sample.status.is_bad() == (sample.value == Value::Null),
            || format!("value {:?} with status {}", sample.value, sample.status),
        );
        report.require(
            "SMP-2",
            what,
            !sample.status.is_bad() || sample.time() == sample.agent_time,
            || "a Bad sample has a time that is not the agent's".into(),
        );
        let in_time = session.started <= sample.agent_time && sample.agent_time <= emitted_at;
        report.require("SMP-3", what, in_time, || {
            let (from, got) = (session.started, sample.agent_time);
            format!("agent time {got} is not between session start {from} and emit {emitted_at}")
        });
        report.require("SMP-7", what, epoch == KIT_EPOCH, || {
            format!("epoch {epoch} instead of the session's {KIT_EPOCH}")
        });
        report.require(
            "SMP-8",
            what,
            point.is_some() && origin.device == session.device.key,
            || format!("point {} of {} is not one of the device's", sample.point, origin.path),
        );
        let last = newest.entry((origin.path.clone(), sample.point)).or_insert(sample.agent_time);
        report.require("SMP-9", what, *last <= sample.agent_time, || {
            format!("point {} of {} went back in time", sample.point, origin.path)
        });
        *last = sample.agent_time;
    }
}

async fn back_pressure(case: &dyn DriverCase, good: &dyn GoodPeer, report: &mut Report) {
    let what = "the pipeline holds an emit back, then goes on";
    let session = Session::start(&case.driver(), case.device(good.addr()));
    let interval = session.device.points.iter().map(|p| p.interval).max().unwrap_or_default();
    session.recorder.wait_until(REACH, |r| r.good() > 0).await;
    session.recorder.hold();
    session.recorder.wait_until(REACH, |r| r.pending() > 0).await;
    // Several periods of the schedule pass while nothing is taken.
    session.recorder.wait_until(interval * 5, |r| r.pending() > 1).await;
    let pending = session.recorder.most_pending();
    report.require("DRV-12", what, pending <= 1, || {
        format!("{pending} emits of one origin were pending at once")
    });
    report.require("DRV-12", what, !session.is_over(), || {
        "the session ended because the pipeline was slow".into()
    });
    let before = session.recorder.good();
    session.recorder.release();
    let on = session.recorder.wait_until(REACH, |r| r.good() > before).await;
    report.require("DRV-12", what, on, || "nothing was emitted after the release".into());
}

/// A clock that has never been set.
struct UnsetClock(i64);

impl Clock for UnsetClock {
    fn now(&self) -> UnixNanos {
        SystemClock.now() - self.0
    }
}

async fn unset_clock(case: &dyn DriverCase, good: &dyn GoodPeer, report: &mut Report) {
    let what = "the clock has not been set";
    let clock = Arc::new(UnsetClock(SystemClock.now()));
    let device = case.device(good.addr());
    let session = Session::start_with(&case.driver(), device, Recorder::new(), clock);
    session.recorder.wait_until(REACH, |r| r.good() > 0).await;
    let samples = session.recorder.samples();
    let unset = !samples.is_empty()
        && samples.iter().all(|r| {
            r.time_quality == TimeQuality::Unsynced
                && r.sample.agent_time < REACH.as_nanos() as i64 * 2
        });
    report.require("SMP-7", what, unset, || {
        "batches do not carry the time and the quality of the session's clock".into()
    });
}

async fn read_once(case: &dyn DriverCase, good: &dyn GoodPeer, report: &mut Report) {
    let what = "every point is read once";
    let driver = case.driver();
    let device = Arc::new(case.device(good.addr()));
    let read = driver.read_once(device.clone(), Arc::new(SystemClock));
    let readings = match tokio::time::timeout(REACH, read).await {
        Err(_) => Err("it did not end".to_owned()),
        Ok(Err(fault)) => Err(fault.chain()),
        Ok(Ok(readings)) => Ok(readings),
    };
    report.require("DRV-17", what, readings.is_ok(), || format!("{:?}", readings.as_ref().err()));
    let Ok(readings) = readings else { return };
    let mut seen: Vec<usize> = readings.iter().map(|r| r.point).collect();
    seen.sort_unstable();
    report.require("DRV-17", what, seen.iter().copied().eq(0..device.points.len()), || {
        format!("readings of points {seen:?} instead of each of {} once", device.points.len())
    });
    for reading in &readings {
        let whole = reading.status.is_good() && !reading.raw.is_empty() && reading.fault.is_none();
        report.require("DRV-17", what, whole && !reading.wire_address.is_empty(), || {
            format!("reading {reading:?} of a good peer is not good and complete")
        });
    }
}
