//! `SNK-6` to `SNK-8`, `SNK-15`: bytes that no remote should send.

use std::time::Duration;

use futures::future::join_all;

use super::{Session, SinkCase, no_socket};
use crate::fault::FaultClass;
use crate::kit::memory::PeakWatch;
use crate::kit::peer::{Peer, Script, Then, random_bytes};
use crate::kit::{ALLOWANCE, Finish, Report, ScriptedFeed};

/// Seeds of the random remotes.
const SEEDS: std::ops::Range<u64> = 0..24;

/// Bytes of one flood.
const FLOOD_CHUNK: usize = 64 * 1024;
const FLOOD_CHUNKS: usize = 1024;

/// Growth of the process that a flood of 64 MiB may cause.
const FLOOD_GROWTH: u64 = 32 * 1024 * 1024;

pub(super) async fn check(case: &dyn SinkCase) -> Report {
    let mut report = Report::new();
    let mut scripts = Vec::new();
    for seed in SEEDS {
        let len = 1 + (usize::try_from(seed).unwrap_or(0) * 173) % 2048;
        let script = Script::garbage(seed, len);
        let script = if seed % 2 == 0 { script.after_request() } else { script };
        let script = script.then(if seed % 3 == 0 { Then::Close } else { Then::Silence });
        scripts.push((format!("the remote sends {len} random bytes (seed {seed})"), script));
    }
    for (i, start) in case.hostile().into_iter().enumerate() {
        let what = format!("the remote sends the hostile bytes {i}");
        let alone = Script::bytes(start.clone()).after_request();
        scripts.push((format!("{what}, then closes"), alone.clone().then(Then::Close)));
        scripts.push((format!("{what}, then nothing"), alone));
        let mut random = start;
        random.extend(random_bytes(i as u64, 300));
        let random = Script::bytes(random).after_request();
        scripts.push((format!("{what}, then random ones"), random));
    }
    let runs = scripts.into_iter().map(|(what, script)| against(case, what, script));
    for one in join_all(runs).await {
        report.merge(one);
    }
    for (name, chunk) in
        [("random bytes", random_bytes(99, FLOOD_CHUNK)), ("zeros", vec![0; FLOOD_CHUNK])]
    {
        let what = format!("the remote sends 64 MiB of {name}");
        let memory = PeakWatch::start();
        let script = Script::bytes(chunk).after_request().times(FLOOD_CHUNKS);
        report.merge(against(case, what.clone(), script).await);
        let grown = memory.growth();
        report.require("SNK-7", &what, grown.is_some_and(|g| g <= FLOOD_GROWTH), || match grown {
            Some(grown) => format!("the process grew by {grown} bytes"),
            None => "the system does not tell the memory of a process".into(),
        });
    }
    report
}

async fn against(case: &dyn SinkCase, what: String, script: Script) -> Report {
    let mut report = Report::new();
    let peer = match Peer::start(script).await {
        Ok(peer) => peer,
        Err(error) => {
            no_socket(&mut report, &what, &error);
            return report;
        }
    };
    let feed = ScriptedFeed::new();
    feed.push_numbered(5);
    let mut session = Session::start(&case.sink(peer.addr()), "hostile", case.secrets(), &feed);
    let deadline = (case.deadline() + Duration::from_secs(1)) * ALLOWANCE;
    let finish = session.ended(deadline).await;
    report.require("SNK-6", &what, !matches!(finish, Finish::Panicked(_)), || finish.describe());
    report.require("SNK-5", &what, finish.fault().is_some(), || {
        format!("the session {} instead of failing within its deadline", finish.describe())
    });
    if let Some(fault) = finish.fault() {
        let classes = [FaultClass::Peer, FaultClass::Timeout, FaultClass::Unreachable];
        report.require("SNK-15", &what, classes.contains(&fault.class), || {
            format!("the fault is {} ({})", fault.class.label(), fault.chain())
        });
    }
    report.require("SNK-8", &what, feed.done() == 0, || {
        format!("{} records were settled", feed.done())
    });
    report.require("SNK-1", &what, peer.accepts() <= 1, || {
        format!("{} connections were made in one session", peer.accepts())
    });
    report
}
