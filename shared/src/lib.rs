//! Floor 1: words both sides must mean alike. Pure values: no clock, no file, no socket (the features `tls` and
//! `telemetry` are set-up code for the programs and say so).
//!
//! | module | owns |
//! |---|---|
//! | [`id`] | opaque ids `h:…` |
//! | [`name`] | the two spellings of a daemon's name and of its instances |
//! | [`spec`] | a valid daemon spec; the only way to get one is to check one |
//! | [`state`] | states of instances and daemons, Supervisor's numbers |
//! | [`signal`] | stop signals |
//! | [`shlex`] | command lines split as Python does |
//! | [`token`] | bearer and enrolment tokens |
//! | [`cursor`] | places in a daemon's log |
//! | [`redact`] | values that never show themselves |

pub mod cursor;
pub mod id;
pub mod name;
pub mod redact;
pub mod shlex;
pub mod signal;
pub mod spec;
pub mod state;
pub mod token;

#[cfg(feature = "telemetry")]
pub mod telemetry;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "wire")]
pub mod wire;
