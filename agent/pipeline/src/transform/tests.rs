//! The chain as a whole: what becomes of samples, that the numbers balance, and that what is
//! replayed gives what it gave live.

use std::sync::Arc;

use lineside_core::{Batch, Origin, Sample, StatusCode, TimeQuality, UnixNanos, Value};
use lineside_crds::model::{ObjectKey, Pipeline, Transform};
use lineside_crds::yaml::{Object, load_text};
use proptest::prelude::*;

use super::{Chain, StateError};

const SECOND: i64 = 1_000_000_000;

/// Transforms as a person writes them.
fn transforms(yaml: &str) -> Vec<Transform> {
    let text = format!(
        "apiVersion: lineside.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: p}}\nspec:\n  \
         sources: [{{name: all, devices: {{}}}}]\n  sinks: [{{name: s, mqtt: {{url: \"mqtt://h\"}}}}]\n  \
         transforms:\n{yaml}"
    );
    let document = load_text("test", &text).remove(0);
    match document.object {
        Some(Object::Pipeline(Pipeline { transforms, .. })) => transforms,
        _ => panic!("{:?}", document.problems),
    }
}

fn chain(yaml: &str) -> Chain {
    Chain::new(&transforms(yaml))
}

fn origin(points: &[&str]) -> Arc<Origin> {
    let points: Vec<Arc<str>> = points.iter().map(|p| Arc::from(*p)).collect();
    Arc::new(Origin::new(ObjectKey::new("plant", "press"), None, points.into(), Vec::new().into()))
}

fn good(point: u32, second: i64, value: impl Into<f64>) -> Sample {
    let value = Value::F64(value.into());
    let agent_time = second * SECOND;
    Sample { point, value, status: StatusCode::GOOD, source_time: None, agent_time }
}

fn bad(point: u32, second: i64) -> Sample {
    let (value, status) = (Value::Null, StatusCode::BAD_TIMEOUT);
    Sample { point, value, status, source_time: None, agent_time: second * SECOND }
}

fn batch(origin: &Arc<Origin>, samples: Vec<Sample>) -> Arc<Batch> {
    batch_of(origin, 1, TimeQuality::Synced, samples)
}

fn batch_of(
    origin: &Arc<Origin>,
    epoch: u64,
    quality: TimeQuality,
    samples: Vec<Sample>,
) -> Arc<Batch> {
    let mut batch = Batch::with_capacity(origin.clone(), epoch, quality, samples.len());
    samples.into_iter().for_each(|s| batch.push(s));
    Arc::new(batch)
}

/// A sample as a consumer sees it, with everything that a batch says of it.
type Seen = (String, String, Value, StatusCode, UnixNanos, UnixNanos, u64, TimeQuality);

fn seen(batches: &[Arc<Batch>]) -> Vec<Seen> {
    let of = |b: &Arc<Batch>| {
        let b = b.clone();
        (0..b.len()).map(move |i| {
            let s = b.get(i).unwrap();
            let point = b.origin().point(s.point).unwrap().to_string();
            let path = b.origin().path.to_string();
            let times = (s.time(), s.agent_time);
            (path, point, s.value.clone(), s.status, times.0, times.1, b.epoch, b.time_quality)
        })
    };
    batches.iter().flat_map(of).collect()
}

/// Point and value of what comes out.
fn out(batches: &[Arc<Batch>]) -> Vec<(String, Value)> {
    seen(batches).into_iter().map(|s| (s.1, s.2)).collect()
}

fn f(value: f64) -> Value {
    Value::F64(value)
}

fn assert_balanced(chain: &Chain) {
    let n = chain.numbers();
    assert_eq!(n.received + n.derived, n.absorbed + n.passed + chain.held(), "{n:?}");
}

#[test]
fn a_batch_that_nothing_touches_is_passed_on_as_it_is() {
    let mut chain = chain("  - {name: n, points: [x], scale: {factor: \"2\"}}\n");
    let input = batch(&origin(&["a"]), vec![good(0, 1, 1.0)]);
    let output = chain.apply(&input);
    assert!(Arc::ptr_eq(&input, &output[0]));
    assert_balanced(&chain);
}

#[test]
fn steps_follow_each_other_in_their_order_and_by_the_names_of_their_step() {
    let mut chain = chain(concat!(
        "  - {name: names, rename: {from: \"t_*\", to: \"temperature/*\"}}\n",
        "  - {name: tenths, points: [\"temperature/*\"], scale: {factor: \"0.5\", offset: \"1\"}}\n",
        "  - {name: more, points: [\"temperature/in\"], map: {expression: \"value * 10.0\", as: \"*_x\"}}\n",
        "  - {name: warm, points: [\"*_x\"], filter: {expression: \"value > 20.0\"}}\n",
    ));
    let origin = origin(&["t_in", "t_out", "p"]);
    let samples = vec![good(0, 1, 4.0), good(1, 1, 8.0), good(2, 1, 4.0), good(0, 2, 1.0)];
    assert_eq!(
        out(&chain.apply(&batch(&origin, samples))),
        [
            ("temperature/in".into(), f(3.0)),
            ("temperature/in_x".into(), f(30.0)),
            ("temperature/out".into(), f(5.0)),
            ("p".into(), f(4.0)),
            ("temperature/in".into(), f(1.5)),
        ]
    );
    assert_balanced(&chain);
    assert!(chain.take_problems().is_empty());
}

#[test]
fn names_that_are_taken_leave_points_as_they_are_and_say_so() {
    let mut chain = chain(concat!(
        "  - {name: r, rename: {from: \"x_*\", to: \"*\"}}\n",
        "  - {name: m, points: [a], map: {expression: \"1.0\", as: \"b\"}}\n",
        "  - {name: q, points: [a, b], map: {expression: \"2.0\", as: \"new\"}}\n",
        "  - {name: u, points: [a], map: {expression: \"3.0\", as: \"*_q\"}}\n",
    ));
    let origin = origin(&["a", "x_a", "b", "x_c"]);
    let samples = (0..4).map(|i| good(i, 1, f64::from(i))).collect();
    assert_eq!(
        out(&chain.apply(&batch(&origin, samples))),
        [
            ("a".into(), f(0.0)),
            ("new".into(), f(2.0)),
            ("x_a".into(), f(1.0)),
            ("b".into(), f(2.0)),
            ("c".into(), f(3.0)),
        ]
    );
    let problems = chain.take_problems();
    assert_eq!(problems.len(), 4, "{problems:#?}");
    assert!(problems[0].starts_with("r: x_a does not become a"), "{problems:#?}");
    assert_balanced(&chain);
}

#[test]
fn a_deadband_lets_through_what_leaves_it_and_every_change_of_quality() {
    let mut chain =
        chain("  - {name: d, deadband: {percent: \"1\", span: {low: \"-50\", high: \"50\"}}}\n");
    let origin = origin(&["a"]);
    let uncertain = Sample { status: StatusCode::UNCERTAIN_LAST_USABLE_VALUE, ..good(0, 8, 1.0) };
    let samples = vec![
        good(0, 1, 1.0),
        good(0, 2, 2.0),
        good(0, 3, 0.0),
        good(0, 4, 2.1),
        bad(0, 5),
        bad(0, 6),
        good(0, 7, 2.1),
        uncertain,
    ];
    let passed: Vec<_> =
        seen(&chain.apply(&batch(&origin, samples))).iter().map(|s| s.4 / SECOND).collect();
    assert_eq!(passed, [1, 4, 5, 6, 7, 8]);
    assert_balanced(&chain);
}

#[test]
fn a_heartbeat_is_a_fresh_sample_and_never_an_old_one() {
    let mut chain = chain("  - {name: c, onChange: {heartbeatMillis: 10000}}\n");
    let origin = origin(&["a"]);
    let mut passed = Vec::new();
    for second in 0..25 {
        // Nothing arrives between 12 and 21, so nothing goes out, whatever time it is.
        if !(12..22).contains(&second) {
            passed.extend(seen(&chain.apply(&batch(&origin, vec![good(0, second, 7.0)]))));
        }
        assert!(chain.tick(second * SECOND).is_empty());
    }
    let times: Vec<_> = passed.iter().map(|s| s.5 / SECOND).collect();
    assert_eq!(times, [0, 10, 22]);
    assert_balanced(&chain);
}

#[test]
fn bad_samples_pass_what_absorbs_at_once() {
    for step in [
        "deadband: {absolute: \"1000\"}",
        "onChange: {}",
        "swingingDoor: {deviation: \"1000\"}",
        "map: {expression: \"1.0\"}",
        "scale: {factor: \"2\"}",
    ] {
        let mut chain = chain(&format!("  - {{name: s, {step}}}\n"));
        let origin = origin(&["a"]);
        chain.apply(&batch(&origin, vec![good(0, 1, 1.0), good(0, 2, 1.0)]));
        let passed = seen(&chain.apply(&batch(&origin, vec![bad(0, 3)])));
        let last = passed.last().unwrap();
        assert_eq!((last.3, last.2.clone()), (StatusCode::BAD_TIMEOUT, Value::Null), "{step}");
        assert_balanced(&chain);
    }
}

#[test]
fn windows_give_points_of_their_own_with_the_time_of_their_beginning() {
    let mut chain = chain(concat!(
        "  - {name: w, points: [a], window: {everyMillis: 10000, functions: [Mean, Count]}}\n",
        "  - {name: k, points: [\"*.Mean\"], scale: {factor: \"2\"}}\n",
    ));
    let origin = origin(&["a", "b"]);
    let first =
        chain.apply(&batch(&origin, vec![good(0, 11, 1.0), good(1, 11, 5.0), good(0, 12, 3.0)]));
    assert_eq!(out(&first), [("b".into(), f(5.0))]);
    let second = seen(&chain.apply(&batch(&origin, vec![good(0, 20, 9.0)])));
    let short: Vec<_> = second.iter().map(|s| (&*s.1, s.2.clone(), s.4 / SECOND)).collect();
    assert_eq!(short, [("a.Mean", f(4.0), 10), ("a.Count", Value::I64(2), 10)]);
    // Silence: time closes it, a second after a whole length.
    assert!(chain.tick(30 * SECOND).is_empty());
    assert_eq!(out(&chain.tick(31 * SECOND))[0], ("a.Mean".into(), f(18.0)));
    assert_balanced(&chain);
}

#[test]
fn an_expression_without_an_answer_keeps_the_sample_and_never_makes_it_good() {
    let mut chain = chain(concat!(
        "  - {name: f, filter: {expression: \"value * 2 > 5\"}}\n",
        "  - {name: m, map: {expression: \"value + 1\"}}\n",
    ));
    let origin = origin(&["a"]);
    let whole = Sample { value: Value::U16(3), ..good(0, 1, 0.0) };
    let passed = seen(&chain.apply(&batch(&origin, vec![whole, good(0, 2, 3.0)])));
    assert_eq!((passed[0].2.clone(), passed[0].3), (Value::I64(4), StatusCode::GOOD));
    let wanted = (Value::Null, StatusCode::BAD_CONFIGURATION_ERROR);
    assert_eq!((passed[1].2.clone(), passed[1].3), wanted);
    assert_eq!(chain.numbers().unanswered, 2);
    assert_balanced(&chain);
}

#[test]
fn what_waits_goes_out_as_what_it_was_when_the_device_changes() {
    let yaml = "  - {name: d, swingingDoor: {deviation: \"1\"}}\n";
    let before = origin(&["a"]);
    let held = || {
        let mut chain = chain(yaml);
        chain.apply(&batch(&before, vec![good(0, 1, 1.0), good(0, 2, 1.0)]));
        assert_eq!((chain.held(), chain.waiting_since()), (1, Some(2 * SECOND)));
        chain
    };
    // Other points, another owner, other times: each ends what is open.
    let others = [
        batch(&origin(&["b", "a"]), vec![good(1, 3, 1.0)]),
        batch_of(&before, 2, TimeQuality::Synced, vec![good(0, 3, 1.0)]),
        batch_of(&before, 1, TimeQuality::Unsynced, vec![good(0, 3, 1.0)]),
    ];
    for other in others {
        let mut chain = held();
        let passed = seen(&chain.apply(&other));
        let times: Vec<_> = passed.iter().map(|s| s.4 / SECOND).collect();
        assert_eq!(times, [2, 3]);
        assert_eq!((&*passed[0].1, passed[0].6, passed[0].7), ("a", 1, TimeQuality::Synced));
        assert_balanced(&chain);
    }
    // The same points in a new origin change nothing.
    let mut chain = held();
    assert!(chain.apply(&batch(&origin(&["a"]), vec![good(0, 3, 1.0)])).is_empty());
    let closed = seen(&chain.close());
    assert_eq!((closed.len(), closed[0].4 / SECOND), (1, 3));
    assert_eq!(chain.waiting_since(), None);
    assert_balanced(&chain);
}

/// Every sort of memory, one behind the other where that makes sense.
const EVERYTHING: &str = concat!(
    "  - {name: names, rename: {from: \"a\", to: \"first\"}}\n",
    "  - {name: sane, filter: {expression: \"!good || value < 90.0\"}}\n",
    "  - {name: more, points: [first], map: {expression: \"double(value) * 2.0\", as: \"*_x2\"}}\n",
    "  - {name: band, points: [b], deadband: {absolute: \"2\"}}\n",
    "  - {name: door, points: [first, b], swingingDoor: {deviation: \"3\", maxIntervalMillis: 20000}}\n",
    "  - {name: wide, points: [\"*_x2\"], window: {everyMillis: 5000, functions: [Mean, Min, Max, First, Last, Count, Sum, StdDev]}}\n",
    "  - {name: change, points: [c, \"*.Count\"], onChange: {heartbeatMillis: 30000}}\n",
);

#[derive(Clone, Debug)]
enum Event {
    Samples(Vec<Sample>, u64, TimeQuality),
    Tick(i64),
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => (-50..100_i32).prop_map(|n| Value::F32(n as f32 / 2.0)),
        4 => (0..100_u16).prop_map(Value::U16),
        1 => any::<f64>().prop_map(Value::F64),
        1 => any::<i64>().prop_map(Value::I64),
        1 => "[a-c]{0,2}".prop_map(|text| Value::String(text.as_str().into())),
        1 => any::<bool>().prop_map(Value::Bool),
    ]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let statuses = prop_oneof![
        12 => Just(StatusCode::GOOD),
        1 => Just(StatusCode::UNCERTAIN_LAST_USABLE_VALUE),
        1 => Just(StatusCode::BAD_TIMEOUT),
    ];
    // Steps of time in milliseconds; now and then backwards.
    let step = prop_oneof![20 => 0..3000_i64, 1 => -4000..0_i64, 1 => 3000..60_000_i64];
    let source = proptest::option::weighted(0.2, -2000..2000_i64);
    let sample = (0..3_u32, values(), statuses, source);
    let samples = proptest::collection::vec(sample, 0..4);
    let owner = (
        prop_oneof![30 => Just(1_u64), 1 => Just(2)],
        prop_oneof![30 => Just(TimeQuality::Synced), 1 => Just(TimeQuality::Unsynced)],
    );
    let event = (step, proptest::bool::weighted(0.2), samples, owner);
    proptest::collection::vec(event, 1..80).prop_map(|steps| {
        let mut now = 1_000_000_000_000_i64;
        let event = |(step, tick, samples, (epoch, quality)): (i64, bool, Vec<_>, _)| {
            now += step;
            let at = |millis: i64| millis * 1_000_000;
            if tick {
                return Event::Tick(at(now));
            }
            let sample = |(point, value, status, source): (u32, _, StatusCode, Option<i64>)| {
                let value = if status.is_bad() { Value::Null } else { value };
                let source_time = source.map(|shift| at(now + shift));
                Sample { point, value, status, source_time, agent_time: at(now) }
            };
            Event::Samples(samples.into_iter().map(sample).collect(), epoch, quality)
        };
        steps.into_iter().map(event).collect()
    })
}

fn feed(chain: &mut Chain, origin: &Arc<Origin>, events: &[Event]) -> Vec<Arc<Batch>> {
    let mut all = Vec::new();
    for event in events {
        all.extend(match event {
            Event::Tick(now) => chain.tick(*now),
            Event::Samples(samples, epoch, quality) => {
                chain.apply(&batch_of(origin, *epoch, *quality, samples.clone()))
            }
        });
        assert_balanced(chain);
    }
    all
}

/// As text, in which NaN is equal to NaN.
fn text(batches: &[Arc<Batch>]) -> Vec<String> {
    seen(batches).iter().map(|s| format!("{s:?}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn replay_equals_live_wherever_it_is_cut(events in events(), cut in any::<prop::sample::Index>()) {
        let transforms = transforms(EVERYTHING);
        let cut = cut.index(events.len() + 1);
        let live = origin(&["a", "b", "c"]);
        let mut uninterrupted = Chain::new(&transforms);
        let mut wanted = text(&feed(&mut uninterrupted, &live, &events));
        wanted.extend(text(&uninterrupted.close()));

        let mut before = Chain::new(&transforms);
        let mut found = text(&feed(&mut before, &live, &events[..cut]));
        let state = before.state();
        let mut after = Chain::restore(&transforms, &state).unwrap();
        prop_assert_eq!(after.state(), state, "the state of what was restored is the same");
        prop_assert_eq!(after.held(), before.held());
        // After a restart the origin is another object.
        let again = origin(&["a", "b", "c"]);
        let mut rest = Vec::new();
        for event in &events[cut..] {
            rest.extend(match event {
                Event::Tick(now) => after.tick(*now),
                Event::Samples(samples, epoch, quality) => {
                    after.apply(&batch_of(&again, *epoch, *quality, samples.clone()))
                }
            });
        }
        found.extend(text(&rest));
        found.extend(text(&after.close()));
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn no_bytes_make_a_chain_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..64),
        events in events(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let transforms = transforms(EVERYTHING);
        prop_assert!(Chain::restore(&transforms, &bytes).is_err());
        let mut chain = Chain::new(&transforms);
        let origin = origin(&["a", "b", "c"]);
        feed(&mut chain, &origin, &events);
        bytes = chain.state();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= byte;
        }
        if let Ok(mut damaged) = Chain::restore(&transforms, &bytes) {
            damaged.apply(&batch(&origin, vec![good(0, 2_000_000, 1.0), good(1, 2_000_000, 1.0)]));
            damaged.tick(i64::MAX);
            damaged.close();
        }
    }

    #[test]
    fn every_absorbed_sample_lies_within_the_deviation_of_the_line(
        steps in proptest::collection::vec((1..2000_i64, -40..40_i32), 2..120),
        deviation in 0..20_u32,
    ) {
        let deviation = f64::from(deviation) / 4.0;
        let yaml = format!(
            "  - {{name: d, swingingDoor: {{deviation: \"{deviation}\", maxIntervalMillis: 30000}}}}\n"
        );
        let mut chain = chain(&yaml);
        let origin = origin(&["a"]);
        let (mut time, mut value) = (0_i64, 0.0_f64);
        let mut all = Vec::new();
        let mut kept = Vec::new();
        for (step, change) in steps {
            time += step * 1_000_000;
            value += f64::from(change) / 10.0;
            all.push((time, value));
            let sample = Sample { agent_time: time, ..good(0, 0, value) };
            kept.extend(seen(&chain.apply(&batch(&origin, vec![sample]))));
        }
        kept.extend(seen(&chain.close()));
        let kept: Vec<(i64, f64)> = kept
            .iter()
            .map(|s| match s.2 { Value::F64(n) => (s.4, n), _ => (s.4, f64::NAN) })
            .collect();
        prop_assert_eq!(kept.first(), all.first());
        prop_assert_eq!(kept.last(), all.last());
        for (time, value) in all {
            let next = kept.iter().position(|k| k.0 >= time).unwrap();
            let (t1, v1) = kept[next];
            let line = match next.checked_sub(1) {
                Some(before) if t1 != time => {
                    let (t0, v0) = kept[before];
                    v0 + (v1 - v0) * (time - t0) as f64 / (t1 - t0) as f64
                }
                _ => v1,
            };
            prop_assert!((line - value).abs() <= deviation + 1e-9, "{value} at {time}, line {line}");
        }
    }
}

/// The chain of a process that goes on where another was killed: `captured` are the points of
/// which something was handed on after the memory was taken.
fn resumed(transforms: &[Transform], state: &[u8], captured: &[&str]) -> Chain {
    let mut chain = Chain::restore(transforms, state).unwrap();
    chain.resume(|path, point| path == "plant/press" && captured.contains(&point));
    chain
}

#[test]
fn a_window_goes_on_over_a_restart_and_says_that_something_is_missing() {
    let transforms = transforms("  - {name: w, window: {everyMillis: 60000, functions: [Count]}}");
    let press = origin(&["t"]);
    let mut chain = Chain::new(&transforms);
    chain.apply(&batch(&press, vec![good(0, 60, 1.0), good(0, 70, 1.0)]));
    let state = chain.state();
    let mut chain = resumed(&transforms, &state, &[]);
    assert_eq!(chain.apply(&batch(&press, vec![good(0, 100, 1.0)])).len(), 0);
    let results = seen(&chain.apply(&batch(&press, vec![good(0, 120, 1.0)])));
    let expected = (Value::I64(3), StatusCode::UNCERTAIN_DATA_SUB_NORMAL, 60 * SECOND);
    assert_eq!((results[0].2.clone(), results[0].3, results[0].4), expected);
    // The next one was seen as a whole.
    let results = seen(&chain.apply(&batch(&press, vec![good(0, 180, 1.0)])));
    assert_eq!((results[0].2.clone(), results[0].3), (Value::I64(1), StatusCode::GOOD));
    // What the process before had let out already is not let out again.
    let mut chain = resumed(&transforms, &state, &["t.Count"]);
    assert!(chain.tick(600 * SECOND).is_empty());
    assert_balanced(&chain);
}

#[test]
fn no_memory_holds_back_what_consumers_have_not_seen() {
    let steps = "  - {name: c, onChange: {}}\n  - {name: r, rename: {from: a, to: b}}";
    let transforms = transforms(steps);
    let press = origin(&["a", "other"]);
    let both = |second| batch(&press, vec![good(0, second, 1.0), good(1, second, 1.0)]);
    let mut chain = Chain::new(&transforms);
    assert_eq!(chain.apply(&both(1)).len(), 1);
    let state = chain.state();
    // a was 2 for a while, which the memory does not know.
    let mut chain = resumed(&transforms, &state, &["b"]);
    assert_eq!(out(&chain.apply(&both(3))), [("b".to_owned(), f(1.0))]);
}

#[test]
fn a_line_goes_on_over_a_restart_unless_its_end_went_out() {
    let transforms =
        transforms("  - {name: d, swingingDoor: {deviation: \"0.5\", maxIntervalMillis: 60000}}");
    let press = origin(&["t"]);
    let mut chain = Chain::new(&transforms);
    chain.apply(&batch(&press, vec![good(0, 1, 1.0), good(0, 2, 1.0)]));
    let state = chain.state();
    let mut chain = resumed(&transforms, &state, &[]);
    assert_eq!((chain.held(), chain.numbers().held()), (1, 1));
    assert_eq!(
        out(&chain.apply(&batch(&press, vec![good(0, 5, 9.0)]))),
        [("t".to_owned(), f(1.0))]
    );
    assert_balanced(&chain);
    let mut chain = resumed(&transforms, &state, &["t"]);
    assert_eq!(
        out(&chain.apply(&batch(&press, vec![good(0, 5, 9.0)]))),
        [("t".to_owned(), f(9.0))]
    );
    assert_balanced(&chain);
}

#[test]
fn what_a_window_gave_through_a_further_step_counts_as_gone_out() {
    let steps = "  - {name: w, window: {everyMillis: 60000, functions: [Mean]}}\n  \
                 - {name: m, map: {expression: \"value * 2.0\", as: \"*/double\"}}\n  \
                 - {name: r, rename: {from: \"*/double\", to: \"twice/*\"}}";
    let transforms = transforms(steps);
    let press = origin(&["t", "u"]);
    let mut chain = Chain::new(&transforms);
    chain.apply(&batch(&press, vec![good(0, 60, 1.0), good(1, 60, 1.0)]));
    let mut chain = resumed(&transforms, &chain.state(), &["twice/t.Mean"]);
    let left = out(&chain.tick(600 * SECOND));
    assert!(left.iter().all(|(point, _)| point.contains("u.Mean")), "{left:?}");
    assert_eq!(left.len(), 2);
}

#[test]
fn state_is_refused_where_it_does_not_belong() {
    let transforms_of = |yaml: &str| transforms(yaml);
    let some = transforms_of("  - {name: d, deadband: {absolute: \"1\"}}\n");
    let other = transforms_of("  - {name: d, deadband: {absolute: \"2\"}}\n");
    let mut chain = Chain::new(&some);
    chain.apply(&batch(&origin(&["a"]), vec![good(0, 1, 1.0)]));
    let mut state = chain.state();
    assert_eq!(Chain::restore(&other, &state).err(), Some(StateError::OtherTransforms));
    let short = state.split_last().map(|(_, rest)| rest.to_vec()).unwrap();
    assert_eq!(Chain::restore(&some, &short).err(), Some(StateError::Damaged));
    state[0] = 9;
    assert_eq!(Chain::restore(&some, &state).err(), Some(StateError::OtherVersion(9)));
}

#[test]
fn windows_upon_windows_stay_bounded() {
    let yaml: String = (0..32)
        .map(|i| format!("  - {{name: m{i}, map: {{expression: \"value\", as: \"*{i}\"}}}}\n"))
        .collect();
    let mut chain = chain(&yaml);
    let output = chain.apply(&batch(&origin(&["a"]), vec![good(0, 1, 1.0)]));
    assert_eq!(output[0].len(), 16_384);
    assert!(chain.take_problems().iter().any(|p| p.ends_with("too many points")));
    assert_balanced(&chain);
}
