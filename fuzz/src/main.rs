//! The fuzz targets in one program, chosen by `LINESIDE_FUZZ_TARGET`.
//!
//! `cargo xtask test fuzz` builds and runs them all; `cargo xtask soak` runs them for long;
//! `cargo xtask reproduce TARGET FILE` runs one input. Each target has a folder of committed
//! inputs in `corpus/`, good and broken ones, made by hand.

#![no_main]

mod iotdb_wire;
mod modbus_address;
mod modbus_wire;
mod mqtt_wire;
mod plc4x_url;
mod yaml_load;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

/// Takes one input; panics when a promise is broken.
type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 6] = [
    ("iotdb_wire", iotdb_wire::run),
    ("modbus_address", modbus_address::run),
    ("modbus_wire", modbus_wire::run),
    ("mqtt_wire", mqtt_wire::run),
    ("plc4x_url", plc4x_url::run),
    ("yaml_load", yaml_load::run),
];

static CHOSEN: LazyLock<Target> = LazyLock::new(|| {
    let wanted = std::env::var("LINESIDE_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(name, _)| *name == wanted);
    match found {
        Some((_, target)) => *target,
        None => {
            let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
            eprintln!("LINESIDE_FUZZ_TARGET is {wanted:?}, not one of: {}", names.join(" "));
            std::process::exit(2);
        }
    }
});

fuzz_target!(|data: &[u8]| CHOSEN(data));
