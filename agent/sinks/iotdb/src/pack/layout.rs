//! How a pipeline's devices and times appear in one server.

use std::sync::Arc;

use lineside_core::{Origin, UnixNanos};
use lineside_crds::model::{IotdbModel, IotdbSettings, ObjectKey, TablePart};

use crate::name;

/// The server's unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Milliseconds, the default.
    Millis,
    /// Microseconds.
    Micros,
    /// Nanoseconds.
    Nanos,
}

impl Precision {
    /// What a server says of itself: `ms`, `us` or `ns`.
    pub fn of(text: &str) -> Option<Self> {
        Some(match text {
            "ms" => Self::Millis,
            "us" => Self::Micros,
            "ns" => Self::Nanos,
            _ => return None,
        })
    }

    /// Nanoseconds of one tick.
    pub fn nanos(self) -> i64 {
        match self {
            Self::Millis => 1_000_000,
            Self::Micros => 1_000,
            Self::Nanos => 1,
        }
    }

    /// The unit in statements.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Millis => "ms",
            Self::Micros => "us",
            Self::Nanos => "ns",
        }
    }

    /// The time at the beginning of a tick; the nearest one where 64 bits of nanoseconds end.
    pub fn time(self, tick: i64) -> UnixNanos {
        tick.saturating_mul(self.nanos())
    }

    /// A time in this unit, rounded down.
    pub fn tick(self, time: UnixNanos) -> i64 {
        match self {
            Self::Millis => time.div_euclid(1_000_000),
            Self::Micros => time.div_euclid(1_000),
            Self::Nanos => time,
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Tree or table, with names.
    pub model: IotdbModel,
    /// Whether every point has a column for its quality.
    pub quality: bool,
    /// The server's unit of time.
    pub precision: Precision,
    /// Whether the server has a type for bytes; else they are base64 text.
    pub blobs: bool,
    /// The pipeline, for the template of a table's name.
    pub pipeline: ObjectKey,
}

impl Layout {
    /// The layout for a server of this precision and version.
    pub fn new(
        settings: &IotdbSettings,
        pipeline: &ObjectKey,
        precision: Precision,
        version: &str,
    ) -> Self {
        let major = version.split('.').next().and_then(|text| text.parse::<u32>().ok());
        Self {
            model: settings.model.clone(),
            quality: settings.quality,
            precision,
            blobs: major.is_some_and(|major| major >= 2),
            pipeline: pipeline.clone(),
        }
    }

    /// Whether it is the table model.
    pub fn is_table(&self) -> bool {
        matches!(self.model, IotdbModel::Table { .. })
    }

    /// The device or table of an origin.
    pub fn target(&self, origin: &Origin) -> Arc<str> {
        self.target_of(&origin.device.namespace, origin.device_name())
    }

    /// The same by names.
    pub fn target_of(&self, namespace: &str, device: &str) -> Arc<str> {
        match &self.model {
            IotdbModel::Tree { prefix } => name::path(prefix, [namespace, device]).into(),
            IotdbModel::Table { table, .. } => {
                let part = |part: &TablePart| match part {
                    TablePart::Literal(text) => text.clone(),
                    TablePart::Namespace => namespace.to_owned(),
                    TablePart::Device => device.to_owned(),
                    TablePart::Pipeline => self.pipeline.name.to_string(),
                };
                table.iter().map(part).collect::<String>().into()
            }
        }
    }

    /// The column of a point, and that of its quality.
    pub fn columns(&self, point: &str) -> (Arc<str>, Arc<str>) {
        let quality = format!("{point}_q");
        match &self.model {
            IotdbModel::Tree { .. } => (name::node(point).into(), name::node(&quality).into()),
            // Nothing is parsed here: a name is a name.
            IotdbModel::Table { .. } => (point.into(), quality.into()),
        }
    }
}
