//! `ServerService`.

use tonic::{Request, Response, Status};
use zhylon_proto::daemons::v1::server_service_server::ServerService;
use zhylon_proto::daemons::v1::{
    CreateEnrollmentTokenRequest, CreateEnrollmentTokenResponse, CreateServerRequest,
    CreateServerResponse, DeleteServerRequest, DeleteServerResponse, EnrollRequest, EnrollResponse,
    GetServerRequest, GetServerResponse, ListServersRequest, ListServersResponse,
    RevokeServerIdentityRequest, RevokeServerIdentityResponse,
};
use zhylon_shared::id::ServerId;
use zhylon_shared::spec::FieldViolation;
use zhylon_shared::token::EnrollmentToken;
use zhylon_shared::wire::timestamp;

use super::methods::{open, page};
use super::status::to_status;
use super::{Api, convert};
use crate::domain::{Enrollment, Error};

/// Bytes of a host's name, as DNS allows.
const HOSTNAME_MAX: usize = 255;

/// What an enrolled agent is given.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// Its certificate and the issuers, PEM.
    pub(crate) certificate_chain: String,
    /// The authorities it trusts on the agents' listener, PEM.
    pub(crate) ca_bundle: String,
    /// Addresses of the agents' listener, `host:port`.
    pub(crate) agent_addresses: Vec<String>,
}

/// What enrolment needs of the house's certificates. Given by `app` to [`super::routes`].
pub(crate) trait EnrollmentDesk: Send + Sync + 'static {
    /// SHA-256 of the SPKI of the topmost certificate of the chain the public listener presents now.
    fn pin(&self) -> [u8; 32];
    /// SHA-256 of the SPKI in a certificate signing request (DER).
    ///
    /// # Errors
    /// In words, when it is no request, is not signed by its own key, or the key is not P-256.
    fn key_hash(&self, request: &[u8]) -> Result<[u8; 32], String>;
    /// Signs a certificate for `server` with the key of the request.
    ///
    /// # Errors
    /// In words, for our log.
    fn issue(&self, server: ServerId, request: &[u8]) -> Result<Identity, String>;
}

#[tonic::async_trait]
impl ServerService for Api {
    async fn create_server(
        &self,
        request: Request<CreateServerRequest>,
    ) -> Result<Response<CreateServerResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let made = self
            .domain
            .create_server(&ctx, &asked.team_id, &asked.name)
            .await;
        Ok(Response::new(CreateServerResponse {
            server: Some(convert::server(made.map_err(to_status)?)),
        }))
    }

    async fn get_server(
        &self,
        request: Request<GetServerRequest>,
    ) -> Result<Response<GetServerResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let server = self.domain.server(&ctx, &asked.server_id).await;
        Ok(Response::new(GetServerResponse {
            server: Some(convert::server(server.map_err(to_status)?)),
        }))
    }

    async fn list_servers(
        &self,
        request: Request<ListServersRequest>,
    ) -> Result<Response<ListServersResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let page = page(asked.page_size, asked.page_token);
        let page = self.domain.servers(&ctx, &asked.team_id, &page).await;
        let page = page.map_err(to_status)?;
        Ok(Response::new(ListServersResponse {
            servers: page.items.into_iter().map(convert::server).collect(),
            next_page_token: page.next,
        }))
    }

    async fn delete_server(
        &self,
        request: Request<DeleteServerRequest>,
    ) -> Result<Response<DeleteServerResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let done = self.domain.delete_server(&ctx, &asked.server_id).await;
        done.map_err(to_status)?;
        Ok(Response::new(DeleteServerResponse {}))
    }

    async fn revoke_server_identity(
        &self,
        request: Request<RevokeServerIdentityRequest>,
    ) -> Result<Response<RevokeServerIdentityResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let revoked = self.domain.revoke_identity(&ctx, &asked.server_id).await;
        Ok(Response::new(RevokeServerIdentityResponse {
            server: Some(convert::server(revoked.map_err(to_status)?)),
        }))
    }

    async fn create_enrollment_token(
        &self,
        request: Request<CreateEnrollmentTokenRequest>,
    ) -> Result<Response<CreateEnrollmentTokenResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let made = self
            .domain
            .create_enrollment(&ctx, &asked.server_id, self.desk.pin())
            .await;
        let (token, expire_time) = made.map_err(to_status)?;
        Ok(Response::new(CreateEnrollmentTokenResponse {
            token: token.expose().to_owned(),
            expire_time: Some(timestamp(expire_time)),
        }))
    }

    async fn enroll(
        &self,
        request: Request<EnrollRequest>,
    ) -> Result<Response<EnrollResponse>, Status> {
        let asked = request.into_inner();
        let server = self.redeem(&asked).await.map_err(to_status)?;
        let identity = self
            .desk
            .issue(server, &asked.certificate_request)
            .map_err(|cause| to_status(Error::Internal(cause)))?;
        tracing::info!(server.id = %server, hostname = ?asked.hostname, "a server enrolled");
        Ok(Response::new(EnrollResponse {
            server_id: server.to_string(),
            certificate_chain: identity.certificate_chain,
            ca_bundle: identity.ca_bundle,
            agent_addresses: identity.agent_addresses,
        }))
    }
}

impl Api {
    /// Uses up the token of a request whose key can get a certificate: what is no such request leaves its token unused.
    async fn redeem(&self, asked: &EnrollRequest) -> Result<ServerId, Error> {
        let (id, secret) = EnrollmentToken::parse_credential(&asked.token)
            .map_err(|_| Error::Enrollment(Enrollment::Unknown))?;
        let mut bad = Vec::new();
        if asked.hostname.len() > HOSTNAME_MAX {
            let text = format!("must have at most {HOSTNAME_MAX} bytes");
            bad.push(FieldViolation::new("hostname", "TOO_LONG", text));
        }
        let key_hash = self.desk.key_hash(&asked.certificate_request);
        if let Err(why) = &key_hash {
            bad.push(FieldViolation::new("certificate_request", "REQUEST", why));
        }
        match key_hash {
            Ok(key_hash) if bad.is_empty() => {
                self.domain.redeem_enrollment(id, &secret, key_hash).await
            }
            _ => Err(Error::Invalid(bad)),
        }
    }
}
