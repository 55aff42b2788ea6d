//! The server over a real socket, in front of scripted daemons.

pub(crate) mod clients;
pub(crate) mod served;
pub(crate) mod supervisord;

pub(crate) use super::scripted as fake;

mod commands;
mod crowd;
mod debian;
mod fuzzed;
mod golden;
mod http;
mod limits;
mod logs;
mod methods;
mod multicall;
mod own_log;
mod python;
mod same_calls;
mod strangers;
mod sudo;
mod wire;
