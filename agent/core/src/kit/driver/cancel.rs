//! `DRV-3`, `DRV-4`: the session ends within a second in whatever state it is.

use std::time::Duration;

use super::{DriverCase, Session, Style, device_with, no_socket};
use crate::driver::Ended;
use crate::kit::peer::{FullBacklog, Peer, Proxy, Script};
use crate::kit::{ALLOWANCE, CANCEL_WITHIN, Finish, Report};

/// Longer than any cancellation may take: deadlines of the driver must not end the session first.
const LONG: Duration = Duration::from_secs(60);

/// For the session to reach a state that nobody outside can see.
const SETTLE: Duration = Duration::from_millis(100);

/// For a state that can be seen.
const REACH: Duration = Duration::from_secs(10);

pub(super) async fn check(case: &dyn DriverCase) -> Report {
    let mut report = Report::new();
    while_connecting(case, &mut report).await;
    while_waiting(case, &mut report).await;
    while_idle(case, &mut report).await;
    while_held_back(case, &mut report).await;
    dropped(case, &mut report).await;
    report
}

async fn while_connecting(case: &dyn DriverCase, report: &mut Report) {
    let what = "cancelled while the connection is not answered";
    let nobody = match FullBacklog::start().await {
        Ok(nobody) => nobody,
        Err(error) => return no_socket(report, what, &error),
    };
    let device = device_with(case.device(nobody.addr()), None, Some(LONG));
    let session = Session::start(&case.driver(), device);
    tokio::time::sleep(SETTLE).await;
    expect_cancelled(session, what, report).await;
}

async fn while_waiting(case: &dyn DriverCase, report: &mut Report) {
    let what = "cancelled while the peer does not answer";
    let peer = match Peer::start(Script::silent()).await {
        Ok(peer) => peer,
        Err(error) => return no_socket(report, what, &error),
    };
    let device = device_with(case.device(peer.addr()), None, Some(LONG));
    let session = Session::start(&case.driver(), device);
    report.require("DRV-5", what, peer.wait_open(REACH).await, || {
        "the driver did not connect".into()
    });
    tokio::time::sleep(SETTLE).await;
    expect_cancelled(session, what, report).await;
    report.require("DRV-4", what, peer.wait_closed(CANCEL_WITHIN * ALLOWANCE).await, || {
        "the connection was still open after the session had ended".into()
    });
}

async fn while_idle(case: &dyn DriverCase, report: &mut Report) {
    let what = "cancelled between two polls, or while the peer has nothing to say";
    let good = match case.good_peer().await {
        Ok(good) => good,
        Err(error) => return no_socket(report, what, &error),
    };
    let interval = (case.style() == Style::Polls).then_some(LONG);
    let device = device_with(case.device(good.addr()), interval, Some(LONG));
    let session = Session::start(&case.driver(), device);
    let (path, points) = (session.path().to_owned(), session.points());
    let read = session.recorder.wait_all_good(&path, points, REACH).await;
    report.require("DRV-10", what, read, || "a good peer's points were not read first".into());
    tokio::time::sleep(SETTLE).await;
    expect_cancelled(session, what, report).await;
}

async fn while_held_back(case: &dyn DriverCase, report: &mut Report) {
    let what = "cancelled while the pipeline holds an emit back";
    let good = match case.good_peer().await {
        Ok(good) => good,
        Err(error) => return no_socket(report, what, &error),
    };
    let device = device_with(case.device(good.addr()), None, Some(LONG));
    let session = Session::start(&case.driver(), device);
    session.recorder.hold();
    let pending = session.recorder.wait_until(REACH, |r| r.pending() > 0).await;
    report.require("DRV-12", what, pending, || "no emit was pending".into());
    expect_cancelled(session, what, report).await;
}

async fn dropped(case: &dyn DriverCase, report: &mut Report) {
    let what = "dropped while it runs";
    let start = async {
        let good = case.good_peer().await?;
        let proxy = Proxy::start(good.addr()).await?;
        Ok((good, proxy))
    };
    let (_good, proxy) = match start.await {
        Ok(started) => started,
        Err(error) => return no_socket(report, what, &error),
    };
    let mut session = Session::start(&case.driver(), case.device(proxy.addr()));
    session.recorder.wait_until(REACH, |r| r.good() > 0).await;
    session.abort();
    let _ = session.ended(REACH).await;
    let closed = proxy.wait_closed(CANCEL_WITHIN * ALLOWANCE).await;
    report.require("DRV-4", what, closed, || "its connection stayed open".into());
    let before = session.recorder.batches();
    let more = session.recorder.wait_until(SETTLE * 5, |r| r.batches() > before).await;
    report.require("DRV-4", what, !more, || "something went on emitting".into());
}

async fn expect_cancelled(mut session: Session, what: &str, report: &mut Report) {
    let deadline = CANCEL_WITHIN * ALLOWANCE;
    let (finish, took) = session.cancel(deadline).await;
    let kept = matches!(finish, Finish::Ended(Ended::Cancelled));
    report.require("DRV-3", what, kept, || {
        format!(
            "the session {} after {took:?}; Cancelled within 1 s is promised",
            finish.describe()
        )
    });
}
