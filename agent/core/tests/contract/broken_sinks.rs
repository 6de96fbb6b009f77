//! Sinks that break one promise each; the kit has to name it.

use std::sync::Arc;

use futures::future::BoxFuture;
use lineside_core::driver::Ended;
use lineside_core::kit::Report;
use lineside_core::kit::sink::{check_cancellation, check_connection, check_delivery};
use lineside_core::sink::{Feed, Guarantee, Outcome, Record, RecordId, Sink, SinkContext};
use tokio_util::sync::CancellationToken;

use crate::sink::{LineCase, LineSink};

#[derive(Clone, Copy, PartialEq)]
enum Flaw {
    SettlesWhenTaken,
    SettlesTwice,
    ForgetsToSettle,
    ConnectsAgain,
    NotCancelled,
    Panics,
    SaysNothingOfItsConnection,
    HidesRefusals,
    Miscounts,
    LowersItsMarks,
}

/// The line sink with a flaw.
struct Flawed(LineSink, Flaw);

impl Sink for Flawed {
    fn guarantee(&self) -> Guarantee {
        self.0.guarantee()
    }

    fn ordered(&self) -> bool {
        self.0.ordered()
    }

    fn session(&self, mut context: SinkContext) -> BoxFuture<'static, Ended> {
        let (remote, flaw) = (self.0.0, self.1);
        context.feed = Box::new(FlawedFeed { inner: context.feed, flaw });
        if flaw == Flaw::NotCancelled {
            context.cancel = CancellationToken::new();
        }
        if flaw == Flaw::SaysNothingOfItsConnection {
            context.state = Arc::new(Mute);
        }
        Box::pin(async move {
            match (LineSink(remote).session(context).await, flaw) {
                (Ended::Failed(fault), Flaw::ConnectsAgain) => {
                    // One more connection before it gives up.
                    let _ = tokio::net::TcpStream::connect(remote).await;
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    Ended::Failed(fault)
                }
                (Ended::Failed(fault), Flaw::Panics) => panic!("{fault}"),
                (ended, _) => ended,
            }
        })
    }
}

struct Mute;

impl lineside_core::sink::SinkState for Mute {
    fn connected(&self, _: &str) {}
}

struct FlawedFeed {
    inner: Box<dyn Feed>,
    flaw: Flaw,
}

impl Feed for FlawedFeed {
    fn next(&mut self) -> BoxFuture<'_, Record> {
        Box::pin(async move {
            let record = self.inner.next().await;
            if self.flaw == Flaw::SettlesWhenTaken {
                self.inner.settle(&record.id, Outcome::delivered(record.batch.len()));
            }
            record
        })
    }

    fn settle(&mut self, id: &RecordId, outcome: Outcome) {
        if self.flaw == Flaw::LowersItsMarks {
            self.inner.accepted(id, outcome, u64::MAX - id.offset);
            return self.inner.confirmed(u64::MAX);
        }
        let mut outcome = outcome;
        match self.flaw {
            Flaw::HidesRefusals if outcome.rejected > 0 => outcome = Outcome::delivered(1),
            Flaw::Miscounts => outcome.delivered += 1,
            _ => {}
        }
        let times = match self.flaw {
            Flaw::SettlesWhenTaken => 0,
            Flaw::SettlesTwice => 2,
            Flaw::ForgetsToSettle if id.offset % 7 == 6 => 0,
            _ => 1,
        };
        for _ in 0..times {
            self.inner.settle(id, outcome.clone());
        }
    }

    fn accepted(&mut self, id: &RecordId, outcome: Outcome, mark: u64) {
        self.inner.accepted(id, outcome, mark);
    }

    fn confirmed(&mut self, mark: u64) {
        self.inner.confirmed(mark);
    }
}

fn expect(report: &Report, requirements: &[&str]) {
    for requirement in requirements {
        assert!(report.violates(requirement), "{requirement} was not found violated: {report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_finds_a_sink_that_settles_before_the_remote_has_accepted() {
    let case = LineCase(|s| Arc::new(Flawed(s, Flaw::SettlesWhenTaken)));
    expect(&check_delivery(&case).await, &["SNK-8"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_finds_a_sink_that_settles_twice() {
    let case = LineCase(|s| Arc::new(Flawed(s, Flaw::SettlesTwice)));
    expect(&check_delivery(&case).await, &["SNK-9"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_finds_a_sink_that_forgets_to_settle() {
    let case = LineCase(|s| Arc::new(Flawed(s, Flaw::ForgetsToSettle)));
    expect(&check_delivery(&case).await, &["SNK-9"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_finds_a_sink_that_connects_again_by_itself() {
    let case = LineCase(|s| Arc::new(Flawed(s, Flaw::ConnectsAgain)));
    expect(&check_connection(&case).await, &["SNK-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_finds_a_sink_that_cannot_be_cancelled() {
    let case = LineCase(|s| Arc::new(Flawed(s, Flaw::NotCancelled)));
    expect(&check_cancellation(&case).await, &["SNK-3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_finds_a_sink_that_panics() {
    let case = LineCase(|s| Arc::new(Flawed(s, Flaw::Panics)));
    expect(&check_connection(&case).await, &["SNK-6"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_finds_a_sink_that_does_not_say_that_it_is_connected() {
    let case = LineCase(|s| Arc::new(Flawed(s, Flaw::SaysNothingOfItsConnection)));
    expect(&check_delivery(&case).await, &["SNK-14"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_finds_a_sink_that_calls_a_refused_record_delivered() {
    let case = LineCase(|s| Arc::new(Flawed(s, Flaw::HidesRefusals)));
    expect(&check_delivery(&case).await, &["SNK-12"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_finds_a_sink_whose_outcome_is_not_the_length_of_the_record() {
    let case = LineCase(|s| Arc::new(Flawed(s, Flaw::Miscounts)));
    expect(&check_delivery(&case).await, &["SNK-16"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_finds_a_sink_whose_marks_fall() {
    let case = LineCase(|s| Arc::new(Flawed(s, Flaw::LowersItsMarks)));
    expect(&check_delivery(&case).await, &["SNK-17"]);
}
