//! When the agent is killed and when the sink is away: drawn from a seed before anything runs.

use std::time::Duration;

use super::dice::Dice;

/// How the sink is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// SIGTERM; it saves what it holds, and is started again at the end. Never SIGKILL:
    /// Mosquitto acknowledges before it has stored.
    Ended,
    /// SIGSTOP: it stays connected and says nothing.
    Stopped,
    /// Nothing passes between agent and broker, and nobody is told.
    Cut,
    /// Connections are reset, and later ones refused.
    Refused,
}

/// One thing that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// kill -9 of the agent, which is started again at once.
    Kill,
    /// An outage begins.
    Begin(Outage),
    /// The outage that was begun ends.
    End(Outage),
}

/// What is done when, counted from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: Duration,
    /// What.
    pub act: Act,
}

const MS: fn(u64) -> Duration = Duration::from_millis;

/// A schedule of `kills` kills, in order of time. A fifth of the starts is killed while it still
/// opens its store, and the longest ones come to rest; outages never overlap, and the last one
/// ends with the schedule.
pub fn draw(dice: &mut Dice, kills: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut at = Duration::ZERO;
    for _ in 0..kills {
        at += match dice.below(10) {
            0..2 => dice.time(MS(20), MS(400)),
            2..7 => dice.time(MS(400), MS(2000)),
            _ => dice.time(MS(2000), MS(4000)),
        };
        steps.push(Step { at, act: Act::Kill });
    }
    let mut begin = Duration::ZERO;
    loop {
        begin += dice.time(MS(300), MS(5000));
        let end = begin + dice.time(MS(100), MS(3000));
        if end > at {
            break;
        }
        let outage = match dice.below(4) {
            0 => Outage::Ended,
            1 => Outage::Stopped,
            2 => Outage::Cut,
            _ => Outage::Refused,
        };
        steps.push(Step { at: begin, act: Act::Begin(outage) });
        steps.push(Step { at: end, act: Act::End(outage) });
        begin = end;
    }
    steps.sort_by_key(|step| step.at);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_has_its_kills_and_outages_of_every_kind_that_end_before_the_next() {
        let steps = draw(&mut Dice::new(3), 200);
        assert_eq!(steps.iter().filter(|s| s.act == Act::Kill).count(), 200);
        assert!(steps.windows(2).all(|w| w[0].at <= w[1].at));
        let mut open = None;
        let mut kinds = Vec::new();
        for step in &steps {
            match step.act {
                Act::Kill => {}
                Act::Begin(outage) => assert!(open.replace(outage).is_none()),
                Act::End(outage) => {
                    assert_eq!(open.take(), Some(outage));
                    kinds.push(outage);
                }
            }
        }
        assert_eq!(open, None);
        for kind in [Outage::Ended, Outage::Stopped, Outage::Cut, Outage::Refused] {
            assert!(kinds.iter().filter(|k| **k == kind).count() > 10, "{kind:?}");
        }
    }

    #[test]
    fn some_starts_are_killed_early_and_agents_are_killed_with_the_sink_away() {
        let steps = draw(&mut Dice::new(3), 200);
        let kills: Vec<_> = steps.iter().filter(|s| s.act == Act::Kill).collect();
        let early = kills.windows(2).filter(|w| w[1].at - w[0].at < MS(400)).count();
        assert!((20..80).contains(&early), "{early}");
        let away =
            steps.windows(2).filter(|w| matches!((w[0].act, w[1].act), (Act::Begin(_), Act::Kill)));
        assert!(away.count() > 20);
    }

    #[test]
    fn fifty_kills_take_less_than_two_minutes() {
        for seed in 0..50 {
            let steps = draw(&mut Dice::new(seed), 50);
            assert!(steps.last().unwrap().at < Duration::from_secs(115), "seed {seed}");
        }
    }
}
