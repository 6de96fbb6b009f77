//! Proof that nothing is lost silently: real processes, killed and starved at random, and a
//! judge that compares what devices gave out with what a consumer got.
//!
//! ```text
//!   device (ours) <-- agent, killed again and again --> proxy --> mosquitto --> mosquitto_sub
//!      |                |                                                          |
//!   served           lag: gaps and ledger                                      arrived
//!      '----------------+--------------> judge <-----------------------------------'
//! ```
//!
//! [`evidence`] is what was seen and [`judge`] what it means; both are pure. [`schedule`] draws
//! what is done when from a seed; [`line`] does it.

pub mod device;
pub mod dice;
pub mod evidence;
pub mod judge;
pub mod lag;
pub mod limit;
pub mod line;
pub mod lives;
pub mod schedule;
pub mod throttle;
pub mod volume;
