use std::collections::HashMap;

use zhylon_shared::id::ServerId;

use super::*;
use crate::domain::tests::{World, running};

/// Longest a test waits for an event that must come: well above [`RESCAN`].
const PATIENCE: Duration = Duration::from_secs(120);

async fn watch(world: &World, server: Option<ServerId>) -> Watch {
    let ctx = world.owner("DaemonService/WatchDaemons").await;
    let server = server.map(|id| id.to_string()).unwrap_or_default();
    let team = if server.is_empty() {
        world.team.to_string()
    } else {
        String::new()
    };
    world.domain.watch(&ctx, &server, &team).await.unwrap()
}

async fn next(watch: &mut Watch) -> Result<WatchEvent, Error> {
    let event = tokio::time::timeout(PATIENCE, watch.next()).await;
    event.expect("an event in time").expect("not over")
}

/// Reads up to the bookmark.
async fn snapshot(watch: &mut Watch) -> HashMap<DaemonId, DaemonView> {
    let mut all = HashMap::new();
    loop {
        match next(watch).await.unwrap() {
            WatchEvent::Upsert(view) => assert!(all.insert(view.row.id, *view).is_none()),
            WatchEvent::Bookmark => return all,
            WatchEvent::Removed(id) => panic!("{id} was never told"),
        }
    }
}

async fn upsert(watch: &mut Watch) -> DaemonView {
    match next(watch).await.unwrap() {
        WatchEvent::Upsert(view) => *view,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn snapshot_bookmark_changes() {
    let world = World::new().await;
    let server = world.server("a").await;
    let one = world.daemon(server).await.row.id;
    // Before the watch: from now on the server counts as seen, and only what follows is a change.
    let epoch = world.domain.claim(server, "1").await.unwrap().session_epoch;
    let mut watch = watch(&world, Some(server)).await;
    assert_eq!(snapshot(&mut watch).await.len(), 1);

    let two = world.daemon(server).await.row.id;
    assert_eq!(upsert(&mut watch).await.row.id, two);
    // Of another server: not heard here.
    let elsewhere = world.server("b").await;
    world.daemon(elsewhere).await;
    let report = vec![running(one, 1)];
    let write = world.domain.record_status(server, epoch, false, report);
    write.await.unwrap();
    let seen = upsert(&mut watch).await;
    assert_eq!(seen.row.id, one);
    assert_eq!(seen.status.instances[0].pid, 77);
    // Coming and going changes the status of all.
    world.domain.bus().presence().connected(server, epoch);
    let states: Vec<_> = [upsert(&mut watch).await, upsert(&mut watch).await]
        .iter()
        .map(|view| view.status.connection_state().as_str_name())
        .collect();
    assert_eq!(states, ["CONNECTION_STATE_CONNECTED"; 2]);
    world.delete(one).await;
    assert!(matches!(next(&mut watch).await, Ok(WatchEvent::Removed(id)) if id == one));
}

#[tokio::test]
async fn a_team_watch_hears_of_servers_made_later() {
    let world = World::new().await;
    let mut watch = watch(&world, None).await;
    assert!(snapshot(&mut watch).await.is_empty());
    let server = world.server("later").await;
    let daemon = world.daemon(server).await.row.id;
    let (team, token) = world.other_team().await;
    let create = world
        .call(&token, "ServerService/CreateServer")
        .await
        .unwrap();
    let theirs = world
        .domain
        .create_server(&create, &team.to_string(), "x")
        .await;
    let theirs = theirs.unwrap().row.id;
    world.domain.bus().hints().tell(Hint::ServerChanged(theirs));
    assert_eq!(upsert(&mut watch).await.row.id, daemon);
}

#[tokio::test]
async fn a_slow_viewer_sees_the_newest_state_once() {
    let world = World::new().await;
    let server = world.server("a").await;
    let id = world.daemon(server).await.row.id;
    let mut watch = watch(&world, Some(server)).await;
    snapshot(&mut watch).await;
    let epoch = world.domain.claim(server, "1").await.unwrap().session_epoch;
    // More hints than the bus keeps: the viewer lags and looks at everything.
    for revision in 1..=1100 {
        let report = vec![running(id, revision)];
        let write = world.domain.record_status(server, epoch, false, report);
        write.await.unwrap();
    }
    let seen = upsert(&mut watch).await;
    assert_eq!(seen.status.observed_revision, 1100);
    // Not even after it has looked at everything again.
    let quiet = RESCAN + Duration::from_secs(1);
    let more = tokio::time::timeout(quiet, watch.next()).await;
    assert!(more.is_err(), "one event for 1100 changes");
}

#[tokio::test]
async fn a_lost_hint_costs_seconds_only() {
    let mut world = World::new().await;
    let server = world.server("a").await;
    let mut watch = watch(&world, Some(server)).await;
    snapshot(&mut watch).await;
    // Its hints go to another bus.
    world.domain = world.elsewhere();
    let id = world.daemon(server).await.row.id;
    assert_eq!(upsert(&mut watch).await.row.id, id);
}

#[tokio::test]
async fn a_watch_ends_with_membership_and_token() {
    let world = World::new().await;
    let server = world.server("a").await.to_string();
    let (user, token) = world.member(&[]).await;
    let ctx = world
        .call(&token, "DaemonService/WatchDaemons")
        .await
        .unwrap();
    let mut one = world.domain.watch(&ctx, &server, "").await.unwrap();
    let mut two = world.domain.watch(&ctx, &server, "").await.unwrap();
    snapshot(&mut one).await;
    snapshot(&mut two).await;

    let remove = world.owner("TeamService/RemoveMember").await;
    let (team, user) = (world.team.to_string(), user.to_string());
    let removed = world.domain.remove_member(&remove, &team, &user);
    removed.await.unwrap();
    let end = next(&mut one).await.unwrap_err();
    assert_eq!(end.reason().text(), "MEMBERSHIP_ENDED");
    assert!(one.next().await.is_none());

    let revoke = world
        .call(&token, "TokenService/RevokeToken")
        .await
        .unwrap();
    let id = ctx.token.to_string();
    world.domain.revoke_token(&revoke, &id).await.unwrap();
    let end = next(&mut two).await.unwrap_err();
    assert_eq!(end.reason().text(), "TOKEN_REVOKED");
}
