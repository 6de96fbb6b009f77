//! Checks for a driver that is dialled: it listens on UDP and may learn its devices by itself.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lineside_crds::model::Device;
use tokio::net::UdpSocket;

use super::data::judge_samples;
use super::update::without_last_point;
use super::{Session, no_socket};
use crate::driver::{Driver, Ended};
use crate::fault::FaultClass;
use crate::kit::memory::PeakWatch;
use crate::kit::peer::random_bytes;
use crate::kit::{ALLOWANCE, CANCEL_WITHIN, Finish, Recorder, Report};

/// For a state that can be seen.
const REACH: Duration = Duration::from_secs(10);

/// For something that must not happen.
const NEVER: Duration = Duration::from_millis(500);

/// Random datagrams of one flood.
const DATAGRAMS: u64 = 20_000;

/// Growth of the process that a flood may cause.
const FLOOD_GROWTH: u64 = 32 * 1024 * 1024;

/// A driver that listens on UDP, with what the kit needs to put it to the test.
pub trait ListenerCase: Send + Sync {
    /// The driver.
    fn driver(&self) -> Arc<dyn Driver>;

    /// A device that listens at `bind` (port 0 = any).
    fn device(&self, bind: SocketAddr) -> Device;

    /// Where the session listens, from the endpoint that it gave to `connected`.
    fn address(&self, endpoint: &str) -> Option<SocketAddr> {
        endpoint.parse().ok()
    }

    /// Datagrams that each make at least one good sample.
    fn good(&self) -> Vec<Vec<u8>>;

    /// Datagrams that are almost right and must make none.
    fn hostile(&self) -> Vec<Vec<u8>>;

    /// A right datagram of the sender number `n`; `None` when the driver learns no devices.
    fn learned(&self, n: u64) -> Option<Vec<u8>>;

    /// Most devices that one session learns.
    fn max_learned(&self) -> usize;
}

/// Runs every check of the kit for a driver that listens on UDP; takes some seconds.
pub async fn check_listener(case: &dyn ListenerCase) -> Report {
    let mut report = Report::new();
    data(case, &mut report).await;
    hostile(case, &mut report).await;
    learned(case, &mut report).await;
    updated(case, &mut report).await;
    cancelled(case, &mut report).await;
    taken(case, &mut report).await;
    report
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// A session that listens, and a socket that speaks to it.
async fn listening(
    case: &dyn ListenerCase,
    what: &str,
    report: &mut Report,
) -> Option<(Session, UdpSocket, SocketAddr)> {
    let session = Session::start(&case.driver(), case.device(any_port()));
    session.recorder.wait_until(REACH, |r| !r.endpoints().is_empty()).await;
    let endpoints = session.recorder.endpoints();
    let at = endpoints.first().and_then(|e| case.address(e));
    report.require("DRV-11", what, at.is_some() && endpoints.len() == 1, || {
        format!("the session named the endpoints {endpoints:?} instead of the one it listens at")
    });
    let at = at?;
    match UdpSocket::bind(any_port()).await {
        Ok(socket) => Some((session, socket, at)),
        Err(error) => {
            no_socket(report, what, &error);
            None
        }
    }
}

async fn send(socket: &UdpSocket, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
    socket.send_to(datagram, to).await.map(|_| ())
}

async fn data(case: &dyn ListenerCase, report: &mut Report) {
    let what = "good datagrams arrive";
    let Some((session, socket, at)) = listening(case, what, report).await else { return };
    for datagram in case.good() {
        let before = session.recorder.good();
        if let Err(error) = send(&socket, at, &datagram).await {
            return no_socket(report, what, &error);
        }
        let more = session.recorder.wait_until(REACH, |r| r.good() > before).await;
        report.require("DRV-10", what, more, || {
            format!("no good sample came of {:?}", String::from_utf8_lossy(&datagram))
        });
    }
    judge_samples(&session, what, report);
}

async fn hostile(case: &dyn ListenerCase, report: &mut Report) {
    let what = "random and almost right datagrams arrive";
    let Some((mut session, socket, at)) = listening(case, what, report).await else { return };
    let memory = PeakWatch::start();
    for datagram in case.hostile() {
        let _ = send(&socket, at, &datagram).await;
    }
    for seed in 0..DATAGRAMS {
        let len = usize::try_from(seed % 1200).unwrap_or(0);
        // A full buffer of the system drops datagrams, as on a real network.
        let _ = send(&socket, at, &random_bytes(seed, len)).await;
        if seed % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    session.recorder.wait_until(NEVER, |r| r.good() > 0).await;
    report.require("DRV-8", what, session.recorder.good() == 0, || {
        "good samples were made of them".into()
    });
    let grown = memory.growth();
    report.require("DRV-7", what, grown.is_some_and(|g| g <= FLOOD_GROWTH), || match grown {
        Some(grown) => format!("the process grew by {grown} bytes"),
        None => "the system does not tell the memory of a process".into(),
    });
    let over = session.is_over();
    report.require("DRV-9", what, !over, || {
        "one sender's datagrams ended the session of all of them".into()
    });
    if over {
        let finish = session.ended(REACH).await;
        report.require("DRV-6", what, !matches!(finish, Finish::Panicked(_)), || finish.describe());
    } else if let Some(datagram) = case.good().first() {
        // The buffer may still be full of garbage: a datagram is worth sending again.
        let deadline = tokio::time::Instant::now() + REACH;
        while session.recorder.good() == 0 && tokio::time::Instant::now() < deadline {
            let _ = send(&socket, at, datagram).await;
            session.recorder.wait_until(NEVER / 5, |r| r.good() > 0).await;
        }
        report.require("DRV-6", what, session.recorder.good() > 0, || {
            "the session no longer takes good datagrams".into()
        });
    }
}

async fn learned(case: &dyn ListenerCase, report: &mut Report) {
    let what = "more devices speak than may be learned";
    if case.learned(0).is_none() {
        return;
    }
    let Some((session, socket, at)) = listening(case, what, report).await else { return };
    let most = case.max_learned();
    for n in 0..(most as u64) {
        let Some(datagram) = case.learned(n) else { return };
        let before = session.recorder.paths().len();
        let _ = send(&socket, at, &datagram).await;
        let one_more = session.recorder.wait_until(REACH, |r| r.paths().len() > before).await;
        report.require("DRV-16", what, one_more, || format!("device {n} was not learned"));
    }
    for n in (most as u64)..(most as u64 * 2 + 16) {
        let Some(datagram) = case.learned(n) else { return };
        let _ = send(&socket, at, &datagram).await;
    }
    session.recorder.wait_until(NEVER, |r| r.paths().len() > most).await;
    let paths = session.recorder.paths();
    report.require("DRV-16", what, paths.len() <= most, || {
        format!("{} devices were learned; {most} is the bound", paths.len())
    });
    for recorded in session.recorder.samples() {
        let own =
            recorded.origin.learned.as_ref().is_some_and(|name| {
                *recorded.origin.path == format!("{}/{name}", session.device.key)
            });
        report.require("DRV-16", what, own, || {
            format!("{} is not an origin of its own below the device", recorded.origin.path)
        });
    }
    if let Some(datagram) = case.learned(0) {
        let before = session.recorder.good();
        let _ = send(&socket, at, &datagram).await;
        let more = session.recorder.wait_until(REACH, |r| r.good() > before).await;
        report.require("DRV-16", what, more, || {
            "a device that was learned before the bound is no longer served".into()
        });
    }
    judge_samples(&session, what, report);
}

async fn updated(case: &dyn ListenerCase, report: &mut Report) {
    let what = "a point is removed while it listens";
    let Some((mut session, socket, at)) = listening(case, what, report).await else { return };
    let origin = session.update(without_last_point(&session.device));
    let good = case.good();
    let Some(datagram) = good.first() else { return };
    let applied = |points: usize| points == origin.points.len();
    // Which of the two the session sees first is open: a datagram is worth sending again.
    let deadline = tokio::time::Instant::now() + REACH;
    let seen = |r: &Recorder| r.samples().iter().any(|s| applied(s.origin.points.len()));
    while !session.is_over() && !seen(&session.recorder) && tokio::time::Instant::now() < deadline {
        let _ = send(&socket, at, datagram).await;
        session.recorder.wait_until(NEVER / 5, |r| seen(r)).await;
    }
    if session.is_over() {
        let finish = session.ended(REACH).await;
        report.require("DRV-14", what, matches!(finish, Finish::Ended(Ended::Reconfigure)), || {
            format!("the session {} instead of Reconfigure", finish.describe())
        });
        return;
    }
    report.require("DRV-14", what, seen(&session.recorder), || {
        "neither a batch with the new points nor Reconfigure".into()
    });
    session.end_updates();
    session.recorder.wait_until(NEVER, |_| session.is_over()).await;
    report.require("DRV-14", what, !session.is_over(), || {
        "the session ended because no further update can come".into()
    });
}

async fn cancelled(case: &dyn ListenerCase, report: &mut Report) {
    let what = "cancelled while it listens";
    let Some((mut session, _socket, at)) = listening(case, what, report).await else { return };
    let (finish, took) = session.cancel(CANCEL_WITHIN * ALLOWANCE).await;
    report.require("DRV-3", what, matches!(finish, Finish::Ended(Ended::Cancelled)), || {
        format!("the session {} after {took:?}", finish.describe())
    });
    let again = UdpSocket::bind(at).await;
    report.require("DRV-4", what, again.is_ok(), || "its port is still taken".into());

    let what = "cancelled while the pipeline holds an emit back";
    let Some((mut session, socket, at)) = listening(case, what, report).await else { return };
    session.recorder.hold();
    for datagram in case.good() {
        let _ = send(&socket, at, &datagram).await;
    }
    let pending = session.recorder.wait_until(REACH, |r| r.pending() > 0).await;
    report.require("DRV-12", what, pending, || "no emit was pending".into());
    let (finish, took) = session.cancel(CANCEL_WITHIN * ALLOWANCE).await;
    report.require("DRV-3", what, matches!(finish, Finish::Ended(Ended::Cancelled)), || {
        format!("the session {} after {took:?}", finish.describe())
    });
    report.require("DRV-12", what, session.recorder.most_pending() <= 1, || {
        format!("{} emits of one origin were pending at once", session.recorder.most_pending())
    });
}

async fn taken(case: &dyn ListenerCase, report: &mut Report) {
    let what = "the port is taken";
    let socket = match UdpSocket::bind(any_port()).await {
        Ok(socket) => socket,
        Err(error) => return no_socket(report, what, &error),
    };
    let Ok(at) = socket.local_addr() else { return };
    let mut session = Session::start(&case.driver(), case.device(at));
    let finish = session.ended(CANCEL_WITHIN * ALLOWANCE).await;
    let class = finish.fault().map(|f| f.class);
    let expected = [Some(FaultClass::Config), Some(FaultClass::Unreachable)];
    report.require("DRV-2", what, expected.contains(&class), || {
        format!("the session {} instead of failing promptly", finish.describe())
    });
}
