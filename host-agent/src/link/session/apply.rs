//! Configurations: merged, made durable, handed to the engine, acknowledged; one after the other, in this order.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use zhylon_proto::agent::v1::{ConfigAck, ConfigUpdate, ConnectRequest, connect_request};

use super::End;
use crate::journal::DesiredLedger;
use crate::link::desired;
use crate::link::door::Host;

/// Owns the session's idea of the ledger.
pub(super) struct Applier<H> {
    pub(super) host: H,
    /// What is durable.
    pub(super) ledger: DesiredLedger,
    /// Its revision, for heartbeats.
    pub(super) applied: Arc<AtomicI64>,
    pub(super) outgoing: mpsc::Sender<ConnectRequest>,
    /// The session ended: finish what is begun, begin nothing.
    pub(super) stop: CancellationToken,
}

impl<H: Host> Applier<H> {
    /// Applies what comes until the session ends or an update can not be carried out.
    pub(super) async fn run(mut self, mut updates: mpsc::Receiver<ConfigUpdate>) -> End {
        loop {
            let update = tokio::select! {
                biased;
                () = self.stop.cancelled() => return End::Cancelled,
                update = updates.recv() => update,
            };
            let Some(update) = update else {
                return End::Cancelled;
            };
            let ack = match self.apply(update).await {
                Ok(ack) => ack,
                Err(end) => return end,
            };
            let request = ConnectRequest {
                frame: Some(connect_request::Frame::ConfigAck(ack)),
            };
            tokio::select! {
                () = self.stop.cancelled() => return End::Cancelled,
                sent = self.outgoing.send(request) => if sent.is_err() {
                    return super::closed().await;
                },
            }
        }
    }

    async fn apply(&mut self, update: ConfigUpdate) -> Result<ConfigAck, End> {
        let mut ack = ConfigAck {
            config_epoch: update.config_epoch.clone(),
            ..ConfigAck::default()
        };
        match desired::merge(&self.ledger, &update) {
            Ok(None) => {}
            Ok(Some(ledger)) => {
                // Nothing is acknowledged that a power cut could undo. The api-server sends it again next session.
                (self.host.store_desired(ledger.clone()).await)
                    .map_err(|error| End::Lost(error.to_string()))?;
                let set = ledger.for_engine();
                let (revision, daemons) = (ledger.revision, set.len());
                self.ledger = ledger;
                self.applied.store(revision, Ordering::Relaxed);
                (self.host.desire(set).await).map_err(|error| End::Lost(error.to_string()))?;
                tracing::info!(revision, daemons, "configuration accepted");
            }
            Err(refusal) => {
                let reason = refusal.code;
                let message = &refusal.message;
                tracing::warn!(reason, message, "configuration refused");
                ack.refused = refusal.code.to_owned();
                ack.message = refusal.message;
            }
        }
        ack.revision = self.ledger.revision;
        Ok(ack)
    }
}
