//! Daemons over the API: every field's rule, masks, what is read back.

use zhylon_proto::daemons::v1 as api;

use super::matrix;
use super::*;

fn daemon() -> api::Daemon {
    api::Daemon {
        command: "php artisan queue:work".to_owned(),
        ..Default::default()
    }
}

async fn create(
    front: &Front,
    server: ServerId,
    daemon: api::Daemon,
) -> Result<api::Daemon, Status> {
    let asked = api::CreateDaemonRequest {
        server_id: server.to_string(),
        daemon: Some(daemon),
        validate_only: false,
    };
    let made: api::CreateDaemonResponse = front
        .ask("DaemonService/CreateDaemon", &front.owner(), &asked)
        .await?;
    Ok(made.daemon.unwrap())
}

async fn update(front: &Front, daemon: api::Daemon, paths: &[&str]) -> Result<api::Daemon, Status> {
    let asked = matrix::update(daemon, paths);
    let made: api::UpdateDaemonResponse = front
        .ask("DaemonService/UpdateDaemon", &front.owner(), &asked)
        .await?;
    Ok(made.daemon.unwrap())
}

/// One edge outside of every rule of a daemon's fields.
fn broken() -> Vec<(&'static str, &'static str, api::Daemon)> {
    let with = |change: &dyn Fn(&mut api::Daemon)| {
        let mut daemon = daemon();
        change(&mut daemon);
        daemon
    };
    let variables = |n: usize, value: &str| {
        (0..n)
            .map(|i| (format!("V{i}"), value.to_owned()))
            .collect()
    };
    vec![
        ("command", "REQUIRED", with(&|d| d.command.clear())),
        ("command", "REQUIRED", with(&|d| d.command = "  ".into())),
        (
            "command",
            "TOO_LONG",
            with(&|d| d.command = "x".repeat(4097)),
        ),
        ("command", "NUL", with(&|d| d.command = "a\0b".into())),
        ("command", "QUOTING", with(&|d| d.command = "a 'b".into())),
        ("user", "USER_NAME", with(&|d| d.user = Some(String::new()))),
        ("user", "USER_NAME", with(&|d| d.user = Some("Root".into()))),
        ("user", "USER_NAME", with(&|d| d.user = Some("0".into()))),
        (
            "user",
            "USER_NAME",
            with(&|d| d.user = Some("a".repeat(33))),
        ),
        (
            "directory",
            "ABSOLUTE",
            with(&|d| d.directory = "srv".into()),
        ),
        ("directory", "NUL", with(&|d| d.directory = "/a\0".into())),
        (
            "directory",
            "TOO_LONG",
            with(&|d| d.directory = format!("/{}", "x".repeat(4095))),
        ),
        ("processes", "RANGE", with(&|d| d.processes = Some(0))),
        ("processes", "RANGE", with(&|d| d.processes = Some(65))),
        (
            "processes",
            "RANGE",
            with(&|d| d.processes = Some(i32::MIN)),
        ),
        (
            "start_seconds",
            "RANGE",
            with(&|d| d.start_seconds = Some(-1)),
        ),
        (
            "start_seconds",
            "RANGE",
            with(&|d| d.start_seconds = Some(3601)),
        ),
        (
            "stop_seconds",
            "RANGE",
            with(&|d| d.stop_seconds = Some(-1)),
        ),
        (
            "stop_seconds",
            "RANGE",
            with(&|d| d.stop_seconds = Some(86_401)),
        ),
        ("stop_signal", "ENUM", with(&|d| d.stop_signal = 8)),
        ("restart_policy", "ENUM", with(&|d| d.restart_policy = 4)),
        ("max_retries", "RANGE", with(&|d| d.max_retries = -1)),
        ("max_retries", "RANGE", with(&|d| d.max_retries = 1001)),
        ("limits.nofile", "RANGE", with(&|d| nofile(d, 15))),
        (
            "limits.nofile",
            "RANGE",
            with(&|d| nofile(d, (1 << 30) + 1)),
        ),
        (
            "limits.memory_max",
            "RANGE",
            with(&|d| memory(d, (4 << 20) - 1)),
        ),
        (
            "limits.memory_max",
            "RANGE",
            with(&|d| memory(d, (1 << 50) + 1)),
        ),
        ("limits.cpu_max", "RANGE", with(&|d| cpu(d, 9))),
        ("limits.cpu_max", "RANGE", with(&|d| cpu(d, 1_024_001))),
        ("desired_state", "ENUM", with(&|d| d.desired_state = 3)),
        ("name", "LABEL", with(&|d| d.name = "a:b".into())),
        ("name", "LABEL", with(&|d| d.name = "a/b".into())),
        ("name", "LABEL", with(&|d| d.name = "a\nb".into())),
        ("name", "LABEL", with(&|d| d.name = "x".repeat(65))),
        (
            "environment",
            "TOO_MANY",
            with(&|d| d.environment = variables(65, "")),
        ),
        (
            "environment",
            "TOO_LONG",
            with(&|d| d.environment = variables(64, &"x".repeat(512))),
        ),
        (
            "environment",
            "VARIABLE_NAME",
            with(&|d| d.environment = [("1A".to_owned(), String::new())].into()),
        ),
        (
            "environment",
            "NUL",
            with(&|d| d.environment = [("A".to_owned(), "\0".to_owned())].into()),
        ),
    ]
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_by_field_and_rule_and_nothing_is_stored() {
    let front = Front::new().await;
    let server = front.world.server("a").await;
    let good = create(&front, server, daemon()).await.unwrap();
    for (field, rule, daemon) in broken() {
        let path = format!("daemon.{field}");
        let expected = HashMap::from([(path, rule.to_owned())]);
        let status = create(&front, server, daemon.clone()).await.unwrap_err();
        assert_eq!(violations(&status), expected);
        assert!(status.message().starts_with(&format!("daemon.{field}: ")));
        if field == "desired_state" {
            continue;
        }
        let changed = api::Daemon {
            id: good.id.clone(),
            ..daemon
        };
        for mask in [field, "*"] {
            let status = update(&front, changed.clone(), &[mask]).await.unwrap_err();
            assert_eq!(violations(&status), expected);
        }
    }
    let set = front.world.domain.desired(server).await.unwrap();
    assert_eq!((set.revision, set.daemons.len()), (1, 1));
    // All at once, where several are broken.
    let all = api::Daemon {
        processes: Some(0),
        stop_signal: 99,
        desired_state: 9,
        ..Default::default()
    };
    let status = create(&front, server, all).await.unwrap_err();
    assert_eq!(violations(&status).len(), 4);
    let nothing = api::CreateDaemonRequest {
        server_id: server.to_string(),
        ..Default::default()
    };
    let answer: Result<api::CreateDaemonResponse, _> = front
        .ask("DaemonService/CreateDaemon", &front.owner(), &nothing)
        .await;
    assert_eq!(violations(&answer.unwrap_err())["daemon"], "REQUIRED");
}

#[tokio::test]
async fn the_edges_inside_are_accepted_and_read_back() {
    let front = Front::new().await;
    let server = front.world.server("a").await;
    let full = api::Daemon {
        name: "ü".repeat(64),
        command: format!("/{}", "x".repeat(4095)),
        user: Some("_".repeat(32)),
        directory: format!("/{}", "x".repeat(4094)),
        processes: Some(64),
        start_seconds: Some(3600),
        stop_seconds: Some(86_400),
        stop_signal: api::StopSignal::Usr2.into(),
        restart_policy: api::RestartPolicy::Never.into(),
        max_retries: 1000,
        environment: [
            ("B".to_owned(), "secret".to_owned()),
            ("A".to_owned(), String::new()),
        ]
        .into(),
        desired_state: api::DesiredState::Stopped.into(),
        limits: Some(api::Limits {
            nofile: Some(1 << 30),
            memory_max: Some(1 << 50),
            cpu_max: Some(10),
        }),
        ..Default::default()
    };
    let made = create(&front, server, full.clone()).await.unwrap();
    assert!(made.environment.is_empty(), "values are write-only");
    assert_eq!(made.environment_names, ["A", "B"]);
    let expected = api::Daemon {
        environment: HashMap::new(),
        environment_names: made.environment_names.clone(),
        id: made.id.clone(),
        server_id: server.to_string(),
        intent_generation: 1,
        revision: 1,
        etag: made.etag.clone(),
        create_time: made.create_time,
        update_time: made.update_time,
        status: made.status.clone(),
        ..full
    };
    assert_eq!(made, expected);
    let asked = api::GetDaemonRequest {
        daemon_id: made.id.clone(),
    };
    let read: api::GetDaemonResponse = front
        .ask("DaemonService/GetDaemon", &front.owner(), &asked)
        .await
        .unwrap();
    assert_eq!(read.daemon.unwrap(), made);

    let least = create(&front, server, daemon()).await.unwrap();
    assert_eq!(least.user.as_deref(), Some("zhylon"));
    assert_eq!(
        (least.processes, least.start_seconds, least.stop_seconds),
        (Some(1), Some(1), Some(10))
    );
    assert_eq!(least.limits, None);
    assert_eq!(least.stop_signal(), api::StopSignal::Term);
    assert_eq!(least.restart_policy(), api::RestartPolicy::Always);
    assert_eq!(least.desired_state(), api::DesiredState::Running);
    let zero = api::Daemon {
        start_seconds: Some(0),
        stop_seconds: Some(0),
        ..daemon()
    };
    let zero = create(&front, server, zero).await.unwrap();
    assert_eq!((zero.start_seconds, zero.stop_seconds), (Some(0), Some(0)));
}

#[tokio::test]
async fn an_update_changes_what_its_mask_names() {
    let front = Front::new().await;
    let server = front.world.server("a").await;
    let first = api::Daemon {
        environment: [("A".to_owned(), "1".to_owned())].into(),
        stop_seconds: Some(30),
        ..daemon()
    };
    let made = create(&front, server, first).await.unwrap();
    let changed = api::Daemon {
        id: made.id.clone(),
        command: "true".to_owned(),
        processes: Some(4),
        desired_state: api::DesiredState::Stopped.into(),
        ..Default::default()
    };
    for (paths, rule) in [
        (&[][..], "REQUIRED"),
        (&["processes", "colour"], "PATH"),
        (&["id"], "PATH"),
        (&["desired_state"], "PATH"),
        (&["environment.A"], "PATH"),
        (&["status"], "PATH"),
    ] {
        let status = update(&front, changed.clone(), paths).await.unwrap_err();
        assert_eq!(violations(&status)["update_mask"], rule, "{paths:?}");
    }
    let some = update(&front, changed.clone(), &["processes"])
        .await
        .unwrap();
    assert_eq!(some.processes, Some(4));
    assert_eq!(some.command, made.command);
    assert_eq!(some.stop_seconds, Some(30));
    assert_eq!(some.environment_names, ["A"]);
    assert_ne!(some.etag, made.etag);
    let set = front.world.domain.desired(server).await.unwrap();
    let spec = set.daemons[0].spec.clone().unwrap();
    assert_eq!(
        spec.environment[0].value, "1",
        "kept, though it is never read back"
    );

    let all = update(&front, changed.clone(), &["*"]).await.unwrap();
    assert_eq!(all.command, "true");
    assert_eq!(
        all.stop_seconds,
        Some(10),
        "what is left out gets its default"
    );
    assert!(all.environment_names.is_empty());
    assert_eq!(all.desired_state(), api::DesiredState::Running);
    let stale = api::Daemon {
        etag: some.etag,
        ..changed
    };
    let status = update(&front, stale, &["*"]).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::Aborted, "ETAG_MISMATCH".to_owned())
    );
}

#[tokio::test]
async fn validate_only_stores_nothing() {
    let front = Front::new().await;
    let server = front.world.server("a").await;
    let asked = api::CreateDaemonRequest {
        server_id: server.to_string(),
        daemon: Some(daemon()),
        validate_only: true,
    };
    let made: api::CreateDaemonResponse = front
        .ask("DaemonService/CreateDaemon", &front.owner(), &asked)
        .await
        .unwrap();
    let made = made.daemon.unwrap();
    assert_eq!(
        (made.id.as_str(), made.command.as_str()),
        ("", "php artisan queue:work")
    );
    let set = front.world.domain.desired(server).await.unwrap();
    assert_eq!((set.revision, set.daemons.len()), (0, 0));
}

#[tokio::test]
async fn enrolling_gives_an_identity_once() {
    let front = Front::new().await;
    let server = front.world.server("a").await;
    let asked = api::CreateEnrollmentTokenRequest {
        server_id: server.to_string(),
    };
    let made: api::CreateEnrollmentTokenResponse = front
        .ask(
            "ServerService/CreateEnrollmentToken",
            &front.owner(),
            &asked,
        )
        .await
        .unwrap();
    let token = zhylon_shared::token::EnrollmentToken::parse(&made.token).unwrap();
    assert_eq!(token.pin, [9; 32]);
    let enroll = |credential: String, key: Vec<u8>, hostname: String| {
        let asked = api::EnrollRequest {
            token: credential,
            certificate_request: key,
            hostname,
            ..Default::default()
        };
        let front = &front;
        async move {
            front
                .ask::<_, api::EnrollResponse>("ServerService/Enroll", &[], &asked)
                .await
        }
    };
    let good = token.credential().expose().to_owned();
    let status = enroll("x".to_owned(), vec![1], String::new())
        .await
        .unwrap_err();
    assert_eq!(reason(&status), "ENROLLMENT_TOKEN_UNKNOWN");
    // A request that can get no certificate leaves the token unused.
    let status = enroll(good.clone(), vec![], "x".repeat(256))
        .await
        .unwrap_err();
    let bad = violations(&status);
    assert!(bad.contains_key("certificate_request") && bad.contains_key("hostname"));
    for _ in 0..2 {
        let identity = enroll(good.clone(), vec![1], String::new()).await.unwrap();
        assert_eq!(identity.server_id, server.to_string());
        assert_eq!(identity.agent_addresses, ["localhost:1"]);
    }
    let status = enroll(good, vec![2], String::new()).await.unwrap_err();
    assert_eq!(reason(&status), "ENROLLMENT_TOKEN_USED");
}

#[tokio::test]
async fn a_restart_names_every_field_it_does_not_know() {
    let front = Front::new().await;
    let server = front.world.server("a").await;
    let made = create(&front, server, daemon()).await.unwrap();
    let ask = async |strategy: i32, nanos: i32| {
        let asked = api::RestartDaemonRequest {
            daemon_id: made.id.clone(),
            not_after: (nanos != 0).then(|| {
                let mut time = zhylon_shared::wire::timestamp(std::time::SystemTime::now());
                time.nanos = nanos;
                time
            }),
            strategy,
        };
        front
            .ask::<_, api::RestartDaemonResponse>(
                "DaemonService/RestartDaemon",
                &front.owner(),
                &asked,
            )
            .await
    };
    let rolling = api::RestartStrategy::Rolling.into();
    let restarted = ask(rolling, 0).await.unwrap().daemon.unwrap();
    assert_eq!(restarted.restart_generation, 1);
    let refused = violations(&ask(7, -1).await.unwrap_err());
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused.contains_key("not_after") && refused.contains_key("strategy"));
}

#[tokio::test]
async fn each_limit_is_changed_and_taken_away_by_its_own_path() {
    let front = Front::new().await;
    let server = front.world.server("a").await;
    let all = api::Limits {
        nofile: Some(16),
        memory_max: Some(4 << 20),
        cpu_max: Some(1_024_000),
    };
    let first = api::Daemon {
        limits: Some(all),
        ..daemon()
    };
    let made = create(&front, server, first).await.unwrap();
    assert_eq!(made.limits, Some(all));
    let change = async |limits, paths: &[&str]| {
        let changed = api::Daemon {
            id: made.id.clone(),
            limits,
            ..daemon()
        };
        update(&front, changed, paths).await.unwrap().limits
    };
    let other = api::Limits {
        nofile: Some(4096),
        ..Default::default()
    };
    // Each of the others is absent in the message, and stays.
    let one = change(Some(other), &["limits.nofile"]).await;
    let expected = api::Limits {
        nofile: Some(4096),
        ..all
    };
    assert_eq!(one, Some(expected));
    // Absent and named: taken away.
    let less = change(None, &["limits.memory_max", "limits.cpu_max"]).await;
    assert_eq!(less, Some(other));
    assert_eq!(change(None, &["limits.nofile"]).await, None);
    assert_eq!(change(Some(all), &["limits"]).await, Some(all));
    assert_eq!(change(None, &["*"]).await, None);
}

fn nofile(daemon: &mut api::Daemon, value: i32) {
    daemon.limits.get_or_insert_default().nofile = Some(value);
}

fn memory(daemon: &mut api::Daemon, value: i64) {
    daemon.limits.get_or_insert_default().memory_max = Some(value);
}

fn cpu(daemon: &mut api::Daemon, value: i32) {
    daemon.limits.get_or_insert_default().cpu_max = Some(value);
}
