//! The drivers and sinks of this build: an explicit list, one line each.

use std::sync::Arc;

use lineside_core::driver::Driver;
use lineside_core::fault::{Fault, FaultClass};
use lineside_core::sink::Sink;
use lineside_crds::diagnostics::Code;
use lineside_crds::model::SinkKind;

/// Every driver.
pub fn drivers() -> Vec<Arc<dyn Driver>> {
    vec![
        #[cfg(feature = "modbus")]
        Arc::new(lineside_driver_modbus::ModbusTcp::default()),
    ]
}

/// Makes the sink of a destination.
///
/// # Errors
/// Class Config when this build has no sink of that kind.
pub fn sink(kind: &SinkKind) -> Result<Arc<dyn Sink>, Fault> {
    match kind {
        #[cfg(feature = "sink-mqtt")]
        SinkKind::Mqtt(settings) => Ok(Arc::new(lineside_sink_mqtt::build(settings.clone()))),
        #[cfg(feature = "sink-iotdb")]
        SinkKind::Iotdb(settings) => Ok(Arc::new(lineside_sink_iotdb::build(settings.clone()))),
        #[allow(unreachable_patterns, reason = "reachable when a sink's feature is off")]
        other => {
            let text = format!("this build has no sink for {}", other.type_name());
            Err(Fault::new(FaultClass::Config, Code::NotInThisBuild, text))
        }
    }
}
