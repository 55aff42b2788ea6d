//! The identity of a host, with real processes: renewal beside running streams, after weeks away, killed between any two
//! steps; revocation.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use tokio_stream::StreamExt as _;
use zhylon_proto::daemons::v1::tail_log_request::Start;
use zhylon_proto::daemons::v1::tail_log_response::Event;
use zhylon_proto::daemons::v1::{ConnectionState, GetServerRequest, Server};
use zhylon_tests::daemons::{draft, log_file};
use zhylon_tests::world::programs;
use zhylon_tests::{PATIENCE, World, eventually, eventually_async};

const DAY: Duration = Duration::from_secs(24 * 3600);
const COUNT: &str = "/bin/sh -c 'n=0; while :; do n=$((n+1)); echo \"line $n\"; sleep 0.02; done'";

async fn server(world: &World) -> Option<Server> {
    let request = GetServerRequest {
        server_id: world.server_id(),
    };
    let answer = world.servers().await.get_server(request).await;
    answer.ok()?.into_inner().server
}

/// How the agent says its link is.
fn link(world: &World) -> Option<serde_json::Value> {
    let path = world.socket().with_file_name("link.json");
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

async fn connected(world: &World) {
    let what = format!("the host is connected\n{}", world.dir().display());
    eventually_async(&what, || async {
        let told = link(world)?["state"] == "CONNECTED";
        let known = server(world).await?.connection_state() == ConnectionState::Connected;
        (told && known).then_some(())
    })
    .await;
}

/// The next worker reads the identity anew.
fn next_worker(world: &World) {
    let before = eventually("a worker", || world.process("ZHYLON_WORKER_PID"));
    world.kill("ZHYLON_WORKER_PID");
    world.comes_back("ZHYLON_WORKER_PID", before);
}

fn sessions(world: &World) -> usize {
    world.log().matches("agent connected").count()
}

/// One key, one certificate of it, and nothing of a renewal.
fn is_whole(world: &World) {
    let whole = ["ca.pem", "chain.pem", "identity.json", "key.pem"];
    eventually("nothing of a renewal is left", || {
        (world.identity_files() == whole).then_some(())
    });
    let key = world.dir().join("host-agent/identity/key.pem");
    let mode = key.metadata().expect("a key").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

/// The numbers of the lines that came; each one more than the one before.
struct Follower {
    stream: tonic::Streaming<zhylon_proto::daemons::v1::TailLogResponse>,
    text: String,
    last: Option<u64>,
}

impl Follower {
    async fn new(world: &World, id: &str) -> Self {
        Self {
            stream: world.tail(id, Start::TailLines(1), true).await,
            text: String::new(),
            last: None,
        }
    }

    /// Reads so many lines more.
    async fn goes_on(&mut self, lines: u64) {
        self.reaches(self.last.unwrap_or_default() + lines).await;
    }

    /// Reads on to the line of this number.
    async fn reaches(&mut self, wanted: u64) {
        let read = async {
            while self.last.unwrap_or_default() < wanted {
                let event = self.stream.next().await.expect("the stream ended");
                let Some(Event::Chunk(chunk)) = event.expect("the stream broke").event else {
                    continue;
                };
                self.text.push_str(&String::from_utf8_lossy(&chunk.data));
                while let Some((line, rest)) = self.text.split_once('\n') {
                    let number = line.strip_prefix("line ").expect("a line");
                    let number: u64 = number.parse().expect("its number");
                    if let Some(last) = self.last {
                        assert_eq!(number, last + 1, "a line is missing or doubled");
                    }
                    self.last = Some(number);
                    self.text = rest.to_owned();
                }
            }
        };
        let read = tokio::time::timeout(PATIENCE, read).await;
        read.expect("lines in time");
    }
}

/// The number of the newest whole line of the daemon's log.
fn written(id: &str) -> u64 {
    let log = std::fs::read_to_string(log_file(id));
    let log = log.expect("a log");
    let (whole, _) = log.rsplit_once('\n').expect("a line");
    let last = whole
        .lines()
        .last()
        .and_then(|line| line.strip_prefix("line "));
    last.and_then(|number| number.parse().ok())
        .expect("its number")
}

#[tokio::test]
async fn a_certificate_is_renewed_beside_everything_that_runs() {
    let world = World::up();
    let id = world.create(draft(COUNT)).await.id;
    let pids = world.running(&id).await;
    // Due 5 to 14 seconds from now, over in 20: time to look before, and no time to be lucky.
    let mut tries = 0;
    let (mut follower, before, old) = loop {
        let now = SystemTime::now();
        world.age_certificate(now - 10 * SECOND, now + 20 * SECOND);
        let old = world.identity("chain.pem");
        next_worker(&world);
        connected(&world).await;
        let mut follower = Follower::new(&world, &id).await;
        follower.goes_on(5).await;
        let before = sessions(&world);
        if world.identity("chain.pem") == old {
            break (follower, before, old);
        }
        tries += 1;
        assert!(tries < 3, "the renewal came before it was looked for");
    };
    let key = world.identity("key.pem");
    eventually("a new certificate", || {
        (world.identity("chain.pem") != old).then_some(())
    });
    is_whole(&world);
    assert_ne!(world.identity("key.pem"), key, "a new key");
    // Four seconds past the renewal, whatever the follower had not read yet: the identity is looked at every two.
    follower.reaches(written(&id) + 200).await;
    assert_eq!(sessions(&world), before, "the session was cut");
    assert_eq!(world.running(&id).await, pids);
    let log = world.log();
    assert_eq!(log.matches("certificate renewed").count(), 1 + tries);
    assert!(log.contains("the agent's new certificate works"));

    // Both ends begin anew, and it is the new one that counts.
    world.kill("ZHYLON_API_PID");
    next_worker(&world);
    connected(&world).await;
    assert_eq!(world.running(&id).await, pids);
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_host_that_was_off_for_weeks_comes_back_by_itself() {
    let world = World::up();
    let id = world.create(draft("/bin/sleep 1000")).await.id;
    let pids = world.running(&id).await;
    let now = SystemTime::now();
    for (begin, end) in [(70, 40), (180 + 29, 179)] {
        let key = world.identity("key.pem");
        world.age_certificate(now - begin * DAY, now - end * DAY);
        next_worker(&world);
        connected(&world).await;
        is_whole(&world);
        assert_ne!(world.identity("key.pem"), key);
        assert_eq!(world.running(&id).await, pids);
    }
    // Too long: it says so, and what to do.
    world.age_certificate(now - 220 * DAY, now - 190 * DAY);
    next_worker(&world);
    eventually("it says why", || {
        let why = link(&world)?["renewal_error"].as_str()?.to_owned();
        (why.contains("EXPIRED") && why.contains("enrolled anew")).then_some(())
    });
    let (_, said) = host_agent(&world, &["doctor"], "");
    let told = said
        .lines()
        .any(|line| line.starts_with("fail certificate") && line.ends_with("ended 190 days ago"));
    assert!(told, "{said}");
    assert!(said.contains("host-agent enroll --replace"), "{said}");
}

/// Every step at which a renewal can be killed: the next worker has an identity, and ends with the new one.
#[tokio::test]
async fn a_renewal_killed_at_any_step_leaves_an_identity() {
    let steps = [
        "renewal-key",
        "renewal-answered",
        "renewal-kept",
        "renewal-proven",
        "renewal-promoted-key",
        "renewal-done",
    ];
    let world = World::up();
    let id = world.create(draft("/bin/sleep 1000")).await.id;
    let pids = world.running(&id).await;
    let fail = world.socket().with_file_name("fail");
    std::fs::create_dir_all(&fail).expect("a place for fail points");
    let now = SystemTime::now();
    for step in steps {
        let key = world.identity("key.pem");
        world.age_certificate(now - 70 * DAY, now - 40 * DAY);
        let armed = fail.join(step);
        std::fs::write(&armed, "0").expect("arm it");
        next_worker(&world);
        eventually(&format!("{step}: killed there\n{}", world.log()), || {
            (!armed.exists()).then_some(())
        });
        connected(&world).await;
        is_whole(&world);
        assert_ne!(world.identity("key.pem"), key, "{step}");
        assert_eq!(world.running(&id).await, pids, "{step}");
    }
}

/// What `host-agent` says when it is asked.
fn host_agent(world: &World, words: &[&str], input: &str) -> (Option<i32>, String) {
    use std::io::Write as _;
    use std::process::Stdio;
    let mut command = world.command(programs().path("host-agent"));
    let config = world.dir().join("host-agent.toml");
    command.args(words).arg("--config").arg(config);
    let pipe = || Stdio::piped();
    command.stdin(pipe()).stdout(pipe()).stderr(pipe());
    let mut child = command.spawn().expect("start host-agent");
    let mut stdin = child.stdin.take().expect("its input");
    // It may have ended without reading.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("its end");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn ctl(world: &World, words: &[&str]) -> String {
    let output = world.ctl(words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

#[tokio::test]
async fn a_revoked_host_keeps_its_daemons_and_says_so() {
    let world = World::up();
    let id = world.create(draft(COUNT)).await.id;
    let pids = world.running(&id).await;
    connected(&world).await;
    let mut follower = Follower::new(&world, &id).await;
    follower.goes_on(5).await;
    let server_id = world.server_id();
    ctl(&world, &["server", "revoke-identity", &server_id]);
    let revoked = std::time::Instant::now();
    eventually("the host knows", || {
        (link(&world)?["state"] == "REVOKED").then_some(())
    });
    let took = revoked.elapsed();
    assert!(
        took < SECOND,
        "{took:?} from the answer to the host's own word"
    );
    let alive = || {
        pids.iter()
            .all(|pid| xtask::up::processes::Process::find(*pid).is_some())
    };
    assert!(alive());
    let (_, status) = host_agent(&world, &["status"], "");
    assert!(
        status.contains("this host's identity is revoked; its daemons go on"),
        "{status}"
    );
    let (code, doctor) = host_agent(&world, &["doctor"], "");
    assert_eq!(code, Some(1), "{doctor}");
    assert!(
        doctor.contains("identity is revoked") && doctor.contains("enroll --replace"),
        "{doctor}"
    );

    // Asked anew, by an api-server that knows it from its database alone.
    world.kill("ZHYLON_API_PID");
    next_worker(&world);
    eventually("the next worker hears it too", || {
        (link(&world)?["state"] == "REVOKED").then_some(())
    });
    assert!(alive());
    assert!(
        server(&world)
            .await
            .is_some_and(|server| server.identity_revoke_time.is_some())
    );

    // A person decides: the same host again. The agent notices by itself.
    let token = ctl(&world, &["server", "enroll-token", &server_id]);
    let words = ["enroll", "--replace", "--token-file", "-"];
    let (code, said) = host_agent(&world, &words, &token);
    assert_eq!(code, Some(0), "{said}");
    connected(&world).await;
    assert_eq!(world.running(&id).await, pids);
}

#[tokio::test]
async fn a_deleted_server_leaves_its_host_with_its_daemons() {
    let world = World::up();
    connected(&world).await;
    let samples = ctl(&world, &["daemon", "list", "-o", "name"]);
    for id in samples.lines() {
        ctl(&world, &["daemon", "delete", id]);
    }
    let held = world.dir().join("host-agent/identity/chain.pem");
    let mut service = world.servers().await;
    let request = zhylon_proto::daemons::v1::DeleteServerRequest {
        server_id: world.server_id(),
    };
    eventually_async("what was deleted is gone, and then the server", || {
        let (mut service, request) = (service.clone(), request.clone());
        async move { service.delete_server(request).await.ok() }
    })
    .await;
    let deleted = std::time::Instant::now();
    eventually("the host knows", || {
        (link(&world)?["state"] == "REVOKED").then_some(())
    });
    let took = deleted.elapsed();
    assert!(
        took < SECOND,
        "{took:?} from the answer to the host's own word"
    );
    let why = link(&world).expect("a report")["last_error"].to_string();
    assert!(why.contains("the server was deleted"), "{why}");
    assert!(held.exists(), "the identity stays for whoever looks");
    let request = GetServerRequest {
        server_id: world.server_id(),
    };
    let gone = service.get_server(request).await.unwrap_err();
    assert_eq!(gone.code(), tonic::Code::NotFound);
}
