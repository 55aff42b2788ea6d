//! `zhylonctl daemon logs`: prints, follows, and comes back after a cut with its cursor.

use std::time::Duration;

use futures_util::StreamExt as _;
use tonic::Code;
use zhylon_proto::daemons::v1::tail_log_request::Start;
use zhylon_proto::daemons::v1::tail_log_response::Event;
use zhylon_proto::daemons::v1::{LogGapReason, TailLogRequest};

use crate::client::Client;
use crate::exit::Failure;
use crate::printer;

/// Wait between two tries to come back; the server's own admission does the rest.
const RETRY: Duration = Duration::from_secs(1);

/// Prints a daemon's log from `request.start` on.
pub(crate) async fn tail(client: &Client, mut request: TailLogRequest) -> Result<(), Failure> {
    let mut cut = false;
    loop {
        match stream(client, &mut request).await {
            Ok(()) => return Ok(()),
            Err(Ended::Here(failure)) => return Err(failure),
            // A first connection that fails is told at once; one that stood is taken up again.
            Err(Ended::Cut(status)) => {
                let came_from = matches!(request.start, Some(Start::Cursor(_)));
                if !request.follow || !came_from {
                    return Err(status.into());
                }
                if !cut {
                    printer::note(&format!(
                        "note: the stream was cut ({}); coming back",
                        status.message()
                    ));
                    cut = true;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

enum Ended {
    Here(Failure),
    Cut(tonic::Status),
}

async fn stream(client: &Client, request: &mut TailLogRequest) -> Result<(), Ended> {
    let sort = |status: tonic::Status| match status.code() {
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal => Ended::Cut(status),
        _ => Ended::Here(status.into()),
    };
    let mut events = client
        .logs()
        .tail_log(request.clone())
        .await
        .map_err(sort)?
        .into_inner();
    while let Some(event) = events.next().await {
        let cursor = match event.map_err(sort)?.event {
            Some(Event::Chunk(chunk)) => {
                printer::log_bytes(&chunk.data).map_err(Ended::Here)?;
                chunk.cursor
            }
            Some(Event::Gap(gap)) => {
                printer::note(&format!(
                    "note: {} bytes are missing here: {}",
                    gap.bytes,
                    why(gap.reason())
                ));
                gap.cursor
            }
            Some(Event::KeepAlive(alive)) => alive.cursor,
            None => continue,
        };
        if cursor.is_empty() {
            // Nothing is known yet: ask as before.
            continue;
        }
        request.start = Some(Start::Cursor(cursor));
    }
    if request.follow {
        return Err(Ended::Cut(tonic::Status::unavailable(
            "the server ended it",
        )));
    }
    Ok(())
}

fn why(reason: LogGapReason) -> &'static str {
    match reason {
        LogGapReason::User => "the log file was shortened, removed or replaced on the host",
        LogGapReason::Dropped => {
            "the log file could not be written and the daemon's buffer was full"
        }
        LogGapReason::PowerLoss => "the host lost power",
        LogGapReason::Cleared => "the log was cleared",
        LogGapReason::Rotated => "newer lines took their place",
        LogGapReason::Unspecified => "no reason was given",
    }
}
