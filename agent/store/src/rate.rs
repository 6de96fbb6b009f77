//! A limited rate of samples: a bucket that holds one second's worth. Pure.

use lineside_core::UnixNanos;

const SECOND: i64 = 1_000_000_000;

/// Least samples per second of a backlog.
const LEAST: u64 = 1_000;

/// Samples that were taken, against those that the rate allows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    /// Negative after a record larger than what was there.
    left: i64,
    filled_at: Option<UnixNanos>,
}

impl Rate {
    /// Whether something may be taken at `now` with `per_second`; if not, when.
    pub(crate) fn check(&mut self, per_second: u64, now: UnixNanos) -> Result<(), UnixNanos> {
        let per_second = i64::try_from(per_second.max(LEAST)).unwrap_or(i64::MAX / SECOND);
        let passed = match self.filled_at {
            // A clock that was set back starts again.
            Some(at) if at <= now => (now - at).min(SECOND),
            _ => SECOND,
        };
        let more = (i128::from(per_second) * i128::from(passed) / i128::from(SECOND)) as i64;
        if more > 0 || self.filled_at.is_none() {
            self.left = self.left.saturating_add(more).min(per_second);
            self.filled_at = Some(now);
        }
        if self.left > 0 {
            return Ok(());
        }
        let missing = i128::from(1 - self.left) * i128::from(SECOND) / i128::from(per_second);
        Err(now.saturating_add(missing.min(i128::from(SECOND)) as i64 + 1))
    }

    pub(crate) fn take(&mut self, samples: u64) {
        self.left = self.left.saturating_sub_unsigned(samples);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_flows_at_its_rate_whatever_the_size_of_records() {
        for size in [1, 70, 2_500] {
            let (mut rate, mut now, mut taken) = (Rate::default(), 0, 0);
            while now < 10 * SECOND {
                match rate.check(2_000, now) {
                    Ok(()) => {
                        rate.take(size);
                        taken += size;
                    }
                    Err(at) => {
                        assert!(at > now);
                        now = at;
                    }
                }
            }
            assert!((20_000..=25_000).contains(&taken), "{taken} samples in records of {size}");
        }
    }
}
