//! Every method × every kind of caller. What must come out follows from the access table; that the table has a line for
//! every method, and the right one, is tested here too.

use std::collections::BTreeSet;

use prost::Message as _;
use zhylon_proto::daemons::v1 as api;

use super::*;
use crate::access::{Access, Permission, Rule, TABLE};

#[test]
fn the_table_has_every_method_and_no_other() {
    let set = prost_types::FileDescriptorSet::decode(zhylon_proto::FILE_DESCRIPTOR_SET).unwrap();
    let mut methods = BTreeSet::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                methods.insert(format!(
                    "{}.{}/{}",
                    file.package(),
                    service.name(),
                    method.name()
                ));
            }
        }
    }
    assert!(methods.len() > 20);
    let table: BTreeSet<_> = TABLE.iter().map(|rule| rule.method.to_owned()).collect();
    assert_eq!(table, methods);
}

/// The two permissions of the panel, said a second time, from its published words.
#[test]
fn daemons_are_guarded_by_the_panels_two_permissions() {
    use Permission::{CreateDaemons, DeleteDaemons};
    for rule in TABLE {
        let Some(method) = rule
            .method
            .strip_prefix("zhylon.daemons.v1.DaemonService/")
            .or(rule.method.strip_prefix("zhylon.daemons.v1.LogService/"))
        else {
            continue;
        };
        let expected = match method {
            "GetDaemon" | "ListDaemons" | "ListDaemonEvents" | "WatchDaemons" => Access::Member,
            "DeleteDaemon" => Access::MemberWith(DeleteDaemons),
            "CreateDaemon" | "UpdateDaemon" | "StartDaemon" | "StopDaemon" | "RestartDaemon"
            | "TailLog" | "ReadLog" | "ClearLog" => Access::MemberWith(CreateDaemons),
            new => panic!("{new}: decide who may call it"),
        };
        assert_eq!(rule.access, expected, "{method}");
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Caller {
    Anonymous,
    NoToken,
    Mistyped,
    WrongSecret,
    OtherTeam,
    Member(&'static [&'static str]),
    Owner,
    Operator,
    OperatorForOwner,
    OperatorForMember,
}

const CALLERS: [Caller; 15] = [
    Caller::Anonymous,
    Caller::NoToken,
    Caller::Mistyped,
    Caller::WrongSecret,
    Caller::OtherTeam,
    Caller::Member(&[]),
    Caller::Member(&["server:create-daemons"]),
    Caller::Member(&["server:delete-daemons"]),
    Caller::Member(&["server:create-daemons", "server:delete-daemons"]),
    Caller::Member(&["server:create"]),
    Caller::Member(&["server:delete", "team:manage"]),
    Caller::Owner,
    Caller::Operator,
    Caller::OperatorForOwner,
    Caller::OperatorForMember,
];

/// What must come out: the reason, or `None` when the call is let through.
fn expected(rule: &Rule, caller: Caller) -> Option<&'static str> {
    use Access::{
        AgentCertificate, EnrollmentToken, Member, MemberWith, Operator, OperatorOrMember, SignedIn,
    };
    if rule.access == EnrollmentToken {
        // Whoever calls: the enrolment token in the request decides, and it is a good one.
        return None;
    }
    match caller {
        Caller::Anonymous => return Some("TOKEN_MISSING"),
        Caller::NoToken | Caller::Mistyped => return Some("TOKEN_MALFORMED"),
        Caller::WrongSecret => return Some("TOKEN_UNKNOWN"),
        _ => {}
    }
    if rule.access == AgentCertificate {
        return Some("NOT_FOR_USERS");
    }
    let operator = caller == Caller::Operator;
    let permissions = match caller {
        Caller::Owner | Caller::OperatorForOwner => Some(None),
        Caller::Member(permissions) => Some(Some(permissions)),
        Caller::OperatorForMember => Some(Some([].as_slice())),
        _ => None,
    };
    match rule.access {
        SignedIn => None,
        Operator => (!operator).then_some("OPERATOR_ONLY"),
        OperatorOrMember if operator => None,
        _ if operator => Some("ON_BEHALF_OF_REQUIRED"),
        Member | OperatorOrMember | MemberWith(_) => match (permissions, rule.access) {
            (None, _) => Some("NOT_FOUND"),
            (Some(Some(has)), MemberWith(needed)) if !has.contains(&needed.name()) => {
                Some("PERMISSION_DENIED")
            }
            _ => None,
        },
        EnrollmentToken | AgentCertificate => unreachable!("answered above"),
    }
}

struct Callers {
    stranger: Secret,
    members: HashMap<&'static [&'static str], Secret>,
    poor: String,
}

impl Callers {
    async fn new(front: &Front) -> Self {
        let (_, stranger) = front.world.other_team().await;
        let mut members = HashMap::new();
        let mut poor = String::new();
        for caller in CALLERS {
            if let Caller::Member(permissions) = caller {
                let (user, token) = front.world.member(permissions).await;
                if permissions.is_empty() {
                    poor = user.to_string();
                }
                members.insert(permissions, token);
            }
        }
        Self {
            stranger,
            members,
            poor,
        }
    }

    fn metadata(&self, front: &Front, caller: Caller) -> Vec<(&'static str, String)> {
        let operator = bearer(&front.world.operator.1);
        let for_user = |user: String| vec![operator.clone(), ("zhylon-on-behalf-of", user)];
        let good = front.world.owner.1.expose();
        match caller {
            Caller::Anonymous => vec![],
            Caller::NoToken => vec![("authorization", "Basic YWRhOmFkYQ==".to_owned())],
            Caller::Mistyped => vec![(
                "authorization",
                format!("Bearer {}", &good[..good.len() - 1]),
            )],
            Caller::WrongSecret => {
                let mut token = zhylon_shared::token::BearerToken::parse(good).unwrap();
                token.secret = zhylon_shared::token::new_secret().unwrap();
                vec![bearer(&token.to_text())]
            }
            Caller::OtherTeam => vec![bearer(&self.stranger)],
            Caller::Member(permissions) => vec![bearer(&self.members[permissions])],
            Caller::Owner => front.owner(),
            Caller::Operator => vec![operator],
            Caller::OperatorForOwner => for_user(front.world.owner.0.to_string()),
            Caller::OperatorForMember => for_user(self.poor.clone()),
        }
    }
}

/// A good request of a method, about things made for it alone.
async fn request(front: &Front, method: &str, n: usize) -> Vec<u8> {
    let world = &front.world;
    let team_id = world.team.to_string();
    let server = async || world.server(&format!("s{n}")).await;
    let daemon_id = async || world.daemon(server().await).await.row.id.to_string();
    let server_id = async || server().await.to_string();
    let name = format!("n{n}");
    let spec = api::Daemon {
        command: "true".to_owned(),
        ..Default::default()
    };
    let (service, method) = method
        .strip_prefix("zhylon.daemons.v1.")
        .and_then(|m| m.split_once('/'))
        .unwrap_or_default();
    match (service, method) {
        // Of the agents' own package.
        ("", "") => Vec::new(),
        ("DaemonService", "CreateDaemon") => api::CreateDaemonRequest {
            server_id: server_id().await,
            daemon: Some(spec),
            validate_only: false,
        }
        .encode_to_vec(),
        ("DaemonService", "UpdateDaemon") => {
            let id = daemon_id().await;
            update(api::Daemon { id, ..spec }, &["command"]).encode_to_vec()
        }
        ("DaemonService", "ListDaemons") => api::ListDaemonsRequest {
            team_id,
            ..Default::default()
        }
        .encode_to_vec(),
        ("DaemonService", "WatchDaemons") => api::WatchDaemonsRequest {
            team_id,
            ..Default::default()
        }
        .encode_to_vec(),
        // Their requests begin with the daemon's id, and it is all they need.
        ("DaemonService" | "LogService", _) => api::GetDaemonRequest {
            daemon_id: daemon_id().await,
        }
        .encode_to_vec(),
        ("ServerService", "CreateServer") => {
            api::CreateServerRequest { team_id, name }.encode_to_vec()
        }
        ("ServerService", "ListServers") => api::ListServersRequest {
            team_id,
            ..Default::default()
        }
        .encode_to_vec(),
        ("ServerService", "Enroll") => {
            let ctx = world.owner("ServerService/CreateEnrollmentToken").await;
            let server = server_id().await;
            let made = world.domain.create_enrollment(&ctx, &server, [9; 32]).await;
            let token = made.unwrap().0;
            let token = zhylon_shared::token::EnrollmentToken::parse(token.expose()).unwrap();
            api::EnrollRequest {
                token: token.credential().expose().to_owned(),
                certificate_request: vec![1],
                ..Default::default()
            }
            .encode_to_vec()
        }
        ("ServerService", _) => api::GetServerRequest {
            server_id: server_id().await,
        }
        .encode_to_vec(),
        ("TeamService", "CreateTeam") => api::CreateTeamRequest {
            name,
            owner_user_id: world.owner.0.to_string(),
        }
        .encode_to_vec(),
        ("TeamService", "ListTeams") => Vec::new(),
        ("TeamService", "AddMember") => api::AddMemberRequest {
            team_id,
            user_id: world.person().await.0.to_string(),
            permissions: vec![],
        }
        .encode_to_vec(),
        ("TeamService", "UpdateMember" | "RemoveMember") => api::UpdateMemberRequest {
            team_id,
            user_id: world.member(&[]).await.0.to_string(),
            permissions: vec![],
        }
        .encode_to_vec(),
        ("TeamService", _) => api::GetTeamRequest { team_id }.encode_to_vec(),
        ("TokenService", "CreateToken") => api::CreateTokenRequest {
            name,
            ..Default::default()
        }
        .encode_to_vec(),
        ("TokenService", "ListTokens") | ("UserService", "GetMe") => Vec::new(),
        ("UserService", "CreateUser") => api::CreateUserRequest { name }.encode_to_vec(),
        // Its own rules are of `domain::tests`: whose token it is decides, not the table.
        ("TokenService", "RevokeToken") => Vec::new(),
        new => panic!("{new:?}: write a good request for it"),
    }
}

pub(super) fn update(daemon: api::Daemon, paths: &[&str]) -> api::UpdateDaemonRequest {
    let mut asked = api::UpdateDaemonRequest {
        daemon: Some(daemon),
        ..Default::default()
    };
    let mask = asked.update_mask.get_or_insert_default();
    mask.paths = paths.iter().map(|&path| path.to_owned()).collect();
    asked
}

#[tokio::test]
async fn every_method_for_every_caller() {
    let front = Front::new().await;
    let callers = Callers::new(&front).await;
    let (mut let_through, mut refused) = (0, 0);
    for (m, rule) in TABLE.iter().enumerate() {
        for (c, caller) in CALLERS.into_iter().enumerate() {
            let message = request(&front, rule.method, m * 100 + c).await;
            let metadata = callers.metadata(&front, caller);
            let answer = front.call(rule.method, &metadata, message).await;
            let what = format!("{} by {caller:?}", rule.method);
            match (expected(rule, caller), answer) {
                (Some(expected), Err(status)) => {
                    assert_eq!(reason(&status), expected, "{what}");
                    if expected == "PERMISSION_DENIED" {
                        let Access::MemberWith(needed) = rule.access else {
                            panic!("{what}");
                        };
                        let info = status.get_details_error_info().unwrap();
                        assert_eq!(info.metadata["permission"], needed.name(), "{what}");
                        assert!(status.message().contains(needed.name()));
                    }
                    refused += 1;
                }
                (None, Ok(_)) => let_through += 1,
                // Nobody is connected here, and an empty id names no token.
                (None, Err(status)) if rule.method.contains(".LogService/") => {
                    assert_eq!(reason(&status), "SERVER_OFFLINE", "{what}");
                    let_through += 1;
                }
                (None, Err(status)) if rule.method.ends_with("/RevokeToken") => {
                    assert_eq!(reason(&status), "NOT_FOUND", "{what}");
                    let_through += 1;
                }
                (expected, answer) => panic!("{what}: {expected:?}, got {:?}", answer.err()),
            }
        }
    }
    assert_eq!(let_through + refused, TABLE.len() * CALLERS.len());
    assert!(
        let_through > 100 && refused > 100,
        "{let_through}, {refused}"
    );
}

/// Absent, invisible and malformed ids are one to the caller, and authorisation comes before validation.
#[tokio::test]
async fn what_is_not_visible_is_not_there() {
    let front = Front::new().await;
    let (_, stranger) = front.world.other_team().await;
    let server = front.world.server("a").await;
    let there = front.world.daemon(server).await.row.id.to_string();
    let mut told = Vec::new();
    for id in [
        there.as_str(),
        "h:000000000000000000",
        "",
        "x",
        "h:ä",
        "h:0/../0",
    ] {
        let asked = api::UpdateDaemonRequest {
            daemon: Some(api::Daemon {
                id: id.to_owned(),
                processes: Some(-1),
                ..Default::default()
            }),
            ..Default::default()
        };
        let answer = front
            .ask::<_, api::UpdateDaemonResponse>(
                "DaemonService/UpdateDaemon",
                &[bearer(&stranger)],
                &asked,
            )
            .await;
        let status = answer.unwrap_err();
        told.push((
            status.code(),
            status.message().to_owned(),
            status.details().to_vec(),
        ));
    }
    assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:?}");
    assert_eq!(told[0].0, Code::NotFound);
}

#[tokio::test]
async fn unknown_methods_answer_no_one() {
    let front = Front::new().await;
    for method in [
        "zhylon.daemons.v1.DaemonService/Nothing",
        "zhylon.daemons.v2.DaemonService/GetDaemon",
        "",
        "grpc.health.v1.HealthX/Check",
    ] {
        let status = front
            .call(method, &front.owner(), vec![])
            .await
            .unwrap_err();
        assert_eq!(reason(&status), "NO_SUCH_METHOD", "{method}");
    }
}
