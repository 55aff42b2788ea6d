//! `TokenService`.

use tonic::{Request, Response, Status};
use zhylon_proto::daemons::v1::token_service_server::TokenService;
use zhylon_proto::daemons::v1::{
    CreateTokenRequest, CreateTokenResponse, ListTokensRequest, ListTokensResponse,
    RevokeTokenRequest, RevokeTokenResponse,
};
use zhylon_shared::wire::system_time;

use super::methods::{open, page};
use super::status::to_status;
use super::{Api, convert};
use crate::domain::TokenDraft;

#[tonic::async_trait]
impl TokenService for Api {
    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let draft = TokenDraft {
            name: asked.name,
            user_id: asked.user_id,
            expire_time: asked.expire_time.as_ref().map(system_time),
        };
        let made = self.domain.create_token(&ctx, draft).await;
        let (token, secret) = made.map_err(to_status)?;
        Ok(Response::new(CreateTokenResponse {
            token: Some(convert::token(token)),
            secret: secret.expose().to_owned(),
        }))
    }

    async fn list_tokens(
        &self,
        request: Request<ListTokensRequest>,
    ) -> Result<Response<ListTokensResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let page = page(asked.page_size, asked.page_token);
        let page = self.domain.tokens(&ctx, &page).await.map_err(to_status)?;
        Ok(Response::new(ListTokensResponse {
            tokens: page.items.into_iter().map(convert::token).collect(),
            next_page_token: page.next,
        }))
    }

    async fn revoke_token(
        &self,
        request: Request<RevokeTokenRequest>,
    ) -> Result<Response<RevokeTokenResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let done = self.domain.revoke_token(&ctx, &asked.token_id).await;
        done.map_err(to_status)?;
        Ok(Response::new(RevokeTokenResponse {}))
    }
}
