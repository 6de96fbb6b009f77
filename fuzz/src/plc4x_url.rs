//! Connection strings: any text gives problems (at least one, each on one line) or settings
//! within the bounds that the driver relies on.

use lineside_crds::plc4x;

/// One input: a text.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match plc4x::parse(text) {
        Ok(connection) => {
            let s = connection.settings;
            assert!(!s.host.is_empty() && s.port != 0, "{text}: {}", s.endpoint());
            assert!((1..=125).contains(&s.max_registers), "{text}: {}", s.max_registers);
            assert!((1..=2000).contains(&s.max_bits), "{text}: {}", s.max_bits);
            assert!(connection.request_timeout.is_none_or(|time| !time.is_zero()), "{text}");
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "{text}: refused without a reason");
            for problem in problems {
                assert!(!problem.message.contains('\n'), "{text}: {problem}");
            }
        }
    }
}
