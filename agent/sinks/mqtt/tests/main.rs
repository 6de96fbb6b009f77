//! The sink against a real Mosquitto; `mosquitto_sub` is the independent consumer.

mod access;
mod broker;
mod consumer;
mod delivery;
mod hostile;
mod limits;
mod pipeline;
mod proxy;
mod silence;
mod state;
mod tls;
