//! `DRV-10`: silence of a connected peer becomes Bad samples within a deadline, never silence.

use std::time::Duration;

use super::{DriverCase, Session, no_socket, silence_deadline};
use crate::fault::FaultClass;
use crate::kit::peer::{Flow, Peer, Proxy, Script};
use crate::kit::{ALLOWANCE, Report};
use crate::status::StatusCode;

/// For a state that can be seen.
const REACH: Duration = Duration::from_secs(10);

pub(super) async fn check(case: &dyn DriverCase) -> Report {
    let mut report = Report::new();
    from_the_start(case, &mut report).await;
    after_good_data(case, &mut report).await;
    report
}

async fn from_the_start(case: &dyn DriverCase, report: &mut Report) {
    let what = "the peer accepts and never answers";
    let peer = match Peer::start(Script::silent()).await {
        Ok(peer) => peer,
        Err(error) => return no_socket(report, what, &error),
    };
    let device = case.device(peer.addr());
    let deadline = silence_deadline(&device) * ALLOWANCE;
    let session = Session::start(&case.driver(), device);
    let (path, points) = (session.path().to_owned(), session.points());
    let all = session.recorder.wait_all_bad(&path, points, deadline).await;
    report.require("DRV-10", what, all, || {
        let without = session.recorder.points_without(&path, points, |t| t.bad > 0);
        format!("no Bad sample for points {without:?} within {deadline:?}")
    });
    report.require("DRV-8", what, session.recorder.good() == 0, || {
        "a good sample came from a peer that said nothing".into()
    });
    for recorded in session.recorder.samples() {
        let status = recorded.sample.status;
        report.require("SMP-6", what, names_the_silence(status), || {
            format!("status {status} does not say that communication failed")
        });
    }
    report.require("DRV-1", what, peer.accepts() == 1, || {
        format!("{} connections were made in one session", peer.accepts())
    });
}

async fn after_good_data(case: &dyn DriverCase, report: &mut Report) {
    let what = "a peer that answered falls silent";
    let start = async {
        let good = case.good_peer().await?;
        let proxy = Proxy::start(good.addr()).await?;
        Ok((good, proxy))
    };
    let (_good, proxy) = match start.await {
        Ok(started) => started,
        Err(error) => return no_socket(report, what, &error),
    };
    let device = case.device(proxy.addr());
    let (deadline, request) = (silence_deadline(&device) * ALLOWANCE, device.timeouts.request);
    let session = Session::start(&case.driver(), device);
    let (path, points) = (session.path().to_owned(), session.points());
    let read = session.recorder.wait_all_good(&path, points, REACH).await;
    report.require("DRV-10", what, read, || "a good peer's points were not read first".into());
    proxy.set(Flow::Hold);
    let turned = session
        .recorder
        .wait_until(deadline, |r| {
            r.points_without(&path, points, |t| t.last.is_some_and(StatusCode::is_bad)).is_empty()
        })
        .await;
    report.require("DRV-10", what, turned, || {
        let still = session
            .recorder
            .points_without(&path, points, |t| t.last.is_some_and(StatusCode::is_bad));
        format!("the newest sample of points {still:?} was not Bad within {deadline:?}")
    });
    let good = session.recorder.good();
    let repeated = session.recorder.wait_until(request * 2, |r| r.good() > good).await;
    report.require("SMP-5", what, !repeated, || {
        "a good sample was emitted while nothing came from the peer".into()
    });
}

/// Whether the status is one that a failed communication may have.
fn names_the_silence(status: StatusCode) -> bool {
    [FaultClass::Timeout, FaultClass::Unreachable, FaultClass::Peer]
        .iter()
        .map(|class| class.status())
        .chain([StatusCode::BAD_NOT_CONNECTED])
        .any(|s| s == status)
}
