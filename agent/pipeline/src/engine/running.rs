//! One pipeline of the engine: its store and its sinks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use lineside_core::sink::SinkIdentity;
use lineside_crds::model::{self, Mode, ObjectKey, Pipeline};
use lineside_store::Ledger;
use tokio::time::Instant;

use super::Parts;
use super::memory::{self, Memories};
use super::run::Run;
use super::vault::bounds;
use crate::Windows;
use crate::sink::{self, Station, Surroundings};
use crate::stream::{Stream, Trouble};
use crate::transform::Totals;

/// See the module.
pub(super) struct RunningPipeline {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) stream: Stream,
    /// What its transforms did so far.
    pub(super) totals: Arc<Totals>,
    /// Why it is in memory although it shall be on disk.
    pub(super) displaced: Option<Trouble>,
    /// It shall be in memory, and something on the disk waits to be delivered first.
    pub(super) owes_disk: bool,
    /// Of its transforms, on their way to the disk.
    pub(super) memories: Memories,
    /// Not before is it tried to move it to another store.
    pub(super) move_at: Instant,
    sinks: BTreeMap<Arc<str>, RunningSink>,
    /// Sinks that were removed from it and still deliver what they have, until then at the
    /// latest.
    leaving: BTreeMap<Arc<str>, (RunningSink, Instant)>,
}

struct RunningSink {
    spec: model::Sink,
    station: Arc<Station>,
    run: Option<Run>,
}

/// Books of sinks that are gone, by name.
pub(super) type Books = Vec<(Arc<str>, Ledger)>;

impl RunningPipeline {
    pub(super) fn new(pipeline: Arc<Pipeline>, stream: Stream, displaced: Option<Trouble>) -> Self {
        let (sinks, leaving) = (BTreeMap::new(), BTreeMap::new());
        let (totals, move_at) = (Arc::<Totals>::default(), Instant::now());
        memory::recall(&pipeline, &stream, &totals);
        let (owes_disk, memories) = (false, Memories::default());
        Self { pipeline, stream, totals, displaced, owes_disk, memories, move_at, sinks, leaving }
    }

    /// Makes its sinks known to the store, so that it keeps for them what comes from now on; their
    /// sessions begin with [`Self::apply`].
    pub(super) fn join_sinks(&self) {
        for spec in &self.pipeline.sinks {
            self.stream.add_sink(spec);
        }
    }

    /// Brings its sinks to what `pipeline` says. Returns the books of those that are gone: on
    /// disk, a sink that was removed goes on for `linger` with what it has.
    pub(super) async fn apply(
        &mut self,
        pipeline: Arc<Pipeline>,
        linger: Duration,
        parts: &Parts,
        windows: &Arc<Windows>,
    ) -> Books {
        self.stream.set_settings(bounds(pipeline.store, self.stream.is_on_disk()));
        let runs = pipeline.mode == Mode::Running;
        let stays = |s: &RunningSink| pipeline.sinks.contains(&s.spec) && s.run.is_some() == runs;
        let is_wanted = |name: &str| pipeline.sinks.iter().any(|s| &*s.name == name);
        let names: Vec<Arc<str>> = self.sinks.keys().cloned().collect();
        let ending = names.iter().filter(|n| !self.sinks.get(*n).is_some_and(stays));
        let ending: Vec<_> = ending.cloned().collect();
        let mut stopping: Vec<_> = ending.iter().filter_map(|n| self.sinks.remove(n)).collect();
        // Written again before it had gone: its former session has to end first.
        let back: Vec<_> = self.leaving.keys().filter(|n| is_wanted(n)).cloned().collect();
        stopping.extend(back.iter().filter_map(|n| self.leaving.remove(n)).map(|(sink, _)| sink));
        if !self.stream.is_on_disk() || linger.is_zero() {
            let gone = stopping.iter().filter(|sink| !is_wanted(&sink.spec.name));
            gone.for_each(|sink| self.stream.trust(&sink.spec.name));
        }
        join_all(stopping.iter_mut().map(RunningSink::stop)).await;
        let mut books = Books::new();
        for RunningSink { spec, .. } in stopping.iter().filter(|s| !is_wanted(&s.spec.name)) {
            self.stream.end_sink(&spec.name);
            if self.stream.is_on_disk() && !linger.is_zero() && self.waiting_for(&spec.name) > 0 {
                self.resume_leaving(spec, linger, parts, windows);
            } else {
                let gone = self.stream.remove_sink(&spec.name);
                books.extend(gone.map(|ledger| (spec.name.clone(), ledger)));
            }
        }
        for spec in &pipeline.sinks {
            if !self.sinks.contains_key(&spec.name) {
                self.stream.add_sink(spec);
                let sink = RunningSink::new(spec, &pipeline, &self.stream, parts, windows, runs);
                self.sinks.insert(spec.name.clone(), sink);
            }
        }
        self.pipeline = pipeline;
        books
    }

    /// Lets a sink that was removed, now or before the last start, deliver what it has.
    pub(super) fn resume_leaving(
        &mut self,
        spec: &model::Sink,
        linger: Duration,
        parts: &Parts,
        windows: &Arc<Windows>,
    ) {
        let sink = RunningSink::new(spec, &self.pipeline, &self.stream, parts, windows, true);
        self.leaving.insert(spec.name.clone(), (sink, Instant::now() + linger));
    }

    /// Lets a sink that was removed while no agent ran deliver what it has, and nothing new.
    /// Whether it is such a one.
    pub(super) fn resume_orphan(
        &mut self,
        spec: model::Sink,
        linger: Duration,
        parts: &Parts,
        windows: &Arc<Windows>,
    ) -> bool {
        let known = self.sinks.contains_key(&spec.name) || self.leaving.contains_key(&spec.name);
        if !known {
            self.stream.end_sink(&spec.name);
            self.resume_leaving(&spec, linger, parts, windows);
        }
        !known
    }

    /// Ends sinks that were removed and have nothing left, or no time. Returns their books.
    pub(super) async fn tidy(&mut self) -> Books {
        let now = Instant::now();
        let over: Vec<_> = self
            .leaving
            .iter()
            .filter(|(name, (_, until))| now >= *until || self.waiting_for(name) == 0)
            .map(|(name, _)| name.clone())
            .collect();
        let mut books = Books::new();
        for name in over {
            if let Some((mut sink, _)) = self.leaving.remove(&name) {
                self.stream.trust(&name);
                sink.stop().await;
            }
            books.extend(self.stream.remove_sink(&name).map(|ledger| (name, ledger)));
        }
        books
    }

    /// Samples that wait for some sink.
    pub(super) fn waiting(&self) -> u64 {
        self.stream.waiting()
    }

    fn waiting_for(&self, sink: &str) -> u64 {
        let numbers = self.stream.numbers();
        numbers.iter().find(|(n, _)| &**n == sink).map_or(0, |(_, n)| n.waiting())
    }

    /// What remotes have accepted counts: this pipeline ends for good.
    pub(super) fn trust_sinks(&self) {
        self.sinks.keys().chain(self.leaving.keys()).for_each(|name| self.stream.trust(name));
    }

    /// Where its sinks are known, with those that are leaving.
    pub(super) fn stations(&self) -> BTreeMap<Arc<str>, Arc<Station>> {
        let leaving = self.leaving.iter().map(|(name, (sink, _))| (name, sink));
        self.sinks.iter().chain(leaving).map(|(n, s)| (n.clone(), s.station.clone())).collect()
    }

    /// Ends the sessions of its sinks.
    pub(super) async fn stop_sinks(&mut self) {
        let leaving = self.leaving.values_mut().map(|(sink, _)| sink);
        join_all(self.sinks.values_mut().chain(leaving).map(RunningSink::stop)).await;
    }

    /// Ends it and returns the last books of its sinks.
    pub(super) async fn stop(mut self) -> (ObjectKey, Books) {
        self.stop_sinks().await;
        let books = self.stream.numbers().into_iter().map(|(name, n)| (name, n.ledger));
        (self.pipeline.key.clone(), books.collect())
    }
}

impl RunningSink {
    fn new(
        spec: &model::Sink,
        pipeline: &Pipeline,
        stream: &Stream,
        parts: &Parts,
        windows: &Arc<Windows>,
        runs: bool,
    ) -> Self {
        let identity = SinkIdentity {
            agent_uid: parts.agent_uid.clone(),
            agent: parts.agent.clone(),
            pipeline: pipeline.key.clone(),
            sink: spec.name.clone(),
        };
        let station = Arc::new(Station::new(
            identity,
            spec.kind.endpoint(),
            parts.clock.clone(),
            windows.clone(),
        ));
        let sink = match (parts.make_sink)(&spec.kind) {
            Ok(sink) => Some(sink),
            Err(fault) => {
                station.failed(&fault);
                None
            }
        };
        if !runs {
            station.suspend();
        }
        let around = Surroundings { clock: parts.clock.clone(), secrets: parts.secrets.clone() };
        let run = sink.filter(|_| runs).map(|sink| {
            let (station, stream) = (station.clone(), stream.clone());
            Run::start(|cancel| sink::supervise(station, sink, stream, around, cancel))
        });
        Self { spec: spec.clone(), station, run }
    }

    async fn stop(&mut self) {
        if let Some(run) = self.run.take() {
            run.stop().await;
        }
    }
}
