//! Going on after a restart with a memory that is a little older than what was handed on: what had
//! gone out since is not let out again, and no memory holds back a value that consumers have not
//! seen.

use super::Chain;
use super::door::Door;
use super::lane::Lane;
use super::step::{Step, Work};
use super::window::Window;

impl Chain {
    /// Fits a restored memory to what was handed on after it was taken: `captured` says whether
    /// anything was of an origin's path and a point's name at the end. Samples that came between
    /// are not in it, so windows that go on are Uncertain.
    pub(super) fn resume(&mut self, captured: impl Fn(&str, &str) -> bool) {
        for (path, lane) in &mut self.lanes {
            lane.resume(|point| captured(path, point));
        }
        // Samples that waited come in once more, for totals begin at 0.
        self.numbers.received = self.held();
    }
}

impl Lane {
    fn resume(&mut self, captured: impl Fn(&str) -> bool) {
        self.resumed = true;
        // By track: whether anything that leaves a step on it was captured.
        let mut went: Vec<bool> = self.names().iter().map(|name| captured(name)).collect();
        for step in self.steps_mut().iter_mut().rev() {
            step.resume(&mut went);
        }
    }
}

impl Step {
    /// `went`: what left the step, and then what came to it.
    fn resume(&mut self, went: &mut [bool]) {
        let is = |went: &[bool], track: usize| went.get(track).copied().unwrap_or_default();
        match &mut self.work {
            Work::Deadband { last, .. } | Work::OnChange { last, .. } => {
                for (_, last) in last.iter_mut().enumerate().filter(|(t, _)| is(went, *t)) {
                    *last = None;
                }
            }
            Work::SwingingDoor { doors, .. } => {
                for (_, door) in doors.iter_mut().enumerate().filter(|(t, _)| is(went, *t)) {
                    *door = Door::default();
                }
            }
            Work::Window { results, windows, .. } => {
                for (track, window) in windows.iter_mut().enumerate() {
                    if !self.touched.get(track).copied().unwrap_or_default() {
                        continue;
                    }
                    let of_track = results.tracks.get(track).map(|t| &**t).unwrap_or_default();
                    let gave = of_track.iter().flatten().any(|to| is(went, *to as usize));
                    if gave {
                        *window = Window::default();
                    } else if let Some(open) = &mut window.open {
                        open.incomplete = true;
                    }
                    if let Some(came) = went.get_mut(track) {
                        *came = gave;
                    }
                }
            }
            Work::Map { derived: Some(derived), .. } => {
                for (track, to) in derived.iter().enumerate() {
                    let touched = self.touched.get(track).copied().unwrap_or_default();
                    let gave = touched && is(went, *to as usize);
                    if let Some(came) = went.get_mut(track) {
                        *came |= gave;
                    }
                }
            }
            Work::Scale { .. } | Work::Filter { .. } | Work::Map { .. } => {}
        }
    }
}
