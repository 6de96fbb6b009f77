//! `DRV-1`, `DRV-2`, `DRV-5`, `DRV-9`, `DRV-11`: what a session makes of a connection that does
//! not come about or goes away.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use lineside_crds::model::Device;

use super::{DriverCase, Session, Style, no_socket};
use crate::fault::FaultClass;
use crate::kit::peer::{FullBacklog, Peer, Proxy, Script};
use crate::kit::{ALLOWANCE, Finish, Report};

/// For a state that can be seen.
const REACH: Duration = Duration::from_secs(10);

/// How long a session that has lost its peer may go on.
fn prompt(device: &Device) -> Duration {
    (device.timeouts.connect + device.timeouts.request * 2 + Duration::from_secs(1)) * ALLOWANCE
}

pub(super) async fn check(case: &dyn DriverCase) -> Report {
    let mut report = Report::new();
    refused(case, &mut report).await;
    not_answered(case, &mut report).await;
    closed_at_once(case, &mut report).await;
    lost(case, &mut report).await;
    report
}

async fn refused(case: &dyn DriverCase, report: &mut Report) {
    let what = "the connection is refused";
    let addr = match free_port().await {
        Ok(addr) => addr,
        Err(error) => return no_socket(report, what, &error),
    };
    let device = case.device(addr);
    let deadline = prompt(&device);
    let mut session = Session::start(&case.driver(), device);
    let finish = session.ended(deadline).await;
    expect_failed("DRV-2", what, &finish, &[FaultClass::Unreachable], report);
    report.require("DRV-11", what, session.recorder.endpoints().is_empty(), || {
        "connected was called without a connection".into()
    });
}

async fn not_answered(case: &dyn DriverCase, report: &mut Report) {
    let what = "the connection is not answered";
    let nobody = match FullBacklog::start().await {
        Ok(nobody) => nobody,
        Err(error) => return no_socket(report, what, &error),
    };
    let device = case.device(nobody.addr());
    let deadline = prompt(&device);
    let mut session = Session::start(&case.driver(), device);
    let finish = session.ended(deadline).await;
    let classes = [FaultClass::Unreachable, FaultClass::Timeout];
    expect_failed("DRV-5", what, &finish, &classes, report);
    report.require("DRV-11", what, session.recorder.endpoints().is_empty(), || {
        "connected was called without a connection".into()
    });
}

async fn closed_at_once(case: &dyn DriverCase, report: &mut Report) {
    let scripts = [
        ("the peer closes at once", Script::close()),
        ("the peer resets at once", Script::reset()),
        ("the peer closes after the first request", Script::close().after_request()),
    ];
    for (what, script) in scripts {
        let peer = match Peer::start(script).await {
            Ok(peer) => peer,
            Err(error) => return no_socket(report, what, &error),
        };
        let device = case.device(peer.addr());
        let deadline = prompt(&device);
        let mut session = Session::start(&case.driver(), device);
        let finish = session.ended(deadline).await;
        expect_failed("DRV-2", what, &finish, &LOST, report);
        report.require("DRV-1", what, peer.accepts() == 1, || {
            format!("{} connections were made; one per session is allowed", peer.accepts())
        });
        report.require("DRV-8", what, session.recorder.good() == 0, || {
            "a good sample came from a peer that said nothing".into()
        });
    }
}

async fn lost(case: &dyn DriverCase, report: &mut Report) {
    let what = "the connection is lost while data flows";
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
    let deadline = prompt(&device);
    let mut session = Session::start(&case.driver(), device);
    session.recorder.wait_until(REACH, |r| r.good() > 0).await;
    proxy.cut();
    let finish = session.ended(deadline).await;
    expect_failed("DRV-2", what, &finish, &LOST, report);
    report.require("DRV-1", what, proxy.accepts() == 1, || {
        format!("{} connections were made; dialling again is the supervisor's", proxy.accepts())
    });
    // A polling driver owes this only for points that were due; the supervisor has the others.
    if case.style() == Style::Polls {
        return;
    }
    let path = session.path().to_owned();
    let not_bad = session
        .recorder
        .points_without(&path, session.points(), |t| t.last.is_some_and(crate::StatusCode::is_bad));
    report.require("DRV-10", what, not_bad.is_empty(), || {
        format!("points {not_bad:?} were not Bad when the session ended")
    });
}

const LOST: [FaultClass; 3] = [FaultClass::Peer, FaultClass::Timeout, FaultClass::Unreachable];

fn expect_failed(
    requirement: &'static str,
    what: &str,
    finish: &Finish,
    classes: &[FaultClass],
    report: &mut Report,
) {
    let fault = finish.fault();
    report.require(requirement, what, fault.is_some(), || {
        format!("the session {} instead of failing promptly", finish.describe())
    });
    report.require("DRV-6", what, !matches!(finish, Finish::Panicked(_)), || finish.describe());
    if let Some(fault) = fault {
        report.require("DRV-9", what, classes.contains(&fault.class), || {
            format!("the fault is {} ({}), not one of {classes:?}", fault.class.label(), fault)
        });
    }
}

/// An address where nothing listens.
async fn free_port() -> io::Result<SocketAddr> {
    tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()
}
