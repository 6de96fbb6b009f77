//! What a chain does with one sample: one step after the other, until it is absorbed or out.

use std::sync::Arc;
use std::time::Duration;

use lineside_core::{Batch, Sample, StatusCode, UnixNanos, Value};
use lineside_crds::expression::Expression;
use lineside_crds::model::WindowFunction;

use super::Numbers;
use super::door::{Door, Limits};
use super::formula;
use super::gate::{Last, changes, leaves_band};
use super::number::scaled;
use super::window::{Open, Window};

/// One transform at work on the points of one origin. Points are tracks here: those of the
/// device first, then those that transforms make.
pub(super) struct Step {
    /// By track.
    pub touched: Box<[bool]>,
    pub work: Work,
}

/// What is remembered, where something is, has one element for each track.
pub(super) enum Work {
    Scale {
        factor: f64,
        offset: f64,
    },
    Deadband {
        band: f64,
        last: Vec<Option<Last>>,
    },
    OnChange {
        heartbeat: Option<Duration>,
        last: Vec<Option<Last>>,
    },
    SwingingDoor {
        limits: Limits,
        doors: Vec<Door>,
    },
    Window {
        every: i64,
        results: Results,
        windows: Vec<Window>,
    },
    Filter {
        expression: Expression,
        names: Arc<[Arc<str>]>,
    },
    /// `derived`: the track that gets the value; absent = the same.
    Map {
        expression: Expression,
        names: Arc<[Arc<str>]>,
        derived: Option<Box<[u32]>>,
    },
}

/// Which results a window gives on which tracks.
pub(super) struct Results {
    pub functions: Vec<WindowFunction>,
    /// By track, then by function; `None`: the name was taken.
    pub tracks: Vec<Box<[Option<u32>]>>,
}

/// Where samples go and where they are counted.
pub(super) struct Flow<'a> {
    pub device: &'a Arc<str>,
    pub numbers: &'a mut Numbers,
    /// What came before was not seen.
    pub since: UnixNanos,
    pub out: Batch,
}

impl Flow<'_> {
    /// Takes a sample through `steps`.
    pub(super) fn run(&mut self, mut steps: &mut [Step], mut sample: Sample) {
        while let Some((step, rest)) = steps.split_first_mut() {
            steps = rest;
            let track = sample.point as usize;
            if !step.touched.get(track).copied().unwrap_or_default() {
                continue;
            }
            let next = match &mut step.work {
                Work::Scale { factor, offset } => {
                    if let Some(value) = scaled(&sample.value, *factor, *offset) {
                        sample.value = value;
                    }
                    Some(sample)
                }
                Work::Deadband { band, last } => {
                    let passes = last.get_mut(track).is_none_or(|l| leaves_band(l, &sample, *band));
                    self.unless_absorbed(passes, sample)
                }
                Work::OnChange { heartbeat, last } => {
                    let passes =
                        last.get_mut(track).is_none_or(|l| changes(l, &sample, *heartbeat));
                    self.unless_absorbed(passes, sample)
                }
                Work::SwingingDoor { limits, doors } => match doors.get_mut(track) {
                    None => Some(sample),
                    Some(door) => {
                        let released = door.take(sample, *limits);
                        self.numbers.absorbed += u64::from(released.absorbed);
                        if let Some(held) = released.held {
                            self.numbers.released += 1;
                            self.run(steps, held);
                        }
                        released.fresh
                    }
                },
                Work::Window { every, results, windows } => {
                    let closed =
                        windows.get_mut(track).and_then(|w| w.take(&sample, *every, self.since));
                    self.numbers.absorbed += 1;
                    if let Some(open) = closed {
                        self.results(steps, results, track, &open);
                    }
                    None
                }
                Work::Filter { expression, names } => {
                    let kept = match names.get(track) {
                        None => true,
                        Some(point) => self.keeps(expression, &sample, point),
                    };
                    self.unless_absorbed(kept, sample)
                }
                Work::Map { expression, names, derived } => match names.get(track) {
                    None => Some(sample),
                    Some(point) => {
                        let made = self.made(expression, &sample, point);
                        match derived.as_ref().and_then(|tracks| tracks.get(track)) {
                            None => Some(made),
                            Some(to) => {
                                self.run(steps, sample);
                                self.numbers.derived += 1;
                                Some(Sample { point: *to, ..made })
                            }
                        }
                    }
                },
            };
            match next {
                Some(next) => sample = next,
                None => return,
            }
        }
        self.numbers.passed += 1;
        self.out.push(sample);
    }

    fn unless_absorbed(&mut self, passes: bool, sample: Sample) -> Option<Sample> {
        self.numbers.absorbed += u64::from(!passes);
        passes.then_some(sample)
    }

    /// A sample that the expression cannot judge is kept: what is lost by mistake is lost.
    fn keeps(&mut self, expression: &Expression, sample: &Sample, point: &Arc<str>) -> bool {
        match formula::value(expression, sample, point, self.device) {
            Ok(Value::Bool(keeps)) => keeps,
            _ => {
                self.numbers.unanswered += 1;
                true
            }
        }
    }

    /// The sample with the value of the expression. Bad stays Bad, with its own reason.
    fn made(&mut self, expression: &Expression, sample: &Sample, point: &Arc<str>) -> Sample {
        if sample.status.is_bad() {
            return sample.clone();
        }
        let (value, status) = match formula::value(expression, sample, point, self.device) {
            Ok(value) => (value, sample.status),
            Err(_) => {
                self.numbers.unanswered += 1;
                (Value::Null, StatusCode::BAD_CONFIGURATION_ERROR)
            }
        };
        Sample { value, status, ..sample.clone() }
    }

    fn results(&mut self, steps: &mut [Step], results: &Results, track: usize, open: &Open) {
        self.numbers.released += 1;
        let tracks = results.tracks.get(track).map(|t| &**t).unwrap_or_default();
        for (function, to) in results.functions.iter().zip(tracks) {
            let Some(point) = *to else { continue };
            let (value, status) = open.result(*function);
            self.numbers.derived += 1;
            // One time for all results, Bad ones too, so that those of a point never go back.
            let (source_time, agent_time) = (None, open.start);
            self.run(steps, Sample { point, value, status, source_time, agent_time });
        }
    }

    /// Takes on what has waited long enough.
    pub(super) fn tick(&mut self, steps: &mut [Step], now: UnixNanos) {
        self.release(steps, |door, limits| door.due(now, limits), |w, every| w.due(now, every));
    }

    /// Takes on everything that waits.
    pub(super) fn end(&mut self, steps: &mut [Step]) {
        self.release(steps, |door, _| door.end(), |window, _| window.end());
    }

    fn release(
        &mut self,
        mut steps: &mut [Step],
        held: impl Fn(&mut Door, Limits) -> Option<Sample>,
        closed: impl Fn(&mut Window, i64) -> Option<Open>,
    ) {
        while let Some((step, rest)) = steps.split_first_mut() {
            steps = rest;
            match &mut step.work {
                Work::SwingingDoor { limits, doors } => {
                    for sample in doors.iter_mut().filter_map(|door| held(door, *limits)) {
                        self.numbers.released += 1;
                        self.run(steps, sample);
                    }
                }
                Work::Window { every, results, windows } => {
                    for (track, window) in windows.iter_mut().enumerate() {
                        if let Some(open) = closed(window, *every) {
                            self.results(steps, results, track, &open);
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

impl Step {
    /// Samples that wait in it.
    pub(super) fn held(&self) -> u64 {
        match &self.work {
            Work::SwingingDoor { doors, .. } => {
                doors.iter().filter(|door| door.held.is_some()).count() as u64
            }
            _ => 0,
        }
    }

    /// When the oldest sample came of which something waits in it.
    pub(super) fn waiting_since(&self) -> Option<UnixNanos> {
        match &self.work {
            Work::SwingingDoor { doors, .. } => {
                doors.iter().filter_map(|door| door.held.as_ref()).map(|s| s.agent_time).min()
            }
            Work::Window { windows, .. } => {
                windows.iter().filter_map(|w| w.open.as_ref()).map(|open| open.first_seen).min()
            }
            _ => None,
        }
    }

    /// Whether time alone makes it give something.
    pub(super) fn waits_for_time(&self) -> bool {
        matches!(self.work, Work::SwingingDoor { .. } | Work::Window { .. })
    }
}
