//! One planned request: sent, answered, understood.

use std::time::Duration;

use lineside_core::plan::{Outcome, Refusal, Request};
use lineside_core::{Fault, FaultClass, StatusCode};
use lineside_crds::diagnostics::Code;

use crate::connection::{self, Connection};
use crate::points;
use crate::refusal;
use crate::wire::{self, Exception};

/// How a planned request ended, as long as the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// Data arrived; it is in the connection.
    Data,
    /// The device refused.
    Exception(wire::Request, Exception),
    /// No answer in time.
    Timeout(wire::Request, Duration),
    /// Longer than any request may be (a group, for example); it was not sent.
    TooLong(Request),
}

impl Exchange {
    /// Sends `planned` and waits for what becomes of it.
    ///
    /// # Errors
    /// The connection is of no further use.
    pub async fn run(connection: &mut Connection, planned: &Request) -> Result<Self, Fault> {
        let Some(request) = points::request(planned) else {
            return Ok(Self::TooLong(*planned));
        };
        Ok(match connection.ask(&request, planned.timeout).await? {
            connection::Outcome::Data => Self::Data,
            connection::Outcome::Exception(exception) => Self::Exception(request, exception),
            connection::Outcome::Timeout => Self::Timeout(request, planned.timeout),
        })
    }

    /// Whether the peer answered.
    pub fn answered(&self) -> bool {
        matches!(self, Self::Data | Self::Exception(..))
    }

    /// What the planner is told.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Data => Outcome::Data,
            Self::Exception(_, exception) => Outcome::Refused(refusal::meaning(*exception).refusal),
            Self::Timeout(..) => Outcome::Timeout,
            Self::TooLong(_) => Outcome::Refused(Refusal::Address),
        }
    }

    /// The quality of points that it left without a value.
    pub fn status(&self) -> StatusCode {
        match self {
            // Only points that the answer cannot hold stay without a value after data.
            Self::Data => StatusCode::BAD_INTERNAL_ERROR,
            Self::Exception(_, exception) => refusal::meaning(*exception).class.status(),
            Self::Timeout(..) => FaultClass::Timeout.status(),
            Self::TooLong(_) => FaultClass::Config.status(),
        }
    }

    /// Why points that it left without a value have none.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Data => {
                let text = "the answer holds no bytes of the point";
                Fault::new(FaultClass::Bug, Code::AnswerNotUsable, text)
            }
            Self::Exception(request, exception) => refusal::fault(*exception, request),
            Self::Timeout(request, limit) => {
                let text = format!(
                    "no answer of unit {} to FC{} @{} x{} within {limit:?}",
                    request.unit,
                    request.area.function(),
                    request.start,
                    request.quantity
                );
                Fault::new(FaultClass::Timeout, Code::RequestTimeout, text)
            }
            Self::TooLong(planned) => {
                let text = format!("{} units at {} fit no request", planned.len, planned.start);
                Fault::new(FaultClass::Config, Code::IllegalDataValue, text)
            }
        }
    }
}
