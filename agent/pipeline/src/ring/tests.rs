use super::*;
use lineside_core::{Origin, TimeQuality, Value};
use lineside_crds::diagnostics::Code;
use lineside_crds::model::{Durability, ObjectKey};

fn batch(samples: usize) -> Arc<Batch> {
    let points: Arc<[Arc<str>]> = vec!["a".into()].into();
    let key = ObjectKey::new("ns", "d");
    let origin = Arc::new(Origin::new(key, None, points, Vec::new().into()));
    let mut b = Batch::with_capacity(origin, 0, TimeQuality::Synced, samples);
    for i in 0..samples {
        b.push_good(0, Value::U32(i as u32), 0);
    }
    Arc::new(b)
}

/// More than any batch here holds: the ring takes what the batch has.
fn delivered() -> Outcome {
    Outcome::delivered(usize::MAX)
}

fn store(records: u64, overflow: Overflow) -> Store {
    let max_bytes = records * batch(1).memory_bytes() as u64;
    Store { durability: Durability::Memory, max_bytes, max_age: None, overflow }
}

fn ring(settings: Store) -> Arc<Ring> {
    Ring::new(ObjectKey::new("ns", "p"), settings, Arc::default())
}

fn sink(ring: &Ring, name: &str) -> Arc<str> {
    let name: Arc<str> = name.into();
    ring.add_sink(&name);
    name
}

fn ledger(ring: &Ring, name: &str) -> Ledger {
    let ledger = numbers(ring, name).ledger;
    assert!(ledger.balances(), "{ledger:?}");
    ledger
}

fn numbers(ring: &Ring, name: &str) -> SinkNumbers {
    let all = ring.numbers();
    all.into_iter().find(|(n, _)| &**n == name).unwrap().1
}

#[tokio::test]
async fn a_record_is_kept_until_every_sink_has_settled_it() {
    let ring = ring(store(10, Overflow::DropOldest));
    let (a, b) = (sink(&ring, "a"), sink(&ring, "b"));
    ring.append(batch(1));
    let (mut fa, mut fb) = (ring.feed(&a), ring.feed(&b));
    let first = fa.next().await;
    fa.settle(&first.id, delivered());
    assert!(ring.store().bytes > 0);
    let second = fb.next().await;
    assert_eq!(first.id, second.id);
    fb.settle(&second.id, delivered());
    assert_eq!(ring.store().bytes, 0);
    assert_eq!(ledger(&ring, "a").delivered, 1);
}

#[tokio::test]
async fn the_oldest_unsent_records_give_way_and_what_may_have_arrived_stays() {
    let ring = ring(store(5, Overflow::DropOldest));
    let a = sink(&ring, "a");
    ring.append(batch(1));
    let sent = ring.feed(&a).next().await.id.offset;
    for _ in 0..20 {
        ring.append(batch(1));
    }
    let now = ledger(&ring, "a");
    assert_eq!((now.buffered, now.dropped[&DropReason::StoreFull]), (5, 16));
    // The session died without an answer: the record it sent comes first again.
    let mut feed = ring.feed(&a);
    let mut got = Vec::new();
    for _ in 0..5 {
        let record = feed.next().await;
        got.push(record.id.offset);
        feed.settle(&record.id, delivered());
    }
    assert_eq!(got, [sent, 17, 18, 19, 20]);
    assert_eq!(ledger(&ring, "a").delivered, 5);
    assert_eq!(ring.store().bytes, 0);
}

#[tokio::test]
async fn drop_newest_keeps_what_is_there() {
    let ring = ring(store(3, Overflow::DropNewest));
    let a = sink(&ring, "a");
    for _ in 0..10 {
        ring.append(batch(1));
    }
    let mut feed = ring.feed(&a);
    assert_eq!(feed.next().await.id.offset, 0);
    let now = ledger(&ring, "a");
    assert_eq!((now.buffered, now.dropped[&DropReason::StoreFull]), (3, 7));
}

#[tokio::test]
async fn settlements_out_of_order_and_twice_count_once() {
    let ring = ring(store(100, Overflow::DropOldest));
    let a = sink(&ring, "a");
    for _ in 0..4 {
        ring.append(batch(2));
    }
    let mut feed = ring.feed(&a);
    for _ in 0..4 {
        feed.next().await;
    }
    for offset in [3, 1, 1, 3, 99] {
        feed.settle(&ring.id(offset), delivered());
    }
    assert_eq!(ledger(&ring, "a").delivered, 4);
    let mut again = ring.feed(&a);
    assert_eq!((again.next().await.id.offset, again.next().await.id.offset), (0, 2));
    again.settle(&ring.id(0), Outcome::skipped(2));
    again.settle(&ring.id(2), Outcome::rejected(2, Code::RecordRejected, "no"));
    let now = ledger(&ring, "a");
    assert_eq!(now.buffered, 0);
    assert_eq!(now.dropped[&DropReason::Rejected], 2);
    assert_eq!(now.dropped[&DropReason::NotEncodable], 2);
}

#[tokio::test]
async fn what_was_accepted_counts_when_it_is_confirmed_and_comes_again_when_the_session_ends_before()
 {
    let ring = ring(store(100, Overflow::DropOldest));
    let a = sink(&ring, "a");
    for _ in 0..4 {
        ring.append(batch(2));
    }
    let mut feed = ring.feed(&a);
    for offset in 0..3 {
        let record = feed.next().await;
        feed.accepted(&record.id, delivered(), offset);
    }
    assert_eq!(ledger(&ring, "a").buffered, 8);
    feed.confirmed(1);
    assert_eq!((ledger(&ring, "a").delivered, ledger(&ring, "a").buffered), (4, 4));
    let mut again = ring.feed(&a);
    assert_eq!((again.next().await.id.offset, again.next().await.id.offset), (2, 3));
    again.confirmed(9);
    assert_eq!(ledger(&ring, "a").delivered, 4, "it was accepted by the session before");
    again.settle(&ring.id(2), delivered());
    again.settle(&ring.id(3), delivered());
    assert_eq!((ledger(&ring, "a").delivered, ledger(&ring, "a").buffered), (8, 0));
}

#[tokio::test]
async fn what_was_accepted_gives_way_when_there_is_no_room_and_is_not_lost() {
    let ring = ring(store(3, Overflow::DropOldest));
    let a = sink(&ring, "a");
    let mut feed = ring.feed(&a);
    for _ in 0..20 {
        ring.append(batch(1));
        let record = feed.next().await;
        feed.accepted(&record.id, delivered(), 0);
    }
    let now = ledger(&ring, "a");
    assert!(now.delivered >= 16 && now.dropped.is_empty(), "{now:?}");
    feed.confirmed(0);
    let now = ledger(&ring, "a");
    assert_eq!((now.delivered, now.buffered), (20, 0));
}

#[tokio::test]
async fn a_settlement_of_a_record_never_handed_out_is_ignored() {
    let ring = ring(store(10, Overflow::DropOldest));
    let a = sink(&ring, "a");
    ring.append(batch(1));
    let mut feed = ring.feed(&a);
    feed.settle(&ring.id(0), delivered());
    assert_eq!(ledger(&ring, "a").buffered, 1);
}

#[tokio::test(start_paused = true)]
async fn old_records_expire_before_they_are_sent() {
    let mut settings = store(100, Overflow::DropOldest);
    settings.max_age = Some(Duration::from_secs(10));
    let ring = ring(settings);
    let a = sink(&ring, "a");
    ring.append(batch(1));
    tokio::time::advance(Duration::from_secs(11)).await;
    ring.append(batch(1));
    assert_eq!(ring.feed(&a).next().await.id.offset, 1);
    assert_eq!(ledger(&ring, "a").dropped[&DropReason::Expired], 1);
}

#[tokio::test]
async fn a_sink_added_later_starts_live_and_a_removed_one_frees_what_only_it_wanted() {
    let ring = ring(store(10, Overflow::DropOldest));
    sink(&ring, "a");
    ring.append(batch(1));
    let late = sink(&ring, "late");
    ring.append(batch(1));
    assert_eq!(ring.feed(&late).next().await.id.offset, 1);
    let gone = ring.remove_sink("a").unwrap();
    assert_eq!(gone.buffered, 2);
    assert_eq!(ring.store().bytes, batch(1).memory_bytes() as u64);
}

#[tokio::test]
async fn a_waiting_feed_wakes_up_at_an_append() {
    let ring = ring(store(10, Overflow::DropOldest));
    let a = sink(&ring, "a");
    let mut feed = ring.feed(&a);
    let waiting = tokio::spawn(async move { feed.next().await.id.offset });
    tokio::task::yield_now().await;
    ring.append(batch(1));
    let got = tokio::time::timeout(Duration::from_secs(5), waiting).await;
    assert_eq!(got.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn what_is_on_its_way_takes_at_most_a_quarter_of_the_bound() {
    let ring = ring(store(8, Overflow::DropOldest));
    let a = sink(&ring, "a");
    for _ in 0..8 {
        ring.append(batch(1));
    }
    let mut feed = ring.feed(&a);
    assert_eq!((feed.next().await.id.offset, feed.next().await.id.offset), (0, 1));
    let more = tokio::time::timeout(Duration::from_millis(50), feed.next()).await;
    assert!(more.is_err(), "a third would be more than a quarter of eight");
    feed.settle(&ring.id(0), delivered());
    assert_eq!(feed.next().await.id.offset, 2);
    for _ in 0..100 {
        ring.append(batch(1));
    }
    let StoreNumbers { bytes, limit, .. } = ring.store();
    assert!(bytes <= limit, "{bytes} of {limit}");
}

#[tokio::test]
async fn a_record_that_is_partly_refused_is_counted_by_its_samples() {
    let ring = ring(store(10, Overflow::DropOldest));
    let a = sink(&ring, "a");
    ring.append(batch(10));
    let mut feed = ring.feed(&a);
    feed.next().await;
    let mut outcome = Outcome::rejected(3, Code::RecordRejected, "no");
    (outcome.delivered, outcome.skipped, outcome.merged) = (4, 2, 1);
    feed.settle(&ring.id(0), outcome);
    let now = ledger(&ring, "a");
    assert_eq!((now.delivered, now.dropped[&DropReason::Rejected]), (4, 3));
    assert_eq!(now.dropped[&DropReason::NotEncodable], 2);
    assert_eq!(now.dropped[&DropReason::SameTick], 1);
}

#[tokio::test]
async fn thin_keeps_the_past_with_fewer_records_and_every_bad_one() {
    let ring = ring(store(8, Overflow::Thin));
    let a = sink(&ring, "a");
    let mut bad = Batch::clone(&batch(0));
    bad.push_bad(0, lineside_core::StatusCode::BAD_TIMEOUT, 0);
    ring.append(Arc::new(bad));
    for _ in 0..15 {
        ring.append(batch(1));
    }
    let now = ledger(&ring, "a");
    assert!(now.dropped[&DropReason::Thinned] >= 8, "{now:?}");
    assert!(!now.dropped.contains_key(&DropReason::StoreFull), "{now:?}");
    let mut feed = ring.feed(&a);
    let mut kept = Vec::new();
    for _ in 0..2 {
        let offset = feed.next().await.id.offset;
        kept.push(offset);
        feed.settle(&ring.id(offset), delivered());
    }
    assert_eq!(kept[0], 0, "the bad one stays");
    assert!(kept[1] < 4, "some of the oldest stay: {kept:?}");
}

#[tokio::test]
async fn under_backpressure_nothing_gives_way_and_room_is_waited_for() {
    let ring = ring(store(3, Overflow::Backpressure));
    let a = sink(&ring, "a");
    ring.append(batch(1));
    let mut feed = ring.feed(&a);
    feed.next().await;
    assert!(!ring.presses());
    ring.append(batch(1));
    ring.append(batch(1));
    assert!(ring.presses());
    let waiting = tokio::spawn({
        let ring = ring.clone();
        async move { ring.room().await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!waiting.is_finished());
    feed.settle(&ring.id(0), delivered());
    tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    let now = ledger(&ring, "a");
    assert_eq!((now.buffered, now.dropped.len()), (2, 0));
}
