//! Callers, members, tokens, quotas, names.

use super::*;
use crate::store::{Position, Scope};

#[tokio::test]
async fn bootstrap_is_for_an_empty_database() {
    let world = World::new().await;
    let names = || BootstrapNames {
        operator: "x".to_owned(),
        owner: "y".to_owned(),
        team: "z".to_owned(),
    };
    let clock = world.domain.clock();
    let again = bootstrap(&world.domain.store, clock, names()).await;
    assert_eq!(reason(again), "OPERATOR_EXISTS");
    let begin = Position::default();
    let all = world.domain.store.teams(None, &begin, 10);
    assert_eq!(all.await.unwrap().len(), 1, "nothing of it was stored");
    let bad = BootstrapNames {
        team: String::new(),
        ..names()
    };
    let bad = bootstrap(&world.domain.store, clock, bad).await;
    assert_eq!(reason(bad), "INVALID_FIELD");
}

#[tokio::test]
async fn the_operator_acts_inside_teams_only_for_a_user() {
    let world = World::new().await;
    let (operator, token) = &world.operator;
    let call = |for_whom: Option<String>| {
        let world = &world;
        async move {
            world
                .call_for(token, "DaemonService/CreateDaemon", for_whom.as_deref())
                .await
        }
    };
    assert_eq!(reason(call(None).await), "ON_BEHALF_OF_REQUIRED");
    for nobody in ["", "x", "h:000000000000000000", &operator.to_string()] {
        assert_eq!(reason(call(Some(nobody.to_owned())).await), "NOT_FOUND");
    }
    let (poor, poor_token) = world.member(&[]).await;
    let server = world.server("a").await.to_string();
    let draft = || {
        Ok(DaemonDraft {
            spec: spec(SpecDraft::default()),
            desired: DesiredState::Running,
        })
    };
    let ctx = call(Some(poor.to_string())).await.unwrap();
    assert_eq!(ctx.actor.acting, Some(*operator));
    let made = world
        .domain
        .create_daemon(&ctx, &server, draft, false)
        .await;
    assert_eq!(reason(made), "PERMISSION_DENIED");
    let ctx = call(Some(world.owner.0.to_string())).await.unwrap();
    let made = world
        .domain
        .create_daemon(&ctx, &server, draft, false)
        .await;
    made.unwrap();
    // For a user it is that user: no longer the operator.
    let users = world
        .call_for(token, "UserService/CreateUser", Some(&poor.to_string()))
        .await;
    assert_eq!(reason(users), "OPERATOR_ONLY");
    let owner = world.owner.0.to_string();
    let forged = world
        .call_for(&poor_token, "DaemonService/CreateDaemon", Some(&owner))
        .await;
    assert_eq!(reason(forged), "ON_BEHALF_OF_REFUSED");
}

#[tokio::test]
async fn tokens_end_and_their_use_is_noted_once_a_minute() {
    let world = World::new().await;
    let (user, token) = world.member(&[]).await;
    let method = "UserService/GetMe";
    let used = async || {
        let begin = Position::default();
        let rows = world.domain.store.tokens(user, &begin, 10);
        rows.await.unwrap()[0].last_used_time
    };
    assert_eq!(used().await, None);
    world.call(&token, method).await.unwrap();
    let first = used().await.unwrap();
    world.pass(Duration::from_secs(59));
    world.call(&token, method).await.unwrap();
    assert_eq!(used().await, Some(first));
    world.pass(Duration::from_secs(1));
    world.call(&token, method).await.unwrap();
    assert_eq!(used().await, Some(first + Duration::from_secs(60)));

    let ctx = world
        .call(&token, "TokenService/CreateToken")
        .await
        .unwrap();
    let end = world.domain.clock().wall() + Duration::from_secs(10);
    let draft = |expire_time| TokenDraft {
        name: "short".to_owned(),
        user_id: String::new(),
        expire_time,
    };
    let made = world
        .domain
        .create_token(&ctx, draft(Some(Some(end))))
        .await;
    let (row, short) = made.unwrap();
    for bad in [None, Some(world.domain.clock().wall())] {
        let refused = world.domain.create_token(&ctx, draft(Some(bad))).await;
        assert_eq!(reason(refused), "INVALID_FIELD");
    }
    world.call(&short, method).await.unwrap();
    world.pass(Duration::from_secs(10));
    assert_eq!(reason(world.call(&short, method).await), "TOKEN_EXPIRED");

    // Another user's token is as good as absent.
    let (_, stranger) = world.person().await;
    let theirs = world
        .call(&stranger, "TokenService/RevokeToken")
        .await
        .unwrap();
    let id = row.id.to_string();
    assert_eq!(
        reason(world.domain.revoke_token(&theirs, &id).await),
        "NOT_FOUND"
    );
    let mine = world
        .call(&token, "TokenService/RevokeToken")
        .await
        .unwrap();
    world.domain.revoke_token(&mine, &id).await.unwrap();
    world.domain.revoke_token(&mine, &id).await.unwrap();
    assert_eq!(reason(world.call(&short, method).await), "TOKEN_REVOKED");
}

#[tokio::test]
async fn members_and_their_permissions() {
    let world = World::new().await;
    let domain = &world.domain;
    let team = world.team.to_string();
    let (user, token) = world.member(&["server:create-daemons"]).await;
    let server = world.server("a").await.to_string();
    let draft = || {
        Ok(DaemonDraft {
            spec: spec(SpecDraft::default()),
            desired: DesiredState::Running,
        })
    };
    let ctx = world
        .call(&token, "DaemonService/CreateDaemon")
        .await
        .unwrap();
    domain
        .create_daemon(&ctx, &server, draft, false)
        .await
        .unwrap();
    // Taken away, at once, from a call that is under way too.
    let change = world.owner("TeamService/UpdateMember").await;
    let member = user.to_string();
    domain
        .update_member(&change, &team, &member, &[])
        .await
        .unwrap();
    let made = domain.create_daemon(&ctx, &server, draft, false).await;
    assert_eq!(reason(made), "PERMISSION_DENIED");
    let unknown = ["server:create-daemons".to_owned(), "server:fly".to_owned()];
    let refused = domain
        .update_member(&change, &team, &member, &unknown)
        .await;
    assert!(matches!(refused, Err(Error::Invalid(bad)) if bad[0].field == "permissions[1]"));

    let add = world.owner("TeamService/AddMember").await;
    let again = domain.add_member(&add, &team, &member, &[]).await;
    assert_eq!(reason(again), "ALREADY_EXISTS");
    let operator = world.operator.0.to_string();
    let refused = domain.add_member(&add, &team, &operator, &[]).await;
    assert_eq!(reason(refused), "OPERATOR_IS_NO_MEMBER");

    let remove = world.owner("TeamService/RemoveMember").await;
    let owner = world.owner.0.to_string();
    let refused = domain.remove_member(&remove, &team, &owner).await;
    assert_eq!(reason(refused), "MEMBER_IS_OWNER");
    domain.remove_member(&remove, &team, &member).await.unwrap();
    let gone = domain.remove_member(&remove, &team, &member).await;
    assert_eq!(reason(gone), "NOT_FOUND");
    let made = domain.create_daemon(&ctx, &server, draft, false).await;
    assert_eq!(reason(made), "NOT_FOUND");
}

#[tokio::test]
async fn names_are_unique_where_they_should_be() {
    let world = World::new().await;
    let server = world.server("a").await;
    let ctx = world.owner("ServerService/CreateServer").await;
    let team = world.team.to_string();
    let again = world.domain.create_server(&ctx, &team, "a").await;
    assert_eq!(reason(again), "ALREADY_EXISTS");
    let named = || SpecDraft {
        name: "queue".to_owned(),
        ..SpecDraft::default()
    };
    let first = world.create(server, named()).await.unwrap().row.id;
    assert_eq!(
        reason(world.create(server, named()).await),
        "ALREADY_EXISTS"
    );
    world
        .create(world.server("b").await, named())
        .await
        .unwrap();
    world.daemon(server).await;
    world.daemon(server).await;
    // A deleted daemon's name is free, tombstone or not.
    world.domain.claim(server, "1").await.unwrap();
    world.delete(first).await;
    world.create(server, named()).await.unwrap();
}

#[tokio::test]
async fn a_server_has_at_most_two_hundred_daemons() {
    let world = World::new().await;
    let server = world.server("a").await;
    let mut last = None;
    for _ in 0..200 {
        last = Some(world.daemon(server).await.row.id);
    }
    let full = world.create(server, SpecDraft::default()).await;
    assert_eq!(reason(full), "QUOTA_EXCEEDED");
    world.delete(last.unwrap()).await;
    world.daemon(server).await;
    // Tombstones are bounded too: as many again.
    world.domain.claim(server, "1").await.unwrap();
    let mut made = 0;
    for _ in 0..400 {
        let (scope, begin) = (Scope::Server(server), Position::default());
        let oldest = world.domain.store.daemons(scope, &begin, 1).await.unwrap();
        world.delete(oldest[0].id).await;
        match world.create(server, SpecDraft::default()).await {
            Ok(_) => made += 1,
            Err(error) => {
                assert_eq!(error.reason().text(), "QUOTA_EXCEEDED");
                break;
            }
        }
    }
    assert_eq!(made, 200);
}

#[tokio::test]
async fn an_etag_guards_update_and_delete() {
    let world = World::new().await;
    let server = world.server("a").await;
    let view = world.daemon(server).await;
    let id = view.row.id.to_string();
    let update = world.owner("DaemonService/UpdateDaemon").await;
    let same = |spec: &DaemonSpec| Ok(spec.clone());
    let tried = world
        .domain
        .update_daemon(&update, &id, &view.etag(), same, true)
        .await;
    assert_ne!(tried.unwrap().etag(), view.etag());
    assert_eq!(
        world.get(view.row.id).await.unwrap().etag(),
        view.etag(),
        "only tried"
    );
    let changed = world
        .domain
        .update_daemon(&update, &id, &view.etag(), same, false)
        .await;
    let changed = changed.unwrap();
    let stale = world
        .domain
        .update_daemon(&update, &id, &view.etag(), same, false)
        .await;
    assert_eq!(reason(stale), "ETAG_MISMATCH");
    let delete = world.owner("DaemonService/DeleteDaemon").await;
    let stale = world.domain.delete_daemon(&delete, &id, &view.etag()).await;
    assert_eq!(reason(stale), "ETAG_MISMATCH");
    let done = world
        .domain
        .delete_daemon(&delete, &id, &changed.etag())
        .await;
    done.unwrap();
    let set = world.domain.desired(server).await.unwrap();
    assert_eq!(set.revision, 3, "refused writes raise nothing");
}
