//! What runs next: debounce, order, back-off, safety runs. No clock and no task in here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How the queue behaves.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long after its first event a key waits for more of them.
    pub debounce: Duration,
    /// Most works at once.
    pub concurrency: usize,
    /// Wait after the first failure; doubles with each further one.
    pub backoff_first: Duration,
    /// Longest wait after a failure.
    pub backoff_limit: Duration,
    /// A key that failed is not tried again sooner than this, whatever happens to it.
    pub failed_gap: Duration,
    /// A key whose work is done runs again after this, should an event have been missed. Up to
    /// half of it is added, so that a cluster's worth of keys does not come due at once.
    pub safety: Duration,
    /// Longest time of one run; then it counts as failed.
    pub run_limit: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            debounce: Duration::from_millis(100),
            concurrency: 16,
            backoff_first: Duration::from_millis(500),
            backoff_limit: Duration::from_secs(60),
            failed_gap: Duration::from_secs(1),
            safety: Duration::from_secs(600),
            run_limit: Duration::from_secs(120),
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As wanted; look again at the safety interval.
    Done,
    /// As wanted so far; look again after this time.
    Again(Duration),
    /// Not as wanted; try again with back-off.
    Failed,
    /// The object is no more; the key is forgotten.
    Gone,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<K> {
    /// Start this key; it counts as running until [`Schedule::finish`].
    Run(K),
    /// Nothing before this time.
    Wait(Instant),
    /// Nothing until a push or a finish.
    Idle,
}

/// Keys with their due times.
#[derive(Debug)]
pub struct Schedule<K> {
    settings: Settings,
    /// Waiting keys; `order` has the same pairs, sorted by time.
    due: BTreeMap<K, Instant>,
    order: BTreeSet<(Instant, K)>,
    /// Running keys; the time is when to run again because of a push meanwhile.
    running: BTreeMap<K, Option<Instant>>,
    /// Failures in a row and the start of the last run of keys that failed.
    failed: BTreeMap<K, Failed>,
}

#[derive(Clone, Copy, Debug)]
struct Failed {
    times: u32,
    ended: Instant,
}

impl<K: Clone + Ord> Schedule<K> {
    /// An empty schedule.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            due: BTreeMap::new(),
            order: BTreeSet::new(),
            running: BTreeMap::new(),
            failed: BTreeMap::new(),
        }
    }

    /// Something happened to the key: it runs within the debounce time, or right after the run
    /// that is under way. A key in back-off runs sooner than it would have, but not at once.
    pub fn push(&mut self, key: K, now: Instant) {
        let mut at = now + self.settings.debounce;
        if let Some(failed) = self.failed.get(&key) {
            at = at.max(failed.ended + self.settings.failed_gap);
        }
        self.push_at(key, at);
    }

    /// The key runs at this time, or sooner if it is due sooner.
    pub fn push_at(&mut self, key: K, at: Instant) {
        if let Some(again) = self.running.get_mut(&key) {
            *again = Some(again.map_or(at, |before| before.min(at)));
            return;
        }
        if let Some(before) = self.due.get(&key) {
            if *before <= at {
                return;
            }
            self.order.remove(&(*before, key.clone()));
        }
        self.due.insert(key.clone(), at);
        self.order.insert((at, key));
    }

    /// What to do at this time.
    pub fn next(&mut self, now: Instant) -> Next<K> {
        if self.running.len() >= self.settings.concurrency {
            return Next::Idle;
        }
        match self.order.first() {
            None => Next::Idle,
            Some((at, _)) if *at > now => Next::Wait(*at),
            Some(_) => {
                // `first` was there, so this is never `Idle`; the compiler cannot know.
                let Some((_, key)) = self.order.pop_first() else { return Next::Idle };
                self.due.remove(&key);
                self.running.insert(key.clone(), None);
                Next::Run(key)
            }
        }
    }

    /// The run of this key is over. `jitter` is a number in `0.0..1.0` that spreads the next
    /// one.
    pub fn finish(&mut self, key: K, outcome: Outcome, now: Instant, jitter: f64) {
        let pushed = self.running.remove(&key).flatten();
        let jitter = jitter.clamp(0.0, 1.0);
        let own = match outcome {
            Outcome::Gone => {
                self.failed.remove(&key);
                None
            }
            Outcome::Done => {
                self.failed.remove(&key);
                let safety = self.settings.safety;
                Some(now + safety + safety.mul_f64(jitter / 2.0))
            }
            Outcome::Again(after) => {
                self.failed.remove(&key);
                Some(now + after)
            }
            Outcome::Failed => {
                let failed =
                    self.failed.entry(key.clone()).or_insert(Failed { times: 0, ended: now });
                failed.times = failed.times.saturating_add(1);
                failed.ended = now;
                let wait = backoff(&self.settings, failed.times);
                // Half to all of it: keys that failed together do not come back together.
                Some(now + wait.mul_f64(0.5 + jitter / 2.0))
            }
        };
        let pushed = pushed.map(|at| match self.failed.get(&key) {
            Some(failed) => at.max(failed.ended + self.settings.failed_gap),
            None => at,
        });
        if let Some(at) = [own, pushed].into_iter().flatten().min() {
            self.push_at(key, at.max(now));
        }
    }

    /// Keys that are due and wait for a free place.
    pub fn depth(&self, now: Instant) -> usize {
        self.order.iter().take_while(|(at, _)| *at <= now).count()
    }

    /// Keys that run.
    pub fn running(&self) -> usize {
        self.running.len()
    }
}

fn backoff(settings: &Settings, times: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(times.saturating_sub(1).min(20));
    settings.backoff_first.saturating_mul(doubled).min(settings.backoff_limit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings() -> Settings {
        Settings { concurrency: 2, ..Settings::default() }
    }

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn many_events_of_one_key_are_one_run_within_the_debounce_of_the_first() {
        let start = Instant::now();
        let mut schedule = Schedule::new(settings());
        for millis in [0, 30, 60, 90] {
            schedule.push("a", after(start, millis));
        }
        assert_eq!(schedule.next(after(start, 99)), Next::Wait(after(start, 100)));
        assert_eq!(schedule.next(after(start, 100)), Next::Run("a"));
        assert_eq!(schedule.next(after(start, 10_000)), Next::Idle);
    }

    #[test]
    fn a_key_that_runs_waits_for_its_own_end_and_then_runs_again() {
        let start = Instant::now();
        let mut schedule = Schedule::new(settings());
        schedule.push("a", start);
        assert_eq!(schedule.next(after(start, 100)), Next::Run("a"));
        schedule.push("a", after(start, 150));
        assert_eq!(schedule.next(after(start, 5_000)), Next::Idle, "never twice at once");
        schedule.finish("a", Outcome::Done, after(start, 5_000), 0.0);
        assert_eq!(schedule.next(after(start, 5_000)), Next::Run("a"));
    }

    #[test]
    fn no_more_keys_run_than_the_bound_allows() {
        let start = Instant::now();
        let mut schedule = Schedule::new(settings());
        for key in ["a", "b", "c"] {
            schedule.push(key, start);
        }
        let later = after(start, 200);
        assert_eq!(schedule.next(later), Next::Run("a"));
        assert_eq!(schedule.next(later), Next::Run("b"));
        assert_eq!(schedule.next(later), Next::Idle);
        assert_eq!((schedule.depth(later), schedule.running()), (1, 2));
        schedule.finish("b", Outcome::Gone, later, 0.0);
        assert_eq!(schedule.next(later), Next::Run("c"));
    }

    #[test]
    fn waits_double_after_failures_up_to_the_limit_and_start_over_after_success() {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(settings());
        schedule.push_at("a", now);
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert_eq!(schedule.next(now), Next::Run("a"));
            schedule.finish("a", Outcome::Failed, now, 1.0);
            let Next::Wait(at) = schedule.next(now) else { panic!("waits") };
            waits.push(at.duration_since(now).as_millis());
            now = at;
        }
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(schedule.next(now), Next::Run("a"));
        schedule.finish("a", Outcome::Again(Duration::ZERO), now, 0.0);
        assert_eq!(schedule.next(now), Next::Run("a"));
        schedule.finish("a", Outcome::Failed, now, 0.0);
        assert_eq!(schedule.next(now), Next::Wait(after(now, 250)), "half of the first wait");
    }

    #[test]
    fn an_event_cuts_a_back_off_short_but_never_makes_a_hot_loop() {
        let start = Instant::now();
        let mut schedule = Schedule::new(settings());
        let mut now = start;
        schedule.push_at("a", now);
        for _ in 0..10 {
            assert_eq!(schedule.next(now), Next::Run("a"));
            schedule.finish("a", Outcome::Failed, now, 1.0);
            let Next::Wait(at) = schedule.next(now) else { panic!("waits") };
            now = at;
        }
        assert_eq!(schedule.next(now), Next::Run("a"));
        // An event during the run that fails, and one after it.
        schedule.push("a", now);
        schedule.finish("a", Outcome::Failed, now, 1.0);
        schedule.push("a", now);
        assert_eq!(schedule.next(now), Next::Wait(after(now, 1000)));
    }

    #[test]
    fn what_is_done_is_looked_at_again_and_what_is_gone_is_not() {
        let start = Instant::now();
        let mut schedule = Schedule::new(settings());
        schedule.push_at("a", start);
        schedule.push_at("b", start);
        assert_eq!(schedule.next(start), Next::Run("a"));
        assert_eq!(schedule.next(start), Next::Run("b"));
        schedule.finish("a", Outcome::Gone, start, 0.5);
        assert_eq!(schedule.next(start), Next::Idle);
        schedule.finish("b", Outcome::Done, start, 0.5);
        assert_eq!(schedule.next(start), Next::Wait(start + Duration::from_secs(750)));
    }

    proptest! {
        #[test]
        fn a_pushed_key_always_runs_and_never_twice_at_once(
            steps in proptest::collection::vec((0_u8..4, 0_u8..5, 0_u64..400), 1..200)
        ) {
            let mut now = Instant::now();
            let mut schedule = Schedule::new(settings());
            let mut running = BTreeSet::new();
            let mut owed = BTreeSet::new();
            for (what, key, millis) in steps {
                now += Duration::from_millis(millis);
                match what {
                    0 => {
                        schedule.push(key, now);
                        owed.insert(key);
                    }
                    1 => {
                        if let Next::Run(key) = schedule.next(now) {
                            prop_assert!(running.insert(key), "{key} runs twice");
                            prop_assert!(running.len() <= 2);
                            owed.remove(&key);
                        }
                    }
                    other => {
                        if running.remove(&key) {
                            let outcome = if other == 2 { Outcome::Failed } else { Outcome::Gone };
                            if other == 2 {
                                owed.insert(key);
                            }
                            schedule.finish(key, outcome, now, 0.5);
                        }
                    }
                }
            }
            for key in std::mem::take(&mut running) {
                schedule.finish(key, Outcome::Gone, now, 0.5);
            }
            now += Duration::from_secs(120);
            loop {
                match schedule.next(now) {
                    Next::Run(key) => {
                        owed.remove(&key);
                        schedule.finish(key, Outcome::Gone, now, 0.5);
                    }
                    Next::Wait(_) => prop_assert!(false, "waits longer than the longest back-off"),
                    Next::Idle => break,
                }
            }
            prop_assert!(owed.is_empty(), "never ran: {owed:?}");
        }
    }
}
