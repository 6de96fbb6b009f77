//! Kubernetes quantities: bytes as a whole number with a binary or decimal suffix, processor
//! time as cores or thousandths of a core.

/// Bytes of a quantity, e.g. `16Mi`; `None` when it is none. Whatever the schema lets through
/// (15 digits) fits, so that it can be compared.
pub(super) fn bytes(text: &str) -> Option<u128> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(digits)?;
    let factor = match suffix {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1_u128 << 40,
        _ => return None,
    };
    number.parse::<u128>().ok()?.checked_mul(factor)
}

/// Thousandths of a core, e.g. 250 for `250m` and `0.25`; `None` when it is no such quantity.
pub(super) fn thousandths(text: &str) -> Option<u128> {
    if let Some(number) = text.strip_suffix('m') {
        return number.parse().ok();
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 3 {
        return None;
    }
    let fraction = format!("{fraction:0<3}").parse::<u128>().ok()?;
    whole.parse::<u128>().ok()?.checked_mul(1000)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::{bytes, thousandths};

    #[test]
    fn processor_time_is_in_cores_or_thousandths() {
        assert_eq!(thousandths("250m"), Some(250));
        assert_eq!(thousandths("0.25"), Some(250));
        assert_eq!(thousandths("2"), Some(2000));
        assert_eq!(thousandths("1.5"), Some(1500));
        for wrong in ["", "m", ".5", "1.", "1.0000", "-1", "1k", "é"] {
            assert_eq!(thousandths(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn suffixes_are_those_of_kubernetes() {
        assert_eq!(bytes("16Mi"), Some(16 << 20));
        assert_eq!(bytes("500M"), Some(500_000_000));
        assert_eq!(bytes("1024"), Some(1024));
        assert_eq!(bytes("999999999999999Ti"), Some(999_999_999_999_999 << 40));
        for wrong in ["", "Mi", "1MB", "1.5Gi", "-1", "1m", "é"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }
}
