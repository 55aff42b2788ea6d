//! Pages: complete, in order, and only with tokens of ours.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

fn first(size: i32) -> PageRequest {
    PageRequest {
        size,
        token: String::new(),
    }
}

#[tokio::test]
async fn every_entry_comes_once_and_in_order() {
    let world = World::new().await;
    let mut made = Vec::new();
    // All within one millisecond: only the id tells them apart.
    for n in 0..7 {
        made.push(world.server(&format!("s{n}")).await);
    }
    made.sort_by_key(ToString::to_string);
    let ctx = world.owner("ServerService/ListServers").await;
    let team = world.team.to_string();
    for size in 1..=8 {
        let mut listed = Vec::new();
        let mut request = first(size);
        loop {
            let page = world.domain.servers(&ctx, &team, &request).await.unwrap();
            assert!(page.items.len() <= size.try_into().unwrap());
            listed.extend(page.items.iter().map(|view| view.row.id));
            if page.next.is_empty() {
                break;
            }
            request.token = page.next;
        }
        assert_eq!(listed, made, "page size {size}");
    }
}

#[tokio::test]
async fn daemons_of_a_server_and_of_a_team() {
    let world = World::new().await;
    let (one, two) = (world.server("one").await, world.server("two").await);
    let mut made = Vec::new();
    for n in 0..6 {
        let server = if n % 2 == 0 { one } else { two };
        made.push(world.daemon(server).await.row.id);
        if n == 2 {
            world.pass(Duration::from_millis(1));
        }
    }
    let ctx = world.owner("DaemonService/ListDaemons").await;
    let team = world.team.to_string();
    for (server, team, count) in [
        (one.to_string(), String::new(), 3),
        (String::new(), team, 6),
    ] {
        let mut listed = Vec::new();
        let mut request = first(2);
        // Ends by itself, or after more pages than there can be.
        for _ in 0..6 {
            let page = world.domain.daemons(&ctx, &server, &team, &request).await;
            let page = page.unwrap();
            listed.extend(
                page.items
                    .iter()
                    .map(|view| (view.row.create_time, view.row.id)),
            );
            request.token = page.next;
            if request.token.is_empty() {
                break;
            }
        }
        assert_eq!(listed.len(), count);
        assert!(listed.is_sorted_by(|a, b| (a.0, a.1.to_string()) < (b.0, b.1.to_string())));
        assert!(listed.iter().all(|(_, id)| made.contains(id)));
    }
}

#[tokio::test]
async fn foreign_and_altered_tokens_are_refused() {
    let world = World::new().await;
    let server = world.server("a").await;
    for _ in 0..3 {
        world.daemon(server).await;
    }
    let other = world.server("b").await;
    let ctx = world.owner("DaemonService/ListDaemons").await;
    let list = |server: ServerId, token: String| {
        let (ctx, domain) = (ctx.clone(), world.domain.clone());
        async move {
            let request = PageRequest { size: 1, token };
            domain
                .daemons(&ctx, &server.to_string(), "", &request)
                .await
        }
    };
    let token = list(server, String::new()).await.unwrap().next;
    assert!(!token.is_empty());
    assert!(list(server, token.clone()).await.is_ok());
    assert_eq!(reason(list(other, token.clone()).await), "INVALID_FIELD");
    let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        let altered = URL_SAFE_NO_PAD.encode(altered);
        assert_eq!(reason(list(server, altered).await), "INVALID_FIELD");
    }
    for garbage in ["x", "AAAA", "'; DROP TABLE users; --"] {
        assert_eq!(
            reason(list(server, garbage.to_owned()).await),
            "INVALID_FIELD"
        );
    }
}

#[tokio::test]
async fn sizes() {
    let world = World::new().await;
    let ctx = world.owner("TokenService/ListTokens").await;
    for _ in 0..51 {
        world.token(world.owner.0).await;
    }
    let list = |size| {
        let (ctx, domain) = (ctx.clone(), world.domain.clone());
        async move { domain.tokens(&ctx, &first(size)).await }
    };
    assert_eq!(list(0).await.unwrap().items.len(), 50);
    assert_eq!(list(i32::MAX).await.unwrap().items.len(), 52);
    assert_eq!(reason(list(-1).await), "INVALID_FIELD");
}
