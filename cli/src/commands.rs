//! One file per noun; here only the way to it.

mod daemon;
mod logs;
mod server;
mod team;
mod wait;

use crate::args::{Args, Noun, Output};
use crate::client::Client;
use crate::exit::Failure;
use crate::{printer, render};

/// Runs what was typed.
pub(crate) async fn run(mut args: Args) -> Result<(), Failure> {
    args.connection.api_token = std::env::var("ZHYLON_API_TOKEN").ok();
    let client = Client::connect(&args.connection).await?;
    match args.noun {
        Noun::Daemon(verb) => daemon::run(&client, verb, args.output).await,
        Noun::Server(verb) => server::run(&client, verb, args.output).await,
        Noun::Team(verb) => team::run(&client, verb, args.output).await,
    }
}

/// Prints one message, or all of a list, as asked.
fn print<M: serde::Serialize>(
    output: Output,
    message: &M,
    table: impl FnOnce(&M) -> String,
    ids: impl FnOnce(&M) -> Vec<String>,
) -> Result<(), Failure> {
    match output {
        Output::Json => printer::data(&render::json::pretty(message)?),
        Output::Table => printer::data(&table(message)),
        Output::Name => {
            let ids = ids(message);
            if ids.is_empty() {
                Ok(())
            } else {
                printer::data(&ids.join("\n"))
            }
        }
    }
}

/// Entries asked for at once: the most the API gives.
const PAGE_SIZE: i32 = 1000;

/// All entries of a list. `fetch` gets a page's token, and gives its entries and the token of the next page.
async fn all_pages<T>(
    mut fetch: impl AsyncFnMut(String) -> Result<(Vec<T>, String), Failure>,
) -> Result<Vec<T>, Failure> {
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let (entries, next) = fetch(token).await?;
        all.extend(entries);
        if next.is_empty() {
            return Ok(all);
        }
        token = next;
    }
}

/// What a server that forgets its answer would have us print.
fn missing(what: &str) -> Failure {
    Failure::new(1, format!("the API's answer holds no {what}"))
}
