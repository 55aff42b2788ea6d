//! `UserService`.

use tonic::{Request, Response, Status};
use zhylon_proto::daemons::v1::user_service_server::UserService;
use zhylon_proto::daemons::v1::{
    CreateUserRequest, CreateUserResponse, GetMeRequest, GetMeResponse,
};

use super::methods::open;
use super::status::to_status;
use super::{Api, convert};

#[tonic::async_trait]
impl UserService for Api {
    async fn create_user(
        &self,
        request: Request<CreateUserRequest>,
    ) -> Result<Response<CreateUserResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let user = self.domain.create_user(&ctx, &asked.name).await;
        Ok(Response::new(CreateUserResponse {
            user: Some(convert::user(user.map_err(to_status)?)),
        }))
    }

    async fn get_me(
        &self,
        request: Request<GetMeRequest>,
    ) -> Result<Response<GetMeResponse>, Status> {
        let (ctx, _) = open(request)?;
        let user = self.domain.me(&ctx).await.map_err(to_status)?;
        Ok(Response::new(GetMeResponse {
            user: Some(convert::user(user)),
        }))
    }
}
