//! `SNK-1`, `SNK-2`, `SNK-5`, `SNK-14`, `SNK-15`: what a session makes of a connection that does
//! not come about, goes away, or falls silent.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::{Session, SinkCase, behind_proxy, no_socket};
use crate::fault::FaultClass;
use crate::kit::peer::{Flow, FullBacklog, Peer, Script};
use crate::kit::{ALLOWANCE, Finish, Report, ScriptedFeed};
use crate::sink::Guarantee;

/// For a state that can be seen.
const REACH: Duration = Duration::from_secs(15);

const GONE: [FaultClass; 3] = [FaultClass::Peer, FaultClass::Timeout, FaultClass::Unreachable];

pub(super) async fn check(case: &dyn SinkCase) -> Report {
    let mut report = Report::new();
    refused(case, &mut report).await;
    not_answered(case, &mut report).await;
    says_nothing(case, &mut report).await;
    falls_silent(case, &mut report).await;
    report
}

fn prompt(case: &dyn SinkCase) -> Duration {
    (case.deadline() + Duration::from_secs(1)) * ALLOWANCE
}

async fn refused(case: &dyn SinkCase, report: &mut Report) {
    let what = "the connection is refused";
    let free =
        async { tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr() };
    let addr = match free.await {
        Ok(addr) => addr,
        Err(error) => return no_socket(report, what, &error),
    };
    let feed = ScriptedFeed::new();
    feed.push_numbered(1);
    let mut session = Session::start(&case.sink(addr), "refused", case.secrets(), &feed);
    let finish = session.ended(prompt(case)).await;
    expect_failed("SNK-2", what, &finish, &[FaultClass::Unreachable], report);
    nothing_claimed(&session, &feed, what, report);
}

async fn not_answered(case: &dyn SinkCase, report: &mut Report) {
    let what = "the connection is not answered";
    let nobody = match FullBacklog::start().await {
        Ok(nobody) => nobody,
        Err(error) => return no_socket(report, what, &error),
    };
    let feed = ScriptedFeed::new();
    feed.push_numbered(1);
    let mut session = Session::start(&case.sink(nobody.addr()), "silent", case.secrets(), &feed);
    let finish = session.ended(prompt(case)).await;
    let classes = [FaultClass::Unreachable, FaultClass::Timeout];
    expect_failed("SNK-5", what, &finish, &classes, report);
    nothing_claimed(&session, &feed, what, report);
}

async fn says_nothing(case: &dyn SinkCase, report: &mut Report) {
    let scripts = [
        ("SNK-5", "the remote accepts and never answers", Script::silent()),
        ("SNK-2", "the remote closes at once", Script::close()),
        ("SNK-2", "the remote resets at once", Script::reset()),
        ("SNK-2", "the remote closes after the first bytes", Script::close().after_request()),
    ];
    for (requirement, what, script) in scripts {
        let peer = match Peer::start(script).await {
            Ok(peer) => peer,
            Err(error) => return no_socket(report, what, &error),
        };
        let feed = ScriptedFeed::new();
        feed.push_numbered(5);
        let mut session = Session::start(&case.sink(peer.addr()), "mute", case.secrets(), &feed);
        let finish = session.ended(prompt(case)).await;
        expect_failed(requirement, what, &finish, &GONE, report);
        report.require("SNK-1", what, peer.accepts() == 1, || {
            format!("{} connections were made; one per session is allowed", peer.accepts())
        });
        report.require("SNK-8", what, feed.done() == 0, || {
            format!("{} records were settled", feed.done())
        });
    }
}

async fn falls_silent(case: &dyn SinkCase, report: &mut Report) {
    let what = "a remote that delivered falls silent";
    let (_remote, proxy) = match behind_proxy(case).await {
        Ok(started) => started,
        Err(error) => return no_socket(report, what, &error),
    };
    let sink = case.sink(proxy.addr());
    if sink.guarantee() == Guarantee::BestEffort {
        return;
    }
    let feed = ScriptedFeed::new();
    feed.push_numbered(1);
    let mut session = Session::start(&sink, "silent", case.secrets(), &feed);
    feed.wait_all_done(REACH).await;
    proxy.set(Flow::Hold);
    feed.push_numbered(5);
    let finish = session.ended(prompt(case)).await;
    expect_failed("SNK-5", what, &finish, &GONE, report);
    report.require("SNK-8", what, feed.done() == 1, || "a record was settled".into());
}

fn nothing_claimed(session: &Session, feed: &ScriptedFeed, what: &str, report: &mut Report) {
    report.require("SNK-14", what, session.endpoints.all().is_empty(), || {
        "connected was called without a connection".into()
    });
    report.require("SNK-8", what, feed.done() == 0, || "a record was settled".into());
}

fn expect_failed(
    requirement: &'static str,
    what: &str,
    finish: &Finish,
    classes: &[FaultClass],
    report: &mut Report,
) {
    let fault = finish.fault();
    report.require(requirement, what, fault.is_some(), || {
        format!("the session {} instead of failing within its deadline", finish.describe())
    });
    report.require("SNK-6", what, !matches!(finish, Finish::Panicked(_)), || finish.describe());
    if let Some(fault) = fault {
        report.require("SNK-15", what, classes.contains(&fault.class), || {
            format!("the fault is {} ({})", fault.class.label(), fault.chain())
        });
    }
}
