//! The API from outside: the real services behind the real layer, called with encoded messages, without a network.

mod daemons;
mod matrix;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use prost::Message;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::{Layer as _, ServiceExt as _};
use zhylon_shared::id::ServerId;
use zhylon_shared::redact::Secret;

use super::layers::authn::{Authn, AuthnLayer};
use super::log::LogApi;
use super::server::{EnrollmentDesk, Identity};
use super::*;
use crate::bus::log_broker::LogBroker;
use crate::domain::tests::World;

struct Desk;

impl EnrollmentDesk for Desk {
    fn pin(&self) -> [u8; 32] {
        [9; 32]
    }
    fn key_hash(&self, request: &[u8]) -> Result<[u8; 32], String> {
        let first = request.first().ok_or("empty")?;
        Ok([*first; 32])
    }
    fn issue(&self, server: ServerId, _: &[u8]) -> Result<Identity, String> {
        Ok(Identity {
            certificate_chain: server.bare().to_owned(),
            ca_bundle: "bundle".to_owned(),
            agent_addresses: vec!["localhost:1".to_owned()],
        })
    }
}

/// The API of a world.
struct Front {
    world: World,
    service: Authn<Routes>,
}

/// A caller: its metadata.
type Metadata<'a> = &'a [(&'static str, String)];

fn bearer(token: &Secret) -> (&'static str, String) {
    ("authorization", format!("Bearer {}", token.expose()))
}

impl Front {
    async fn new() -> Self {
        let world = World::new().await;
        let draining = CancellationToken::new();
        let mut routes = routes(&world.domain, Arc::new(Desk), draining.clone());
        routes.add_service(LogApi::new(
            world.domain.clone(),
            LogBroker::new(),
            draining,
        ));
        let service = AuthnLayer::new(world.domain.clone()).layer(routes.routes());
        Self { world, service }
    }

    /// Calls a method; of a stream only the beginning counts.
    async fn call(
        &self,
        method: &str,
        metadata: Metadata<'_>,
        message: Vec<u8>,
    ) -> Result<Body, Status> {
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.len()).unwrap());
        frame.put_slice(&message);
        let mut request = http::Request::post(format!("http://test/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in metadata {
            request = request.header(*name, value);
        }
        let request = request.body(Body::new(Full::new(frame.freeze()))).unwrap();
        let response = self.service.clone().oneshot(request).await.unwrap();
        match Status::from_header_map(response.headers()) {
            Some(status) if status.code() != Code::Ok => Err(status),
            _ => Ok(response.into_body()),
        }
    }

    /// Calls a unary method as the owner, or as who is named.
    async fn ask<Q: Message, A: Message + Default>(
        &self,
        method: &str,
        metadata: Metadata<'_>,
        message: &Q,
    ) -> Result<A, Status> {
        let method = format!("zhylon.daemons.v1.{method}");
        let body = self
            .call(&method, metadata, message.encode_to_vec())
            .await?;
        let body = body.collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        if let Some(status) = Status::from_header_map(&trailers)
            && status.code() != Code::Ok
        {
            return Err(status);
        }
        let mut bytes: Bytes = body.to_bytes();
        bytes.advance(5);
        Ok(A::decode(bytes).unwrap())
    }

    fn owner(&self) -> Vec<(&'static str, String)> {
        vec![bearer(&self.world.owner.1)]
    }
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

/// Field path and rule of every violation.
fn violations(status: &Status) -> HashMap<String, String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let bad = status.get_details_bad_request().unwrap();
    bad.field_violations
        .into_iter()
        .map(|violation| {
            let rule = violation.description.split(':').next().unwrap().to_owned();
            (violation.field, rule)
        })
        .collect()
}
