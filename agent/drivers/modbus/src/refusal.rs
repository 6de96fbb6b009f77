//! What an exception of the device means: for the planner, for quality, for people.

use lineside_core::plan::Refusal;
use lineside_core::{Fault, FaultClass};
use lineside_crds::diagnostics::Code;

use crate::wire::{Exception, Request};

/// The meaning of one exception code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// What the planner learns from it.
    pub refusal: Refusal,
    /// The class; it decides the quality of the points.
    pub class: FaultClass,
    /// The diagnostic.
    pub code: Code,
}

/// The meaning of `exception` (V1.1b3, section 7).
pub fn meaning(exception: Exception) -> Meaning {
    use FaultClass::{Config, Device, Overload, Peer, Unreachable};
    let (refusal, class, code) = match exception.0 {
        1 => (Refusal::Space, Config, Code::IllegalFunction),
        2 => (Refusal::Address, Config, Code::IllegalDataAddress),
        // Some devices refuse a long range with 3 although each part of it can be read.
        3 => (Refusal::Address, Config, Code::IllegalDataValue),
        // The standard calls 4 unrecoverable, but there are devices that use it for holes.
        4 => (Refusal::Address, Device, Code::DeviceFailure),
        5 | 6 => (Refusal::Busy, Overload, Code::DeviceBusy),
        8 => (Refusal::Fatal, Device, Code::DeviceFailure),
        10 => (Refusal::Unit, Unreachable, Code::GatewayPathUnavailable),
        11 => (Refusal::Unit, Unreachable, Code::GatewayTargetSilent),
        _ => (Refusal::Fatal, Peer, Code::UnknownException),
    };
    Meaning { refusal, class, code }
}

/// The exception as a fault of the points concerned.
pub fn fault(exception: Exception, request: &Request) -> Fault {
    let Meaning { class, code, .. } = meaning(exception);
    let text = format!(
        "unit {} answered {exception} to FC{} @{} x{}",
        request.unit,
        request.area.function(),
        request.start,
        request.quantity
    );
    Fault::new(class, code, text)
}

#[cfg(test)]
mod tests {
    use lineside_core::StatusCode;

    use super::*;

    #[test]
    fn each_exception_of_the_standard_has_its_class_and_quality() {
        for (exception, refusal, status) in [
            (1, Refusal::Space, StatusCode::BAD_CONFIGURATION_ERROR),
            (2, Refusal::Address, StatusCode::BAD_CONFIGURATION_ERROR),
            (3, Refusal::Address, StatusCode::BAD_CONFIGURATION_ERROR),
            (4, Refusal::Address, StatusCode::BAD_DEVICE_FAILURE),
            (5, Refusal::Busy, StatusCode::BAD_TOO_MANY_OPERATIONS),
            (6, Refusal::Busy, StatusCode::BAD_TOO_MANY_OPERATIONS),
            (8, Refusal::Fatal, StatusCode::BAD_DEVICE_FAILURE),
            (10, Refusal::Unit, StatusCode::BAD_NO_COMMUNICATION),
            (11, Refusal::Unit, StatusCode::BAD_NO_COMMUNICATION),
            (7, Refusal::Fatal, StatusCode::BAD_COMMUNICATION_ERROR),
            (0xE0, Refusal::Fatal, StatusCode::BAD_COMMUNICATION_ERROR),
        ] {
            let meaning = meaning(Exception(exception));
            assert_eq!(
                (meaning.refusal, meaning.class.status()),
                (refusal, status),
                "exception {exception}"
            );
        }
    }
}
