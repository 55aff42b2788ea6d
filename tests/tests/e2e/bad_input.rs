//! What is refused is refused with the field and the rule, and nothing is half done.

use std::process::{Command, Stdio};

use tonic::Code;
use tonic_types::StatusExt as _;
use zhylon_proto::daemons::v1::server_service_client::ServerServiceClient;
use zhylon_proto::daemons::v1::{
    CreateDaemonRequest, CreateEnrollmentTokenRequest, CreateServerRequest, Daemon,
    GetServerRequest, ListDaemonsRequest,
};
use zhylon_tests::World;
use zhylon_tests::daemons::draft;
use zhylon_tests::world::programs;

fn reason(status: &tonic::Status) -> String {
    status
        .get_error_details()
        .error_info()
        .map(|info| info.reason.clone())
        .unwrap_or_default()
}

#[tokio::test]
async fn every_field_is_refused_with_its_name_and_nothing_is_stored() {
    type Change = fn(&mut Daemon);
    let world = World::up();
    let mut service = world.daemons().await;
    let list = ListDaemonsRequest {
        server_id: world.server_id(),
        ..Default::default()
    };
    let before = service
        .list_daemons(list.clone())
        .await
        .expect("list")
        .into_inner();
    let revision = revision(&world).await;
    let rows: &[(Change, &str)] = &[
        (|d| d.command = String::new(), "daemon.command"),
        (|d| d.command = "echo 'open".to_owned(), "daemon.command"),
        (|d| d.command = "x".repeat(4097), "daemon.command"),
        (|d| d.command = "a\0b".to_owned(), "daemon.command"),
        (|d| d.user = Some("no user".to_owned()), "daemon.user"),
        (|d| d.directory = "relative".to_owned(), "daemon.directory"),
        (|d| d.processes = Some(0), "daemon.processes"),
        (|d| d.processes = Some(65), "daemon.processes"),
        (|d| d.start_seconds = Some(3601), "daemon.start_seconds"),
        (|d| d.start_seconds = Some(-1), "daemon.start_seconds"),
        (|d| d.stop_seconds = Some(86_401), "daemon.stop_seconds"),
        (|d| d.stop_signal = 99, "daemon.stop_signal"),
        (|d| d.restart_policy = 99, "daemon.restart_policy"),
        (|d| d.max_retries = 1001, "daemon.max_retries"),
        (
            |d| d.limits.get_or_insert_default().nofile = Some(0),
            "daemon.limits.nofile",
        ),
        (|d| d.name = "a:b".to_owned(), "daemon.name"),
        (
            |d| {
                d.environment.insert("1".to_owned(), "x".to_owned());
            },
            "daemon.environment",
        ),
    ];
    for (change, field) in rows {
        let mut daemon = draft("sleep 1000");
        change(&mut daemon);
        let request = CreateDaemonRequest {
            server_id: world.server_id(),
            daemon: Some(daemon),
            validate_only: false,
        };
        let status = service.create_daemon(request).await.expect_err(field);
        assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status:?}");
        let details = status.get_error_details();
        let violations = &details
            .bad_request()
            .expect("a BadRequest")
            .field_violations;
        assert!(
            violations
                .iter()
                .any(|v| v.field == *field && !v.description.is_empty()),
            "{field}: {violations:?}"
        );
        assert!(!reason(&status).is_empty());
    }
    let after = service.list_daemons(list).await.expect("list").into_inner();
    let ids = |list: &zhylon_proto::daemons::v1::ListDaemonsResponse| {
        list.daemons
            .iter()
            .map(|d| d.id.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&before), ids(&after));
    assert_eq!(revision, self::revision(&world).await);

    // And in the terminal: what, which field, which rule.
    let output = world.ctl(&[
        "daemon",
        "create",
        "--command",
        "sleep 1",
        "--processes",
        "65",
    ]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(
        error.contains("daemon.processes") && error.contains("1 to 64"),
        "{error}"
    );
}

async fn revision(world: &World) -> i64 {
    let request = GetServerRequest {
        server_id: world.server_id(),
    };
    let response = world
        .servers()
        .await
        .get_server(request)
        .await
        .expect("get");
    response.into_inner().server.expect("a server").revision
}

#[tokio::test]
async fn wrong_credentials_have_distinct_reasons() {
    let world = World::up();
    let good = world.env("ZHYLON_API_TOKEN");
    let other = if good.ends_with('0') { "1" } else { "0" };
    let typo = format!("{}{other}", &good[..good.len() - 1]);
    let stranger = zhylon_shared::token::BearerToken {
        id: zhylon_shared::id::TokenId::random().expect("random"),
        secret: zhylon_shared::token::new_secret().expect("random"),
    };
    let mut reasons = std::collections::BTreeSet::new();
    for token in ["x".to_owned(), typo, stranger.to_text().expose().to_owned()] {
        let mut service = ServerServiceClient::new(world.service(&token).await);
        let request = GetServerRequest {
            server_id: world.server_id(),
        };
        let status = service.get_server(request).await.expect_err("refused");
        assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
        reasons.insert(reason(&status));
    }
    assert!(
        reasons.iter().all(|reason| reason.starts_with("TOKEN_")),
        "{reasons:?}"
    );
    assert!(reasons.len() >= 2, "{reasons:?}");

    // A wrong pin, a used token, a token nobody made: each is told as what it is, and leaves no identity behind.
    let mut servers = world.servers().await;
    let request = CreateServerRequest {
        team_id: world.env("ZHYLON_TEAM_ID"),
        name: "second".to_owned(),
    };
    let server = servers
        .create_server(request)
        .await
        .expect("create")
        .into_inner()
        .server
        .expect("a server");
    let request = CreateEnrollmentTokenRequest {
        server_id: server.id,
    };
    let token = servers
        .create_enrollment_token(request)
        .await
        .expect("token")
        .into_inner()
        .token;
    let wrong_pin = token.replacen(
        &token[5..7],
        if &token[5..7] == "00" { "11" } else { "00" },
        1,
    );
    let mut unknown = zhylon_shared::token::EnrollmentToken::parse(&token).expect("a token");
    unknown.id = zhylon_shared::id::EnrollmentId::random().expect("random");

    let refused = |name: &str, token: &str| {
        let (ok, error) = enroll(&world, name, token);
        assert!(!ok, "{name}: enrolled");
        assert!(
            !world
                .dir()
                .join(name)
                .join("identity/identity.json")
                .exists()
        );
        error
    };
    let pin = refused("pin", &wrong_pin);
    let nobody = refused("nobody", unknown.to_text().expose());
    let (enrolled, error) = enroll(&world, "good", &token);
    assert!(enrolled, "{error}");
    let used = refused("used", &token);
    assert!(
        pin.contains("Nothing was sent") && used.contains("used already"),
        "{pin}\n{used}"
    );
    assert_eq!(
        std::collections::BTreeSet::from([&pin, &nobody, &used]).len(),
        3,
        "{pin}\n{nobody}\n{used}"
    );
}

/// Runs `host-agent enroll` with a state directory of its own.
fn enroll(world: &World, name: &str, token: &str) -> (bool, String) {
    use std::io::Write as _;
    let state = world.dir().join(name);
    let config = world.dir().join(format!("{name}.toml"));
    let text = format!(
        "state_dir = {:?}\nrun_dir = {:?}\n",
        state,
        world.dir().join(format!("{name}.run"))
    );
    std::fs::write(&config, text).expect("write the configuration");
    let mut agent = Command::new(programs().path("host-agent"))
        .args([
            "enroll",
            "--api-url",
            &world.env("ZHYLON_API_URL"),
            "--token-file",
            "-",
            "--config",
        ])
        .arg(&config)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start host-agent");
    writeln!(agent.stdin.take().expect("stdin"), "{token}").expect("give the token");
    let output = agent.wait_with_output().expect("wait");
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[tokio::test]
async fn a_second_api_server_on_the_same_file_is_refused() {
    let world = World::up();
    let config = std::fs::read_to_string(world.dir().join("api-server.toml"))
        .expect("read the configuration");
    let other = world.dir().join("second.toml");
    let moved: String = config
        .lines()
        .map(|line| match line.split_once(" = ") {
            Some((name @ ("listen" | "agent_listen"), _)) => format!("{name} = \"127.0.0.1:0\"\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    std::fs::write(&other, moved).expect("write the configuration");
    let output = Command::new(programs().path("api-server"))
        .args(["serve", "--config"])
        .arg(&other)
        .output();
    let output = output.expect("start api-server");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(error.contains("in use by another api-server"), "{error}");
    // The first one does not mind.
    assert!(world.ctl(&["daemon", "list"]).status.success());
}

/// A link planted where the log will be leads nowhere, and does not stop the daemon.
#[tokio::test]
async fn a_planted_link_leads_nowhere() {
    let world = World::up();
    let start = world.dir().join("start");
    let command = format!(
        "/bin/sh -c 'while [ ! -e {} ]; do sleep 0.05; done; echo into the trap; exec sleep 1000'",
        start.display()
    );
    let mut daemon = draft(&command);
    daemon.desired_state = zhylon_proto::daemons::v1::DesiredState::Stopped.into();
    let id = world.create(daemon).await.id;
    let target = world.dir().join("target");
    std::fs::write(&target, "precious\n").expect("write the target");
    let log = zhylon_tests::daemons::log_file(&id);
    std::fs::create_dir_all(log.parent().expect("a directory")).expect("make .zhylon");
    let _ = std::fs::remove_file(&log);
    std::os::unix::fs::symlink(&target, &log).expect("plant the link");
    assert!(
        world
            .ctl(&["daemon", "start", &id, "--wait"])
            .status
            .success()
    );
    std::fs::write(&start, "").expect("start");
    // Once the link is gone, the line is in the file: it was kept, and went nowhere else meanwhile.
    assert_eq!(
        std::fs::read_to_string(&target).expect("read"),
        "precious\n"
    );
    std::fs::remove_file(&log).expect("remove the link");
    world.log_until(&id, "into the trap").await;
    assert_eq!(
        std::fs::read_to_string(&target).expect("read"),
        "precious\n"
    );
}
