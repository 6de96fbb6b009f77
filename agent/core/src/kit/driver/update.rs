//! `DRV-14`: a newer version of the device, here with a point less.

use std::sync::Arc;
use std::time::Duration;

use lineside_crds::model::{Device, Point};

use super::{DriverCase, Session, no_socket, silence_deadline};
use crate::driver::Ended;
use crate::kit::peer::Proxy;
use crate::kit::{ALLOWANCE, Finish, Report};

/// For a state that can be seen.
const REACH: Duration = Duration::from_secs(10);

pub(super) async fn check(case: &dyn DriverCase) -> Report {
    let mut report = Report::new();
    let start = async {
        let good = case.good_peer().await?;
        let proxy = Proxy::start(good.addr()).await?;
        Ok((good, proxy))
    };
    let (_good, proxy) = match start.await {
        Ok(started) => started,
        Err(error) => {
            no_socket(&mut report, "a point is removed", &error);
            return report;
        }
    };
    applied(case, &proxy, &mut report).await;
    no_more_updates(case, &proxy, &mut report).await;
    report
}

async fn applied(case: &dyn DriverCase, proxy: &Proxy, report: &mut Report) {
    let what = "a point is removed while data flows";
    let device = case.device(proxy.addr());
    let deadline = silence_deadline(&device) * ALLOWANCE;
    let fewer = without_last_point(&device);
    let mut session = Session::start(&case.driver(), device);
    session.recorder.wait_until(REACH, |r| r.good() > 0).await;
    let accepts = proxy.accepts();
    let origin = session.update(fewer);
    let applied = session
        .recorder
        .wait_until(deadline, |r| {
            session.is_over() || r.samples().iter().any(|s| Arc::ptr_eq(&s.origin, &origin))
        })
        .await;
    report.require("DRV-14", what, applied, || {
        format!("within {deadline:?} neither a batch of the new origin nor Reconfigure")
    });
    if session.is_over() {
        let finish = session.ended(REACH).await;
        report.require("DRV-14", what, matches!(finish, Finish::Ended(Ended::Reconfigure)), || {
            format!("the session {} instead of Reconfigure", finish.describe())
        });
    } else {
        report.require("DRV-14", what, proxy.accepts() == accepts, || {
            "the session made a new connection for it".into()
        });
        let old = session.recorder.samples();
        let from = old.iter().position(|s| Arc::ptr_eq(&s.origin, &origin)).unwrap_or(0);
        let mixed = old.iter().skip(from).any(|s| !Arc::ptr_eq(&s.origin, &origin));
        report.require("DRV-14", what, !mixed, || {
            "batches of the old origin came after those of the new one".into()
        });
    }
}

async fn no_more_updates(case: &dyn DriverCase, proxy: &Proxy, report: &mut Report) {
    let what = "no further update can come";
    let mut session = Session::start(&case.driver(), case.device(proxy.addr()));
    session.recorder.wait_until(REACH, |r| r.good() > 0).await;
    session.end_updates();
    let interval = session.device.points.iter().map(|p| p.interval).max().unwrap_or_default();
    session.recorder.wait_until(interval * 3, |_| session.is_over()).await;
    report.require("DRV-14", what, !session.is_over(), || "the session ended for it".into());
}

/// The device without its last point.
pub(super) fn without_last_point(device: &Device) -> Device {
    let points: Arc<[Point]> =
        device.points.iter().take(device.points.len().saturating_sub(1)).cloned().collect();
    Device { points, ..device.clone() }
}
