mod house;
mod logs;
mod sessions;

use std::time::Duration;

use house::{House, hello};
use zhylon_proto::agent::v1::connect_response::Frame as Down;

use super::*;

#[test]
fn addresses_of_agents_are_ready_to_dial() {
    let names = ["a.example", "10.0.0.1", "::1"].map(str::to_owned);
    assert_eq!(
        agent_addresses(&names, 8444),
        ["a.example:8444", "10.0.0.1:8444", "[::1]:8444"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_tells_agents_and_ends_at_once() {
    let house = House::start().await;
    let server = house.create_server("one").await;
    let (mut link, _) = house.enroll(server).await.welcome(hello()).await;
    let first = link.config().await;
    link.accept(&first).await;
    house.wish_stop();
    match link.frame().await {
        Some(Down::Drain(drain)) => assert!(drain.reconnect_after_ms < 2000),
        other => panic!("{other:?} instead of a drain"),
    }
    assert!(link.frame().await.is_none());
    drop(link);
    let took = house.stop().await;
    assert!(took < Duration::from_secs(5), "{took:?}");
}
