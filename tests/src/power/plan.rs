//! When the power is cut and when the sink is there: drawn from a seed before anything runs.

use std::time::Duration;

use crate::faults::dice::Dice;

/// What is done in one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot {
    /// When the power is cut.
    pub cut: Cut,
    /// When the sink is there.
    pub sink: Sink,
    /// Whether the cut waits for the next moment in which the disk has something in its cache.
    pub writing: bool,
}

/// When the power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// So long after the guest began to mount its disk: it plays the journal back.
    Mounting(Duration),
    /// So long after the agent was started: it opens its store.
    Starting(Duration),
    /// So long after samples reached the witness.
    Running(Duration),
}

/// When the sink is there; the witness always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Not in this boot.
    Away,
    /// From the beginning, for so long after samples reached the witness.
    First(Duration),
    /// Only so long before the cut: it is on its way through the backlog.
    Last(Duration),
}

const MS: fn(u64) -> Duration = Duration::from_millis;
/// Of so many boots one is cut before samples flow.
const EARLY: usize = 5;

/// So many boots.
pub fn draw(dice: &mut Dice, boots: usize) -> Vec<Boot> {
    (0..boots)
        .map(|boot| {
            let cut = match (boot % EARLY, boot / EARLY % 2) {
                (3, 0) => Cut::Starting(dice.time(MS(0), MS(1500))),
                (3, _) => Cut::Mounting(dice.time(MS(0), MS(500))),
                _ => Cut::Running(dice.time(MS(3000), MS(9000))),
            };
            let sink = match boot % 3 {
                0 => Sink::Away,
                1 => Sink::Last(dice.time(MS(200), MS(2500))),
                _ => Sink::First(dice.time(MS(200), MS(2500))),
            };
            Boot { cut, sink, writing: boot % 2 == 0 }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_boots_have_every_kind_of_sink_and_one_early_cut() {
        let boots = draw(&mut Dice::new(5), 5);
        let running = |boot: &&Boot| matches!(boot.cut, Cut::Running(_));
        assert_eq!(boots.iter().filter(running).count(), 4);
        assert!(matches!(boots[3].cut, Cut::Starting(_)));
        let sinks: Vec<Sink> = boots.iter().filter(running).map(|boot| boot.sink).collect();
        assert!(sinks.contains(&Sink::Away));
        assert!(sinks.iter().any(|sink| matches!(sink, Sink::First(_))));
        assert!(sinks.iter().any(|sink| matches!(sink, Sink::Last(_))));
    }

    #[test]
    fn ten_boots_are_cut_in_the_playback_of_the_journal_too_and_another_seed_at_other_times() {
        let boots = draw(&mut Dice::new(5), 10);
        assert!(matches!(boots[8].cut, Cut::Mounting(_)));
        assert_eq!(boots, draw(&mut Dice::new(5), 10));
        assert_ne!(boots, draw(&mut Dice::new(6), 10));
    }
}
