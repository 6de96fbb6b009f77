//! Units behind one gateway, most of them dead: what that costs those that answer.

use std::time::Duration;

use lineside_core::StatusCode;
use lineside_crds::model::Device;
use tokio::time::Instant;

use crate::harness::{Collected, Running, device, until};
use crate::peer::{Ask, Do, Peer};

/// One point in each of the units 1 to 7.
fn gateway(port: u16, interval: Duration, timeout: Duration) -> Device {
    let millis = u64::try_from(interval.as_millis()).unwrap();
    let names: Vec<(String, String)> = (1..=7)
        .map(|unit| (format!("u{unit}"), format!("holding-register:1:UINT{{unit-id: {unit}}}")))
        .collect();
    let points: Vec<_> = names.iter().map(|(n, a)| (n.as_str(), a.as_str(), millis)).collect();
    let mut device = device(port, &points);
    device.timeouts.request = timeout;
    device
}

fn only(alive: u8) -> impl FnMut(&Ask) -> Do + Send + 'static {
    move |ask| Do::Send(if ask.request.unit == alive { ask.good() } else { Vec::new() })
}

/// Longest time without a sample of the point, from `start` to `end`.
fn longest_wait(collected: &Collected, point: &str, start: Instant, end: Instant) -> Duration {
    let mut times: Vec<Instant> = collected.handed_over(point).iter().map(|(at, _)| *at).collect();
    times.insert(0, start);
    times.push(end);
    times.windows(2).map(|w| w[1] - w[0]).max().unwrap()
}

#[tokio::test]
async fn a_value_does_not_wait_for_units_that_do_not_answer() {
    let peer = Peer::start(only(1)).await;
    let second = Duration::from_secs(1);
    let session = Running::start(gateway(peer.port, second, 2 * second));
    let (collected, began) = (session.collected.clone(), Instant::now());
    until("a value", || !collected.good("u1").is_empty()).await;
    // Half a second, and not the two of the first dead unit.
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    assert_eq!(collected.samples().len(), 1);
    session.stop().await;
}

/// 60 cycles of a gateway with 1 s and 2 s, four times as fast; so is what is promised.
async fn sixty_cycles(alive: u8) {
    let (interval, timeout) = (Duration::from_millis(250), Duration::from_millis(500));
    let promised = (3 * interval).max(2 * timeout + Duration::from_millis(1250));
    let peer = Peer::start(only(alive)).await;
    let session = Running::start(gateway(peer.port, interval, timeout));
    let (collected, began) = (session.collected.clone(), Instant::now());
    tokio::time::sleep_until(began + 60 * interval).await;
    let end = Instant::now();
    for unit in 1..=7 {
        let point = format!("u{unit}");
        let waited = longest_wait(&collected, &point, began, end);
        assert!(waited <= promised, "{alive} alive: {point} waits {waited:?}");
        let good = collected.good(&point).len();
        if unit == alive {
            assert!(good >= 50, "{alive} alive: {good} cycles");
        } else {
            assert!(collected.statuses(&point).iter().all(|s| *s == StatusCode::BAD_TIMEOUT));
        }
    }
    assert_eq!(peer.accepts(), 1);
    session.stop().await;
}

#[tokio::test]
async fn six_dead_units_leave_the_living_one_its_cycles_and_get_their_bad_in_time() {
    tokio::join!(sixty_cycles(1), sixty_cycles(4), sixty_cycles(7));
}

#[tokio::test]
async fn a_slow_cycle_is_handed_over_in_parts_also_while_the_rate_limit_makes_it_wait() {
    let peer = Peer::start(|ask| Do::Send(ask.good())).await;
    let points =
        [("a", "coil:1", 60_000), ("b", "input-register:1", 60_000), ("c", "coil:9000", 60_000)];
    let mut device = device(peer.port, &points);
    device.max_requests_per_second = Some(1);
    let session = Running::start(device);
    let collected = session.collected.clone();
    until("the first value", || !collected.batches().is_empty()).await;
    assert_eq!((peer.asks().len(), collected.samples().len()), (1, 1));
    until("all values", || collected.samples().len() == 3).await;
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_keeps_the_time_of_its_answer_when_an_older_one_waits_for_the_pipeline() {
    // The first value is handed over while the second answer is under way; nobody takes it.
    let peer = Peer::start(|ask| {
        if ask.number == 1 {
            std::thread::sleep(Duration::from_millis(100));
        }
        Do::Send(ask.good())
    })
    .await;
    let collected = Collected::with_permits(0);
    let points = [("a", "coil:1", 20), ("b", "input-register:1", 60_000)];
    let session = Running::with(device(peer.port, &points), collected.clone());
    until("two requests", || peer.asks().len() == 2).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    collected.permit(1000);
    until("both values", || !collected.good("a").is_empty() && !collected.good("b").is_empty())
        .await;
    let samples = collected.samples();
    let time = |point: &str| samples.iter().find(|(name, _)| name == point).unwrap().1.agent_time;
    let between = (time("a") - time("b")).abs();
    assert!(between < 300_000_000, "{between} ns");
    session.stop().await;
}

#[tokio::test]
async fn one_lost_answer_is_bad_for_its_point_and_the_rest_is_asked() {
    let peer =
        Peer::start(|ask| Do::Send(if ask.number == 5 { Vec::new() } else { ask.good() })).await;
    let names: Vec<(String, String)> = (0..4)
        .map(|n| (format!("p{n}"), format!("holding-register:{}:UINT", 1 + 900 * n)))
        .collect();
    let points: Vec<_> = names.iter().map(|(n, a)| (n.as_str(), a.as_str(), 50)).collect();
    let session = Running::start(device(peer.port, &points));
    let collected = session.collected.clone();
    until("five cycles", || collected.good("p3").len() >= 5).await;
    let bad: Vec<String> = collected
        .samples()
        .into_iter()
        .filter(|(_, s)| !s.status.is_good())
        .map(|(n, _)| n)
        .collect();
    assert_eq!(bad, ["p1"]);
    session.stop().await;
}
