//! Quality of a sample: the OPC UA StatusCode.
//!
//! Source: OPC 10000-4, 7.39 (StatusCode: severity in the two top bits) and OPC 10000-6,
//! annex A.2 (the numbers).

use std::fmt;

/// A 32-bit OPC UA StatusCode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct StatusCode(pub u32);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $bits:literal, $text:literal;)*) => {
        impl StatusCode {
            $($(#[$doc])* pub const $name: Self = Self($bits);)*

            /// The standard's name, e.g. `BadTimeout`; `None` for a code this build does not name.
            pub fn name(self) -> Option<&'static str> {
                match self.0 & 0xFFFF_0000 {
                    $($bits => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// The value is good.
    GOOD = 0x0000_0000, "Good";
    /// The last value that was good; the source no longer updates it.
    UNCERTAIN_LAST_USABLE_VALUE = 0x4090_0000, "UncertainLastUsableValue";
    /// Made of several values, of which fewer were Good than it takes.
    UNCERTAIN_DATA_SUB_NORMAL = 0x40A4_0000, "UncertainDataSubNormal";
    /// A fault inside the agent.
    BAD_INTERNAL_ERROR = 0x8002_0000, "BadInternalError";
    /// A low level communication error: the peer broke the protocol.
    BAD_COMMUNICATION_ERROR = 0x8005_0000, "BadCommunicationError";
    /// The answer could not be decoded into the configured type.
    BAD_DECODING_ERROR = 0x8007_0000, "BadDecodingError";
    /// No answer in time.
    BAD_TIMEOUT = 0x800A_0000, "BadTimeout";
    /// The peer is too busy.
    BAD_TOO_MANY_OPERATIONS = 0x8010_0000, "BadTooManyOperations";
    /// The peer refused the credentials.
    BAD_USER_ACCESS_DENIED = 0x801F_0000, "BadUserAccessDenied";
    /// Communication with the data source has failed and there is no last known value.
    BAD_NO_COMMUNICATION = 0x8031_0000, "BadNoCommunication";
    /// No value has been received yet.
    BAD_WAITING_FOR_INITIAL_DATA = 0x8032_0000, "BadWaitingForInitialData";
    /// The configuration names something that the device does not have.
    BAD_CONFIGURATION_ERROR = 0x8089_0000, "BadConfigurationError";
    /// The device is not connected.
    BAD_NOT_CONNECTED = 0x808A_0000, "BadNotConnected";
    /// The device reports a failure of its own.
    BAD_DEVICE_FAILURE = 0x808B_0000, "BadDeviceFailure";
    /// The source is not operational because it was taken out of service.
    BAD_OUT_OF_SERVICE = 0x808D_0000, "BadOutOfService";
    /// There is nothing that a result could be made of.
    BAD_NO_DATA = 0x809B_0000, "BadNoData";
}

impl StatusCode {
    /// Severity Good (top bits 00).
    pub fn is_good(self) -> bool {
        self.0 >> 30 == 0
    }

    /// Severity Uncertain (top bits 01).
    pub fn is_uncertain(self) -> bool {
        self.0 >> 30 == 1
    }

    /// Severity Bad (top bits 10; 11 is reserved and counts as bad).
    pub fn is_bad(self) -> bool {
        self.0 >> 31 == 1
    }

    /// The severity as JSON v1 writes it in `quality`.
    pub fn severity(self) -> &'static str {
        match self.0 >> 30 {
            0 => "Good",
            1 => "Uncertain",
            _ => "Bad",
        }
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}(0x{:08X})", self.severity(), self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_is_in_the_two_top_bits() {
        assert!(StatusCode::GOOD.is_good());
        assert!(StatusCode::UNCERTAIN_LAST_USABLE_VALUE.is_uncertain());
        assert!(StatusCode::BAD_TIMEOUT.is_bad());
        assert!(StatusCode(0xC000_0000).is_bad());
        assert_eq!(StatusCode(0x8099_0000).to_string(), "Bad(0x80990000)");
        assert_eq!(StatusCode(0x800A_0400).to_string(), "BadTimeout");
    }
}
