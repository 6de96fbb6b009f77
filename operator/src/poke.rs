//! When to poke a pod so that its kubelet looks at the ConfigMaps at once. Pure.
//!
//! A changed annotation of a pod makes the kubelet sync its volumes, but it may read the
//! ConfigMap from a cache that is a moment old. So it is poked again until the agent says that it
//! runs the configuration; after the last time the kubelet's own minute is waited for.

use std::time::{Duration, Instant};

/// Waits between pokes.
const WAITS: [Duration; 4] = [
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

/// The pokes for one configuration of one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poking {
    /// The configuration.
    pub hash: String,
    /// The pod that was poked; another one read the ConfigMaps when it started.
    pub pod: String,
    /// How often it was poked.
    pub times: usize,
    /// When the configuration was written.
    pub since: Instant,
    /// When it was poked last.
    pub last: Instant,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Poke {
    /// Poke the pod; this is what to remember when that is done.
    Now(Poking),
    /// Nothing before this time has passed.
    Later(Duration),
    /// Nothing more.
    Never,
}

/// Decides for an agent whose pod runs and which does not run `hash` yet. `marked`: the pod has
/// been poked for this configuration, maybe by another process.
pub fn decide(so_far: Option<&Poking>, hash: &str, pod: &str, marked: bool, now: Instant) -> Poke {
    let Some(poking) = so_far.filter(|p| p.hash == hash && p.pod == pod) else {
        let since = so_far.filter(|p| p.hash == hash).map_or(now, |p| p.since);
        let first =
            Poking { hash: hash.to_owned(), pod: pod.to_owned(), times: 1, since, last: now };
        // Somebody has done the first one; the next is due after its wait.
        return if marked { Poke::Later(WAITS[0]) } else { Poke::Now(first) };
    };
    let Some(wait) = poking.times.checked_sub(1).and_then(|done| WAITS.get(done)) else {
        return Poke::Never;
    };
    let passed = now.saturating_duration_since(poking.last);
    match wait.checked_sub(passed).filter(|left| !left.is_zero()) {
        Some(left) => Poke::Later(left),
        None => Poke::Now(Poking { times: poking.times + 1, last: now, ..poking.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_poked_at_once_and_then_after_growing_waits_and_no_more() {
        let start = Instant::now();
        let mut now = start;
        let mut poking = None;
        let mut at = Vec::new();
        loop {
            match decide(poking.as_ref(), "h", "pod", false, now) {
                Poke::Now(next) => {
                    at.push(now.duration_since(start).as_secs());
                    poking = Some(next);
                }
                Poke::Later(wait) => now += wait,
                Poke::Never => break,
            }
        }
        assert_eq!(at, [0, 2, 7, 17, 47]);
    }

    #[test]
    fn another_configuration_or_pod_starts_over() {
        let now = Instant::now();
        let Poke::Now(first) = decide(None, "h", "pod", false, now) else { panic!() };
        let other = decide(Some(&first), "i", "pod", false, now);
        assert!(matches!(other, Poke::Now(p) if p.hash == "i" && p.times == 1));
        let other = decide(Some(&first), "h", "pod-2", false, now);
        assert!(matches!(other, Poke::Now(p) if p.pod == "pod-2" && p.times == 1));
    }

    #[test]
    fn a_pod_that_another_process_has_poked_is_not_poked_at_once() {
        assert_eq!(decide(None, "h", "pod", true, Instant::now()), Poke::Later(WAITS[0]));
    }
}
