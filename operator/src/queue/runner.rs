//! Runs what the schedule says, and owns the tasks that do it.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::{Id, JoinSet};
use tracing::error;

use super::schedule::{Next, Outcome, Schedule, Settings};

/// The loop looks at its state at least this often, so that a silent loop is a stuck one.
const LONGEST_NAP: Duration = Duration::from_secs(5);

/// How long running works may take to end when the operator ends.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// A handle to the queue; clones are the same queue.
#[derive(Debug)]
pub struct Queue<K> {
    shared: Arc<Shared<K>>,
}

#[derive(Debug)]
struct Shared<K> {
    state: Mutex<State<K>>,
    changed: Notify,
    settings: Settings,
}

#[derive(Debug)]
struct State<K> {
    schedule: Schedule<K>,
    /// When the loop last looked.
    beat: Instant,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K: Clone + Ord> Queue<K> {
    /// An empty queue. Nothing runs before [`run`].
    pub fn new(settings: Settings) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State { schedule: Schedule::new(settings), beat: now() }),
                changed: Notify::new(),
                settings,
            }),
        }
    }

    /// Something happened to these keys.
    pub fn push_all(&self, keys: impl IntoIterator<Item = K>) {
        let now = now();
        let mut any = false;
        {
            let mut state = self.state();
            for key in keys {
                state.schedule.push(key, now);
                any = true;
            }
        }
        if any {
            self.shared.changed.notify_one();
        }
    }

    /// Something happened to this key.
    pub fn push(&self, key: K) {
        self.push_all([key]);
    }

    /// Keys that are due and wait, and keys that run.
    pub fn depth(&self) -> (usize, usize) {
        let state = self.state();
        (state.schedule.depth(now()), state.schedule.running())
    }

    /// How long ago the loop last looked at its work. More than a minute means that it is stuck.
    pub fn silence(&self) -> Duration {
        now().saturating_duration_since(self.state().beat)
    }

    /// Counts as a look at the work, for an owner that has not started the loop yet.
    pub fn touch(&self) {
        self.state().beat = now();
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        // The state is changed by total functions only; a panic elsewhere does not spoil it.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Due keys, marked as running, and when to look again.
    fn take_due(&self) -> (Vec<K>, Instant) {
        let now = now();
        let mut state = self.state();
        state.beat = now;
        let mut due = Vec::new();
        let wake = loop {
            match state.schedule.next(now) {
                Next::Run(key) => due.push(key),
                Next::Wait(at) => break at.min(now + LONGEST_NAP),
                Next::Idle => break now + LONGEST_NAP,
            }
        };
        (due, wake)
    }
}

/// Runs `work` for every key that comes due, until `shutdown` completes; then waits a little for
/// what runs. A work that panics or exceeds the run limit counts as failed.
pub async fn run<K, F, W>(queue: Queue<K>, shutdown: impl Future<Output = ()>, work: F)
where
    K: Clone + Ord + Send + std::fmt::Display + 'static,
    F: Fn(K) -> W,
    W: Future<Output = Outcome> + Send + 'static,
{
    let limit = queue.shared.settings.run_limit;
    let jitter = Jitter::default();
    let mut tasks: JoinSet<Outcome> = JoinSet::new();
    let mut keys: HashMap<Id, K> = HashMap::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let (due, wake) = queue.take_due();
        for key in due {
            let running = work(key.clone());
            let handle = tasks.spawn(async move {
                tokio::time::timeout(limit, running).await.unwrap_or(Outcome::Failed)
            });
            keys.insert(handle.id(), key);
        }
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = tasks.join_next_with_id() => {
                let (id, outcome) = match ended {
                    Ok((id, outcome)) => (id, outcome),
                    Err(failure) => {
                        let key = keys.get(&failure.id()).map(ToString::to_string);
                        error!(key, error = %failure, "Reconciling ended without a result");
                        (failure.id(), Outcome::Failed)
                    }
                };
                if let Some(key) = keys.remove(&id) {
                    queue.state().schedule.finish(key, outcome, now(), jitter.next());
                }
            }
            () = queue.shared.changed.notified() => {}
            () = tokio::time::sleep_until(wake.into()) => {}
        }
    }
    let rest = async { while tasks.join_next().await.is_some() {} };
    // What is not done by then is dropped; the next operator does it again.
    let _ = tokio::time::timeout(SHUTDOWN_GRACE, rest).await;
    tasks.shutdown().await;
}

/// The runtime's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Numbers in `0.0..1.0`, random enough to spread retries.
#[derive(Debug, Default)]
struct Jitter {
    keys: RandomState,
    count: std::sync::atomic::AtomicU32,
}

impl Jitter {
    fn next(&self) -> f64 {
        let count = self.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let [high, low, ..] = self.keys.hash_one(count).to_le_bytes();
        f64::from(u16::from_le_bytes([high, low])) / 65_536.0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    fn settings() -> Settings {
        Settings { concurrency: 4, ..Settings::default() }
    }

    /// A queue that runs until the sender is used or dropped.
    fn start<F, W>(
        queue: &Queue<u32>,
        work: F,
    ) -> (oneshot::Sender<()>, tokio::task::JoinHandle<()>)
    where
        F: Fn(u32) -> W + Send + Sync + 'static,
        W: Future<Output = Outcome> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel::<()>();
        let queue = queue.clone();
        let task = tokio::spawn(run(queue, async { drop(stopped.await) }, work));
        (stop, task)
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_events_is_one_run_per_key_and_never_more_than_the_bound_at_once() {
        let queue = Queue::new(settings());
        let now_running = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let runs = Arc::new(AtomicUsize::new(0));
        let seen = (now_running.clone(), most.clone(), runs.clone());
        let (stop, task) = start(&queue, move |_| {
            let (running, most, runs) = seen.clone();
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(50)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                runs.fetch_add(1, Ordering::SeqCst);
                Outcome::Gone
            }
        });
        for _ in 0..10 {
            queue.push_all(0..20);
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(runs.load(Ordering::SeqCst), 20);
        assert_eq!(most.load(Ordering::SeqCst), 4);
        drop(stop);
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_work_that_panics_or_hangs_is_tried_again_and_holds_up_nobody() {
        let queue = Queue::new(settings());
        let runs: Arc<[AtomicUsize; 3]> = Arc::default();
        let seen = runs.clone();
        let (stop, task) = start(&queue, move |key| {
            let seen = seen.clone();
            async move {
                seen[key as usize].fetch_add(1, Ordering::SeqCst);
                match key {
                    0 => panic!("a bug"),
                    1 => std::future::pending().await,
                    _ => Outcome::Again(Duration::from_secs(1)),
                }
            }
        });
        queue.push_all(0..3);
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert!(runs[0].load(Ordering::SeqCst) > 3);
        assert_eq!(runs[1].load(Ordering::SeqCst), 2, "ended by the run limit, tried again");
        assert!(runs[2].load(Ordering::SeqCst) > 150);
        assert!(queue.silence() <= LONGEST_NAP);
        drop(stop);
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_waits_for_what_runs_but_not_for_ever() {
        let queue = Queue::new(settings());
        let ended = Arc::new(AtomicUsize::new(0));
        let seen = ended.clone();
        let (stop, task) = start(&queue, move |key| {
            let ended = seen.clone();
            async move {
                if key == 0 {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(Duration::from_secs(2)).await;
                ended.fetch_add(1, Ordering::SeqCst);
                Outcome::Done
            }
        });
        queue.push_all(0..2);
        tokio::time::sleep(Duration::from_millis(200)).await;
        let begin = tokio::time::Instant::now();
        stop.send(()).unwrap();
        task.await.unwrap();
        assert_eq!(ended.load(Ordering::SeqCst), 1);
        assert!(begin.elapsed() <= SHUTDOWN_GRACE + Duration::from_millis(10));
    }
}
