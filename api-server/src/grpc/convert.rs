//! What the rules gave, as messages of the API.

use zhylon_proto::daemons::v1 as api;
use zhylon_shared::wire::{spec_to_api, timestamp};

use crate::domain::{DaemonView, ServerView, connection_to_api};
use crate::store::{MemberRow, TeamRow, TokenRow, UserRow};

pub(super) fn user(row: UserRow) -> api::User {
    api::User {
        id: row.id.to_string(),
        name: row.name,
        operator: row.operator,
        create_time: Some(timestamp(row.create_time)),
    }
}

pub(super) fn token(row: TokenRow) -> api::Token {
    api::Token {
        id: row.id.to_string(),
        user_id: row.user_id.to_string(),
        name: row.name,
        create_time: Some(timestamp(row.create_time)),
        expire_time: row.expire_time.map(timestamp),
        last_used_time: row.last_used_time.map(timestamp),
    }
}

pub(super) fn team(row: TeamRow) -> api::Team {
    api::Team {
        id: row.id.to_string(),
        name: row.name,
        owner_user_id: row.owner_user_id.to_string(),
        create_time: Some(timestamp(row.create_time)),
    }
}

pub(super) fn member(row: MemberRow) -> api::Member {
    api::Member {
        user_id: row.user_id.to_string(),
        user_name: row.user_name,
        permissions: row.permissions.iter().map(|p| p.to_string()).collect(),
        owner: row.owner,
    }
}

pub(super) fn server(view: ServerView) -> api::Server {
    let row = view.row;
    api::Server {
        id: row.id.to_string(),
        team_id: row.team_id.to_string(),
        name: row.name,
        connection_state: connection_to_api(view.connection).into(),
        last_seen_time: row.last_seen_time.map(timestamp),
        revision: row.revision,
        acknowledged_revision: row.acked_revision,
        agent_version: row.agent_version,
        create_time: Some(timestamp(row.create_time)),
        identity_revoke_time: row.revoke_time.map(timestamp),
    }
}

pub(super) fn daemon(view: DaemonView) -> api::Daemon {
    let desired = if view.row.desired_running {
        api::DesiredState::Running
    } else {
        api::DesiredState::Stopped
    };
    let mut daemon = api::Daemon {
        id: view.row.id.to_string(),
        server_id: view.row.server_id.to_string(),
        desired_state: desired.into(),
        intent_generation: view.row.intent_generation,
        restart_generation: view.row.restart_generation,
        revision: view.row.changed_revision,
        etag: view.etag(),
        create_time: Some(timestamp(view.row.create_time)),
        update_time: Some(timestamp(view.row.update_time)),
        ..Default::default()
    };
    spec_to_api(&view.spec, &mut daemon);
    // The spec in hand has no environment; its names lie beside it.
    daemon.environment_names = view.environment_names;
    daemon.status = Some(view.status);
    daemon
}
