//! Why a point has no value in a cycle: its quality, and the words for people.

use std::collections::HashMap;

use lineside_core::plan::{Cause, PointSpec, Why};
use lineside_core::{Fault, FaultClass, StatusCode};
use lineside_crds::diagnostics::Code;

use crate::exchange::Exchange;

/// The reason of one Bad sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// What became of the request that asked for it, in this cycle or in an earlier one.
    Asked(Exchange),
    /// It was not asked for, and never has been on this connection.
    NotAsked(Why),
}

impl Reason {
    /// Quality of the point.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Asked(exchange) => exchange.status(),
            Self::NotAsked(why) => meaning(*why).0.status(),
        }
    }

    /// The same in words.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Asked(exchange) => exchange.fault(),
            Self::NotAsked(why) => {
                let (class, code, text) = meaning(*why);
                Fault::new(class, code, text)
            }
        }
    }
}

fn meaning(why: Why) -> (FaultClass, Code, &'static str) {
    match why {
        Why::UnitSilent(Cause::Timeout) | Why::Timeout => {
            (FaultClass::Timeout, Code::RequestTimeout, "its unit does not answer")
        }
        Why::UnitSilent(Cause::Gateway) => (
            FaultClass::Unreachable,
            Code::GatewayTargetSilent,
            "the gateway says that its unit does not answer",
        ),
        Why::SpaceQuarantined => {
            (FaultClass::Config, Code::IllegalFunction, "the device refuses its whole table")
        }
        Why::Quarantined | Why::Refused(_) => {
            (FaultClass::Config, Code::IllegalDataAddress, "the device refuses its address")
        }
    }
}

/// What the device last said to each point, for the cycles in which it is not asked again.
#[derive(Debug, Default)]
pub struct Reasons(HashMap<usize, Exchange>);

impl Reasons {
    /// The same for another set of points: those that stay where they were keep what was said.
    pub fn moved(&self, old: &[PointSpec], new: &[PointSpec]) -> Self {
        let place = |p: &PointSpec| (p.span.space, p.span.start, p.span.len);
        let known: HashMap<_, Exchange> = old
            .iter()
            .enumerate()
            .filter_map(|(i, spec)| Some((place(spec), *self.0.get(&i)?)))
            .collect();
        let said = |spec| known.get(&place(spec)).copied();
        Self(new.iter().enumerate().filter_map(|(i, spec)| Some((i, said(spec)?))).collect())
    }

    /// The reason of a point that has no value because of `why`, after `exchange` or, when no
    /// request has just ended, without one.
    pub fn of(&mut self, point: usize, why: Why, exchange: Option<Exchange>) -> Reason {
        match (why, exchange) {
            (Why::Refused(_) | Why::Timeout, Some(exchange)) => {
                self.0.insert(point, exchange);
                Reason::Asked(exchange)
            }
            (Why::UnitSilent(_), _) => Reason::NotAsked(why),
            _ => self.0.get(&point).map_or(Reason::NotAsked(why), |e| Reason::Asked(*e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use lineside_core::plan::Refusal;
    use lineside_crds::modbus::Area;

    use super::*;
    use crate::wire::{Exception, Request};

    #[test]
    fn a_point_left_alone_keeps_the_quality_of_its_refusal() {
        let request = Request { unit: 1, area: Area::HoldingRegister, start: 0, quantity: 1 };
        let failed = Exchange::Exception(request, Exception(4));
        let mut reasons = Reasons::default();
        let now = reasons.of(1, Why::Refused(Refusal::Address), Some(failed));
        assert_eq!(now.status(), StatusCode::BAD_DEVICE_FAILURE);
        let later = reasons.of(1, Why::Quarantined, None);
        assert_eq!(later.status(), StatusCode::BAD_DEVICE_FAILURE);
        let other = reasons.of(0, Why::Quarantined, None);
        assert_eq!(other.status(), StatusCode::BAD_CONFIGURATION_ERROR);
    }

    #[test]
    fn a_silent_unit_is_a_timeout_whatever_was_said_before() {
        let request = Request { unit: 1, area: Area::HoldingRegister, start: 0, quantity: 1 };
        let mut reasons = Reasons::default();
        let refused = Exchange::Exception(request, Exception(2));
        reasons.of(0, Why::Refused(Refusal::Address), Some(refused));
        let reason = reasons.of(0, Why::UnitSilent(Cause::Timeout), None);
        assert_eq!(reason.status(), StatusCode::BAD_TIMEOUT);
        let reason = reasons.of(0, Why::UnitSilent(Cause::Gateway), None);
        assert_eq!(reason.status(), StatusCode::BAD_NO_COMMUNICATION);
    }
}
