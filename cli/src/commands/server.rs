//! `zhylonctl server …`

use zhylon_proto::daemons::v1::{
    CreateEnrollmentTokenRequest, CreateServerRequest, ListServersRequest, ListServersResponse,
    RevokeServerIdentityRequest,
};

use super::{PAGE_SIZE, all_pages, missing, print};
use crate::args::{Output, ServerVerb};
use crate::client::Client;
use crate::exit::Failure;
use crate::render::table;

/// Runs a verb.
pub(crate) async fn run(client: &Client, verb: ServerVerb, output: Output) -> Result<(), Failure> {
    let mut service = client.servers();
    match verb {
        ServerVerb::Create { team, name } => {
            let request = CreateServerRequest {
                team_id: team.team,
                name,
            };
            let response = service.create_server(request).await?.into_inner();
            let server = response.server.ok_or_else(|| missing("server"))?;
            print(
                output,
                &server,
                |s| table::servers(std::slice::from_ref(s)),
                |s| vec![s.id.clone()],
            )
        }
        ServerVerb::List(team) => {
            let servers = all_pages(async |page_token| {
                let request = ListServersRequest {
                    team_id: team.team.clone(),
                    page_size: PAGE_SIZE,
                    page_token,
                };
                let page = service.list_servers(request).await?.into_inner();
                Ok((page.servers, page.next_page_token))
            })
            .await?;
            let all = ListServersResponse {
                servers,
                next_page_token: String::new(),
            };
            print(
                output,
                &all,
                |a| table::servers(&a.servers),
                |a| a.servers.iter().map(|s| s.id.clone()).collect(),
            )
        }
        ServerVerb::RevokeIdentity { server } => {
            let request = RevokeServerIdentityRequest { server_id: server };
            let response = service.revoke_server_identity(request).await?.into_inner();
            let server = response.server.ok_or_else(|| missing("server"))?;
            print(
                output,
                &server,
                |s| table::servers(std::slice::from_ref(s)),
                |s| vec![s.id.clone()],
            )
        }
        ServerVerb::EnrollToken { server } => {
            let request = CreateEnrollmentTokenRequest { server_id: server };
            let response = service.create_enrollment_token(request).await?.into_inner();
            print(
                output,
                &response,
                |r| r.token.clone(),
                |r| vec![r.token.clone()],
            )
        }
    }
}
