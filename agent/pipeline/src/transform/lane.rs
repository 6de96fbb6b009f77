//! The transforms at work on one origin.

use std::sync::Arc;

use lineside_core::{Batch, Origin, TimeQuality, UnixNanos};
use lineside_crds::model::Transform;

use super::Numbers;
use super::plan::{Plan, plan};
use super::step::{Flow, Step};

pub(super) struct Lane {
    pub(super) source: Arc<Origin>,
    plan: Plan,
    /// Of what is held.
    pub(super) epoch: u64,
    pub(super) time_quality: TimeQuality,
    /// When it began, or began anew: what came before was not seen.
    pub(super) since: UnixNanos,
    /// When it was last used, by the chain's count.
    pub(super) used: u64,
    /// It goes on after a restart, and nothing came since.
    pub(super) resumed: bool,
}

impl Lane {
    pub(super) fn new(transforms: &[Transform], batch: &Batch) -> Self {
        let since = begin(batch);
        Self { since, ..Self::of(transforms, batch.origin(), batch.epoch, batch.time_quality) }
    }

    pub(super) fn of(
        transforms: &[Transform],
        source: &Arc<Origin>,
        epoch: u64,
        time_quality: TimeQuality,
    ) -> Self {
        let plan = plan(transforms, source);
        Self {
            source: source.clone(),
            plan,
            epoch,
            time_quality,
            since: 0,
            used: 0,
            resumed: false,
        }
    }

    pub(super) fn problems(&self) -> &[String] {
        &self.plan.problems
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.plan.steps
    }

    pub(super) fn steps_mut(&mut self) -> &mut [Step] {
        &mut self.plan.steps
    }

    /// Names of the points that there are at the end.
    pub(super) fn names(&self) -> &[Arc<str>] {
        &self.plan.output.points
    }

    /// Number of points that there are at the end.
    pub(super) fn tracks(&self) -> usize {
        self.plan.output.points.len()
    }

    /// Follows a change of the device, its owner or the quality of its times, which one batch
    /// cannot mix: what waits goes out as what it was. Whether there is a new plan.
    pub(super) fn follow(
        &mut self,
        transforms: &[Transform],
        batch: &Batch,
        numbers: &mut Numbers,
        out: &mut Vec<Arc<Batch>>,
    ) -> bool {
        if std::mem::take(&mut self.resumed) {
            self.since = begin(batch);
        }
        let now = (batch.epoch, batch.time_quality);
        if now != (self.epoch, self.time_quality) {
            self.end(numbers, out);
            (self.epoch, self.time_quality) = now;
            self.since = begin(batch);
        }
        let origin = batch.origin();
        if Arc::ptr_eq(&self.source, origin) {
            return false;
        }
        if self.source.points == origin.points {
            // Made anew of the same points, so that everything remembered still fits.
            let location_stays = self.source.location == origin.location;
            let unnamed = Arc::ptr_eq(&self.source, &self.plan.output);
            if unnamed {
                self.plan.output = origin.clone();
            } else if !location_stays {
                self.plan.output = Arc::new(Origin::new(
                    origin.device.clone(),
                    origin.learned.clone(),
                    self.plan.output.points.clone(),
                    origin.location.clone(),
                ));
            }
            self.source = origin.clone();
            return false;
        }
        self.end(numbers, out);
        *self = Self { used: self.used, ..Self::new(transforms, batch) };
        true
    }

    pub(super) fn apply(
        &mut self,
        batch: &Arc<Batch>,
        numbers: &mut Numbers,
        out: &mut Vec<Arc<Batch>>,
    ) {
        if batch.is_empty() {
            return;
        }
        if self.plan.steps.is_empty() && Arc::ptr_eq(&self.plan.output, &self.source) {
            numbers.passed += batch.len() as u64;
            out.push(batch.clone());
            return;
        }
        self.flow(batch.len(), numbers, out, |flow, steps| {
            for sample in batch.iter() {
                flow.run(steps, sample.to_sample());
            }
        });
    }

    pub(super) fn tick(
        &mut self,
        now: UnixNanos,
        numbers: &mut Numbers,
        out: &mut Vec<Arc<Batch>>,
    ) {
        if self.plan.steps.iter().any(Step::waits_for_time) {
            self.flow(0, numbers, out, |flow, steps| flow.tick(steps, now));
        }
    }

    pub(super) fn end(&mut self, numbers: &mut Numbers, out: &mut Vec<Arc<Batch>>) {
        if self.plan.steps.iter().any(Step::waits_for_time) {
            self.flow(0, numbers, out, |flow, steps| flow.end(steps));
        }
    }

    pub(super) fn held(&self) -> u64 {
        self.plan.steps.iter().map(Step::held).sum()
    }

    /// See [`Step::waiting_since`].
    pub(super) fn waiting_since(&self) -> Option<UnixNanos> {
        self.plan.steps.iter().filter_map(Step::waiting_since).min()
    }

    fn flow(
        &mut self,
        capacity: usize,
        numbers: &mut Numbers,
        out: &mut Vec<Arc<Batch>>,
        work: impl FnOnce(&mut Flow<'_>, &mut [Step]),
    ) {
        let origin = self.plan.output.clone();
        let made = Batch::with_capacity(origin, self.epoch, self.time_quality, capacity);
        let mut flow = Flow { device: &self.source.path, numbers, since: self.since, out: made };
        work(&mut flow, &mut self.plan.steps);
        if !flow.out.is_empty() {
            out.push(Arc::new(flow.out));
        }
    }
}

/// When the first sample of a batch came.
fn begin(batch: &Batch) -> UnixNanos {
    batch.get(0).map_or(UnixNanos::MIN, |sample| sample.agent_time)
}
