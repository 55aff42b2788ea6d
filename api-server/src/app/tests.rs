mod house;
mod identity;
mod logs;
mod sessions;

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
async fn health_and_reflection_answer_everyone() {
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

    let house = House::start().await;
    let mut health = HealthClient::new(house.public.clone());
    let answer = health.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    let mut health_news = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        health_news.message().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );

    let list = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let mut reflection = ServerReflectionClient::new(house.public.clone());
    let asked = reflection.server_reflection_info(tokio_stream::iter([list]));
    let answer = asked.await.unwrap().into_inner().message().await.unwrap();
    let answer: ServerReflectionResponse = answer.unwrap();
    let text = format!("{answer:?}");
    for service in ["zhylon.daemons.v1.DaemonService", "grpc.health.v1.Health"] {
        assert!(text.contains(service), "{text}");
    }

    house.wish_stop();
    let news = health_news.message().await.unwrap().unwrap();
    assert_eq!(news.status(), ServingStatus::NotServing);
    drop(health_news);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_refused_before_it_is_read() {
    use zhylon_proto::daemons::v1 as api;
    let house = House::start().await;
    let large = api::CreateServerRequest {
        team_id: house.team.clone(),
        name: "x".repeat(300 * 1024),
    };
    let refused = house.servers().create_server(house.call(large)).await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::OutOfRange);
    let mut headers = house.call(api::ListServersRequest::default());
    let long = "x".repeat(20 * 1024).parse().unwrap();
    headers.metadata_mut().insert("long", long);
    house.servers().list_servers(headers).await.unwrap_err();
    // And the connection, or the next one, goes on.
    house.create_server("one").await;
    house.stop().await;
}

#[test]
fn a_panic_is_one_calls_internal_error() {
    let answer = server::answer_panic(Box::new("oops"));
    assert_eq!(answer.headers()["grpc-status"], "13");
    assert_eq!(answer.headers()["content-type"], "application/grpc");
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
    assert!(took < DRAIN_DEADLINE, "{took:?}");
}
