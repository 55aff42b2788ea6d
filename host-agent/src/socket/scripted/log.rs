//! The log of a scripted daemon.

use std::io;

use bytes::Bytes;
use tokio::sync::watch;
use zhylon_shared::id::DaemonId;

use super::Fake;
use crate::logs::LogItem;
use crate::socket::door::Log;

#[derive(Debug)]
pub(crate) struct ScriptedLog {
    fake: Fake,
    daemon: DaemonId,
    changes: watch::Receiver<u64>,
}

impl ScriptedLog {
    pub(crate) fn new(fake: Fake, daemon: DaemonId, changes: watch::Receiver<u64>) -> Self {
        Self {
            fake,
            daemon,
            changes,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let world = self.fake.world();
        world.daemons[&self.daemon].log.clone().unwrap()
    }
}

impl Log for ScriptedLog {
    fn end(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn last_bytes(&self, bytes: usize) -> io::Result<Vec<u8>> {
        let log = self.bytes();
        let lost = self.fake.world().daemons[&self.daemon].lost as usize;
        Ok(log[log.len().saturating_sub(bytes).max(lost)..].to_vec())
    }

    fn next(&self, position: u64, max_bytes: usize) -> io::Result<Option<LogItem>> {
        let lost = self.fake.world().daemons[&self.daemon].lost;
        if position < lost {
            return Ok(Some(LogItem::Missing {
                next_position: lost,
                bytes: lost - position,
                reason: zhylon_proto::daemons::v1::LogGapReason::Unspecified,
            }));
        }
        let log = self.bytes();
        let rest = log.get(position as usize..).unwrap_or_default();
        let data = &rest[..rest.len().min(max_bytes)];
        self.fake.world().bytes_read += data.len();
        Ok((!data.is_empty()).then(|| LogItem::Data {
            next_position: position + data.len() as u64,
            instance: 0,
            time: 0,
            data: Bytes::copy_from_slice(data),
            partial: false,
        }))
    }

    async fn wait_after(&mut self, position: u64) -> bool {
        self.changes
            .wait_for(|_| {
                self.fake.world().daemons[&self.daemon]
                    .log
                    .as_ref()
                    .unwrap()
                    .len() as u64
                    > position
            })
            .await
            .is_ok()
    }
}
