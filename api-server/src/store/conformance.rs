//! What every database must do alike. One suite; each supported database runs it.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::*;
use crate::access::{Access, Actor, Membership, PermissionSet, Rule, TeamGrant, authorize};
use crate::clock::Clock;
use crate::domain::{BootstrapNames, bootstrap};
use zhylon_shared::id::{DaemonId, EnrollmentId, EventId, ServerId, TeamId, UserId};

static RULE: Rule = Rule {
    method: "test",
    access: Access::Member,
};

fn event(text: &str) -> NewEvent {
    NewEvent {
        id: EventId::random().unwrap(),
        event: text.as_bytes().to_vec(),
    }
}

fn delete(_: &DaemonRow) -> Result<NewEvent, Error> {
    Ok(event("deleted"))
}

struct Bench {
    store: Store,
    team: TeamGrant,
    stranger: TeamGrant,
    server: ServerId,
    now: SystemTime,
}

fn grant(team: TeamId) -> TeamGrant {
    let user = UserId::random().unwrap();
    let actor = Actor {
        user,
        operator: false,
        acting: None,
    };
    let membership = Membership {
        team,
        user,
        owner: true,
        permissions: PermissionSet::default(),
    };
    authorize(&RULE, &actor, Some(&membership)).unwrap()
}

async fn bench(store: Store) -> Bench {
    let now = from_millis(1_800_000_000_000);
    let names = BootstrapNames {
        operator: "o".to_owned(),
        owner: "a".to_owned(),
        team: "t".to_owned(),
    };
    let made = bootstrap(&store, &Clock::system(), names).await.unwrap();
    let team = grant(made.team);
    let server = NewServer {
        id: ServerId::random().unwrap(),
        name: "s".to_owned(),
        create_time: now,
        config_epoch: "e".to_owned(),
    };
    store.create_server(&team, &server).await.unwrap();
    Bench {
        store,
        team,
        stranger: grant(TeamId::random().unwrap()),
        server: server.id,
        now,
    }
}

impl Bench {
    fn new_daemon(&self, name: Option<&str>) -> NewDaemon {
        NewDaemon {
            id: DaemonId::random().unwrap(),
            server_id: self.server,
            change: DaemonChange {
                name: name.map(str::to_owned),
                spec: "{}".to_owned(),
                environment: vec![0, 255],
                environment_names: "[]".to_owned(),
                desired_running: true,
                intent_generation: 1,
                restart: None,
                event: event("created"),
            },
            now: self.now,
            quota: 3,
            validate_only: false,
        }
    }

    async fn revision(&self) -> i64 {
        let server = self.store.server(self.server).await.unwrap();
        server.unwrap().revision
    }
}

/// A write of another team finds nothing and raises nothing, whatever id it names.
async fn writes_are_held_against_their_grant(bench: &Bench) {
    let new = bench.new_daemon(None);
    let (store, stranger) = (&bench.store, &bench.stranger);
    let made = store.create_daemon(stranger, &new).await;
    assert!(matches!(made, Err(Error::Gone)));
    let row = store.create_daemon(&bench.team, &new).await.unwrap();
    let key = (bench.server, row.id);
    let before = bench.revision().await;
    let keep = |_: &DaemonRow| -> Result<DaemonChange, Error> { Ok(new.change.clone()) };
    let changed = store
        .change_daemon(stranger, key, bench.now, false, keep)
        .await;
    assert!(matches!(changed, Err(Error::Gone)));
    let deleted = store.delete_daemon(stranger, key, bench.now, delete).await;
    assert!(matches!(deleted, Err(Error::Gone)));
    let deleted = store.delete_server(stranger, bench.server, true).await;
    assert!(matches!(deleted, Err(Error::Gone)));
    let enrollment = NewEnrollment {
        id: zhylon_shared::id::EnrollmentId::random().unwrap(),
        server_id: bench.server,
        secret_hash: zhylon_shared::token::SecretHash([0; 32]),
        create_time: bench.now,
        expire_time: bench.now,
    };
    let made = store.create_enrollment(stranger, &enrollment).await;
    assert!(matches!(made, Err(Error::Gone)));
    assert_eq!(bench.revision().await, before);
    // A daemon under a server that is not its own is not found either.
    let other = NewServer {
        id: ServerId::random().unwrap(),
        name: "s2".to_owned(),
        create_time: bench.now,
        config_epoch: "e".to_owned(),
    };
    store.create_server(&bench.team, &other).await.unwrap();
    let changed = store
        .change_daemon(&bench.team, (other.id, row.id), bench.now, false, keep)
        .await;
    assert!(matches!(changed, Err(Error::Gone)));
    store
        .delete_daemon(&bench.team, key, bench.now, delete)
        .await
        .unwrap();
}

/// Every write raises the revision by one, and what is refused raises nothing.
async fn revisions_rise_with_writes_only(bench: &Bench) {
    let store = &bench.store;
    let start = bench.revision().await;
    let new = bench.new_daemon(Some("n"));
    let row = store.create_daemon(&bench.team, &new).await.unwrap();
    assert_eq!(row.changed_revision, start + 1);
    assert_eq!(row.environment, [0, 255]);
    let twin = bench.new_daemon(Some("n"));
    let taken = store.create_daemon(&bench.team, &twin).await;
    assert!(matches!(taken, Err(Error::Taken)));
    let dry = NewDaemon {
        validate_only: true,
        ..bench.new_daemon(None)
    };
    store.create_daemon(&bench.team, &dry).await.unwrap();
    assert!(store.daemon(dry.id).await.unwrap().is_none());
    assert_eq!(bench.revision().await, start + 1);
    let key = (bench.server, row.id);
    let refuse = |_: &DaemonRow| Err(Error::Full(7));
    let refused = store
        .change_daemon(&bench.team, key, bench.now, false, refuse)
        .await;
    assert!(matches!(refused, Err(Error::Full(7))));
    assert_eq!(bench.revision().await, start + 1);
    let more = [bench.new_daemon(None), bench.new_daemon(None)];
    for new in &more {
        store.create_daemon(&bench.team, new).await.unwrap();
    }
    let full = store
        .create_daemon(&bench.team, &bench.new_daemon(None))
        .await;
    assert!(matches!(full, Err(Error::Full(3))));
    assert_eq!(bench.revision().await, start + 3);
    for id in [row.id, more[0].id, more[1].id] {
        store
            .delete_daemon(&bench.team, (bench.server, id), bench.now, delete)
            .await
            .unwrap();
    }
    assert_eq!(bench.revision().await, start + 6);
}

/// Many writers at once: no revision is given twice, none is lost.
async fn writers_queue(bench: &Bench) {
    let start = bench.revision().await;
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..10 {
        let (store, team) = (bench.store.clone(), bench.team);
        let mut new = bench.new_daemon(Some(&format!("w{n}")));
        new.quota = 1000;
        writers.spawn(async move {
            let row = store.create_daemon(&team, &new).await;
            row.unwrap().changed_revision
        });
    }
    let mut given = writers.join_all().await;
    given.sort_unstable();
    let expected: Vec<_> = (start + 1..=start + 10).collect();
    assert_eq!(given, expected);
}

/// Which keys are good: the newest, and the one before it until the newest is shown; none after a revocation, which a
/// stranger can not make.
async fn the_newest_key_counts_once_it_is_shown(bench: &Bench) {
    let (store, server, now) = (&bench.store, bench.server, bench.now);
    let claims = async |key: [u8; 32]| {
        let session = store.claim(server, &key, "1", now).await.unwrap();
        session.is_some()
    };
    let (one, two, three, other) = ([1; 32], [2; 32], [3; 32], [9; 32]);
    let enrollment = NewEnrollment {
        id: EnrollmentId::random().unwrap(),
        server_id: server,
        secret_hash: zhylon_shared::token::hash(&zhylon_shared::token::new_secret().unwrap()),
        create_time: now,
        expire_time: now + Duration::from_secs(60),
    };
    store
        .create_enrollment(&bench.team, &enrollment)
        .await
        .unwrap();
    assert!(
        store
            .use_enrollment(enrollment.id, &one, now)
            .await
            .unwrap()
    );
    assert!(
        !store
            .use_enrollment(enrollment.id, &other, now)
            .await
            .unwrap()
    );
    assert!(claims(one).await && !claims(other).await);

    assert!(!store.renew_key(server, &other, &three).await.unwrap());
    for new in [three, two, two] {
        assert!(store.renew_key(server, &one, &new).await.unwrap());
    }
    assert!(claims(one).await && !claims(three).await);
    assert!(!store.prove_key(server, &one).await.unwrap());
    assert!(store.prove_key(server, &two).await.unwrap());
    assert!(!claims(one).await && claims(two).await);
    assert!(!store.renew_key(server, &one, &three).await.unwrap());

    let revoked = store.revoke_identity(&bench.stranger, server, now).await;
    assert!(matches!(revoked, Err(Error::Gone)));
    assert!(claims(two).await);
    let epoch = store.claim(server, &two, "1", now).await.unwrap().unwrap();
    let epoch = epoch.session_epoch;
    store.seen(server, epoch, now).await.unwrap();
    let row = store
        .revoke_identity(&bench.team, server, now)
        .await
        .unwrap();
    assert_eq!(row.revoke_time, Some(now));
    assert!(!claims(two).await && !claims(other).await);
    assert!(!store.prove_key(server, &two).await.unwrap());
    assert!(!store.renew_key(server, &two, &three).await.unwrap());
    assert!(matches!(
        store.seen(server, epoch, now).await,
        Err(Error::Fenced)
    ));
    assert!(store.revisions(&[server]).await.unwrap().is_empty());
}

/// A host's event counts once however often and in whatever company it comes; the oldest make room; a stranger's
/// change leaves no event.
async fn events_count_once(bench: &Bench) {
    let store = &bench.store;
    let new = bench.new_daemon(None);
    store.create_daemon(&bench.team, &new).await.unwrap();
    let epoch = store
        .claim(bench.server, &[0; 32], "1", bench.now)
        .await
        .unwrap();
    let epoch = epoch.unwrap().session_epoch;
    let host = |sequence: i64| HostEvent {
        sequence,
        daemon: new.id,
        time: bench.now,
        new: event(&sequence.to_string()),
    };
    let tell = async |boot: &str, sequences: std::ops::Range<i64>| {
        let events: Vec<_> = sequences.map(host).collect();
        let told = store.record_events(bench.server, epoch, boot, &events, bench.now);
        told.await.unwrap();
    };
    let stored = async || {
        let rows = store.daemon_events(new.id, (i64::MAX, i64::MAX), 2000, bench.now);
        let rows = rows.await.unwrap();
        let texts = rows.into_iter().map(|row| String::from_utf8(row.event));
        texts.collect::<Result<Vec<_>, _>>().unwrap()
    };
    tell("boot", 1..3).await;
    tell("boot", 2..4).await;
    tell("boot", 1..4).await;
    assert_eq!(stored().await, ["3", "2", "1", "created"]);
    tell("other boot", 3..4).await;
    assert_eq!(stored().await.len(), 5);
    tell("boot", 4..700).await;
    let kept = stored().await;
    let newest: Vec<_> = (200..700).rev().map(|n: i64| n.to_string()).collect();
    assert_eq!(kept, newest);
    let refused = store
        .delete_daemon(&bench.stranger, (bench.server, new.id), bench.now, delete)
        .await;
    assert!(matches!(refused, Err(Error::Gone)));
    let fenced = store
        .record_events(bench.server, epoch - 1, "boot", &[host(900)], bench.now)
        .await;
    assert!(matches!(fenced, Err(Error::Fenced)));
    assert_eq!(stored().await, newest);
    store
        .delete_daemon(&bench.team, (bench.server, new.id), bench.now, delete)
        .await
        .unwrap();
    assert_eq!(stored().await[0], "deleted");
}

async fn suite(store: Store) {
    let bench = bench(store).await;
    writes_are_held_against_their_grant(&bench).await;
    revisions_rise_with_writes_only(&bench).await;
    events_count_once(&bench).await;
    // Last: it ends the server's identity.
    the_newest_key_counts_once_it_is_shown(&bench).await;
    writers_queue(&bench).await;
}

#[tokio::test]
async fn sqlite() {
    let dir = tempfile::tempdir().unwrap();
    suite(Store::open_sqlite(&dir.path().join("db")).await.unwrap()).await;
}

#[tokio::test]
async fn a_second_api_server_on_the_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let first = Store::open_sqlite(&path).await.unwrap();
    let second = Store::open_sqlite(&path).await.unwrap_err();
    assert!(matches!(second, Error::InUse { .. }));
    let text = second.to_string();
    assert!(text.contains("in use by another api-server") && text.contains("db.lock"));
    drop(first);
    reopens(&path).await;
}

/// The lock goes when the last connection has: pools close in the background.
async fn reopens(path: &Path) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        match Store::open_sqlite(path).await {
            Ok(_) => return,
            Err(Error::InUse { .. }) if std::time::Instant::now() < deadline => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let bench = bench(Store::open_sqlite(&path).await.unwrap()).await;
    let new = bench.new_daemon(Some("kept"));
    bench.store.create_daemon(&bench.team, &new).await.unwrap();
    drop(bench);
    let store = Store::open_sqlite(&path).await.unwrap();
    let row = store.daemon(new.id).await.unwrap().unwrap();
    assert_eq!(row.name.as_deref(), Some("kept"));
}

#[tokio::test]
async fn what_is_no_database_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let text = "not a database ".repeat(500);
    std::fs::write(&path, &text).unwrap();
    let refused = Store::open_sqlite(&path).await.unwrap_err();
    assert!(matches!(refused, Error::File { .. }), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

/// A database of before keys were noted: a server is known by the key of its newest enrolment, or by the first one shown.
#[tokio::test]
async fn servers_that_were_enrolled_before_are_still_known() {
    use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let options = SqliteConnectOptions::new().filename(&path);
    let pool = SqlitePoolOptions::new().connect_with(options.create_if_missing(true));
    let pool = pool.await.unwrap();
    let now = dialect::SQLITE.migrator();
    let before = now.iter().take(3).cloned().collect();
    let before = sqlx::migrate::Migrator::with_migrations(before);
    before.run(&pool).await.unwrap();
    let rows = "INSERT INTO users (id, name, operator, create_time) VALUES ('u', 'a', FALSE, 0);
        INSERT INTO teams (id, name, owner_user_id, create_time) VALUES ('t', 't', 'u', 0);
        INSERT INTO servers (id, team_id, name, create_time, config_epoch, revision, acked_revision, session_epoch, agent_version)
        VALUES ('h:AAAAAAAAAAAAAAAAAA', 't', 'a', 0, 'e', 0, 0, 7, ''), ('h:BBBBBBBBBBBBBBBBBB', 't', 'b', 0, 'e', 0, 0, 7, '');
        INSERT INTO enrollment_tokens (id, server_id, secret_hash, create_time, expire_time, key_hash)
        VALUES ('1', 'h:AAAAAAAAAAAAAAAAAA', x'00', 1, 1, CAST('11111111111111111111111111111111' AS BLOB)),
        ('2', 'h:AAAAAAAAAAAAAAAAAA', x'00', 2, 2, CAST('22222222222222222222222222222222' AS BLOB)),
        ('3', 'h:AAAAAAAAAAAAAAAAAA', x'00', 3, 3, NULL)";
    sqlx::raw_sql(rows).execute(&pool).await.unwrap();
    pool.close().await;

    let store = Store::open_sqlite(&path).await.unwrap();
    let claims = async |server: &str, key: u8| {
        let server = server.parse().unwrap();
        let session = store.claim(server, &[key; 32], "1", from_millis(1)).await;
        session.unwrap().is_some()
    };
    let (enrolled, unknown) = ("h:AAAAAAAAAAAAAAAAAA", "h:BBBBBBBBBBBBBBBBBB");
    assert!(!claims(enrolled, b'1').await && claims(enrolled, b'2').await);
    assert!(claims(unknown, b'5').await && !claims(unknown, b'6').await);
    assert!(claims(unknown, b'5').await);
}
