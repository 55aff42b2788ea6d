//! `TeamService`.

use tonic::{Request, Response, Status};
use zhylon_proto::daemons::v1::team_service_server::TeamService;
use zhylon_proto::daemons::v1::{
    AddMemberRequest, AddMemberResponse, CreateTeamRequest, CreateTeamResponse, GetTeamRequest,
    GetTeamResponse, ListMembersRequest, ListMembersResponse, ListTeamsRequest, ListTeamsResponse,
    RemoveMemberRequest, RemoveMemberResponse, UpdateMemberRequest, UpdateMemberResponse,
};

use super::methods::{open, page};
use super::status::to_status;
use super::{Api, convert};

#[tonic::async_trait]
impl TeamService for Api {
    async fn create_team(
        &self,
        request: Request<CreateTeamRequest>,
    ) -> Result<Response<CreateTeamResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let made = self
            .domain
            .create_team(&ctx, &asked.name, &asked.owner_user_id)
            .await;
        Ok(Response::new(CreateTeamResponse {
            team: Some(convert::team(made.map_err(to_status)?)),
        }))
    }

    async fn get_team(
        &self,
        request: Request<GetTeamRequest>,
    ) -> Result<Response<GetTeamResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let team = self.domain.team(&ctx, &asked.team_id).await;
        Ok(Response::new(GetTeamResponse {
            team: Some(convert::team(team.map_err(to_status)?)),
        }))
    }

    async fn list_teams(
        &self,
        request: Request<ListTeamsRequest>,
    ) -> Result<Response<ListTeamsResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let page = page(asked.page_size, asked.page_token);
        let page = self.domain.teams(&ctx, &page).await.map_err(to_status)?;
        Ok(Response::new(ListTeamsResponse {
            teams: page.items.into_iter().map(convert::team).collect(),
            next_page_token: page.next,
        }))
    }

    async fn list_members(
        &self,
        request: Request<ListMembersRequest>,
    ) -> Result<Response<ListMembersResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let page = page(asked.page_size, asked.page_token);
        let page = self.domain.members(&ctx, &asked.team_id, &page).await;
        let page = page.map_err(to_status)?;
        Ok(Response::new(ListMembersResponse {
            members: page.items.into_iter().map(convert::member).collect(),
            next_page_token: page.next,
        }))
    }

    async fn add_member(
        &self,
        request: Request<AddMemberRequest>,
    ) -> Result<Response<AddMemberResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let added = self
            .domain
            .add_member(&ctx, &asked.team_id, &asked.user_id, &asked.permissions)
            .await;
        Ok(Response::new(AddMemberResponse {
            member: Some(convert::member(added.map_err(to_status)?)),
        }))
    }

    async fn update_member(
        &self,
        request: Request<UpdateMemberRequest>,
    ) -> Result<Response<UpdateMemberResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let changed = self
            .domain
            .update_member(&ctx, &asked.team_id, &asked.user_id, &asked.permissions)
            .await;
        Ok(Response::new(UpdateMemberResponse {
            member: Some(convert::member(changed.map_err(to_status)?)),
        }))
    }

    async fn remove_member(
        &self,
        request: Request<RemoveMemberRequest>,
    ) -> Result<Response<RemoveMemberResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let removed = self
            .domain
            .remove_member(&ctx, &asked.team_id, &asked.user_id)
            .await;
        removed.map_err(to_status)?;
        Ok(Response::new(RemoveMemberResponse {}))
    }
}
