//! What `ServerService.Enroll` needs of the house's certificates: the only bridge between the API and the authority's
//! key. Whether a token is good is decided before it is called.

use std::sync::Arc;

use zhylon_shared::id::ServerId;

use super::server::{EnrollmentDesk, Identity};
use crate::ca::{self, AgentCa};
use crate::clock::Clock;

/// The desk where agents get their certificates.
#[derive(Debug)]
pub(crate) struct Desk {
    ca: Arc<AgentCa>,
    pin: [u8; 32],
    agent_addresses: Vec<String>,
    clock: Clock,
}

impl Desk {
    /// `pin`: of the chain the public listener presents. `agent_addresses`: `host:port` of the agents' listener.
    pub(crate) fn new(
        ca: Arc<AgentCa>,
        pin: [u8; 32],
        agent_addresses: Vec<String>,
        clock: Clock,
    ) -> Self {
        Self {
            ca,
            pin,
            agent_addresses,
            clock,
        }
    }
}

impl EnrollmentDesk for Desk {
    fn pin(&self) -> [u8; 32] {
        self.pin
    }

    fn key_hash(&self, request: &[u8]) -> Result<[u8; 32], String> {
        ca::request_key_hash(request).map_err(|error| error.to_string())
    }

    fn issue(&self, server: ServerId, request: &[u8]) -> Result<Identity, String> {
        let issued = self
            .ca
            .sign(request, server, self.clock.wall())
            .map_err(|error| error.to_string())?;
        tracing::info!(
            server.id = %server,
            certificate.serial = ca::hex(&issued.serial),
            "certificate issued"
        );
        Ok(Identity {
            certificate_chain: issued.chain_pem,
            ca_bundle: self.ca.bundle_pem().to_owned(),
            agent_addresses: self.agent_addresses.clone(),
        })
    }
}
