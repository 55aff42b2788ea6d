//! `zhylonctl team …`

use zhylon_proto::daemons::v1::{
    CreateTeamRequest, ListMembersRequest, ListMembersResponse, ListTeamsRequest, ListTeamsResponse,
};

use super::{PAGE_SIZE, all_pages, missing, print};
use crate::args::{Output, TeamVerb};
use crate::client::Client;
use crate::exit::Failure;
use crate::render::table;

/// Runs a verb.
pub(crate) async fn run(client: &Client, verb: TeamVerb, output: Output) -> Result<(), Failure> {
    let mut service = client.teams();
    match verb {
        TeamVerb::Create {
            name,
            owner_user_id,
        } => {
            let request = CreateTeamRequest {
                name,
                owner_user_id,
            };
            let team = service
                .create_team(request)
                .await?
                .into_inner()
                .team
                .ok_or_else(|| missing("team"))?;
            print(
                output,
                &team,
                |t| table::teams(std::slice::from_ref(t)),
                |t| vec![t.id.clone()],
            )
        }
        TeamVerb::List => {
            let teams = all_pages(async |page_token| {
                let request = ListTeamsRequest {
                    page_size: PAGE_SIZE,
                    page_token,
                };
                let page = service.list_teams(request).await?.into_inner();
                Ok((page.teams, page.next_page_token))
            })
            .await?;
            let all = ListTeamsResponse {
                teams,
                next_page_token: String::new(),
            };
            print(
                output,
                &all,
                |a| table::teams(&a.teams),
                |a| a.teams.iter().map(|t| t.id.clone()).collect(),
            )
        }
        TeamVerb::Members(team) => {
            let members = all_pages(async |page_token| {
                let request = ListMembersRequest {
                    team_id: team.team.clone(),
                    page_size: PAGE_SIZE,
                    page_token,
                };
                let page = service.list_members(request).await?.into_inner();
                Ok((page.members, page.next_page_token))
            })
            .await?;
            let all = ListMembersResponse {
                members,
                next_page_token: String::new(),
            };
            print(
                output,
                &all,
                |a| table::members(&a.members),
                |a| a.members.iter().map(|m| m.user_id.clone()).collect(),
            )
        }
    }
}
