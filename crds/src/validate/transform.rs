//! The rules of transforms that the schema cannot say.

use std::time::Duration;

use crate::api::transform::{DOOR_INTERVAL_MILLIS_DEFAULT, DeadbandSpec, TransformSpec};
use crate::diagnostics::{Code, Diagnostic, FieldPath};
use crate::expression::{Expression, Purpose};
use crate::model::{Glob, NamePattern, Transform, TransformKind};

/// The transforms that are sound; what is wrong with the others goes to `findings`.
pub(super) fn transforms(
    specs: &[TransformSpec],
    at: &FieldPath,
    findings: &mut Vec<Diagnostic>,
) -> Vec<Transform> {
    let judged = specs.iter().enumerate().map(|(i, spec)| {
        let kind = kind(spec, &at.index(i), findings)?;
        let points = spec.points.iter().cloned().map(Glob).collect();
        Some(Transform { name: spec.name.clone(), points, kind })
    });
    judged.flatten().collect()
}

fn kind(
    spec: &TransformSpec,
    at: &FieldPath,
    findings: &mut Vec<Diagnostic>,
) -> Option<TransformKind> {
    let TransformSpec { name, points: _, .. } = spec;
    let mut kinds = Vec::new();
    if let Some(rename) = &spec.rename {
        let (from, to) = (NamePattern::new(&rename.from), NamePattern::new(&rename.to));
        let star = |pattern: &NamePattern| matches!(pattern, NamePattern::Star(..));
        if star(&from) != star(&to) {
            let (there, missing) = if star(&from) { ("from", "to") } else { ("to", "from") };
            let message = format!("{there} has a * and {missing} has none");
            findings.push(Diagnostic::new(Code::RenameStars, at.key("rename"), message));
        }
        kinds.push(Some(TransformKind::Rename { from, to }));
    }
    if let Some(scale) = &spec.scale {
        let offset = scale.offset.as_deref().map_or(0.0, decimal);
        kinds.push(Some(TransformKind::Scale { factor: decimal(&scale.factor), offset }));
    }
    if let Some(deadband) = &spec.deadband {
        let band = band(deadband, &at.key("deadband"), findings);
        kinds.push(band.map(|band| TransformKind::Deadband { band }));
    }
    if let Some(on_change) = &spec.on_change {
        let heartbeat = on_change.heartbeat_millis.map(millis);
        kinds.push(Some(TransformKind::OnChange { heartbeat }));
    }
    if let Some(door) = &spec.swinging_door {
        let max_interval = door.max_interval_millis.unwrap_or(DOOR_INTERVAL_MILLIS_DEFAULT);
        kinds.push(Some(TransformKind::SwingingDoor {
            deviation: decimal(&door.deviation),
            max_interval: millis(max_interval),
        }));
    }
    if let Some(window) = &spec.window {
        let functions = window.functions.clone();
        kinds.push(Some(TransformKind::Window { every: millis(window.every_millis), functions }));
    }
    if let Some(filter) = &spec.filter {
        let at = at.key("filter").key("expression");
        let expression = expression(&filter.expression, Purpose::Condition, at, findings);
        kinds.push(expression.map(TransformKind::Filter));
    }
    if let Some(map) = &spec.map {
        let at = at.key("map").key("expression");
        let as_point = map.as_point.as_deref().map(NamePattern::new);
        let expression = expression(&map.expression, Purpose::Value, at, findings);
        kinds.push(expression.map(|expression| TransformKind::Map { expression, as_point }));
    }
    let count = kinds.len();
    let only = kinds.pop();
    if count != 1 {
        let message = format!("transform {name} does {count} things; write one of rename, scale, ")
            + "deadband, onChange, swingingDoor, window, filter and map";
        findings.push(Diagnostic::new(Code::ExactlyOneTransform, at.clone(), message));
        return None;
    }
    only.flatten()
}

/// The band of a deadband in the unit of the value.
fn band(spec: &DeadbandSpec, at: &FieldPath, findings: &mut Vec<Diagnostic>) -> Option<f64> {
    let mut say = |code, field: FieldPath, message: &str| {
        findings.push(Diagnostic::new(code, field, message));
    };
    let percent = spec.percent.as_deref().map(decimal);
    if percent.is_some_and(|p| p > 100.0) {
        say(Code::DeadbandRange, at.key("percent"), "percent is above 100");
    }
    let span = spec.span.as_ref().map(|span| decimal(&span.high) - decimal(&span.low));
    if span.is_some_and(|span| span <= 0.0) {
        say(Code::DeadbandRange, at.key("span"), "low is not below high");
    }
    let absolute = spec.absolute.as_deref().map(decimal);
    match (absolute, percent, span) {
        (Some(absolute), None, None) => return Some(absolute),
        (None, Some(percent), Some(span)) => return Some(span * percent / 100.0),
        (None, Some(_), None) => say(Code::DeadbandUnclear, at.clone(), "percent needs span"),
        (Some(_), None, Some(_)) => {
            say(Code::DeadbandUnclear, at.clone(), "span means nothing without percent");
        }
        (None, None, _) => {
            say(Code::DeadbandUnclear, at.clone(), "absolute or percent is missing");
        }
        (Some(_), Some(_), _) => {
            say(Code::DeadbandUnclear, at.clone(), "absolute and percent are both given");
        }
    }
    None
}

fn expression(
    text: &str,
    purpose: Purpose,
    at: FieldPath,
    findings: &mut Vec<Diagnostic>,
) -> Option<Expression> {
    match Expression::parse(text, purpose) {
        Ok(expression) => Some(expression),
        Err(error) => {
            findings.push(Diagnostic::new(Code::ExpressionInvalid, at, error.to_string()));
            None
        }
    }
}

/// A number whose form the schema has checked.
fn decimal(text: &str) -> f64 {
    text.parse().unwrap_or_default()
}

fn millis(number: i64) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or_default())
}
