//! The furnace line as a pure function of time and seed: what its sensors would show.
//!
//! Made of straight pieces and remainders only, so that a moment can be computed without the
//! moments before it, and gives the same numbers on every machine.

use std::time::Duration;

use super::SCAN;

/// The recipe: hold low, ramp up, hold high, ramp down; then again. Ends of the parts.
const RECIPE_MILLIS: [u64; 4] = [30_000, 50_000, 90_000, 120_000];
/// Low and high setpoint in degrees Celsius.
const SETPOINT: (f64, f64) = (850.0, 920.0);
/// How far the temperature is behind the setpoint.
const LAG_MILLIS: u64 = 4_000;
/// The main burner's cycle: its length, and how much of it the burner is on.
const FIRING_MILLIS: (u64, u64) = (8_000, 4_800);
/// Ripple of the temperature in a firing cycle, in kelvin to either side.
const RIPPLE: f64 = 3.0;
/// The charging door: length of its cycle, when in the cycle it opens, and for how long.
const DOOR_MILLIS: (u64, u64, u64) = (40_000, 24_000, 4_000);
/// Kelvin lost by the time the door closes, and time to regain them.
const DOOR_LOSS: f64 = 6.0;
const DOOR_REGAIN_MILLIS: u64 = 8_000;
/// Speed of the conveyor in mm/s, and the distance between two parts in mm.
const SPEED: u64 = 450;
const PITCH: u64 = 900;
/// Power in watts: what is always on, and what each consumer adds.
const BASE_WATTS: u64 = 4_000;
const MAIN_WATTS: u64 = 2_600;
const BOOST_WATTS: u64 = 3_400;
const CONVEYOR_WATTS: u64 = 1_500;

/// The line with a seed: noise, and what the counters start from.
#[derive(Debug)]
pub struct Line {
    seed: u64,
}

/// The line at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Furnace temperature, Cel.
    pub temperature: f32,
    /// Its setpoint, Cel.
    pub setpoint: f32,
    /// Exhaust temperature, Cel.
    pub exhaust_temperature: f32,
    /// Oxygen in the exhaust, percent.
    pub exhaust_oxygen: f32,
    /// The main burner is on.
    pub burner_main: bool,
    /// The boost burner is on.
    pub burner_boost: bool,
    /// The charging door is open; the conveyor waits meanwhile.
    pub door_open: bool,
    /// Electrical power of the line, kW.
    pub power: f32,
    /// Electrical energy since ever, W.h.
    pub energy: u32,
    /// Voltage, V.
    pub voltage: u16,
    /// Speed of the conveyor, mm/s.
    pub speed: u16,
    /// Parts conveyed since ever.
    pub parts: u32,
    /// What is being made.
    pub recipe: &'static str,
}

impl Line {
    /// A line with its seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The line after so long; changes with each scan.
    pub fn at(&self, elapsed: Duration) -> State {
        let scan = elapsed.as_nanos() / SCAN.as_nanos();
        let scan = u64::try_from(scan).unwrap_or_default();
        let t = scan.saturating_mul(millis(SCAN));
        let noise = |salt| self.noise(scan, salt);

        let burner_main = t % FIRING_MILLIS.0 < FIRING_MILLIS.1;
        let burner_boost = is_ramp_up(t);
        let door_open = is_within(t, DOOR_MILLIS);
        let temperature = setpoint(t.saturating_sub(LAG_MILLIS)) + ripple(t) - door_dip(t);
        let temperature = temperature + 0.2 * noise(1);
        let oxygen = if burner_main { 3.2 } else { 6.8 } + if door_open { 4.0 } else { 0.0 };

        let moving = t - on_time(t, DOOR_MILLIS);
        let watts = BASE_WATTS
            + if burner_main { MAIN_WATTS } else { 0 }
            + if burner_boost { BOOST_WATTS } else { 0 }
            + if door_open { 0 } else { CONVEYOR_WATTS };
        let watt_millis = BASE_WATTS * t
            + MAIN_WATTS * on_time(t, (FIRING_MILLIS.0, 0, FIRING_MILLIS.1))
            + BOOST_WATTS * on_time(t, ramp_up())
            + CONVEYOR_WATTS * moving;
        let start = scramble(self.seed) % 9_000;
        State {
            temperature: single(temperature),
            setpoint: single(setpoint(t)),
            exhaust_temperature: single(0.55 * temperature + 20.0 + 0.4 * noise(2)),
            exhaust_oxygen: single(oxygen + 0.15 * noise(3)),
            burner_main,
            burner_boost,
            door_open,
            power: single(watts as f64 / 1000.0 + 0.05 * noise(4)),
            energy: counter(start * 1_000 + watt_millis / 3_600_000),
            voltage: 399 + (scramble(self.seed ^ scan) % 3) as u16,
            speed: if door_open { 0 } else { (SPEED - 2 + scramble(scan) % 5) as u16 },
            parts: counter(start + moving / 1_000 * SPEED / PITCH),
            recipe: if setpoint(t) > SETPOINT.0 { "HARDEN 920" } else { "ANNEAL 850" },
        }
    }

    /// Noise of one sensor in one scan, -1 to 1.
    fn noise(&self, scan: u64, salt: u64) -> f64 {
        let number = scramble(scramble(self.seed ^ salt).wrapping_add(scan));
        (number % 2001) as f64 / 1000.0 - 1.0
    }
}

/// A number that looks random and depends on `x` alone (the output function of splitmix64).
pub fn scramble(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn setpoint(t: u64) -> f64 {
    let [low, up, high, down] = RECIPE_MILLIS;
    let (cold, hot) = SETPOINT;
    match t % down {
        t if t < low => cold,
        t if t < up => cold + (hot - cold) * ratio(t - low, up - low),
        t if t < high => hot,
        t => hot - (hot - cold) * ratio(t - high, down - high),
    }
}

/// The ramp up as a window: cycle, start, length.
fn ramp_up() -> (u64, u64, u64) {
    let [low, up, _, cycle] = RECIPE_MILLIS;
    (cycle, low, up - low)
}

fn is_ramp_up(t: u64) -> bool {
    is_within(t, ramp_up())
}

/// Up while the burner is on, down while it is not.
fn ripple(t: u64) -> f64 {
    let (cycle, on) = FIRING_MILLIS;
    match t % cycle {
        t if t < on => RIPPLE * (2.0 * ratio(t, on) - 1.0),
        t => RIPPLE * (1.0 - 2.0 * ratio(t - on, cycle - on)),
    }
}

/// Kelvin lost through the door.
fn door_dip(t: u64) -> f64 {
    let (cycle, opens, length) = DOOR_MILLIS;
    let Some(t) = (t % cycle).checked_sub(opens) else { return 0.0 };
    match t.checked_sub(length) {
        None => DOOR_LOSS * ratio(t, length),
        Some(closed) => {
            DOOR_LOSS * (1.0 - ratio(closed.min(DOOR_REGAIN_MILLIS), DOOR_REGAIN_MILLIS))
        }
    }
}

/// Whether `t` is in the window (cycle, start, length), which comes once per cycle.
fn is_within(t: u64, (cycle, start, length): (u64, u64, u64)) -> bool {
    (start..start + length).contains(&(t % cycle))
}

/// How much of `0..t` was in the window.
fn on_time(t: u64, (cycle, start, length): (u64, u64, u64)) -> u64 {
    t / cycle * length + (t % cycle).saturating_sub(start).min(length)
}

fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

/// As a controller's REAL.
fn single(x: f64) -> f32 {
    x as f32
}

/// As a controller's UDINT, which starts over when it is full.
fn counter(x: u64) -> u32 {
    (x % (1 << 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten minutes, scan by scan.
    fn run(seed: u64) -> Vec<State> {
        let line = Line::new(seed);
        (0..6000).map(|i| line.at(SCAN * i)).collect()
    }

    #[test]
    fn a_seed_and_a_time_give_one_state_and_another_seed_another() {
        assert_eq!(run(4), run(4));
        assert_ne!(run(4), run(5));
        let line = Line::new(4);
        let within_a_scan = SCAN * 77 + SCAN - Duration::from_nanos(1);
        assert_eq!(line.at(SCAN * 77), line.at(within_a_scan));
    }

    #[test]
    fn the_temperature_follows_the_setpoint_and_rises_while_the_burner_fires() {
        let states = run(1);
        for s in &states {
            assert!((840.0..930.0).contains(&s.temperature), "{s:?}");
            // 3.5 K/s of ramp for 4 s of lag, the ripple, the door, the noise.
            assert!((s.temperature - s.setpoint).abs() < 14.0 + 3.0 + 6.0 + 0.3, "{s:?}");
        }
        let hold = &states[100..200];
        let mean = |on: bool| {
            let steps = hold.windows(2).filter(|w| w[0].burner_main == on && !w[0].door_open);
            let steps: Vec<f32> = steps.map(|w| w[1].temperature - w[0].temperature).collect();
            steps.iter().sum::<f32>() / steps.len() as f32
        };
        assert!(mean(true) > 0.05 && mean(false) < -0.05, "{} {}", mean(true), mean(false));
    }

    #[test]
    fn the_boost_burner_is_on_exactly_while_the_setpoint_rises() {
        for w in run(1).windows(2) {
            assert_eq!(w[0].burner_boost, w[1].setpoint > w[0].setpoint, "{:?}", w[0]);
        }
    }

    #[test]
    fn the_counters_only_grow_and_the_parts_stand_still_while_the_door_is_open() {
        let states = run(9);
        for w in states.windows(2) {
            assert!(w[1].parts >= w[0].parts && w[1].parts - w[0].parts <= 1, "{w:?}");
            assert!(w[1].energy >= w[0].energy, "{w:?}");
            assert_eq!(w[0].door_open, w[0].speed == 0);
            if w[0].door_open && w[1].door_open {
                assert_eq!(w[0].parts, w[1].parts);
            }
        }
        let made = states[5999].parts - states[0].parts;
        // 600 s less 60 s of open door, one part each two seconds.
        assert!((268..=270).contains(&made), "{made}");
    }

    #[test]
    fn the_energy_is_the_sum_of_the_power() {
        let states = run(2);
        let sum: f64 = states.iter().map(|s| f64::from(s.power) * 1000.0 * 0.1 / 3600.0).sum();
        let counted = f64::from(states[5999].energy - states[0].energy);
        assert!((sum - counted).abs() < sum * 0.01, "{sum} {counted}");
    }
}
