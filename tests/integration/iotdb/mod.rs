//! The IoTDB sink against real servers, with the official Python client as the oracle.

mod agent;
mod bytes;
mod cells;
mod contract;
mod faults;
mod query;
mod read_back;
mod rounds;
mod rows;
mod schema;
mod sink;
mod tls;
