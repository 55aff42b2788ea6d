//! `zhylonctl team …`

use zhylon_proto::daemons::v1::{
    CreateTeamRequest, ListMembersRequest, ListMembersResponse, ListTeamsRequest, ListTeamsResponse,
};

use super::{missing, print};
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
            let mut all = ListTeamsResponse::default();
            loop {
                let request = ListTeamsRequest {
                    page_size: 1000,
                    page_token: all.next_page_token.clone(),
                };
                let page = service.list_teams(request).await?.into_inner();
                all.teams.extend(page.teams);
                all.next_page_token = page.next_page_token;
                if all.next_page_token.is_empty() {
                    break;
                }
            }
            print(
                output,
                &all,
                |a| table::teams(&a.teams),
                |a| a.teams.iter().map(|t| t.id.clone()).collect(),
            )
        }
        TeamVerb::Members(team) => {
            let mut all = ListMembersResponse::default();
            loop {
                let request = ListMembersRequest {
                    team_id: team.team.clone(),
                    page_size: 1000,
                    page_token: all.next_page_token.clone(),
                };
                let page = service.list_members(request).await?.into_inner();
                all.members.extend(page.members);
                all.next_page_token = page.next_page_token;
                if all.next_page_token.is_empty() {
                    break;
                }
            }
            print(
                output,
                &all,
                |a| table::members(&a.members),
                |a| a.members.iter().map(|m| m.user_id.clone()).collect(),
            )
        }
    }
}
