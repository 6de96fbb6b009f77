//! Pipelines move between memory and disk: because their YAML was edited, or because the store could
//! not be opened before. A pipeline has one store and one session per sink at any time, and what it
//! held keeps its order.

use std::time::Duration;

use lineside_crds::model::{Durability, ObjectKey};
use tokio::time::Instant;

use super::Engine;
use super::running::RunningPipeline;
use super::view::GivenUp;

/// Longest wait for the last samples on the way into the former store to be delivered from there.
const LAST_SAMPLES: Duration = Duration::from_secs(2);
/// Time between two attempts to move one pipeline.
const RETRY: Duration = Duration::from_secs(5);

impl Engine {
    /// Moves what can be moved now; whether anything was.
    pub(super) async fn move_stores(&mut self) -> bool {
        let now = Instant::now();
        let shall_move = |p: &RunningPipeline| {
            let shall = p.pipeline.store.durability != Durability::Memory || p.owes_disk;
            // What is on disk stays there until it is delivered.
            shall != p.stream.is_on_disk() && (shall || p.waiting() == 0) && now >= p.move_at
        };
        let moving = self.pipelines.iter().filter(|(_, p)| shall_move(p));
        let moving: Vec<ObjectKey> = moving.map(|(key, _)| key.clone()).collect();
        let mut moved = false;
        for key in moving {
            moved |= self.move_store(&key).await;
        }
        moved
    }

    async fn move_store(&mut self, key: &ObjectKey) -> bool {
        let Some(former) = self.pipelines.get_mut(key) else { return false };
        former.move_at = Instant::now() + RETRY;
        let pipeline = former.pipeline.clone();
        let (stream, displaced) = match former.stream.is_on_disk() {
            true => (self.vault.memory(&pipeline), None),
            false => self.vault.stream(&pipeline),
        };
        if stream.is_on_disk() == former.stream.is_on_disk() || self.vault.is_failing() {
            former.displaced = displaced;
            return false;
        }
        let (to_disk, from) = (stream.is_on_disk(), former.stream.clone());
        let mut running = RunningPipeline::new(pipeline.clone(), stream, displaced);
        // Those of a former process are of no use to transforms that are at work already.
        running.give_up_memories();
        running.totals = former.totals.clone();
        running.totals.begin_anew();
        running.join_sinks();
        let to = running.stream.clone();
        if to_disk {
            // Its sinks end first: nothing is sent both ways, and what waits comes before what
            // is new.
            former.stop_sinks().await;
            to.take_over(&from, self.parts.clock.now()).await;
        }
        let former = self.pipelines.insert(key.clone(), running);
        // What came in meanwhile, before anything of the same device goes the new way.
        self.set_routes_after(|| {
            if to_disk {
                to.take_rest(&from, self.parts.clock.now());
            }
        });
        let Some(former) = former else { return false };
        let until = Instant::now() + LAST_SAMPLES;
        while !to_disk && from.waiting() > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if !to_disk {
            former.trust_sinks();
        }
        let (_, books) = former.stop().await;
        if !to_disk {
            self.give_up(key, books, GivenUp::PipelineRemoved);
            self.vault.remove(key);
        }
        let linger = self.linger_of(&to);
        if let Some(running) = self.pipelines.get_mut(key) {
            running.apply(pipeline, linger, &self.parts, &self.windows).await;
        }
        self.resume_sinks(key);
        let place = if to_disk { "on disk" } else { "in memory" };
        tracing::info!(pipeline = %key, place, "Pipeline has another store");
        true
    }
}
