//! Properties of the planner.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic")]

use std::collections::BTreeMap;

use lineside_plan::{Barrier, Barriers, Block, Limits, SpaceId, Span, plan};
use proptest::prelude::*;

fn space(unit: u16, table: u8) -> SpaceId {
    SpaceId::new(unit, table)
}

fn span(id: usize, start: u32, len: u32) -> Span {
    Span { id, space: space(1, 3), start, len, group: None }
}

fn limits(max_len: u32, max_gap: u32) -> impl Fn(SpaceId) -> Limits {
    move |_| Limits { max_len, max_gap }
}

/// Spans in a small range, so that they overlap, nest and equal each other often.
fn spans(count: usize, range: u32, spaces: u16) -> impl Strategy<Value = Vec<Span>> {
    let one = (0..range, 1..6_u32, 0..spaces, proptest::option::weighted(0.3, 0..3_u32));
    proptest::collection::vec(one, 0..=count).prop_map(|all| {
        all.into_iter()
            .enumerate()
            .map(|(id, (start, len, unit, group))| Span {
                id,
                space: space(unit, 3),
                start,
                len,
                group,
            })
            .collect()
    })
}

fn barriers(range: u32) -> impl Strategy<Value = Vec<(u32, u32)>> {
    proptest::collection::vec((0..range, 0..3_u32), 0..3)
        .prop_map(|all| all.into_iter().map(|(a, gap)| (a, a + gap)).collect())
}

fn learned(positions: &[(u32, u32)], spaces: u16) -> Barriers {
    let mut all = Barriers::new();
    for unit in 0..spaces {
        for (a, b) in positions {
            all.insert(Barrier::between(space(unit, 3), *a, *b));
        }
    }
    all
}

/// The compound items (extents with members) of the spans of one space.
fn items(spans: &[Span], of: SpaceId) -> Vec<(u32, u32, Vec<usize>)> {
    let mut groups: BTreeMap<(u32, usize), (u32, u32, Vec<usize>)> = BTreeMap::new();
    for s in spans.iter().filter(|s| s.space == of) {
        let key = s.group.map_or((u32::MAX, s.id), |g| (g, 0));
        let item = groups.entry(key).or_insert((s.start, s.end(), Vec::new()));
        *item = (item.0.min(s.start), item.1.max(s.end()), std::mem::take(&mut item.2));
        item.2.push(s.id);
    }
    groups.into_values().collect()
}

/// Whether these items may be one request; an item alone always may.
fn allowed(items: &[&(u32, u32, Vec<usize>)], limits: Limits, barriers: &Barriers) -> bool {
    if items.len() == 1 {
        return true;
    }
    let mut sorted: Vec<(u32, u32)> = items.iter().map(|i| (i.0, i.1)).collect();
    sorted.sort_unstable();
    let start = sorted[0].0;
    let mut end = sorted[0].1;
    for (s, e) in &sorted {
        if *s > end && s - end > limits.max_gap {
            return false;
        }
        end = end.max(*e);
    }
    // Riding along inside an item that is read anyway is free even across a barrier.
    let inside = sorted.iter().any(|(s, e)| *s == start && *e == end);
    end - start <= limits.max_len && (inside || barriers.iter().all(|b| !b.bars(start, end)))
}

/// The best (requests, units) over all partitions of the items.
fn brute(items: &[(u32, u32, Vec<usize>)], limits: Limits, barriers: &Barriers) -> (u32, u64) {
    let full = (1_usize << items.len()) - 1;
    let mut best = vec![(u32::MAX, u64::MAX); full + 1];
    best[0] = (0, 0);
    for set in 1..=full {
        let lowest = set & set.wrapping_neg();
        let mut block = set;
        while block > 0 {
            if block & lowest != 0 {
                let of: Vec<_> =
                    (0..items.len()).filter(|i| block >> i & 1 == 1).map(|i| &items[i]).collect();
                let before = best[set & !block];
                if before.0 < u32::MAX && allowed(&of, limits, barriers) {
                    let start = of.iter().map(|i| i.0).min().unwrap();
                    let end = of.iter().map(|i| i.1).max().unwrap();
                    best[set] = best[set].min((before.0 + 1, before.1 + u64::from(end - start)));
                }
            }
            block = (block - 1) & set;
        }
    }
    best[full]
}

fn check_whole(spans: &[Span], blocks: &[Block]) {
    let mut seen = vec![0; spans.len()];
    for block in blocks {
        for id in &block.members {
            let s = spans[*id];
            seen[*id] += 1;
            assert_eq!(s.space, block.space);
            assert!(s.start >= block.start && s.end() <= block.start + block.len, "split: {s:?}");
        }
        let first = block.members.iter().map(|i| spans[*i].start).min().unwrap();
        let last = block.members.iter().map(|i| spans[*i].end()).max().unwrap();
        assert_eq!((first, last), (block.start, block.start + block.len), "not trimmed");
    }
    assert!(seen.iter().all(|n| *n == 1), "every span exactly once: {seen:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_span_lies_whole_in_exactly_one_block_within_the_limits(
        spans in spans(60, 200, 3), max_len in 5..40_u32, max_gap in 0..10_u32, walls in barriers(200),
    ) {
        let walls = learned(&walls, 3);
        let blocks = plan(&spans, limits(max_len, max_gap), &walls);
        check_whole(&spans, &blocks);
        for block in &blocks {
            let items = items(&spans, block.space);
            let of: Vec<_> = items.iter().filter(|i| block.members.contains(&i.2[0])).collect();
            prop_assert!(of.iter().all(|i| i.2.iter().all(|m| block.members.contains(m))), "groups whole");
            if of.len() > 1 {
                prop_assert!(block.len <= max_len);
            }
        }
        prop_assert!(blocks.is_sorted_by_key(|b| (b.space, b.start)));
    }

    #[test]
    fn no_other_partition_needs_fewer_requests_or_units(
        spans in spans(9, 40, 1), max_len in 6..25_u32, max_gap in 0..8_u32,
    ) {
        let limits_of = Limits { max_len, max_gap };
        let none = Barriers::new();
        let blocks = plan(&spans, limits(max_len, max_gap), &none);
        let units: u64 = blocks.iter().map(|b| u64::from(b.len)).sum();
        let best = brute(&items(&spans, space(0, 3)), limits_of, &none);
        prop_assert_eq!((blocks.len() as u32, units), best);
    }

    #[test]
    fn with_barriers_between_neighbours_it_is_still_optimal(
        starts in proptest::collection::btree_set(0..40_u32, 1..10), max_len in 6..25_u32,
        max_gap in 0..8_u32, walls in barriers(40),
    ) {
        let spans: Vec<Span> =
            starts.iter().enumerate().map(|(id, at)| Span { space: space(0, 3), ..span(id, *at, 1) }).collect();
        let walls = learned(&walls, 1);
        let blocks = plan(&spans, limits(max_len, max_gap), &walls);
        let units: u64 = blocks.iter().map(|b| u64::from(b.len)).sum();
        let best = brute(&items(&spans, space(0, 3)), Limits { max_len, max_gap }, &walls);
        prop_assert_eq!((blocks.len() as u32, units), best);
    }
}

#[test]
fn equal_addresses_are_all_kept() {
    let blocks =
        plan(&[span(0, 5, 2), span(1, 5, 2), span(2, 5, 1)], limits(10, 0), &Barriers::new());
    assert_eq!(blocks.len(), 1);
    assert_eq!(blocks[0].members, [2, 0, 1]);
}

#[test]
fn among_plans_with_as_few_requests_the_one_with_the_smallest_gaps_is_taken() {
    // A greedy plan reads 0..10 (with the gap) and 14; the gap 1..9 need not be read at all.
    let spans = [span(0, 0, 1), span(1, 9, 1), span(2, 14, 1)];
    let blocks = plan(&spans, limits(10, 10), &Barriers::new());
    let extents: Vec<(u32, u32)> = blocks.iter().map(|b| (b.start, b.len)).collect();
    assert_eq!(extents, [(0, 1), (9, 6)]);
}

#[test]
fn a_float_is_never_cut_by_an_odd_limit() {
    let spans: Vec<Span> = (0..1000).map(|i| span(i, 2 * i as u32, 2)).collect();
    let blocks = plan(&spans, limits(125, 0), &Barriers::new());
    assert_eq!(blocks.len(), 17);
    assert!(blocks.iter().all(|b| b.len % 2 == 0 && b.len <= 124));
}

#[test]
fn a_block_ends_at_a_barrier() {
    let mut walls = Barriers::new();
    walls.insert(Barrier::between(space(1, 3), 5, 7));
    let spans = [span(0, 0, 5), span(1, 7, 5), span(2, 12, 1)];
    let blocks = plan(&spans, limits(100, 10), &walls);
    assert_eq!(blocks.iter().map(|b| b.members.clone()).collect::<Vec<_>>(), [vec![0], vec![1, 2]]);
}

#[test]
fn a_group_is_one_request_although_others_lie_between() {
    let mut spans = vec![span(0, 0, 1), span(1, 20, 1), span(2, 10, 1), span(3, 40, 1)];
    spans[0].group = Some(7);
    spans[1].group = Some(7);
    let blocks = plan(&spans, limits(30, 2), &Barriers::new());
    assert_eq!(
        blocks.iter().map(|b| b.members.clone()).collect::<Vec<_>>(),
        [vec![0, 1, 2], vec![3]]
    );
}

#[test]
fn a_span_longer_than_the_limit_is_a_block_of_its_own() {
    let blocks = plan(&[span(0, 0, 50), span(1, 3, 1)], limits(10, 0), &Barriers::new());
    assert_eq!(blocks.len(), 2);
}
