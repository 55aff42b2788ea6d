//! host-agent: keeper, worker, enrolment and supervisorctl in one program.

use std::process::ExitCode;

fn main() -> ExitCode {
    host_agent::main()
}
