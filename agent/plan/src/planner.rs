//! Merging spans into the fewest requests, and among those the fewest units read.
//!
//! Per space the compound items (a group, or a span alone) are sorted by start. Some best plan
//! cuts that order into runs: blocks of a plan with fewest requests are never nested, and where
//! two of them interleave, the later items of the earlier block fit into the later block without
//! making it longer. So dynamic programming over the cuts is exact. Cost: items x items per block.

use std::collections::HashMap;

use crate::barrier::{Barriers, Fences};
use crate::span::{Block, Limits, SpaceId, Span};

/// A compound item: one span, or all spans of a group.
#[derive(Clone, Debug)]
pub(crate) struct Atom {
    /// First address.
    pub(crate) start: u32,
    /// First address behind it.
    pub(crate) end: u32,
    /// Index into the spans that were planned, by start.
    pub(crate) members: Vec<u32>,
}

/// One block before it is turned into the caller's words.
pub(crate) struct Run {
    pub(crate) space: SpaceId,
    /// At least one, by start.
    pub(crate) atoms: Vec<Atom>,
}

impl Run {
    /// First address and first address behind.
    pub(crate) fn extent(&self) -> (u32, u32) {
        extent(&self.atoms)
    }
}

/// First address and first address behind a list of atoms sorted by start.
fn extent(atoms: &[Atom]) -> (u32, u32) {
    let start = atoms.first().map_or(0, |a| a.start);
    (start, atoms.iter().map(|a| a.end).max().unwrap_or(start))
}

/// Plans the requests that read `spans`: fewest requests first, then fewest units.
///
/// Every span lies whole in exactly one block, members of one group (within a space) in the same
/// block. Blocks keep `limits` and `barriers`; an item that alone is longer than `max_len`, or
/// lies across a barrier, is a block by itself. Blocks come by space and start.
pub fn plan(spans: &[Span], limits: impl Fn(SpaceId) -> Limits, barriers: &Barriers) -> Vec<Block> {
    plan_runs(spans, limits, barriers)
        .iter()
        .map(|run| {
            let (start, end) = run.extent();
            let members = run.atoms.iter().flat_map(|a| &a.members);
            Block {
                space: run.space,
                start,
                len: end - start,
                members: members.filter_map(|m| spans.get(*m as usize)).map(|s| s.id).collect(),
            }
        })
        .collect()
}

/// [`plan`] with the compound items kept apart, members as indices into `spans`.
pub(crate) fn plan_runs(
    spans: &[Span],
    limits: impl Fn(SpaceId) -> Limits,
    barriers: &Barriers,
) -> Vec<Run> {
    let mut runs = Vec::new();
    for (space, atoms) in by_space(spans) {
        let limits = limits(space);
        let (fit, oversized): (Vec<Atom>, Vec<Atom>) =
            atoms.into_iter().partition(|a| a.end - a.start <= limits.max_len);
        let first = runs.len();
        runs.extend(oversized.into_iter().map(|a| Run { space, atoms: vec![a] }));
        cut(space, fit, limits, &barriers.fences(space), &mut runs);
        if let Some(new) = runs.get_mut(first..) {
            new.sort_by_key(Run::extent);
        }
    }
    runs
}

/// The compound items of each space, spaces in order, items by start.
fn by_space(spans: &[Span]) -> Vec<(SpaceId, Vec<Atom>)> {
    let mut order: Vec<u32> = (0..spans.len() as u32).collect();
    let at = |i: u32| spans.get(i as usize);
    order.sort_by_key(|i| at(*i).map(|s| (s.space, s.start, s.end(), *i)));
    let mut spaces: Vec<(SpaceId, Vec<Atom>)> = Vec::new();
    let mut groups: HashMap<(SpaceId, u32), usize> = HashMap::new();
    for i in order {
        let Some(span) = at(i) else { continue };
        if spaces.last().is_none_or(|(space, _)| *space != span.space) {
            spaces.push((span.space, Vec::new()));
        }
        let Some((_, atoms)) = spaces.last_mut() else { continue };
        if let Some(group) = span.group {
            let known = groups.get(&(span.space, group)).and_then(|k| atoms.get_mut(*k));
            if let Some(atom) = known {
                atom.end = atom.end.max(span.end());
                atom.members.push(i);
                continue;
            }
            groups.insert((span.space, group), atoms.len());
        }
        atoms.push(Atom { start: span.start, end: span.end(), members: vec![i] });
    }
    for (_, atoms) in &mut spaces {
        // Groups grew after they were placed; ties go to the shorter item.
        atoms.sort_by_key(|a| (a.start, a.end));
    }
    spaces
}

/// The best way to read the first atoms: requests, units, where the last block begins.
#[derive(Clone, Copy)]
struct Best {
    requests: u32,
    units: u64,
    from: usize,
}

/// Cuts the sorted atoms of one space into the best runs.
fn cut(space: SpaceId, atoms: Vec<Atom>, limits: Limits, fences: &Fences, out: &mut Vec<Run>) {
    let worst = Best { requests: u32::MAX, units: u64::MAX, from: 0 };
    let mut best = vec![worst; atoms.len() + 1];
    if let Some(zero) = best.first_mut() {
        *zero = Best { requests: 0, units: 0, from: 0 };
    }
    for (j, first) in atoms.iter().enumerate() {
        let before = best.get(j).copied().unwrap_or(worst);
        // An item across a barrier is still read, but nothing is added to its extent.
        let reach = fences.reach(first.start).max(first.end);
        let mut end = first.end;
        for (i, atom) in atoms.iter().enumerate().skip(j) {
            if atom.start > end && atom.start - end > limits.max_gap {
                break;
            }
            end = end.max(atom.end);
            let len = end - first.start;
            if len > limits.max_len || end > reach {
                break;
            }
            let requests = before.requests.saturating_add(1);
            let units = before.units.saturating_add(u64::from(len));
            if let Some(slot) = best.get_mut(i + 1)
                && (requests, units) < (slot.requests, slot.units)
            {
                *slot = Best { requests, units, from: j };
            }
        }
    }
    let mut rest = atoms;
    while !rest.is_empty() {
        let from = best.get(rest.len()).map_or(0, |b| b.from).min(rest.len() - 1);
        let atoms = rest.split_off(from);
        out.push(Run { space, atoms });
    }
}
