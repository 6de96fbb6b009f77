//! Whole frames of the serial line, RTU and ASCII. Pure, bounded, no clock.
//!
//! Source: MODBUS over Serial Line Specification and Implementation Guide V1.02, 2.5 and 6.2.
//!
//! ```text
//! RTU    unit  function  data  CRC-16, low byte first                4..=256 bytes
//! ASCII  ':'   the same in two hexadecimal digits a byte, LRC  CR LF  9..=513 characters
//! ```

pub mod timing;

/// Longest PDU in bytes (V1.1b3, 4.1).
const MAX_PDU: usize = 253;

/// How frames look on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Bytes with a CRC (2.5.1).
    Rtu,
    /// Hexadecimal text with an LRC (2.5.2).
    Ascii,
}

/// The bytes are not exactly one whole frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Shorter or longer than any frame, in bytes or characters.
    #[error("{0} bytes are no frame")]
    Length(usize),
    /// Colon, CR LF or an upper case hexadecimal digit is missing where one has to be.
    #[error("not the text of a frame")]
    Text,
    /// CRC or LRC does not fit.
    #[error("the check sum does not fit")]
    CheckSum,
}

/// The frame of a PDU of 1 to 253 bytes.
///
/// # Errors
/// [`Damage::Length`] for a PDU of another length.
pub fn encode(framing: Framing, unit: u8, pdu: &[u8]) -> Result<Vec<u8>, Damage> {
    if !(1..=MAX_PDU).contains(&pdu.len()) {
        return Err(Damage::Length(pdu.len()));
    }
    let mut body = vec![unit];
    body.extend_from_slice(pdu);
    match framing {
        Framing::Rtu => {
            let sum = crc(&body).to_le_bytes();
            body.extend(sum);
            Ok(body)
        }
        Framing::Ascii => {
            body.push(sum(&body).wrapping_neg());
            let mut text = vec![b':'];
            text.extend(body.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0x0F)]));
            text.extend(*b"\r\n");
            Ok(text)
        }
    }
}

/// Unit and PDU of exactly one whole frame.
///
/// # Errors
/// What is wrong with it.
pub fn parse(framing: Framing, bytes: &[u8]) -> Result<(u8, Vec<u8>), Damage> {
    let body = match framing {
        Framing::Rtu => match bytes {
            [body @ .., low, high] if (4..=MAX_PDU + 3).contains(&bytes.len()) => {
                if crc(body) != u16::from_le_bytes([*low, *high]) {
                    return Err(Damage::CheckSum);
                }
                body.to_vec()
            }
            _ => return Err(Damage::Length(bytes.len())),
        },
        Framing::Ascii => text(bytes)?,
    };
    match body.as_slice() {
        [unit, pdu @ ..] if !pdu.is_empty() => Ok((*unit, pdu.to_vec())),
        _ => Err(Damage::Length(bytes.len())),
    }
}

/// Unit and PDU out of the text of a frame.
fn text(bytes: &[u8]) -> Result<Vec<u8>, Damage> {
    if !(9..=2 * MAX_PDU + 7).contains(&bytes.len()) {
        return Err(Damage::Length(bytes.len()));
    }
    let [b':', digits @ .., b'\r', b'\n'] = bytes else {
        return Err(Damage::Text);
    };
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(value(*high)? << 4 | value(*low)?),
        _ => None,
    };
    let mut body: Vec<u8> =
        digits.chunks(2).map(pair).collect::<Option<_>>().ok_or(Damage::Text)?;
    if sum(&body) != 0 {
        return Err(Damage::CheckSum);
    }
    body.pop();
    Ok(body)
}

/// CRC-16 (6.2.2); it is sent low byte first.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8).fold(
            crc ^ u16::from(*byte),
            |crc, _| {
                if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 }
            },
        )
    })
}

/// The sum whose two's complement is the LRC (6.2.1).
fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'A' - 10 + nibble }
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
