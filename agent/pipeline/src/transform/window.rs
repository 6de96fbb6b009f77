//! Functions over spans of time, as in OPC 10000-13 in short: spans begin at multiples of their
//! length, Bad samples do not count, and the result says by its quality how much was missing.

use lineside_core::{Sample, StatusCode, UnixNanos, Value};
use lineside_crds::model::WindowFunction;

use super::number::finite;

/// Least part of Good samples for a Good result, in percent.
const GOOD_PERCENT: u128 = 80;
/// How long after its length a span is closed although nothing newer came. Samples of one moment
/// do not all arrive in one.
const GRACE: i64 = 1_000_000_000;

/// One point's spans.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Window {
    pub open: Option<Open>,
    /// Where the last one that was closed began.
    pub closed: Option<UnixNanos>,
}

/// What is known of the span that is open.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Open {
    pub start: UnixNanos,
    /// When its first sample reached the agent; the source may have a clock of its own.
    pub first_seen: UnixNanos,
    pub good: u64,
    pub uncertain: u64,
    pub bad: u64,
    pub last_bad: StatusCode,
    /// A part of it is not in the numbers.
    pub incomplete: bool,
    pub first: Value,
    pub last: Value,
    pub numbers: Numbers,
}

/// The numbers among the values.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Numbers {
    pub count: u64,
    pub sum: f64,
    pub mean: f64,
    /// Sum of the squares of the distances from the mean.
    pub squares: f64,
    /// Smallest and largest in their own types.
    pub extremes: Option<(Value, Value)>,
}

impl Window {
    /// Takes a sample in; the span that it closes, if it does. What came before `since` was not
    /// seen here.
    pub(super) fn take(&mut self, sample: &Sample, every: i64, since: UnixNanos) -> Option<Open> {
        let time = sample.time();
        let start = time.saturating_sub(time.rem_euclid(every));
        let before = |span: UnixNanos| start == span.saturating_sub(every);
        match &mut self.open {
            Some(open) if open.start == start => {
                open.add(sample);
                return None;
            }
            // Too late for its span. One that is still older says that the clock was set.
            Some(open) if before(open.start) => {
                open.incomplete = true;
                return None;
            }
            None if self.closed == Some(start) => return None,
            _ => {}
        }
        let closed = self.open.take();
        self.closed = closed.as_ref().map(|open| open.start).or(self.closed);
        let mut open = Open::new(start, sample.agent_time);
        open.incomplete = start < since;
        open.add(sample);
        self.open = Some(open);
        closed
    }

    /// The open span, if its time is over.
    pub(super) fn due(&mut self, now: UnixNanos, every: i64) -> Option<Open> {
        let over = |open: &Open| now.saturating_sub(open.first_seen) >= every.saturating_add(GRACE);
        if !self.open.as_ref().is_some_and(over) {
            return None;
        }
        self.close()
    }

    /// The open span before its time is over. What still comes of it makes a second result.
    pub(super) fn end(&mut self) -> Option<Open> {
        self.closed = None;
        let mut open = self.open.take()?;
        open.incomplete = true;
        Some(open)
    }

    fn close(&mut self) -> Option<Open> {
        let open = self.open.take()?;
        self.closed = Some(open.start);
        Some(open)
    }
}

impl Open {
    fn new(start: UnixNanos, first_seen: UnixNanos) -> Self {
        Self {
            start,
            first_seen,
            good: 0,
            uncertain: 0,
            bad: 0,
            last_bad: StatusCode::BAD_NO_DATA,
            incomplete: false,
            first: Value::Null,
            last: Value::Null,
            numbers: Numbers::default(),
        }
    }

    fn add(&mut self, sample: &Sample) {
        if sample.status.is_bad() {
            self.bad = self.bad.saturating_add(1);
            self.last_bad = sample.status;
            return;
        }
        match sample.status.is_good() {
            true => self.good = self.good.saturating_add(1),
            false => self.uncertain = self.uncertain.saturating_add(1),
        }
        if self.good.saturating_add(self.uncertain) == 1 {
            self.first = sample.value.clone();
        }
        self.last = sample.value.clone();
        if let Some(number) = finite(&sample.value) {
            self.numbers.add(&sample.value, number);
        }
    }

    /// Value and quality of a function. Its time is [`Open::start`].
    pub(super) fn result(&self, function: WindowFunction) -> (Value, StatusCode) {
        let usable = self.good.saturating_add(self.uncertain);
        if usable == 0 {
            return (Value::Null, self.last_bad);
        }
        let value = match function {
            WindowFunction::First => Some(self.first.clone()),
            WindowFunction::Last => Some(self.last.clone()),
            WindowFunction::Count => Some(Value::I64(i64::try_from(usable).unwrap_or(i64::MAX))),
            _ => self.numbers.result(function),
        };
        let Some(value) = value else { return (Value::Null, StatusCode::BAD_NO_DATA) };
        let all = usable.saturating_add(self.bad);
        let enough = u128::from(self.good) * 100 >= u128::from(all) * GOOD_PERCENT;
        match enough && !self.incomplete {
            true => (value, StatusCode::GOOD),
            false => (value, StatusCode::UNCERTAIN_DATA_SUB_NORMAL),
        }
    }
}

impl Numbers {
    /// Welford's method: the squares are taken around the running mean, so that large values
    /// with small differences keep them.
    fn add(&mut self, value: &Value, number: f64) {
        self.count = self.count.saturating_add(1);
        self.sum += number;
        let distance = number - self.mean;
        self.mean += distance / self.count as f64;
        self.squares += distance * (number - self.mean);
        match &mut self.extremes {
            None => self.extremes = Some((value.clone(), value.clone())),
            Some((least, most)) => {
                if finite(least).is_some_and(|least| number < least) {
                    *least = value.clone();
                }
                if finite(most).is_some_and(|most| number > most) {
                    *most = value.clone();
                }
            }
        }
    }

    fn result(&self, function: WindowFunction) -> Option<Value> {
        let (least, most) = self.extremes.as_ref()?;
        Some(match function {
            WindowFunction::Min => least.clone(),
            WindowFunction::Max => most.clone(),
            WindowFunction::Sum => Value::F64(self.sum),
            WindowFunction::StdDev => {
                let degrees = self.count.saturating_sub(1).max(1) as f64;
                Value::F64((self.squares / degrees).sqrt())
            }
            _ => Value::F64(self.mean),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const MINUTE: i64 = 60 * SECOND;

    fn sample(second: i64, value: Value, status: StatusCode) -> Sample {
        Sample { point: 0, value, status, source_time: None, agent_time: second * SECOND }
    }

    fn good(second: i64, value: f64) -> Sample {
        sample(second, Value::F64(value), StatusCode::GOOD)
    }

    fn bad(second: i64) -> Sample {
        sample(second, Value::Null, StatusCode::BAD_TIMEOUT)
    }

    fn closed(samples: &[Sample]) -> Open {
        let mut window = Window::default();
        for sample in samples {
            assert_eq!(window.take(sample, MINUTE, 0), None);
        }
        window.due(1000 * SECOND, MINUTE).unwrap()
    }

    #[test]
    fn every_function_has_its_value() {
        let open = closed(&[good(61, 2.0), good(62, 4.0), good(63, 4.0), good(64, 6.0)]);
        assert_eq!(open.start, MINUTE);
        for (function, wanted) in [
            (WindowFunction::Mean, Value::F64(4.0)),
            (WindowFunction::Min, Value::F64(2.0)),
            (WindowFunction::Max, Value::F64(6.0)),
            (WindowFunction::First, Value::F64(2.0)),
            (WindowFunction::Last, Value::F64(6.0)),
            (WindowFunction::Count, Value::I64(4)),
            (WindowFunction::Sum, Value::F64(16.0)),
            (WindowFunction::StdDev, Value::F64((8.0_f64 / 3.0).sqrt())),
        ] {
            assert_eq!(open.result(function), (wanted, StatusCode::GOOD), "{function:?}");
        }
    }

    #[test]
    fn quality_says_how_much_was_missing() {
        let status = |open: Open| open.result(WindowFunction::Mean).1;
        let four = [good(1, 1.0), good(2, 1.0), good(3, 1.0), good(4, 1.0)];
        assert_eq!(status(closed(&[&four[..], &[bad(5)]].concat())), StatusCode::GOOD);
        let less = closed(&[&four[..3], &[bad(5)]].concat());
        assert_eq!(status(less), StatusCode::UNCERTAIN_DATA_SUB_NORMAL);
        assert_eq!(
            closed(&[bad(5)]).result(WindowFunction::Count),
            (Value::Null, StatusCode::BAD_TIMEOUT)
        );
        let text = sample(1, Value::String("on".into()), StatusCode::GOOD);
        let open = closed(&[text]);
        assert_eq!(open.result(WindowFunction::Mean), (Value::Null, StatusCode::BAD_NO_DATA));
        assert_eq!(open.result(WindowFunction::Last).0, Value::String("on".into()));
    }

    #[test]
    fn a_sample_that_is_too_late_makes_the_open_span_uncertain() {
        let mut window = Window::default();
        window.take(&good(59, 1.0), MINUTE, 0);
        assert!(window.take(&good(61, 2.0), MINUTE, 0).is_some());
        assert_eq!(window.take(&good(58, 9.0), MINUTE, 0), None);
        let open = window.due(1000 * SECOND, MINUTE).unwrap();
        let wanted = (Value::F64(2.0), StatusCode::UNCERTAIN_DATA_SUB_NORMAL);
        assert_eq!(open.result(WindowFunction::Max), wanted);
        // The span was closed by time: nothing more is let into it.
        assert_eq!(window.take(&good(119, 9.0), MINUTE, 0), None);
        assert_eq!(window.open, None);
    }

    #[test]
    fn a_clock_that_was_set_back_costs_one_span_at_most() {
        let mut window = Window::default();
        window.take(&good(3600, 1.0), MINUTE, 0);
        assert!(window.take(&good(0, 2.0), MINUTE, 0).is_some());
        assert_eq!(window.take(&good(1, 3.0), MINUTE, 0), None);
        assert_eq!(window.open.map(|open| open.good), Some(2));
    }

    #[test]
    fn a_span_of_which_only_a_part_was_seen_is_uncertain() {
        let mut window = Window::default();
        let status = |open: Option<Open>| open.map(|open| open.result(WindowFunction::Last).1);
        // The agent starts within a span.
        window.take(&good(90, 1.0), MINUTE, 90 * SECOND);
        let first = window.take(&good(120, 2.0), MINUTE, 90 * SECOND);
        assert_eq!(status(first), Some(StatusCode::UNCERTAIN_DATA_SUB_NORMAL));
        // It is cut, and what comes of it after that is not lost.
        let cut = window.end();
        assert_eq!(status(cut), Some(StatusCode::UNCERTAIN_DATA_SUB_NORMAL));
        window.take(&good(150, 3.0), MINUTE, 150 * SECOND);
        let second = window.take(&good(180, 4.0), MINUTE, 150 * SECOND);
        assert_eq!(status(second), Some(StatusCode::UNCERTAIN_DATA_SUB_NORMAL));
        assert_eq!(status(window.due(1000 * SECOND, MINUTE)), Some(StatusCode::GOOD));
    }

    #[test]
    fn a_span_is_closed_by_time_when_nothing_comes() {
        let mut window = Window::default();
        window.take(&good(30, 1.0), MINUTE, 0);
        assert_eq!(window.due(90 * SECOND, MINUTE), None);
        assert!(window.due(91 * SECOND, MINUTE).is_some());
    }
}
