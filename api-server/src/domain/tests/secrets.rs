//! What must not be found: environment values and secrets, in the database or in what is said.

use super::*;
use std::collections::BTreeMap;

const CANARY: &str = "canary-7d1f0a-value";

fn files(world: &World) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(world.dir.path()).unwrap() {
        all.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    all
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|w| w == text.as_bytes())
}

#[tokio::test]
async fn environment_values_reach_the_host_and_nobody_else() {
    let world = World::new().await;
    let server = world.server("a").await;
    let draft = SpecDraft {
        environment: BTreeMap::from([("API_KEY".to_owned(), Secret::new(CANARY))]),
        ..SpecDraft::default()
    };
    let view = world.create(server, draft).await.unwrap();
    assert_eq!(view.environment_names, ["API_KEY"]);
    assert!(!format!("{view:?}").contains(CANARY));

    let ctx = world.owner("DaemonService/UpdateDaemon").await;
    let id = view.row.id.to_string();
    let renamed = world
        .domain
        .update_daemon(
            &ctx,
            &id,
            &view.etag(),
            |current| {
                assert_eq!(current.environment()["API_KEY"].expose(), CANARY);
                let draft = SpecDraft::from(current.clone());
                let name = "renamed".to_owned();
                Ok(DaemonSpec::check(SpecDraft { name, ..draft }).unwrap())
            },
            false,
        )
        .await
        .unwrap();
    assert_eq!(renamed.environment_names, ["API_KEY"]);
    let set = world.domain.desired(server).await.unwrap();
    let variable = &set.daemons[0].spec.as_ref().unwrap().environment[0];
    assert_eq!(
        (variable.name.as_str(), variable.value.as_str()),
        ("API_KEY", CANARY)
    );

    let bytes = files(&world);
    assert!(
        holds(&bytes, "API_KEY") && holds(&bytes, "/bin/sleep 600"),
        "the right files"
    );
    assert!(!holds(&bytes, CANARY));
}

#[tokio::test]
async fn another_key_opens_nothing_and_says_nothing() {
    let world = World::new().await;
    let server = world.server("a").await;
    let draft = SpecDraft {
        environment: BTreeMap::from([("K".to_owned(), Secret::new(CANARY))]),
        ..SpecDraft::default()
    };
    world.create(server, draft).await.unwrap();
    let other = Domain {
        key: EnvironmentKey::new([1; 32]),
        ..world.domain.clone()
    };
    let error = other.desired(server).await.unwrap_err();
    assert_eq!(error.reason().text(), "INTERNAL");
    assert!(!error.to_string().contains(CANARY));
}

#[tokio::test]
async fn of_tokens_only_hashes_are_stored() {
    let world = World::new().await;
    let server = world.server("a").await;
    let ctx = world.owner("ServerService/CreateEnrollmentToken").await;
    let made = world
        .domain
        .create_enrollment(&ctx, &server.to_string(), [1; 32])
        .await;
    let enrollment = made.unwrap().0;
    let bytes = files(&world);
    for token in [&world.owner.1, &world.operator.1, &enrollment] {
        let parts: Vec<_> = token.expose().split('_').collect();
        let secret = parts.iter().find(|part| part.len() == 32).unwrap();
        assert!(!holds(&bytes, secret));
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_files_are_their_owners_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new().await;
    world.server("a").await;
    let mut seen = 0;
    for entry in std::fs::read_dir(world.dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.path());
        seen += 1;
    }
    assert!(seen >= 3, "database, write-ahead log, lock");
}
