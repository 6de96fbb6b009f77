//! Plans as the reader runs them, cached per set of due intervals and per unit.

use std::collections::HashMap;
use std::sync::Arc;

use crate::barrier::Barriers;
use crate::planner::{Run, plan_runs};
use crate::span::{Limits, SpaceId, Span};

use super::Point;

/// Different due sets kept; intervals that hardly ever coincide make many of them.
const MAX_CACHED: usize = 128;

/// One compound item of a block: its extent and its slice of the block's points.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) start: u32,
    pub(super) end: u32,
    first: u32,
    last: u32,
}

/// One planned request.
#[derive(Debug)]
pub(super) struct PlannedBlock {
    pub(super) space: SpaceId,
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) items: Vec<Item>,
    /// Indices of points, item after item.
    points: Vec<u32>,
}

impl PlannedBlock {
    /// The points of the items `from..to`.
    pub(super) fn points(&self, from: usize, to: usize) -> &[u32] {
        let first = self.items.get(from).map_or(0, |i| i.first as usize);
        let last = to.checked_sub(1).and_then(|t| self.items.get(t)).map_or(0, |i| i.last as usize);
        self.points.get(first..last).unwrap_or_default()
    }

    /// First address and first address behind the items `from..to`.
    pub(super) fn extent(&self, from: usize, to: usize) -> (u32, u32) {
        if from == 0 && to == self.items.len() {
            return (self.start, self.end);
        }
        let items = self.items.get(from..to).unwrap_or_default();
        let start = items.first().map_or(self.start, |i| i.start);
        (start, items.iter().map(|i| i.end).max().unwrap_or(self.end))
    }
}

/// What a set of due points needs.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Requests for the points in good standing.
    pub(super) blocks: Vec<Arc<PlannedBlock>>,
    /// One request for each quarantined item.
    pub(super) quarantined: Vec<Arc<PlannedBlock>>,
    /// All points of both.
    pub(super) points: usize,
}

impl Plan {
    /// Plans the points that `pick` takes.
    pub(super) fn build(
        points: &[Point],
        pick: impl Fn(usize, &Point) -> bool,
        limits: impl Fn(SpaceId) -> Limits,
        barriers: &Barriers,
    ) -> Self {
        let (mut well, mut ill): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
        for (i, point) in points.iter().enumerate().filter(|(i, p)| pick(*i, p)) {
            let list = if point.quarantine().is_none() { &mut well } else { &mut ill };
            list.push(i as u32);
        }
        // Nothing fits into no length: every quarantined item becomes a request of its own.
        let alone = |_| Limits { max_len: 0, max_gap: 0 };
        Self {
            points: well.len() + ill.len(),
            blocks: blocks(points, &well, |spans| plan_runs(spans, limits, barriers)),
            quarantined: blocks(points, &ill, |spans| plan_runs(spans, alone, &Barriers::new())),
        }
    }
}

/// Plans the chosen points and puts point indices in place of span indices.
fn blocks(
    points: &[Point],
    chosen: &[u32],
    plan: impl FnOnce(&[Span]) -> Vec<Run>,
) -> Vec<Arc<PlannedBlock>> {
    let spans: Vec<Span> =
        chosen.iter().filter_map(|i| points.get(*i as usize)).map(|p| p.spec.span).collect();
    let build = |run: Run| {
        let (start, end) = run.extent();
        let mut of_block = Vec::new();
        let mut items = Vec::with_capacity(run.atoms.len());
        for atom in &run.atoms {
            let first = of_block.len() as u32;
            of_block.extend(atom.members.iter().filter_map(|m| chosen.get(*m as usize)));
            let last = of_block.len() as u32;
            items.push(Item { start: atom.start, end: atom.end, first, last });
        }
        Arc::new(PlannedBlock { space: run.space, start, end, items, points: of_block })
    };
    plan(&spans).into_iter().map(build).collect()
}

/// Plans that are still true.
#[derive(Debug, Default)]
pub(super) struct PlanCache {
    by_due: HashMap<Box<[u32]>, Arc<Plan>>,
    by_unit: HashMap<u16, Arc<Plan>>,
}

impl PlanCache {
    /// Forgets all plans: something was learned.
    pub(super) fn clear(&mut self) {
        self.by_due.clear();
        self.by_unit.clear();
    }

    /// The plan of the classes `due`.
    pub(super) fn due(&mut self, due: &[u32], build: impl FnOnce() -> Plan) -> Arc<Plan> {
        if let Some(plan) = self.by_due.get(due) {
            return Arc::clone(plan);
        }
        if self.by_due.len() >= MAX_CACHED {
            self.by_due.clear();
        }
        let plan = Arc::new(build());
        self.by_due.insert(due.into(), Arc::clone(&plan));
        plan
    }

    /// The plan of all points of a unit.
    pub(super) fn unit(&mut self, unit: u16, build: impl FnOnce() -> Plan) -> Arc<Plan> {
        Arc::clone(self.by_unit.entry(unit).or_insert_with(|| Arc::new(build())))
    }
}
