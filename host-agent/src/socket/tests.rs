//! The server over a real socket, in front of scripted daemons.

pub(crate) mod clients;
pub(crate) mod fake;
mod fake_log;
pub(crate) mod served;
pub(crate) mod supervisord;

mod commands;
mod debian;
mod golden;
mod http;
mod logs;
mod methods;
mod multicall;
mod python;
