//! Kubernetes quantities of bytes: a whole number with a binary or decimal suffix.

/// Bytes of a quantity, e.g. `16Mi`; `None` when it is none or does not fit 64 bits.
pub(super) fn bytes(text: &str) -> Option<u64> {
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
        "Ti" => 1_u64 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn suffixes_are_those_of_kubernetes() {
        assert_eq!(bytes("16Mi"), Some(16 << 20));
        assert_eq!(bytes("500M"), Some(500_000_000));
        assert_eq!(bytes("1024"), Some(1024));
        assert_eq!(bytes("999999999999999Ti"), None);
        for wrong in ["", "Mi", "1MB", "1.5Gi", "-1", "1m", "é"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }
}
