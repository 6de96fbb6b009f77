//! Drivers that break one promise each; the kit has to name it.

use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use lineside_core::driver::{Driver, Emit, Ended, Reading, Receipt, SessionContext};
use lineside_core::kit::Report;
use lineside_core::kit::driver::{
    check_cancellation, check_connection, check_data, check_hostile, check_silence, check_updates,
};
use lineside_core::{Batch, Clock, Fault, Sample, StatusCode, Value};
use lineside_crds::model::{Device, Point};
use tokio_util::sync::CancellationToken;

use crate::push::{PushCase, PushDriver};

#[derive(Clone, Copy, PartialEq)]
enum Flaw {
    NotCancelled,
    DialsAgain,
    Panics,
    HidesBad,
    RepeatsOldValues,
    EmitsWithoutWaiting,
    ForgetsTheEpoch,
    SaysNothingOfItsConnection,
    OutlivesItsFuture,
    InventsValues,
    IgnoresUpdates,
}

/// The push driver with a flaw.
struct Flawed(Flaw);

impl Driver for Flawed {
    fn protocol(&self) -> &'static str {
        PushDriver.protocol()
    }

    fn session(
        &self,
        device: Arc<Device>,
        mut context: SessionContext,
    ) -> BoxFuture<'static, Ended> {
        let flaw = self.0;
        let last_good = Arc::new(Mutex::new(None));
        context.emit = Arc::new(FlawedEmit { flaw, inner: context.emit.clone(), last_good });
        if flaw == Flaw::NotCancelled {
            context.cancel = CancellationToken::new();
        }
        if flaw == Flaw::IgnoresUpdates {
            let now = context.updates.borrow().clone();
            context.updates = tokio::sync::watch::channel(now).1;
        }
        Box::pin(async move {
            if flaw == Flaw::OutlivesItsFuture {
                let session = tokio::spawn(PushDriver.session(device, context));
                return session.await.unwrap();
            }
            loop {
                let again = SessionContext {
                    clock: context.clock.clone(),
                    emit: context.emit.clone(),
                    origin: context.origin.clone(),
                    updates: context.updates.clone(),
                    cancel: context.cancel.clone(),
                    epoch: context.epoch,
                };
                match (PushDriver.session(device.clone(), again).await, flaw) {
                    (Ended::Failed(_), Flaw::DialsAgain) => {
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    }
                    (Ended::Failed(fault), Flaw::Panics) => panic!("{fault}"),
                    (ended, _) => return ended,
                }
            }
        })
    }

    fn read_once(
        &self,
        device: Arc<Device>,
        clock: Arc<dyn Clock>,
    ) -> BoxFuture<'static, Result<Vec<Reading>, Fault>> {
        PushDriver.read_once(device, clock)
    }

    fn wire_address(&self, device: &Device, point: &Point) -> String {
        PushDriver.wire_address(device, point)
    }
}

struct FlawedEmit {
    flaw: Flaw,
    inner: Arc<dyn Emit>,
    last_good: Arc<Mutex<Option<Value>>>,
}

impl Emit for FlawedEmit {
    #[allow(clippy::async_yields_async, reason = "the contract: accepted first, captured later")]
    fn emit(&self, mut batch: Batch) -> BoxFuture<'_, Receipt> {
        match self.flaw {
            Flaw::HidesBad => batch = batch.select(|s| !s.status.is_bad()),
            Flaw::ForgetsTheEpoch => batch.epoch = 0,
            Flaw::RepeatsOldValues | Flaw::InventsValues => batch = self.as_good(&batch),
            Flaw::EmitsWithoutWaiting => {
                let inner = self.inner.clone();
                tokio::spawn(async move { inner.emit(batch).await });
                return Box::pin(async { Receipt::captured() });
            }
            _ => {}
        }
        self.inner.emit(batch)
    }

    fn connected(&self, endpoint: &str) {
        if self.flaw != Flaw::SaysNothingOfItsConnection {
            self.inner.connected(endpoint);
        }
    }
}

impl FlawedEmit {
    /// The batch with the last good value in place of what is Bad.
    fn as_good(&self, batch: &Batch) -> Batch {
        let mut last = self.last_good.lock().unwrap();
        if self.flaw == Flaw::InventsValues {
            last.get_or_insert(Value::I64(0));
        }
        let mut out = Batch::with_capacity(
            batch.origin().clone(),
            batch.epoch,
            batch.time_quality,
            batch.len(),
        );
        for sample in batch.iter() {
            let mut sample: Sample = sample.to_sample();
            if !sample.status.is_bad() {
                *last = Some(sample.value.clone());
            } else if let Some(value) = &*last {
                sample.status = StatusCode::GOOD;
                sample.value = value.clone();
            }
            out.push(sample);
        }
        out
    }
}

fn case(flaw: Flaw) -> PushCase {
    PushCase(Arc::new(Flawed(flaw)))
}

fn expect(report: &Report, requirements: &[&str]) {
    for requirement in requirements {
        assert!(report.violates(requirement), "{requirement} was not found violated: {report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_finds_a_driver_that_cannot_be_cancelled() {
    expect(&check_cancellation(&case(Flaw::NotCancelled)).await, &["DRV-3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_finds_a_driver_that_dials_again_by_itself() {
    expect(&check_connection(&case(Flaw::DialsAgain)).await, &["DRV-1", "DRV-2", "DRV-5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_finds_a_driver_that_panics() {
    expect(&check_connection(&case(Flaw::Panics)).await, &["DRV-6"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_finds_a_driver_that_keeps_silent_about_what_it_could_not_read() {
    expect(&check_silence(&case(Flaw::HidesBad)).await, &["DRV-10"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_finds_a_driver_that_gives_old_values_as_new() {
    expect(&check_silence(&case(Flaw::RepeatsOldValues)).await, &["DRV-10"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_finds_a_driver_that_does_not_wait_for_the_pipeline() {
    expect(&check_data(&case(Flaw::EmitsWithoutWaiting)).await, &["DRV-12"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_finds_a_driver_that_forgets_epoch_or_connection() {
    expect(&check_data(&case(Flaw::ForgetsTheEpoch)).await, &["SMP-7"]);
    expect(&check_data(&case(Flaw::SaysNothingOfItsConnection)).await, &["DRV-11"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_finds_a_driver_that_outlives_its_session() {
    expect(&check_cancellation(&case(Flaw::OutlivesItsFuture)).await, &["DRV-4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_finds_a_driver_that_invents_values() {
    expect(&check_hostile(&case(Flaw::InventsValues)).await, &["DRV-8"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_finds_a_driver_that_ignores_a_newer_version_of_the_device() {
    expect(&check_updates(&case(Flaw::IgnoresUpdates)).await, &["DRV-14"]);
}
