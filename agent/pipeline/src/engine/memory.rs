//! What the transforms of a pipeline remember is kept beside its log, so that a restart costs
//! neither a window nor a line.

use std::sync::Arc;
use std::time::Duration;

use lineside_crds::model::{Pipeline, TransformKind};
use lineside_store::{Checkpoint, Log, StoreError};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout};

use super::running::RunningPipeline;
use crate::stream::Stream;
use crate::transform::{Former, Totals, nothing_remembered};

/// Shortest time between two memories. What came after the newest is lost with a kill.
const SHORTEST: Duration = Duration::from_secs(10);
/// Longest such time.
const LONGEST: Duration = Duration::from_secs(600);
/// Most bytes a second that memories cost on the average: flash wears out.
const BYTES_A_SECOND: u32 = 1600;
/// Longest wait at the end for a memory that is being written.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// Memories of a pipeline on their way to the disk.
#[derive(Default)]
pub(super) struct Memories {
    step: Step,
    /// Not before is the next one taken.
    next: Option<Instant>,
}

#[derive(Default)]
enum Step {
    #[default]
    Idle,
    /// Taken a moment ago: what it says was handed on may be on its way into the log.
    Taken(Arc<Checkpoint>),
    /// Everything that it says was handed on lies below this offset of the log.
    Due(Arc<Checkpoint>, u64),
    /// One writing at a time, so that none overwrites a newer one.
    Writing(Arc<Checkpoint>, u64, JoinHandle<Result<bool, StoreError>>),
}

impl RunningPipeline {
    /// Takes and keeps memories, when it is time to, without waiting. To be called once a second.
    pub(super) async fn remember(&mut self) {
        let Some(log) = self.stream.log().cloned() else { return };
        self.memories.step = match std::mem::take(&mut self.memories.step) {
            Step::Idle => self.next_memory(&log),
            Step::Taken(memory) => Step::Due(memory, log.position()),
            Step::Due(memory, needed) => {
                let write = {
                    let memory = memory.clone();
                    spawn_blocking(move || log.save_checkpoint(&memory, needed))
                };
                Step::Writing(memory, needed, write)
            }
            Step::Writing(memory, needed, write) if !write.is_finished() => {
                Step::Writing(memory, needed, write)
            }
            Step::Writing(memory, needed, write) => match write.await {
                // What comes before it is not on disk yet.
                Ok(Ok(false)) => Step::Due(memory, needed),
                Ok(Ok(true)) => {
                    self.totals.kept();
                    Step::Idle
                }
                // The disk says so itself, elsewhere; the next one is taken anew.
                Ok(Err(_)) | Err(_) => Step::Idle,
            },
        };
    }

    fn next_memory(&mut self, log: &Log) -> Step {
        let now = Instant::now();
        if self.memories.next.is_some_and(|next| now < next) {
            return Step::Idle;
        }
        let taken = take(log, &self.totals);
        let size = taken.as_ref().map_or(0, |taken| taken.body.len());
        let pause = Duration::from_secs(size as u64) / BYTES_A_SECOND;
        self.memories.next = Some(now + pause.clamp(SHORTEST, LONGEST));
        taken.map_or(Step::Idle, |taken| Step::Taken(Arc::new(taken)))
    }

    /// Nothing is kept while the disk takes nothing: samples are handed on from memory, and what
    /// was kept before would be older than what consumers have.
    pub(super) fn forget_memories(&mut self) {
        self.totals.begin_anew();
        let (Some(log), key) = (self.stream.log().cloned(), self.pipeline.key.clone()) else {
            return;
        };
        // Nobody waits for it: the disk may take its time now.
        drop(spawn_blocking(move || {
            if let Err(error) = log.remove_checkpoint() {
                tracing::warn!(pipeline = %key, %error, "Old memory cannot be removed");
            }
        }));
    }

    /// The last memory: nothing comes any more. `None` also while one before it is being written.
    pub(super) async fn last_memory(&mut self) -> Option<(Arc<Log>, Checkpoint)> {
        let log = self.stream.log()?.clone();
        if let Step::Writing(_, _, write) = std::mem::take(&mut self.memories.step) {
            timeout(LAST_WRITE, write).await.ok()?.ok()?.ok();
        }
        let taken = take(&log, &self.totals)?;
        Some((log, taken))
    }

    /// Declares what is lost of memories that nobody went on with.
    pub(super) fn give_up_memories(&self) {
        let lost = self.totals.give_up_former();
        if let (Some(since), Some(log)) = (lost, self.stream.log()) {
            log.missing_since(since);
        }
    }
}

fn take(log: &Log, totals: &Totals) -> Option<Checkpoint> {
    let (position, body) = totals.cut(|| log.position())?;
    if body.len() > Checkpoint::MOST {
        // Nothing is better than an old one.
        totals.begin_anew();
        return Some(Checkpoint { position, body: nothing_remembered() });
    }
    Some(Checkpoint { position, body })
}

/// What a former process remembered of a pipeline with this store.
pub(super) fn recall(pipeline: &Pipeline, stream: &Stream, totals: &Totals) {
    let Some(log) = stream.log() else { return };
    let lost = |why: &dyn std::fmt::Display| {
        let pipeline_key = &pipeline.key;
        tracing::warn!(pipeline = %pipeline_key, error = %why, "Transforms begin anew");
        log.missing_for(longest_wait(pipeline));
    };
    let Checkpoint { position, body } = match log.take_checkpoint() {
        Ok(Some(checkpoint)) => checkpoint,
        Ok(None) => return,
        Err(error) => return lost(&error),
    };
    let mut former = match Former::read(&body) {
        Ok(former) => former,
        Err(error) => return lost(&error),
    };
    if !log.behind(position, |batch| former.captured(batch)) {
        // What was let out since is not known, so nothing may be let out again.
        tracing::warn!(
            pipeline = %pipeline.key,
            "What came after the memory of the transforms is not known; they begin anew"
        );
        former.forget();
    }
    totals.go_on_with(former);
}

/// How long something may wait in the transforms of a pipeline.
fn longest_wait(pipeline: &Pipeline) -> Duration {
    let waits = pipeline.transforms.iter().map(|transform| match &transform.kind {
        TransformKind::Window { every, .. } => *every,
        TransformKind::SwingingDoor { max_interval, .. } => *max_interval,
        _ => Duration::ZERO,
    });
    waits.sum()
}

/// Keeps last memories, after everything before them was committed.
pub(super) fn keep_last(memories: Vec<(Arc<Log>, Checkpoint)>) {
    for (log, memory) in memories {
        match log.save_checkpoint(&memory, log.position()) {
            Ok(true) => {}
            Ok(false) => tracing::warn!("What transforms remember is not kept"),
            Err(error) => tracing::warn!(%error, "What transforms remember is not kept"),
        }
    }
}
