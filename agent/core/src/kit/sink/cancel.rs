//! `SNK-3`, `SNK-4`: the session ends within a second in whatever state it is.

use std::time::Duration;

use super::{Session, SinkCase, behind_proxy, no_socket};
use crate::driver::Ended;
use crate::kit::peer::{Flow, FullBacklog, Peer, Script};
use crate::kit::{ALLOWANCE, CANCEL_WITHIN, Finish, Report, ScriptedFeed};

/// For a state that can be seen.
const REACH: Duration = Duration::from_secs(15);

/// For the session to reach a state that nobody outside can see.
const SETTLE: Duration = Duration::from_millis(100);

pub(super) async fn check(case: &dyn SinkCase) -> Report {
    let mut report = Report::new();
    while_connecting(case, &mut report).await;
    while_greeting(case, &mut report).await;
    while_idle(case, &mut report).await;
    while_waiting(case, &mut report).await;
    dropped(case, &mut report).await;
    report
}

async fn while_connecting(case: &dyn SinkCase, report: &mut Report) {
    let what = "cancelled while the connection is not answered";
    let nobody = match FullBacklog::start().await {
        Ok(nobody) => nobody,
        Err(error) => return no_socket(report, what, &error),
    };
    let feed = ScriptedFeed::new();
    feed.push_numbered(1);
    let session = Session::start(&case.sink(nobody.addr()), "cancel", case.secrets(), &feed);
    tokio::time::sleep(SETTLE).await;
    expect_cancelled(session, what, report).await;
    report.require("SNK-8", what, feed.done() == 0, || "a record was settled".into());
}

async fn while_greeting(case: &dyn SinkCase, report: &mut Report) {
    let what = "cancelled while the remote accepts and never answers";
    let peer = match Peer::start(Script::silent()).await {
        Ok(peer) => peer,
        Err(error) => return no_socket(report, what, &error),
    };
    let feed = ScriptedFeed::new();
    feed.push_numbered(1);
    let session = Session::start(&case.sink(peer.addr()), "cancel", case.secrets(), &feed);
    peer.wait_open(REACH).await;
    tokio::time::sleep(SETTLE).await;
    expect_cancelled(session, what, report).await;
    report.require("SNK-8", what, feed.done() == 0, || "a record was settled".into());
    report.require("SNK-4", what, peer.wait_closed(CANCEL_WITHIN * ALLOWANCE).await, || {
        "the connection was still open after the session had ended".into()
    });
}

async fn while_idle(case: &dyn SinkCase, report: &mut Report) {
    let what = "cancelled while there is nothing to deliver";
    let (_remote, proxy) = match behind_proxy(case).await {
        Ok(started) => started,
        Err(error) => return no_socket(report, what, &error),
    };
    let feed = ScriptedFeed::new();
    let session = Session::start(&case.sink(proxy.addr()), "cancel", case.secrets(), &feed);
    let connected = session.endpoints.wait(REACH).await;
    report.require("SNK-14", what, connected, || {
        "connected was not called before the first record".into()
    });
    expect_cancelled(session, what, report).await;
}

async fn while_waiting(case: &dyn SinkCase, report: &mut Report) {
    let what = "cancelled while acknowledgements are outstanding";
    let (_remote, proxy) = match behind_proxy(case).await {
        Ok(started) => started,
        Err(error) => return no_socket(report, what, &error),
    };
    let feed = ScriptedFeed::new();
    feed.push_numbered(1);
    let session = Session::start(&case.sink(proxy.addr()), "cancel", case.secrets(), &feed);
    feed.wait_all_done(REACH).await;
    proxy.set(Flow::Hold);
    feed.push_numbered(case.max_in_flight() + 10);
    feed.wait_until(REACH, |f| f.handed().len() > 1).await;
    expect_cancelled(session, what, report).await;
}

async fn dropped(case: &dyn SinkCase, report: &mut Report) {
    let what = "dropped while it delivers";
    let (_remote, proxy) = match behind_proxy(case).await {
        Ok(started) => started,
        Err(error) => return no_socket(report, what, &error),
    };
    let feed = ScriptedFeed::new();
    feed.push_numbered(1);
    let mut session = Session::start(&case.sink(proxy.addr()), "drop", case.secrets(), &feed);
    feed.wait_all_done(REACH).await;
    session.abort();
    let _ = session.ended(REACH).await;
    let closed = proxy.wait_closed(CANCEL_WITHIN * ALLOWANCE).await;
    report.require("SNK-4", what, closed, || "its connection stayed open".into());
    feed.push_numbered(1);
    let taken = feed.wait_until(SETTLE * 5, |f| f.handed().len() > 1).await;
    report.require("SNK-4", what, !taken, || "something went on taking records".into());
}

async fn expect_cancelled(mut session: Session, what: &str, report: &mut Report) {
    let (finish, took) = session.cancel(CANCEL_WITHIN * ALLOWANCE).await;
    report.require("SNK-3", what, matches!(finish, Finish::Ended(Ended::Cancelled)), || {
        format!(
            "the session {} after {took:?}; Cancelled within 1 s is promised",
            finish.describe()
        )
    });
}
