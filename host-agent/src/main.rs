//! host-agent: keeper, worker, enrolment and supervisorctl in one program.

mod app;
mod config;
mod journal;
mod link;
mod logs;
mod socket;
mod spawn;
mod supervisor;
mod supervisorctl;

fn main() {}
