//! What an agent says of a log, as messages and errors of the API.

use std::time::{Duration, UNIX_EPOCH};

use zhylon_proto::daemons::v1::log_piece::Piece;
use zhylon_proto::daemons::v1::{LogChunk, LogGap, LogPiece};
use zhylon_shared::cursor;
use zhylon_shared::id::DaemonId;
use zhylon_shared::wire::timestamp;

use crate::bus::log_broker::LogEvent;
use crate::domain::Error;

/// A chunk or a gap; nothing else is a piece of a log.
pub(super) fn piece(daemon: &DaemonId, event: LogEvent) -> Option<LogPiece> {
    let piece = match event {
        LogEvent::Chunk {
            next_position,
            instance,
            time,
            data,
            partial,
        } => {
            let time = UNIX_EPOCH + Duration::from_secs(time.max(0).cast_unsigned());
            Piece::Chunk(LogChunk {
                cursor: cursor::encode(daemon, next_position),
                instance: instance.cast_signed(),
                time: Some(timestamp(time)),
                data,
                partial,
            })
        }
        LogEvent::Gap {
            next_position,
            bytes,
            reason,
        } => Piece::Gap(LogGap {
            cursor: cursor::encode(daemon, next_position),
            bytes: bytes.cast_signed(),
            reason,
        }),
        LogEvent::CaughtUp { .. } | LogEvent::End { .. } | LogEvent::Lost { .. } => return None,
    };
    Some(LogPiece { piece: Some(piece) })
}

/// Why an agent does not serve a log.
pub(super) fn refusal(error: &str, message: String) -> Error {
    match error {
        "DELETED" => Error::NotFound("daemon"),
        "TOO_MANY_SUBSCRIPTIONS" => Error::TooManyViewers("its host serves no more viewers"),
        _ => Error::LogUnreadable(message),
    }
}
