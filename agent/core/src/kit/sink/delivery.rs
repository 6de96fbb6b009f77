//! `SNK-7` to `SNK-14`, `SNK-16`: what becomes of records at a remote that accepts them.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::{Remote, Session, SinkCase, behind_proxy, no_socket};
use crate::kit::peer::{Flow, Proxy};
use crate::kit::{ALLOWANCE, CANCEL_WITHIN, Finish, Report, ScriptedFeed, Settled};
use crate::sink::{Guarantee, Outcome, Refusal};

/// For a state that can be seen.
const REACH: Duration = Duration::from_secs(15);

/// For something that must not happen while the remote is held.
const NEVER: Duration = Duration::from_millis(300);

/// Most marks that may be open at a time.
const MARKS: usize = 64;

/// Records of one burst.
const BURST: usize = 500;

pub(super) async fn check(case: &dyn SinkCase) -> Report {
    let mut report = Report::new();
    all_delivered(case, &mut report).await;
    // On a sink that does not deliver, the rest could only say the same again, slowly.
    if !report.violations().is_empty() {
        return report;
    }
    held(case, Flow::HoldRequests, "the remote has not seen the records", &mut report).await;
    held(case, Flow::HoldReplies, "the remote's answers have not come back", &mut report).await;
    next_session(case, &mut report).await;
    refused(case, &mut report).await;
    report
}

async fn all_delivered(case: &dyn SinkCase, report: &mut Report) {
    let what = "a burst is delivered";
    let (remote, proxy) = match behind_proxy(case).await {
        Ok(started) => started,
        Err(error) => return no_socket(report, what, &error),
    };
    let sink = case.sink(proxy.addr());
    let feed = ScriptedFeed::new();
    feed.push_numbered(BURST);
    let mut session = Session::start(&sink, "burst", case.secrets(), &feed);
    let done = feed.wait_all_done(REACH).await;
    report.require("SNK-9", what, done, || {
        format!("{} of {BURST} records were settled within {REACH:?}", feed.done())
    });
    if !done {
        return;
    }
    // Later records go the same way: the end of a burst is no end of the session.
    feed.push_numbered(3);
    let done = feed.wait_all_done(REACH).await;
    report.require("SNK-9", what, done, || "records after the burst were not settled".into());
    session.cancel(CANCEL_WITHIN * ALLOWANCE).await;
    judge_settled(&feed, what, report);
    let received = expect_received(&*remote, feed.len(), what, report).await;
    if sink.ordered() {
        report.require("SNK-10", what, received.is_sorted(), || {
            "an ordered sink changed the order of the records".into()
        });
    }
    let endpoints = session.endpoints.all();
    report.require("SNK-14", what, endpoints.len() == 1, || {
        format!("connected was called {} times for one connection", endpoints.len())
    });
}

/// Every sample has exactly one of the three ends, and who rejects says why.
fn judge_count(feed: &ScriptedFeed, settled: &Settled, what: &str, report: &mut Report) {
    let Outcome { delivered, skipped, merged, rejected, refusals } = &settled.outcome;
    let samples = feed.samples(settled.offset);
    let mut refused: Vec<u32> = refusals.iter().flat_map(|r| r.samples.iter().copied()).collect();
    let count = refused.len() as u64;
    refused.sort_unstable();
    refused.dedup();
    let each_once = refused.len() as u64 == count && count == *rejected;
    let known = refused.last().is_none_or(|last| u64::from(*last) < samples);
    let right = delivered + skipped + merged + rejected == samples && each_once && known;
    report.require("SNK-16", what, right, || {
        format!("record {} of {samples} became {:?}", settled.offset, settled.outcome)
    });
}

/// Every record delivered exactly once by the feed's count.
fn judge_settled(feed: &ScriptedFeed, what: &str, report: &mut Report) {
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    for settled in feed.settled() {
        judge_count(feed, &settled, what, report);
        *times.entry(settled.offset).or_default() += 1;
        report.require("SNK-9", what, settled.outcome == Outcome::delivered(1), || {
            format!("record {} became {:?}", settled.offset, settled.outcome)
        });
    }
    let (fallen, open) = feed.marks();
    report.require("SNK-17", what, fallen == 0 && open <= MARKS, || {
        format!("marks fell {fallen} times, and {open} were open at a time")
    });
    let wrong: Vec<_> = times.iter().filter(|(_, n)| **n != 1).take(5).collect();
    report.require("SNK-9", what, wrong.is_empty(), || {
        format!("records settled more than once: {wrong:?}")
    });
    let unknown = times.keys().any(|o| *o >= feed.len() as u64);
    report.require("SNK-9", what, !unknown, || "a record was settled that never was".into());
}

/// Waits until the remote has every number below `count`; what it received.
async fn expect_received(
    remote: &dyn Remote,
    count: usize,
    what: &str,
    report: &mut Report,
) -> Vec<i64> {
    let mut received = Vec::new();
    let deadline = tokio::time::Instant::now() + REACH;
    let mut problem: Option<io::Error> = None;
    while tokio::time::Instant::now() < deadline {
        match remote.received().await {
            Ok(now) => received = now,
            Err(error) => problem = Some(error),
        }
        if distinct(&received) >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    report.require("SNK-8", what, distinct(&received) == count, || {
        format!("the remote has {} of {count} settled records ({problem:?})", distinct(&received))
    });
    received
}

fn distinct(numbers: &[i64]) -> usize {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    sorted.len()
}

async fn held(case: &dyn SinkCase, flow: Flow, what: &str, report: &mut Report) {
    let (remote, proxy) = match behind_proxy(case).await {
        Ok(started) => started,
        Err(error) => return no_socket(report, what, &error),
    };
    let sink = case.sink(proxy.addr());
    if sink.guarantee() == Guarantee::BestEffort {
        return;
    }
    let feed = ScriptedFeed::new();
    feed.push_numbered(1);
    let mut session = Session::start(&sink, "held", case.secrets(), &feed);
    let first = feed.wait_all_done(REACH).await;
    report.require("SNK-9", what, first, || "the first record was not settled".into());
    if !first {
        return;
    }
    proxy.set(flow);
    feed.push_numbered(BURST);
    let early = feed.wait_until(NEVER, |f| f.done() > 1).await;
    report.require("SNK-8", what, !early, || {
        format!("{} records were settled", feed.done().saturating_sub(1))
    });
    let handed = feed.handed().len();
    let open = handed.saturating_sub(feed.done());
    report.require("SNK-7", what, open <= case.max_in_flight(), || {
        format!("{open} records were taken unsettled; {} is the bound", case.max_in_flight())
    });
    proxy.set(Flow::Pass);
    // A sink may have given up the silent remote meanwhile; then the next session delivers.
    if !feed.wait_until(REACH, |f| f.done() == f.len() || session.is_over()).await {
        report.require("SNK-9", what, false, || {
            format!("{} of {} records were settled after the release", feed.done(), feed.len())
        });
        return;
    }
    if session.is_over() {
        session = Session::start(&sink, "held", case.secrets(), &feed);
        feed.wait_all_done(REACH).await;
    }
    session.cancel(CANCEL_WITHIN * ALLOWANCE).await;
    judge_settled(&feed, what, report);
    expect_received(&*remote, feed.len(), what, report).await;
}

async fn next_session(case: &dyn SinkCase, report: &mut Report) {
    let what = "the connection is lost with records under way";
    let (remote, proxy) = match behind_proxy(case).await {
        Ok(started) => started,
        Err(error) => return no_socket(report, what, &error),
    };
    let sink = case.sink(proxy.addr());
    let feed = ScriptedFeed::new();
    feed.push_numbered(1);
    let mut session = Session::start(&sink, "lost", case.secrets(), &feed);
    feed.wait_all_done(REACH).await;
    proxy.set(Flow::HoldReplies);
    feed.push_numbered(20);
    feed.wait_until(REACH, |f| f.handed().len() > 1).await;
    let accepts = proxy.accepts();
    proxy.cut();
    let deadline = (case.deadline() + Duration::from_secs(1)) * ALLOWANCE;
    let finish = session.ended(deadline).await;
    report.require("SNK-2", what, finish.fault().is_some(), || {
        format!("the session {} instead of failing promptly", finish.describe())
    });
    report.require("SNK-6", what, !matches!(finish, Finish::Panicked(_)), || finish.describe());
    report.require("SNK-1", what, proxy.accepts() == accepts, || {
        "the sink connected again by itself".into()
    });
    if sink.guarantee() == Guarantee::BestEffort {
        return;
    }
    second_session(case, &*remote, &proxy, &feed, what, report).await;
}

async fn second_session(
    case: &dyn SinkCase,
    remote: &dyn Remote,
    proxy: &Proxy,
    feed: &ScriptedFeed,
    what: &str,
    report: &mut Report,
) {
    proxy.set(Flow::Pass);
    let sink = case.sink(proxy.addr());
    let mut session = Session::start(&sink, "lost", case.secrets(), feed);
    let done = feed.wait_all_done(REACH).await;
    report.require("SNK-11", what, done, || {
        format!("the next session settled {} of {}", feed.done(), feed.len())
    });
    if !done {
        return;
    }
    session.cancel(CANCEL_WITHIN * ALLOWANCE).await;
    judge_settled(feed, what, report);
    expect_received(remote, feed.len(), what, report).await;
}

async fn refused(case: &dyn SinkCase, report: &mut Report) {
    let special = [
        ("SNK-12", "one record is refused for good", case.poison()),
        ("SNK-13", "nothing in one record is for the sink", case.skipped()),
    ];
    for (requirement, what, batch) in special {
        let Some(batch) = batch else { continue };
        let samples = batch.len();
        let (remote, proxy) = match behind_proxy(case).await {
            Ok(started) => started,
            Err(error) => return no_socket(report, what, &error),
        };
        let feed = ScriptedFeed::new();
        feed.push_numbered(3);
        let special = feed.push(batch);
        feed.push_numbered(3);
        let sink = case.sink(proxy.addr());
        let mut session = Session::start(&sink, "refused", case.secrets(), &feed);
        let done = feed.wait_all_done(REACH).await;
        report.require(requirement, what, done, || {
            format!("{} of {} records were settled", feed.done(), feed.len())
        });
        session.cancel(CANCEL_WITHIN * ALLOWANCE).await;
        for settled in feed.settled() {
            judge_count(&feed, &settled, what, report);
            let outcome = &settled.outcome;
            let right = match (settled.offset == special, requirement) {
                (false, _) => *outcome == Outcome::delivered(1),
                (true, "SNK-12") => is_refusal_of(samples, outcome),
                (true, _) => *outcome == Outcome::skipped(samples),
            };
            report.require(requirement, what, right, || {
                format!("record {} became {:?}", settled.offset, settled.outcome)
            });
        }
        expect_received(&*remote, feed.len() - 1, what, report).await;
    }
}

/// All of `samples` refused, with a reason.
fn is_refusal_of(samples: usize, outcome: &Outcome) -> bool {
    let [Refusal { code, message, .. }] = &outcome.refusals[..] else { return false };
    *outcome == Outcome::rejected(samples, *code, message.clone()) && !message.is_empty()
}
