//! zhylonctl: the command line client of the public API.
//!
//! Data goes to stdout, everything else to stderr. Depends on the wire and the shared words, never on the api-server.

mod args;
mod client;
mod commands;
mod exit;
mod limits;
mod printer;
mod render;
mod since;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // clap prints help to stdout with 0 and mistakes to stderr with 2, which are our codes too.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return printer::fail(&exit::Failure::from(error)),
    };
    match runtime.block_on(commands::run(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_reader_gone() => ExitCode::SUCCESS,
        Err(failure) => printer::fail(&failure),
    }
}
