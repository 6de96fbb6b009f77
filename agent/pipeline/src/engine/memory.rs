//! What the transforms of a pipeline remember is kept beside its log, so that a restart costs
//! neither a window nor a line.

use std::sync::Arc;
use std::time::Duration;

use lineside_store::{Checkpoint, Log};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::running::RunningPipeline;
use crate::stream::Stream;
use crate::transform::{Former, Totals};

/// Shortest time between two memories. What came after the newest is lost with a kill.
const SHORTEST: Duration = Duration::from_secs(10);
/// Longest such time.
const LONGEST: Duration = Duration::from_secs(600);
/// Most bytes a second that memories cost on the average: flash wears out.
const BYTES_A_SECOND: u32 = 1600;
/// Longest wait for the disk; the writing goes on behind it.
const LONGEST_WRITE: Duration = Duration::from_secs(5);

/// Memories of a pipeline on their way to the disk.
#[derive(Default)]
pub(super) struct Memories {
    /// Taken, and not yet kept: not all that it says was handed on is on disk.
    taken: Option<Arc<Checkpoint>>,
    /// Not before is the next one taken.
    next: Option<Instant>,
}

impl RunningPipeline {
    /// Takes and keeps memories, when it is time to. To be called once a second.
    pub(super) async fn remember(&mut self) {
        let Some(log) = self.stream.log().cloned() else { return };
        let now = Instant::now();
        if self.memories.taken.is_none() && self.memories.next.is_none_or(|next| now >= next) {
            let taken = take(&log, &self.totals).map(Arc::new);
            let size = taken.as_ref().map_or(0, |taken| taken.body.len());
            let pause = Duration::from_secs(size as u64) / BYTES_A_SECOND;
            self.memories.next = Some(now + pause.clamp(SHORTEST, LONGEST));
            self.memories.taken = taken;
        }
        let Some(taken) = self.memories.taken.clone() else { return };
        let write = spawn_blocking(move || log.save_checkpoint(&taken));
        match timeout(LONGEST_WRITE, write).await {
            // The next second, then: what comes before it is not on disk yet.
            Ok(Ok(Ok(false))) => {}
            Ok(Ok(Ok(true))) => {
                self.memories.taken = None;
                self.totals.kept();
            }
            // The disk says so itself, elsewhere; the next one is taken anew.
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => self.memories.taken = None,
        }
    }

    /// The last memory: nothing comes any more.
    pub(super) fn last_memory(&self) -> Option<(Arc<Log>, Checkpoint)> {
        let log = self.stream.log()?.clone();
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

/// The position first: what is handed on meanwhile counts as handed on after it.
fn take(log: &Log, totals: &Totals) -> Option<Checkpoint> {
    let position = log.position();
    totals.cut().map(|body| Checkpoint { position, body })
}

/// What a former process remembered of a pipeline with this store.
pub(super) fn recall(stream: &Stream, totals: &Totals) {
    let Some(log) = stream.log() else { return };
    let checkpoint = match log.take_checkpoint() {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            tracing::warn!(%error, "What transforms remembered cannot be read; they begin anew");
            return;
        }
    };
    let Some(Checkpoint { position, body }) = checkpoint else { return };
    let mut former = match Former::read(&body) {
        Ok(former) => former,
        Err(error) => return tracing::warn!(%error, "Transforms begin anew"),
    };
    if !log.behind(position, |batch| former.captured(batch)) {
        // What was let out since is not known, so nothing may be let out again.
        tracing::warn!("What came after the memory of the transforms is unknown; they begin anew");
        former.forget();
    }
    totals.go_on_with(former);
}

/// Keeps last memories, after everything before them was committed.
pub(super) fn keep_last(memories: Vec<(Arc<Log>, Checkpoint)>) {
    for (log, memory) in memories {
        match log.save_checkpoint(&memory) {
            Ok(true) => {}
            Ok(false) => tracing::warn!("What transforms remember is not kept"),
            Err(error) => tracing::warn!(%error, "What transforms remember is not kept"),
        }
    }
}
