//! What the simulated controllers hold in their tables: the addresses of `examples/demo/`.

use lineside_crds::modbus::Area;
use lineside_driver_modbus::wire::Exception;

use super::line::State;

/// V1.1b3, section 7: the address, or the end of the range, is not there.
const ILLEGAL_DATA_ADDRESS: Exception = Exception(2);
/// V1.1b3, section 7: the device failed at it.
const SERVER_DEVICE_FAILURE: Exception = Exception(4);
/// Registers of the recipe's name: sixteen characters.
const RECIPE_REGISTERS: usize = 8;

/// The four tables of one unit.
#[derive(Clone, Debug, Default)]
pub struct Image {
    coils: Vec<bool>,
    inputs: Vec<bool>,
    holding: Vec<Register>,
    input: Vec<Register>,
}

/// One register; `None` = its sensor is broken, so that it cannot be read.
type Register = Option<u16>;

impl Image {
    /// The data bytes of a read, as they go into the answer (V1.1b3, 6.1 to 6.4).
    ///
    /// # Errors
    /// The exception that the device answers with.
    pub fn read(&self, area: Area, start: u16, quantity: u16) -> Result<Vec<u8>, Exception> {
        match area {
            Area::Coil => bits(range(&self.coils, start, quantity)?),
            Area::DiscreteInput => bits(range(&self.inputs, start, quantity)?),
            Area::HoldingRegister => registers(range(&self.holding, start, quantity)?),
            Area::InputRegister => registers(range(&self.input, start, quantity)?),
        }
    }
}

fn range<T>(table: &[T], start: u16, quantity: u16) -> Result<&[T], Exception> {
    let (start, quantity) = (usize::from(start), usize::from(quantity));
    table.get(start..start + quantity).ok_or(ILLEGAL_DATA_ADDRESS)
}

/// Eight bits a byte, the first one lowest.
fn bits(bits: &[bool]) -> Result<Vec<u8>, Exception> {
    let byte = |part: &[bool]| part.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
    Ok(bits.chunks(8).map(byte).collect())
}

/// High byte first.
fn registers(registers: &[Register]) -> Result<Vec<u8>, Exception> {
    let mut bytes = Vec::with_capacity(registers.len() * 2);
    for register in registers {
        bytes.extend(register.ok_or(SERVER_DEVICE_FAILURE)?.to_be_bytes());
    }
    Ok(bytes)
}

/// The furnace.
pub fn furnace(s: &State, sensor_broken: bool) -> Image {
    let mut exhaust = real(s.exhaust_temperature);
    if sensor_broken {
        exhaust = [None; 2];
    }
    Image {
        coils: vec![s.burner_main, s.burner_boost],
        inputs: vec![s.door_open],
        holding: [real(s.temperature), real(s.setpoint)].concat(),
        input: [exhaust, real(s.exhaust_oxygen)].concat(),
    }
}

/// The power meter.
pub fn power_meter(s: &State) -> Image {
    let mut input = [real(s.power), udint(s.energy)].concat();
    input.push(Some(s.voltage));
    Image { input, ..Image::default() }
}

/// The conveyor.
pub fn conveyor(s: &State) -> Image {
    let mut holding = vec![Some(s.speed)];
    holding.extend(udint(s.parts));
    let mut name = [0u8; RECIPE_REGISTERS * 2];
    for (to, from) in name.iter_mut().zip(s.recipe.bytes()) {
        *to = from;
    }
    let (pairs, _) = name.as_chunks();
    holding.extend(pairs.iter().map(|pair| Some(u16::from_be_bytes(*pair))));
    Image { coils: vec![s.speed > 0], holding, ..Image::default() }
}

fn real(value: f32) -> [Register; 2] {
    udint(value.to_bits())
}

fn udint(value: u32) -> [Register; 2] {
    let [a, b, c, d] = value.to_be_bytes();
    [Some(u16::from_be_bytes([a, b])), Some(u16::from_be_bytes([c, d]))]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::demo::line::Line;

    fn state() -> State {
        State {
            temperature: 21.5,
            parts: 0x0001_0203,
            recipe: "ABC",
            ..Line::new(1).at(Duration::ZERO)
        }
    }

    #[test]
    fn values_lie_high_word_and_high_byte_first() {
        let image = furnace(&state(), false);
        // IEEE 754: 21.5 is 41 AC 00 00.
        assert_eq!(image.read(Area::HoldingRegister, 0, 2).unwrap(), [0x41, 0xAC, 0, 0]);
        let image = conveyor(&state());
        assert_eq!(image.read(Area::HoldingRegister, 1, 2).unwrap(), [0, 1, 2, 3]);
        assert_eq!(image.read(Area::HoldingRegister, 3, 2).unwrap(), *b"ABC\0");
    }

    #[test]
    fn bits_are_packed_from_the_lowest() {
        let image = Image {
            coils: [true, false, true, true, false, false, false, false, true].into(),
            ..Image::default()
        };
        assert_eq!(image.read(Area::Coil, 0, 9).unwrap(), [0b0000_1101, 1]);
        assert_eq!(image.read(Area::Coil, 2, 2).unwrap(), [0b11]);
    }

    #[test]
    fn what_is_not_there_or_broken_is_refused_and_nothing_else() {
        let image = furnace(&state(), true);
        let read = |area, start, quantity| image.read(area, start, quantity).map(|b| b.len());
        assert_eq!(read(Area::InputRegister, 0, 4), Err(SERVER_DEVICE_FAILURE));
        assert_eq!(read(Area::InputRegister, 1, 1), Err(SERVER_DEVICE_FAILURE));
        assert_eq!(read(Area::InputRegister, 2, 2), Ok(4));
        assert_eq!(read(Area::InputRegister, 2, 3), Err(ILLEGAL_DATA_ADDRESS));
        assert_eq!(read(Area::HoldingRegister, u16::MAX, u16::MAX), Err(ILLEGAL_DATA_ADDRESS));
        assert_eq!(read(Area::Coil, 0, 2), Ok(1));
    }
}
