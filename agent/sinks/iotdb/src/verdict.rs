//! What the server's answer to an insertion means. Pure.
//!
//! Numbers and meanings are those of IoTDB's `TSStatusCode`
//! (`iotdb-client/service-rpc/.../rpc/TSStatusCode.java`); texts are passed on to people and never
//! decide anything.

use lineside_core::FaultClass;
use lineside_crds::diagnostics::Code;

use crate::wire::Status;

/// What becomes of the samples of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server has them.
    Accepted,
    /// The server will never take some of them.
    Refused(Refused),
    /// The server takes nothing now: the session ends.
    Failed {
        /// Class of the fault.
        class: FaultClass,
        /// Code of the fault.
        code: Code,
        /// What the server said.
        message: String,
    },
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// How far it reaches.
    pub reach: Reach,
    /// The reason may be that the server has no such column and makes none by itself.
    pub missing: bool,
    /// `RecordRejected` or `RecordTooLarge`.
    pub code: Code,
    /// What the server said.
    pub message: String,
}

/// How far a refusal reaches, for a request that has been cut down to one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Single rows; others of the same column may be taken.
    Row,
    /// The whole column: its type or its name does not fit.
    Column,
}

/// `SUCCESS_STATUS`.
const SUCCESS: i32 = 200;
/// `REDIRECTION_RECOMMEND`: done, and another node would have been nearer.
const REDIRECTION: i32 = 400;
/// `MULTIPLE_ERROR`: the parts say what became of them.
const MULTIPLE: i32 = 302;

/// Judges an answer: the gravest of its parts counts.
pub fn judge(status: &Status) -> Verdict {
    match status.code {
        SUCCESS | REDIRECTION => Verdict::Accepted,
        MULTIPLE if !status.parts.is_empty() => status
            .parts
            .iter()
            .map(judge)
            .max_by_key(gravity)
            // A whole whose parts are all well is not well: the gravest is what it says itself.
            .filter(|verdict| *verdict != Verdict::Accepted)
            .unwrap_or_else(|| judge_code(status)),
        _ => judge_code(status),
    }
}

fn gravity(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Accepted => 0,
        Verdict::Refused(Refused { reach: Reach::Row, .. }) => 1,
        Verdict::Refused(Refused { reach: Reach::Column, .. }) => 2,
        Verdict::Failed { .. } => 3,
    }
}

fn judge_code(status: &Status) -> Verdict {
    let message = said(status);
    let failed = |class, code| Verdict::Failed { class, code, message: message.clone() };
    let refused = |reach, code| {
        let message = message.clone();
        // DATABASE_NOT_EXIST, METADATA_ERROR (of which a missing series is one), PATH_NOT_EXIST,
        // TABLE_NOT_EXISTS, COLUMN_NOT_EXISTS
        let missing = matches!(status.code, 500 | 507 | 508 | 550 | 616);
        Verdict::Refused(Refused { reach, missing, code, message })
    };
    match status.code {
        // Credentials and rights: 800 INIT_AUTH_ERROR to 822 USER_LOGIN_LOCKED.
        800..=899 => failed(FaultClass::Auth, Code::SinkAuth),
        // SYSTEM_READ_ONLY: by a person, or because the disk is nearly full.
        600 => failed(FaultClass::Overload, Code::SinkReadOnly),
        // DISK_SPACE_INSUFFICIENT
        611 => failed(FaultClass::Overload, Code::SinkDiskFull),
        // SCHEMA_QUOTA_EXCEEDED, and 1700 SPACE_QUOTA_EXCEEDED to 1708.
        526 | 1700..=1799 => failed(FaultClass::Overload, Code::SinkQuota),
        // ILLEGAL_PARAMETER; what the schema does not allow: 500 to 560 but 526 (above), 521 to
        // 523 (files of the server's schema) and 535, 536 (leases); 614 to 617: type, category,
        // existence and name of a column; 609 ALIGNED_TIMESERIES_ERROR; statements that are none.
        303
        | 500..=520
        | 522
        | 524
        | 525
        | 527..=534
        | 550..=599
        | 609
        | 614..=617
        | 700
        | 701
        | 741 => refused(Reach::Column, Code::RecordRejected),
        // OUT_OF_TTL; numbers and days out of their range.
        607 | 750..=752 => refused(Reach::Row, Code::RecordRejected),
        // THRIFT_FRAME_OVERSIZE, WAL_ENTRY_TOO_LARGE
        308 | 620 => refused(Reach::Row, Code::RecordTooLarge),
        // STORAGE_ENGINE_NOT_READY, WRITE_PROCESS_REJECT, no memory, late inside, too many queries,
        // throttled, no leader yet,
        // too few nodes that may be written to.
        602 | 606 | 709 | 712 | 713 | 717 | 719 | 720 | 901 | 904..=907 | 1003 | 1014 => {
            failed(FaultClass::Overload, Code::SinkBusy)
        }
        // Everything else is the server's own trouble. Whether a record causes it is for the store
        // to find out, which is what class Peer asks for.
        _ => failed(FaultClass::Peer, Code::SinkInternal),
    }
}

/// What the server says, with its number.
pub fn said(status: &Status) -> String {
    let of_parts = || {
        let other = |part: &&Status| !matches!(part.code, SUCCESS | REDIRECTION);
        status.parts.iter().find(other).map(said)
    };
    match status.message.is_empty() {
        true => of_parts().unwrap_or_else(|| format!("status {}", status.code)),
        false => format!("status {}: {}", status.code, status.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: i32) -> Status {
        Status { code, message: "why".into(), ..Status::default() }
    }

    #[test]
    fn a_redirection_is_a_success() {
        for code in [200, 400] {
            assert_eq!(judge(&status(code)), Verdict::Accepted);
        }
    }

    #[test]
    fn the_gravest_part_decides() {
        let parts = |codes: &[i32]| Status {
            parts: codes.iter().copied().map(status).collect(),
            ..status(MULTIPLE)
        };
        assert!(matches!(judge(&parts(&[200, 507, 400])), Verdict::Refused(_)));
        assert!(matches!(
            judge(&parts(&[507, 600, 607])),
            Verdict::Failed { code: Code::SinkReadOnly, .. }
        ));
        let Verdict::Refused(refused) = judge(&parts(&[607, 200])) else { panic!() };
        assert_eq!((refused.reach, &*refused.message), (Reach::Row, "status 607: why"));
        // It says that something failed, and not what.
        assert!(matches!(judge(&parts(&[200])), Verdict::Failed { .. }));
    }

    #[test]
    fn faults_of_the_server_are_told_apart() {
        for (number, class, code) in [
            (801, FaultClass::Auth, Code::SinkAuth),
            (803, FaultClass::Auth, Code::SinkAuth),
            (600, FaultClass::Overload, Code::SinkReadOnly),
            (611, FaultClass::Overload, Code::SinkDiskFull),
            (526, FaultClass::Overload, Code::SinkQuota),
            (1700, FaultClass::Overload, Code::SinkQuota),
            (606, FaultClass::Overload, Code::SinkBusy),
            (301, FaultClass::Peer, Code::SinkInternal),
            (99_999, FaultClass::Peer, Code::SinkInternal),
        ] {
            let message = format!("status {number}: why");
            assert_eq!(judge(&status(number)), Verdict::Failed { class, code, message });
        }
    }
}
