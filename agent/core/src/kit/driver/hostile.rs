//! `DRV-6` to `DRV-9`: bytes that nobody should send.

use std::time::Duration;

use futures::future::join_all;

use super::{DriverCase, Session, no_socket};
use crate::fault::FaultClass;
use crate::kit::memory::PeakWatch;
use crate::kit::peer::{Peer, Proxy, Script, Then, random_bytes};
use crate::kit::{ALLOWANCE, CANCEL_WITHIN, Finish, Report};

/// Seeds of the random peers.
const SEEDS: std::ops::Range<u64> = 0..24;

/// Bytes of one flood.
const FLOOD_CHUNK: usize = 64 * 1024;
const FLOOD_CHUNKS: usize = 1024;

/// Growth of the process that a flood of 64 MiB may cause: room for buffers and for whatever else
/// runs in the test binary, far below the flood.
const FLOOD_GROWTH: u64 = 32 * 1024 * 1024;

/// How long a flooded session is watched.
const FLOOD_TIME: Duration = Duration::from_secs(3);

/// For a cut answer, how long the session may take to notice.
const NOTICE: Duration = Duration::from_millis(500);

pub(super) async fn check(case: &dyn DriverCase) -> Report {
    let mut report = Report::new();
    let mut scripts = Vec::new();
    for seed in SEEDS {
        let len = 1 + (usize::try_from(seed).unwrap_or(0) * 173) % 2048;
        let script = Script::garbage(seed, len);
        let script = if seed % 2 == 0 { script.after_request() } else { script };
        let script = script.then(if seed % 3 == 0 { Then::Close } else { Then::Silence });
        scripts.push((format!("the peer sends {len} random bytes (seed {seed})"), script));
    }
    for (i, start) in case.hostile().into_iter().enumerate() {
        let what = format!("the peer sends the hostile bytes {i}");
        let alone = Script::bytes(start.clone()).after_request();
        scripts.push((format!("{what}, then closes"), alone.clone().then(Then::Close)));
        scripts.push((format!("{what}, then nothing"), alone));
        let mut random = start;
        random.extend(random_bytes(i as u64, 300));
        let random = Script::bytes(random).after_request();
        scripts.push((format!("{what}, then random ones"), random));
    }
    let runs = scripts.into_iter().map(|(what, script)| against(case, what, script));
    for one in join_all(runs).await {
        report.merge(one);
    }
    let cuts = (1..case.shortest_answer()).map(|bytes| cut_answer(case, bytes));
    for one in join_all(cuts).await {
        report.merge(one);
    }
    for (name, chunk) in [
        ("random bytes", random_bytes(99, FLOOD_CHUNK)),
        ("zeros", vec![0; FLOOD_CHUNK]),
        ("letters without an end", vec![b'A'; FLOOD_CHUNK]),
    ] {
        flood(case, name, chunk, &mut report).await;
    }
    report
}

async fn against(case: &dyn DriverCase, what: String, script: Script) -> Report {
    let mut report = Report::new();
    let peer = match Peer::start(script).await {
        Ok(peer) => peer,
        Err(error) => {
            no_socket(&mut report, &what, &error);
            return report;
        }
    };
    let device = case.device(peer.addr());
    let watch = device.timeouts.request * 3 + NOTICE;
    let session = Session::start(&case.driver(), device);
    judge(session, watch, &what, &mut report).await;
    report.require("DRV-1", &what, peer.accepts() <= 1, || {
        format!("{} connections were made in one session", peer.accepts())
    });
    report
}

async fn cut_answer(case: &dyn DriverCase, bytes: usize) -> Report {
    let mut report = Report::new();
    let what = format!("the peer's answer stops after {bytes} bytes");
    let start = async {
        let good = case.good_peer().await?;
        let proxy = Proxy::start(good.addr()).await?;
        Ok((good, proxy))
    };
    let (_good, proxy) = match start.await {
        Ok(started) => started,
        Err(error) => {
            no_socket(&mut report, &what, &error);
            return report;
        }
    };
    proxy.replies_left(bytes);
    let device = case.device(proxy.addr());
    let watch = device.timeouts.request * 3 + NOTICE;
    let session = Session::start(&case.driver(), device);
    judge(session, watch, &what, &mut report).await;
    report
}

/// Lets the session run for `watch`, ends it, and judges what it did.
async fn judge(mut session: Session, watch: Duration, what: &str, report: &mut Report) {
    let mut finish = session.ended(watch).await;
    if matches!(finish, Finish::StillRunning) {
        finish = session.cancel(CANCEL_WITHIN * ALLOWANCE).await.0;
        let ended = !matches!(finish, Finish::StillRunning);
        report.require("DRV-3", what, ended, || "it could not be cancelled".into());
    }
    report.require("DRV-6", what, !matches!(finish, Finish::Panicked(_)), || finish.describe());
    report.require("DRV-8", what, session.recorder.good() == 0, || {
        let made: Vec<_> = session
            .recorder
            .samples()
            .into_iter()
            .filter(|r| !r.sample.status.is_bad())
            .map(|r| r.sample.value)
            .collect();
        format!("good samples were made of it: {made:?}")
    });
    if let Some(fault) = finish.fault() {
        let classes = [FaultClass::Peer, FaultClass::Timeout, FaultClass::Unreachable];
        report.require("DRV-9", what, classes.contains(&fault.class), || {
            format!("the fault is {} ({})", fault.class.label(), fault.chain())
        });
    }
}

async fn flood(case: &dyn DriverCase, name: &str, chunk: Vec<u8>, report: &mut Report) {
    let what = format!("the peer sends 64 MiB of {name}");
    let peer = match Peer::start(Script::bytes(chunk).after_request().times(FLOOD_CHUNKS)).await {
        Ok(peer) => peer,
        Err(error) => return no_socket(report, &what, &error),
    };
    let memory = PeakWatch::start();
    let session = Session::start(&case.driver(), case.device(peer.addr()));
    judge(session, FLOOD_TIME, &what, report).await;
    let grown = memory.growth();
    report.require("DRV-7", &what, grown.is_some_and(|g| g <= FLOOD_GROWTH), || match grown {
        Some(grown) => format!("the process grew by {grown} bytes"),
        None => "the system does not tell the memory of a process".into(),
    });
}
