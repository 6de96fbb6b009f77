//! Transforms of a pipeline: what happens to samples before they are kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Default of `swingingDoor.maxIntervalMillis`: a minute.
pub const DOOR_INTERVAL_MILLIS_DEFAULT: i64 = 60_000;

/// One step between the sources and the store. It touches the points that match `points`; all
/// others pass as they are. Exactly one of the members behind `points` says what it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "(has(self.rename) ? 1 : 0) + (has(self.scale) ? 1 : 0) + (has(self.deadband) ? 1 : 0) + (has(self.onChange) ? 1 : 0) + (has(self.swingingDoor) ? 1 : 0) + (has(self.window) ? 1 : 0) + (has(self.filter) ? 1 : 0) + (has(self.map) ? 1 : 0) == 1",
     "message": "a transform does exactly one thing (LNS-1034)"}
]))]
pub struct TransformSpec {
    /// Name of the transform, unique in the pipeline. Example: `quiet`.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// Points that it touches, by the name that they have at this step; `*` stands for any run
    /// of characters, `?` for one. Default: all. Example: `["temp*"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 128), regex(pattern = "^[A-Za-z0-9_./*?-]+$")),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub points: Vec<String>,
    /// Gives points other names. Example: `{from: "t_*", to: "temperature/*"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rename: Option<RenameSpec>,
    /// Numbers become `value x factor + offset`. 32-bit floating point stays so, every other
    /// number becomes 64-bit floating point; what is no number passes as it is.
    /// Example: `{factor: "0.1"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<ScaleSpec>,
    /// Absorbs numbers that differ from the last one that passed by no more than a band. A
    /// change of quality passes, and so does every Bad sample. Example: `{absolute: "0.5"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadband: Option<DeadbandSpec>,
    /// Absorbs samples with the value and the quality of the last one that passed. Every Bad
    /// sample passes. Example: `{heartbeatMillis: 60000}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_change: Option<OnChangeSpec>,
    /// Absorbs numbers that lie close to the straight line between those that are kept, so that
    /// a ramp needs two samples. A sample waits until the line bends. A change of quality ends
    /// the line. Example: `{deviation: "0.2", maxIntervalMillis: 60000}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swinging_door: Option<SwingingDoorSpec>,
    /// Replaces the samples of a span of time by functions of them, each a point of its own:
    /// `temperature.Mean`. Its time is the beginning of the span. Bad samples do not count; where
    /// less than 80 % of the samples were Good the result is Uncertain, and where all were Bad,
    /// Bad. Example: `{everyMillis: 60000, functions: [Mean, Max]}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowSpec>,
    /// Keeps samples for which an expression is true. A sample for which it has no value is
    /// kept. Example: `{expression: "good && value > 20.0"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterSpec>,
    /// Makes values by an expression. A Bad sample stays Bad; a sample for which the expression
    /// has no value becomes Bad (BadConfigurationError).
    /// Example: `{expression: "value * 1.8 + 32.0", as: "*_fahrenheit"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<MapSpec>,
}

/// Gives points other names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.from.contains('*') == self.to.contains('*')",
     "message": "write * in both from and to, or in none (LNS-1035)"}
]))]
pub struct RenameSpec {
    /// Name of the points now; one `*` stands for any run of characters. Example: `t_*`.
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = r"^[A-Za-z0-9_./-]*\*?[A-Za-z0-9_./-]*$")
    )]
    pub from: String,
    /// Name of the points then; `*` stands for what `*` in `from` stood for. A point whose new
    /// name another point of the device has keeps its own. Example: `temperature/*`.
    #[schemars(
        length(min = 1, max = 128),
        regex(
            pattern = r"^([A-Za-z0-9_][A-Za-z0-9_./-]*(\*[A-Za-z0-9_./-]*)?|\*[A-Za-z0-9_./-]*)$"
        )
    )]
    pub to: String,
}

/// `value x factor + offset`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ScaleSpec {
    /// Factor, a decimal number in quotes. Example: `"0.1"`.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^-?[0-9]{1,15}(\.[0-9]{1,15})?$"))]
    pub factor: String,
    /// What is added after that, in the unit of the result. Default `"0"`. Example: `"-40"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^-?[0-9]{1,15}(\.[0-9]{1,15})?$"))]
    pub offset: Option<String>,
}

/// How far a number must move to pass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.absolute) != has(self.percent)",
     "message": "write exactly one of absolute and percent (LNS-1036)"},
    {"rule": "has(self.percent) == has(self.span)",
     "message": "percent needs the span that it is a part of, and span needs percent (LNS-1036)"},
    {"rule": "!has(self.percent) || double(self.percent) <= 100.0",
     "message": "percent must not be above 100 (LNS-1037)"}
]))]
pub struct DeadbandSpec {
    /// The band in the unit of the value. Example: `"0.5"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[0-9]{1,15}(\.[0-9]{1,15})?$"))]
    pub absolute: Option<String>,
    /// The band in percent of `span`, 0 to 100 (the PercentDeadband of OPC UA). Example: `"1"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[0-9]{1,15}(\.[0-9]{1,15})?$"))]
    pub percent: Option<String>,
    /// What 100 percent are (the EURange of OPC UA).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<SpanSpec>,
}

/// The range of a measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "double(self.low) < double(self.high)",
     "message": "low must be below high (LNS-1037)"}
]))]
pub struct SpanSpec {
    /// Low end, in the unit of the value. Example: `"0"`.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^-?[0-9]{1,15}(\.[0-9]{1,15})?$"))]
    pub low: String,
    /// High end, in the unit of the value. Example: `"250"`.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^-?[0-9]{1,15}(\.[0-9]{1,15})?$"))]
    pub high: String,
}

/// Absorbs what does not change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OnChangeSpec {
    /// The first sample that arrives this long after the last one that passed, in milliseconds,
    /// passes without a change. No sample is repeated: a point of which nothing arrives stays
    /// silent. Default: never. Example: `60000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400_000))]
    pub heartbeat_millis: Option<i64>,
}

/// Keeps the ends of straight lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SwingingDoorSpec {
    /// Farthest that an absorbed number lies from the line, in the unit of the value.
    /// Example: `"0.2"`.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[0-9]{1,15}(\.[0-9]{1,15})?$"))]
    pub deviation: String,
    /// Longest line, and longest time that a sample waits, in milliseconds. Default 60000.
    /// Example: `10000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 86_400_000))]
    pub max_interval_millis: Option<i64>,
}

/// Functions over spans of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct WindowSpec {
    /// Length of a span in milliseconds. Spans begin at whole multiples of it, in UTC: those of
    /// a minute begin with the minute. Example: `60000`.
    #[schemars(range(min = 100, max = 86_400_000))]
    pub every_millis: i64,
    /// What is computed: 1 to 8 functions. Example: `[Mean, Max]`.
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "set"))]
    pub functions: Vec<WindowFunction>,
}

/// A function over the samples of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WindowFunction {
    /// Arithmetic mean of the numbers.
    Mean,
    /// Smallest number, in its own type.
    Min,
    /// Largest number, in its own type.
    Max,
    /// First value, in its own type.
    First,
    /// Last value, in its own type.
    Last,
    /// How many values there were.
    Count,
    /// Sum of the numbers.
    Sum,
    /// Standard deviation of the numbers as a sample of all (divided by their count less one).
    StdDev,
}

/// Keeps samples for which an expression is true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FilterSpec {
    /// Expression in CEL, true or false, over `value`, `good`, `status`, `point`, `device` and
    /// `time`. Example: `good && value > 20.0`.
    #[schemars(length(min = 1, max = 512))]
    pub expression: String,
}

/// Makes values by an expression.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MapSpec {
    /// Expression in CEL that gives the value, over `value`, `good`, `status`, `point`, `device`
    /// and `time`. CEL does not mix whole and floating-point numbers: convert with `double()` or
    /// `int()`. Example: `double(value) / 10.0`.
    #[schemars(length(min = 1, max = 512))]
    pub expression: String,
    /// Name of a further point that gets the value; `*` stands for the name of the point that it
    /// is made from. Default: the value takes the place of the old one.
    /// Example: `*_fahrenheit`.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 128),
        regex(
            pattern = r"^([A-Za-z0-9_][A-Za-z0-9_./-]*(\*[A-Za-z0-9_./-]*)?|\*[A-Za-z0-9_./-]*)$"
        )
    )]
    pub as_point: Option<String>,
}
