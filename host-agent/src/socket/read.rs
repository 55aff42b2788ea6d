//! Reading a log by Supervisor's offsets. Offsets are positions in the daemon's own byte stream: they only rise, over
//! rotations too.

use std::io;

use dxr::Value;
use zhylon_shared::name;

use super::codec::text;
use super::command::slots;
use super::door::{Door, Log, OwnLogReader};
use super::fault::{Code, Fault};
use super::reading::off_thread;
use super::results::result;
use super::session::Session;
use crate::logs::LogItem;

/// Most log bytes in one answer; who asks for more gets that much and can go on from there.
const ANSWER_MAX: u64 = 1024 * 1024;

/// Bytes asked of the log at once.
const STEP: usize = 64 * 1024;

impl<D: Door> Session<D> {
    /// `readProcessStdoutLog`: see [`slice`].
    pub(crate) async fn read_log(
        &self,
        name: &str,
        offset: i64,
        length: i64,
    ) -> Result<Value, Fault> {
        slice(self.open_log(name).await?, name, offset, length).await
    }

    /// `readLog`: the same of the agent's own newest lines.
    pub(crate) async fn read_own_log(&self, offset: i64, length: i64) -> Result<Value, Fault> {
        slice(self.open_own_log()?, "", offset, length).await
    }

    /// `clearLog`.
    pub(crate) fn clear_own_log(&self) -> Result<Value, Fault> {
        self.open_own_log()?;
        self.door.own_log().clear();
        Ok(Value::Boolean(true))
    }

    /// `clearProcessLogs`. All instances of a daemon write one log, so it does not matter which of them is named.
    pub(crate) async fn clear_log(&self, name: &str) -> Result<Value, Fault> {
        let named = self.resolve(name)?;
        match self.door.clear_log(named.entry.view.id).await {
            Ok(()) => Ok(Value::Boolean(true)),
            Err(error) => {
                let daemon = named.entry.view.id;
                tracing::warn!(%daemon, %error, "a log could not be cleared");
                Err(unreadable(name))
            }
        }
    }

    /// `clearAllProcessLogs`: one result for each instance.
    pub(crate) async fn clear_all_logs(&self) -> Value {
        let mut results = Vec::new();
        for named in self.all() {
            let group = name::group(&named.entry.view.id);
            let code = match self.clear_log(&group).await {
                Ok(_) => Code::Success,
                Err(fault) => fault.code,
            };
            let one = std::slice::from_ref(&named);
            results.extend(slots(one).map(|(slot, _)| result(one, slot, code)));
        }
        Value::Array(results)
    }

    /// `zhylon.readLog`: the last bytes as they are, which a string of XML can not carry.
    pub(crate) async fn last_bytes(&self, name: &str, bytes: i64) -> Result<Value, Fault> {
        let bytes = u64::try_from(bytes).map_err(|_| Fault::plain(Code::BadArguments))?;
        let log = self.open_log(name).await?;
        let bytes = last(log, bytes).await.map_err(|_| unreadable(name))?;
        Ok(Value::Base64(bytes))
    }

    /// `tailProcessStdoutLog`: `[bytes, new offset, overflow]`, with Supervisor's own arithmetic (`options.tailFile`).
    pub(crate) async fn tail_log(
        &self,
        name: &str,
        offset: i64,
        length: i64,
    ) -> Result<Value, Fault> {
        let log = match self.open_log(name).await {
            Err(fault) if fault.code == Code::NoFile => return Ok(no_tail()),
            other => other?,
        };
        let end = i64::try_from(log.end()).unwrap_or(i64::MAX);
        let most = i64::try_from(ANSWER_MAX).unwrap_or(i64::MAX);
        let (mut offset, mut length) = (offset, length.min(most));
        let overflow = end > offset.saturating_add(length);
        if overflow {
            offset = end - 1;
        }
        if offset.saturating_add(length) > end {
            if offset > end - 1 {
                length = 0;
            }
            offset = end.saturating_sub(length);
        }
        let from = u64::try_from(offset).unwrap_or(0);
        let length = u64::try_from(length).unwrap_or(0);
        let bytes = range(log, from, length).await;
        let bytes = bytes.map_err(|_| unreadable(name))?;
        Ok(Value::Array(vec![
            Value::String(text(&bytes)),
            Value::Integer(i32::try_from(end).unwrap_or(i32::MAX)),
            Value::Boolean(overflow),
        ]))
    }

    /// The agent's own log. To who does not have all rights it is as if Supervisor had no log file.
    pub(crate) fn open_own_log(&self) -> Result<OwnLogReader, Fault> {
        if !self.has_all_rights() {
            return Err(Fault::plain(Code::NoFile));
        }
        Ok(OwnLogReader::new(self.door.own_log()))
    }

    /// The log of the daemon a name belongs to: all instances write one.
    pub(crate) async fn open_log(&self, name: &str) -> Result<D::Log, Fault> {
        let named = self.resolve(name)?;
        let log = self.door.log(named.entry.view.id).await;
        log.map_err(|_| unreadable(name))?
            .ok_or_else(|| Fault::new(Code::NoFile, name))
    }
}

/// What `tailProcess…Log` answers when there is no file.
pub(crate) fn no_tail() -> Value {
    Value::Array(vec![
        Value::String(String::new()),
        Value::Integer(0),
        Value::Boolean(false),
    ])
}

/// Supervisor's FAILED of a log that is there and can not be read says no more.
fn unreadable(name: &str) -> Fault {
    Fault::new(Code::Failed, name)
}

/// `(-n, 0)` the last n bytes, `(o, 0)` from o on, `(o, n)` n bytes from o on.
async fn slice(log: impl Log, name: &str, offset: i64, length: i64) -> Result<Value, Fault> {
    let bytes = match (u64::try_from(offset), u64::try_from(length)) {
        (Err(_), Ok(0)) => last(log, offset.unsigned_abs()).await,
        (Ok(from), Ok(0)) => range(log, from, ANSWER_MAX).await,
        (Ok(from), Ok(length)) => range(log, from, length.min(ANSWER_MAX)).await,
        _ => return Err(Fault::plain(Code::BadArguments)),
    };
    Ok(Value::String(text(&bytes.map_err(|_| unreadable(name))?)))
}

async fn last(log: impl Log, bytes: u64) -> io::Result<Vec<u8>> {
    let bytes = usize::try_from(bytes.min(ANSWER_MAX)).unwrap_or(0);
    let read = off_thread(log, move |log| log.last_bytes(bytes)).await;
    read.map(|(_, bytes)| bytes)
}

/// At most `length` bytes from `position` on; what is gone is left out.
async fn range(log: impl Log, position: u64, length: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(length).unwrap_or(0);
    let read = off_thread(log, move |log| whole(log, position, length)).await;
    read.map(|(_, bytes)| bytes)
}

fn whole(log: &impl Log, mut position: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        match log.next(position, STEP.min(length - bytes.len()))? {
            Some(LogItem::Data {
                next_position,
                data,
                ..
            }) => {
                bytes.extend_from_slice(&data);
                position = next_position;
            }
            Some(LogItem::Missing { next_position, .. }) => position = next_position,
            None => break,
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}
