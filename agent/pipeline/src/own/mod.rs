//! The agent's own metrics as samples (`sources[].agentMetrics`), so that an agent which nobody can
//! scrape tells of itself the way its devices do.
//!
//! ```text
//! View::snapshot -> metrics::families -> points -> batch -> route (select, transforms) -> store
//! ```
//!
//! The samples are those of a device that is called as the agent is. They are in the books of their
//! pipeline like any others. A reporter never waits: while what it told before is not captured, or
//! the pipeline's store presses, it says nothing and counts that.

mod points;
mod schedule;
mod table;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use lineside_core::clock::Clock;
use lineside_core::driver::Receipt;
use lineside_core::{Batch, Origin};
use lineside_crds::model::{ObjectKey, Pipeline};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Windows;
use crate::engine::View;
use crate::metrics::{AgentCounts, families};
use crate::route::{Route, Selection};
use crate::stream::Gate;
use crate::tap::Seen;

pub use points::{POINTS_MOST, Told, told};
pub use table::{Kind, ROWS, Row};

use schedule::Schedule;

/// How often what waits in the pipeline's transforms is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How a pipeline gets the agent's metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnNumbers {
    /// Times at which they were not told, since those before were not captured yet.
    pub skipped: u64,
    /// Points beyond the bound, at the last time.
    pub left_out: usize,
}

/// Shared by the reporter and those who show it.
#[derive(Debug, Default)]
pub(crate) struct OwnCounts {
    skipped: AtomicU64,
    left_out: AtomicUsize,
}

impl OwnCounts {
    pub(crate) fn numbers(&self) -> OwnNumbers {
        OwnNumbers {
            skipped: self.skipped.load(Ordering::Relaxed),
            left_out: self.left_out.load(Ordering::Relaxed),
        }
    }
}

/// What reporters look at and what they need.
#[derive(Clone)]
pub(crate) struct Subject {
    /// Name of the agent.
    pub(crate) agent: Arc<str>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counts: Arc<AgentCounts>,
    pub(crate) view: Arc<View>,
    pub(crate) windows: Arc<Windows>,
}

/// Tells the agent's metrics to one pipeline.
pub(crate) struct Reporter {
    subject: Subject,
    /// Whose samples they are.
    device: ObjectKey,
    counts: Arc<OwnCounts>,
    state: Mutex<State>,
}

struct State {
    route: Option<Route>,
    /// With the points that were told last.
    origin: Arc<Origin>,
    /// Of what was told last.
    receipt: Option<Receipt>,
}

impl Reporter {
    pub(crate) fn new(subject: Subject, pipeline: &ObjectKey) -> Self {
        let device = ObjectKey::new(pipeline.namespace.clone(), subject.agent.clone());
        let state = State { route: None, origin: origin(&device, Vec::new()), receipt: None };
        Self { subject, device, counts: Arc::default(), state: Mutex::new(state) }
    }

    pub(crate) fn counts(&self) -> &Arc<OwnCounts> {
        &self.counts
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way into the pipeline. `first` runs before anything takes the new way, and after the
    /// last that took the former one.
    pub(crate) fn set_route(&self, route: &Route, first: &dyn Fn()) {
        let mut state = self.lock();
        first();
        let new = route.at_device(&self.device, state.route.as_ref());
        let former = state.route.replace(new);
        let ends = former.filter(|f| !state.route.iter().any(|route| route.goes_on_with(f)));
        if let Some(former) = ends {
            former.close(self.subject.clock.now());
        }
    }

    /// Keeps what waits in the transforms of a pipeline that ends here.
    pub(crate) fn close_route(&self, ends: impl Fn(&Pipeline) -> bool) {
        let state = self.lock();
        if let Some(route) = state.route.as_ref().filter(|route| ends(&route.pipeline)) {
            route.close(self.subject.clock.now());
        }
    }

    /// Tells the metrics to those sources of the pipeline for which it is time.
    fn tell(&self, due: &[usize]) {
        if self.is_held_up() {
            self.counts.skipped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // Before the lock: it asks every part of the data path.
        let told = match self.look() {
            Ok(told) => told,
            Err(error) => {
                // A fault in `metrics`, which says the same to whoever scrapes.
                tracing::error!(%error, "The agent cannot tell its metrics");
                return;
            }
        };
        self.counts.left_out.store(told.left_out, Ordering::Relaxed);
        let Subject { clock, windows, .. } = &self.subject;
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(route) = &state.route else { return };
        let Some(selection) = selection(&route.pipeline, due, &told) else { return };
        if *state.origin.points != *told.names {
            state.origin = origin(&self.device, told.names);
        }
        let now = clock.now();
        let (origin, quality) = (state.origin.clone(), clock.quality());
        let mut batch = Batch::with_capacity(origin, 0, quality, told.values.len());
        for (point, value) in (0..).zip(told.values) {
            batch.push_good(point, value, now);
        }
        let batch = Arc::new(batch);
        windows.tap.show(|| Seen::Decoded(batch.clone()));
        let (part, receipt) = Gate::open();
        route.deliver(&batch, &selection, now, &part);
        part.done(true);
        state.receipt = Some(receipt);
    }

    /// Whether what was told before is on its way still, or the pipeline's store is full.
    fn is_held_up(&self) -> bool {
        let mut state = self.lock();
        if state.receipt.as_mut().is_some_and(|receipt| receipt.now_or_never().is_none()) {
            return true;
        }
        state.receipt = None;
        state.route.as_ref().is_some_and(|route| route.stream.presses())
    }

    fn look(&self) -> Result<Told, crate::metrics::MetricsError> {
        let Subject { clock, counts, view, .. } = &self.subject;
        let families = families(&view.snapshot(), &counts.numbers(&**clock))?;
        Ok(told(&families, &self.device.namespace))
    }

    /// Keeps what has waited long enough in the pipeline's transforms.
    fn tick(&self) {
        if let Some(route) = &self.lock().route {
            route.tick(self.subject.clock.now());
        }
    }
}

/// Tells until cancelled; `intervals` are those of the pipeline's sources, `None` for one that
/// takes devices.
pub(crate) async fn report(
    reporter: Arc<Reporter>,
    intervals: Vec<Option<Duration>>,
    cancel: CancellationToken,
) {
    let mut schedule = Schedule::new(intervals, Instant::now());
    loop {
        let next = schedule.next().min(Instant::now() + LOOK);
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            () = cancel.cancelled() => return,
        }
        reporter.tick();
        let due = schedule.due(Instant::now());
        if !due.is_empty() {
            reporter.tell(&due);
        }
    }
}

fn origin(device: &ObjectKey, names: Vec<Arc<str>>) -> Arc<Origin> {
    Arc::new(Origin::new(device.clone(), None, names.into(), Arc::new([])))
}

/// The points that the sources which are due take; `None` = none.
fn selection(pipeline: &Pipeline, due: &[usize], told: &Told) -> Option<Selection> {
    let due: Vec<_> = due.iter().filter_map(|i| pipeline.sources.get(*i)).collect();
    let takes = |name: &Arc<str>| due.iter().any(|source| source.selects_point(name));
    let wanted: Vec<bool> = told.names.iter().map(takes).collect();
    match (wanted.contains(&true), wanted.contains(&false)) {
        (false, _) => None,
        (true, false) => Some(Selection::All),
        (true, true) => Some(Selection::Some(wanted.into())),
    }
}
