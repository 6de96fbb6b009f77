//! The tasks that tell the agent's own metrics to those pipelines that take them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use lineside_crds::model::{Mode, ObjectKey, Pipeline, Source};

use super::Engine;
use super::run::Run;
use crate::own::{Reporter, report};

pub(super) struct RunningReporter {
    pub(super) reporter: Arc<Reporter>,
    intervals: Vec<Option<Duration>>,
    pub(super) run: Option<Run>,
}

/// How often each source is told; `None` when the pipeline takes nothing of the agent itself.
fn intervals(pipeline: &Pipeline) -> Option<Vec<Option<Duration>>> {
    let wanted = pipeline.mode == Mode::Running && pipeline.takes_agent_metrics();
    wanted.then(|| pipeline.sources.iter().map(Source::agent_metrics).collect())
}

impl Engine {
    /// Stops those whose pipeline does not take the metrics any more, or at other times. What
    /// waits in the transforms of a pipeline that is gone is kept.
    pub(super) async fn stop_reporters(
        &mut self,
        wanted: &BTreeMap<ObjectKey, Arc<Pipeline>>,
        draining: bool,
    ) {
        let now =
            |key: &ObjectKey| wanted.get(key).filter(|_| !draining).and_then(|p| intervals(p));
        let mut stopping = Vec::new();
        for (key, running) in &mut self.reporters {
            if now(key).as_ref() != Some(&running.intervals) {
                stopping.extend(running.run.take());
            }
        }
        join_all(stopping.into_iter().map(Run::stop)).await;
        self.reporters.retain(|key, running| {
            let stays = now(key).is_some();
            if !stays {
                running.reporter.close_route(|_| true);
            }
            stays
        });
    }

    /// Makes reporters for pipelines that take the metrics newly; returns those to start.
    pub(super) fn place_reporters(&mut self, draining: bool) -> Vec<ObjectKey> {
        let mut to_start = Vec::new();
        let subject = self.subject();
        for (key, running) in self.pipelines.iter().filter(|_| !draining) {
            let Some(intervals) = intervals(&running.pipeline) else { continue };
            let teller = self.reporters.entry(key.clone()).or_insert_with(|| RunningReporter {
                reporter: Arc::new(Reporter::new(subject.clone(), key)),
                intervals: Vec::new(),
                run: None,
            });
            teller.intervals = intervals;
            if teller.run.is_none() {
                to_start.push(key.clone());
            }
        }
        to_start
    }

    /// Once it has its route.
    pub(super) fn start_reporter(&mut self, key: &ObjectKey) {
        let Some(running) = self.reporters.get_mut(key) else { return };
        let (reporter, intervals) = (running.reporter.clone(), running.intervals.clone());
        running.run = Some(Run::start(|cancel| report(reporter, intervals, cancel)));
    }
}
