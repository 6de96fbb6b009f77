//! Changes the header of Modbus TCP frames (Messaging on TCP/IP Implementation Guide V1.0b,
//! section 3.1.3: transaction, protocol, length, unit; then the function).

/// Which header fields are changed, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Flips these bits of the transaction identifier; 0 leaves it.
    pub transaction_xor: u16,
    /// Another unit identifier.
    pub unit: Option<u8>,
    /// Another function code.
    pub function: Option<u8>,
}

/// Bytes before what the length field counts.
const LENGTH_ENDS: usize = 6;

impl Rewrite {
    /// Takes the whole frames off `bytes`, changed; what is left is the start of the next one.
    pub(super) fn take(&self, bytes: &mut Vec<u8>) -> Vec<u8> {
        let mut whole = Vec::new();
        while let Some(length) = bytes.get(4..LENGTH_ENDS) {
            let counted = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            let end = LENGTH_ENDS + counted;
            if bytes.len() < end {
                break;
            }
            let mut frame: Vec<u8> = bytes.drain(..end).collect();
            for (byte, flip) in frame.iter_mut().zip(self.transaction_xor.to_be_bytes()) {
                *byte ^= flip;
            }
            for (at, value) in [(LENGTH_ENDS, self.unit), (LENGTH_ENDS + 1, self.function)] {
                if let (Some(byte), Some(value)) = (frame.get_mut(at), value) {
                    *byte = value;
                }
            }
            whole.append(&mut frame);
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::Rewrite;

    #[test]
    fn changes_whole_frames_and_keeps_the_rest() {
        let rewrite = Rewrite { transaction_xor: 0x00ff, unit: Some(9), function: Some(4) };
        let mut bytes = vec![0, 1, 0, 0, 0, 3, 1, 3, 42, 0, 2, 0, 0, 0, 3, 1];
        assert_eq!(rewrite.take(&mut bytes), [0, 0xfe, 0, 0, 0, 3, 9, 4, 42]);
        assert_eq!(bytes, [0, 2, 0, 0, 0, 3, 1]);
        bytes.extend([3, 7]);
        assert_eq!(rewrite.take(&mut bytes), [0, 0xfd, 0, 0, 0, 3, 9, 4, 7]);
        assert!(bytes.is_empty());
    }
}
