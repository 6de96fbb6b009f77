//! Expressions against another implementation of CEL: what is taken here is CEL there, and has
//! the same value.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::panic::catch_unwind;

use cel::{Context, Program, Value};
use lineside_crds::expression::{Expression, Purpose, Term, Variables};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

const POINT: &str = "temperature";
const DEVICE: &str = "plant/furnace";
/// 2025-11-27T15:44:05.25Z.
const TIME: i64 = 1_764_258_245_250_000_000;

fn other_value(text: &str, value: &Term) -> Result<Term, String> {
    let program = Program::compile(text).unwrap_or_else(|e| panic!("{text} is no CEL: {e}"));
    let mut context = Context::default();
    let value = match value {
        Term::Null => Value::Null,
        Term::Bool(b) => Value::Bool(*b),
        Term::Int(n) => Value::Int(*n),
        Term::Uint(n) => Value::UInt(*n),
        Term::Double(n) => Value::Float(*n),
        Term::Text(text) => Value::from(text.to_string()),
        Term::Time(_) => panic!("no sample has a time as value"),
    };
    let time = Program::compile("timestamp('2025-11-27T15:44:05.25Z')").unwrap();
    let time = time.execute(&Context::default()).unwrap();
    context.add_variable_from_value("value", value);
    context.add_variable_from_value("status", Value::Int(0x4090_0000));
    context.add_variable_from_value("good", Value::Bool(false));
    context.add_variable_from_value("point", Value::from(POINT.to_owned()));
    context.add_variable_from_value("device", Value::from(DEVICE.to_owned()));
    context.add_variable_from_value("time", time);
    match program.execute(&context).map_err(|e| e.to_string())? {
        Value::Null => Ok(Term::Null),
        Value::Bool(b) => Ok(Term::Bool(b)),
        Value::Int(n) => Ok(Term::Int(n)),
        Value::UInt(n) => Ok(Term::Uint(n)),
        Value::Float(n) => Ok(Term::Double(n)),
        Value::String(text) => Ok(Term::Text(text.as_str().into())),
        other => panic!("{text} gives {other:?}"),
    }
}

fn our_value(expression: &Expression, value: &Term) -> Result<Term, String> {
    let (point, device) = (POINT.into(), DEVICE.into());
    let variables = Variables {
        value,
        status: 0x4090_0000,
        good: false,
        point: &point,
        device: &device,
        time: TIME,
    };
    expression.evaluate(&variables).map_err(|e| e.to_string())
}

fn same(ours: &Result<Term, String>, other: &Result<Term, String>) -> bool {
    match (ours, other) {
        (Ok(Term::Double(a)), Ok(Term::Double(b))) => a == b || (a.is_nan() && b.is_nan()),
        (Ok(a), Ok(b)) => a == b,
        (Err(_), Err(_)) => true,
        _ => false,
    }
}

fn values() -> impl Strategy<Value = Term> {
    prop_oneof![
        Just(Term::Null),
        any::<bool>().prop_map(Term::Bool),
        prop_oneof![any::<i64>(), -3..4_i64].prop_map(Term::Int),
        prop_oneof![any::<u64>(), 0..4_u64].prop_map(Term::Uint),
        prop_oneof![any::<f64>(), Just(1.5), Just(2.0), Just(0.0)].prop_map(Term::Double),
        "[a-c]{0,3}".prop_map(|text| Term::Text(text.as_str().into())),
    ]
}

fn leaves() -> impl Strategy<Value = String> {
    const FIXED: [&str; 32] = [
        "value",
        "good",
        "status",
        "point",
        "device",
        "true",
        "false",
        "null",
        "0",
        "1",
        "-1",
        "2u",
        "0u",
        "1.5",
        "2.0",
        "-0.5",
        "1e3",
        "0x10",
        "'a'",
        "\"temp\"",
        "r'\\n'",
        "'\\u0065'",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551615u",
        "'7'",
        "time.getHours()",
        "time.getDayOfWeek()",
        "time.getMonth()",
        "time.getDate()",
        "time.getFullYear()",
        "time.getMilliseconds()",
    ];
    prop_oneof![
        3 => Just("value".to_owned()),
        5 => proptest::sample::select(&FIXED[..]).prop_map(str::to_owned),
    ]
}

fn texts() -> impl Strategy<Value = String> {
    leaves().prop_recursive(4, 24, 3, |inner| {
        const OPERATORS: [&str; 13] =
            ["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||"];
        let operators = proptest::sample::select(&OPERATORS[..]);
        let functions = proptest::sample::select(&["size", "int", "uint", "double"][..]);
        let methods = proptest::sample::select(&["contains", "startsWith", "endsWith"][..]);
        prop_oneof![
            4 => (inner.clone(), operators.clone(), inner.clone())
                .prop_map(|(a, o, b)| format!("({a}) {o} ({b})")),
            // Without brackets, so that binding is tested too.
            4 => (inner.clone(), operators, inner.clone())
                .prop_map(|(a, o, b)| format!("{a} {o} {b}")),
            1 => inner.clone().prop_map(|a| format!("!({a})")),
            // The other implementation negates true and false too.
            1 => inner.clone().prop_map(|a| format!("-(double({a}))")),
            1 => inner.clone().prop_map(|a| format!("-(int({a}))")),
            1 => (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("{a} ? {b} : {c}")),
            1 => (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("{a} in [{b}, {c}]")),
            2 => (functions, inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            1 => (inner.clone(), methods, inner).prop_map(|(a, f, b)| format!("({a}).{f}({b})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1500,
        max_shrink_iters: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_text_is_an_expression_or_an_error_within_it(
        text in "[a-z0-9 .,:?!&|<>=+*/%()\\[\\]{}'\"\\\\-]{0,60}"
    ) {
        match Expression::parse(&text, Purpose::Condition) {
            Ok(_) => prop_assert!(Program::compile(&text).is_ok(), "{text} is no CEL"),
            Err(error) => prop_assert!((1..=text.len() + 1).contains(&error.at), "{error}"),
        }
    }
}

/// Where the other implementation is known not to do what the language definition says.
fn other_is_wrong(text: &str, value: &Term) -> bool {
    let contains = |any: &[&str]| any.iter().any(|part| text.contains(part));
    // It makes 0 of NaN and the greatest number of 2^63, where the definition has an error.
    let rounds = contains(&["int("])
        && (matches!(value, Term::Double(n) if n.is_nan()) || contains(&["9223372036854775807"]));
    // Functions of text say false of what is no text.
    let takes_all =
        contains(&["contains", "startsWith", "endsWith"]) && !matches!(value, Term::Text(_));
    // Whole and floating-point numbers are compared as floating point, and are never equal.
    let large = match value {
        Term::Int(n) => n.unsigned_abs() > 1 << 53,
        Term::Uint(n) => *n > 1 << 53,
        _ => false,
    };
    let compares = contains(&["double("]) && (large || contains(&["==", "!=", " in "]));
    rounds || takes_all || compares
}

#[test]
fn what_is_taken_has_the_value_that_cel_gives_it() {
    let mut runner = TestRunner::deterministic();
    let (mut taken, mut wrong) = (0, Vec::new());
    for _ in 0..4000 {
        let (text, value) = (texts(), values()).new_tree(&mut runner).unwrap().current();
        let Ok(expression) = Expression::parse(&text, Purpose::Value) else { continue };
        if other_is_wrong(&text, &value) {
            continue;
        }
        taken += 1;
        let ours = our_value(&expression, &value);
        // It panics on some overflows, which are errors by the definition.
        let other = catch_unwind(|| other_value(&text, &value)).unwrap_or(Err("panic".to_owned()));
        if !same(&ours, &other) {
            wrong.push(format!("{text} with {value:?}: {ours:?}, but {other:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {taken}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(taken > 1000, "only {taken} were compared");
}

#[test]
fn the_longest_and_deepest_texts_are_bounded() {
    for text in [
        "(".repeat(512),
        "!".repeat(512),
        "-".repeat(512),
        "1?".repeat(256),
        "value in [".repeat(51),
        "size(".repeat(102),
    ] {
        assert!(Expression::parse(&text, Purpose::Value).is_err());
    }
    let long = format!("value{}", "+1".repeat(253));
    let sum = Expression::parse(&long, Purpose::Value).unwrap();
    assert_eq!(our_value(&sum, &Term::Int(0)), Ok(Term::Int(253)));
}
