//! A real Laravel, deployed as people deploy it: releases beside each other, `current` moved from one to the next, then the
//! documented line. No job is lost, none is done twice, and the next one runs the new code.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use zhylon_proto::daemons::v1::Daemon;
use zhylon_tests::daemons::{Watched, draft_of};
use zhylon_tests::machine::{Machine, Said};
use zhylon_tests::namespace::{build_dir, source, story};
use zhylon_tests::{World, eventually, php, skip};

/// The documented habit.
const WORKER: &str = "php artisan queue:work --sleep=0.1";
/// The same as people write it who know shells better than process managers; Debian 12's bash becomes the worker then …
const WRAPPED: &str = r#"bash -c "cd /srv/app/current && php artisan queue:work --sleep=0.1""#;
/// … and with this it stays above it.
const BELOW: &str =
    r#"bash -c "cd /srv/app/current && php artisan queue:work --sleep=0.1; echo ended""#;

/// One run of a job, as the application's own table tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    job: u32,
    release: String,
    pid: i32,
    done: bool,
}

#[test]
fn a_deploy_finishes_the_running_job_and_goes_on_with_the_new_code() {
    let name = "a_deploy_finishes_the_running_job_and_goes_on_with_the_new_code";
    // The packages are fetched outside, where the network and apt's own files are.
    if build_dir().is_none()
        && let Err(why) = ready()
    {
        return skip(name, &why);
    }
    story(async |machine: Machine| {
        let snippet = source().join("deploy/sudoers.d/zhylon-supervisorctl");
        machine.allow(
            "zhylon-supervisorctl",
            &std::fs::read_to_string(snippet).expect("the rule"),
        );
        let app = App::deploy_first(&machine);
        let world = World::installed(&machine);
        queue(&machine, &world, &app).await;
        for (line, first_job) in [(WRAPPED, 5), (BELOW, 8)] {
            wrapped_in_a_shell(&world, &app, line, first_job).await;
        }
        websockets(&machine, &world, &app).await;
    });
}

async fn queue(machine: &Machine, world: &World, app: &App<'_>) {
    let id = world.create(app.daemon(WORKER)).await.id;
    let first = Watched::new(world, &id).await;
    assert_eq!(app.directories(), ["/srv/app/releases/one"]);
    app.prepare("two");
    app.artisan("demo:push 1 held 0.3 0.3 0.3");
    app.running(1);

    app.deploy("two");
    let script = format!("sudo -S supervisorctl restart daemon-{id}:*");
    let said = app.finishing_once_stopped(1, &script);
    assert_eq!(
        (said.code, said.out.matches(": started").count()),
        (0, 1),
        "{said:?}"
    );
    let runs = app.runs();
    let old = &runs[0];
    assert_eq!(
        (old.job, &*old.release, old.done),
        (1, "one", true),
        "it was not finished: {runs:?}"
    );
    let second = first.restarted(world).await;
    assert_eq!(app.directories(), ["/srv/app/releases/two"]);

    let runs = app.all_done(4);
    for run in &runs[1..] {
        assert_eq!(run.release, "two", "the old code went on: {runs:?}");
        assert_ne!(run.pid, old.pid, "{runs:?}");
    }
    let said = machine.shell("zhylon", &format!("supervisorctl stop daemon-{id}:*"));
    assert_eq!(said.code, 0, "{said:?}");
    second.gone();
    let exit = world.get(&id).await.status.expect("a status").instances[0]
        .last_exit
        .clone()
        .expect("an exit");
    assert_eq!((exit.code, exit.killed_after_grace), (0, false), "{exit:?}");
}

/// The shell dies of the first signal; what counts is the worker, above all one below the shell. Three jobs.
async fn wrapped_in_a_shell(world: &World, app: &App<'_>, line: &str, job: u32) {
    let id = world.create(app.daemon(line)).await.id;
    let pids = world.running(&id).await;
    app.artisan(&format!("demo:push {job} held 0.3"));
    let run = app.running(job);
    assert_eq!(app.workers().len(), 1, "{:?}", app.workers());
    assert_eq!(pids.contains(&run.pid), line == WRAPPED, "{line}: {pids:?}");
    let restart = format!("sudo -S supervisorctl restart daemon-{id}:*");
    let said = app.finishing_once_stopped(job, &restart);
    assert_eq!(said.code, 0, "{said:?}");
    let runs = app.runs();
    let first = Run { done: true, ..run };
    assert!(runs.contains(&first), "{line}: no grace: {runs:?}");
    assert!(!app.workers().contains_key(&first.pid), "{line}: an orphan");
    let runs = app.all_done(job + 1);
    assert_ne!(runs.last().expect("the last").pid, first.pid, "{line}");
    assert_eq!(
        app.workers().len(),
        1,
        "{line}: an orphan beside the new one"
    );

    app.artisan(&format!("demo:push {} held", job + 2));
    app.running(job + 2);
    let stop = format!("supervisorctl stop daemon-{id}:*");
    let said = app.finishing_once_stopped(job + 2, &stop);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(app.workers(), BTreeMap::new(), "{line}: an orphan");
    app.all_done(job + 2);
}

async fn websockets(machine: &Machine, world: &World, app: &App<'_>) {
    let port = zhylon_tests::free_port();
    let id = world
        .create(app.daemon(&format!("php artisan websockets:serve --port={port}")))
        .await
        .id;
    let first = Watched::new(world, &id).await;
    let mut socket = Websocket::open(port);
    let (old, text) = socket.echo("hello");
    assert_eq!(text, "hello");

    let said = machine.shell(
        "zhylon",
        &format!("sudo -S supervisorctl restart daemon-{id}:*"),
    );
    assert_eq!(said.code, 0, "{said:?}");
    first.restarted(world).await;
    // 1001: going away.
    assert_eq!(socket.frame(), (8, 1001_u16.to_be_bytes().to_vec()));
    let mut again = Websocket::open(port);
    let (new, text) = again.echo("again");
    assert!(text == "again" && new != old, "{new} {text}");
    let log = world.log_until(&id, "bye").await;
    assert!(log.contains("closing 1 connections"), "{log}");
    let exit = world.get(&id).await.status.expect("a status").instances[0]
        .last_exit
        .clone()
        .expect("an exit");
    assert_eq!((exit.code, exit.killed_after_grace), (0, false), "{exit:?}");
}

/// Whether the packages are there.
fn ready() -> Result<(), String> {
    if !Path::new("/usr/share/php/Illuminate/autoload.php").exists() {
        return Err("php-laravel-framework is not installed".to_owned());
    }
    let modules = Command::new("php")
        .arg("-m")
        .output()
        .map_err(|error| error.to_string())?;
    if !String::from_utf8_lossy(&modules.stdout).contains("pdo_sqlite") {
        return Err("php-sqlite3 is not installed".to_owned());
    }
    php::reactphp().map(|_| ())
}

/// The application under `/srv/app`.
struct App<'a>(&'a Machine);

impl<'a> App<'a> {
    fn deploy_first(machine: &'a Machine) -> Self {
        let vendor = php::reactphp()
            .expect("it was fetched")
            .parent()
            .expect("its directory")
            .to_owned();
        let from = source().join("tests/laravel");
        let set_up = format!(
            "set -e; mkdir -p /srv/app/releases /srv/app/shared; cp -r {} /srv/app/reactphp; \
             cp -r {} /srv/app/releases/one; mkdir -p /srv/app/releases/one/bootstrap/cache; \
             touch /srv/app/shared/database.sqlite; ln -s releases/one /srv/app/current; \
             chown -R zhylon:zhylon /srv/app; chmod -R u+rwX /srv/app",
            vendor.display(),
            from.display()
        );
        let said = machine.shell("root", &set_up);
        assert_eq!(said.code, 0, "{said:?}");
        let app = Self(machine);
        app.artisan("demo:tables");
        app
    }

    /// Makes the next release beside the first.
    fn prepare(&self, release: &str) {
        let copy = format!("cp -r /srv/app/releases/one /srv/app/releases/{release}");
        let said = self.0.shell("zhylon", &copy);
        assert_eq!(said.code, 0, "{said:?}");
    }

    /// Moves `current` to it, at once.
    fn deploy(&self, release: &str) {
        let link = format!("cd /srv/app && ln -s releases/{release} next && mv -T next current");
        let said = self.0.shell("zhylon", &link);
        assert_eq!(said.code, 0, "{said:?}");
    }

    fn daemon(&self, command: &str) -> Daemon {
        let mut daemon = draft_of("zhylon", command);
        daemon.directory = "/srv/app/current".to_owned();
        daemon.stop_seconds = Some(30);
        daemon.start_seconds = Some(0);
        daemon.environment = [
            ("APP_SHARED", "/srv/app/shared"),
            ("APP_REACTPHP", "/srv/app/reactphp"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        daemon
    }

    fn artisan(&self, line: &str) -> String {
        let said = self.0.shell(
            "zhylon",
            &format!("cd /srv/app/current && APP_SHARED=/srv/app/shared php artisan {line}"),
        );
        assert_eq!(said.code, 0, "{line}: {said:?}");
        said.out
    }

    fn runs(&self) -> Vec<Run> {
        self.told().0
    }

    /// All runs, and how many jobs wait or failed.
    fn told(&self) -> (Vec<Run>, String) {
        let text = self.artisan("demo:runs");
        let mut lines: Vec<&str> = text.lines().collect();
        let last = lines.pop().expect("a last line").to_owned();
        let run = |line: &&str| {
            let words: Vec<&str> = line.split(' ').collect();
            Run {
                job: words[0].parse().expect("a job"),
                release: words[1].to_owned(),
                pid: words[2].parse().expect("a pid"),
                done: words[3] == "done",
            }
        };
        (lines.iter().map(run).collect(), last)
    }

    /// Waits until a job is being done.
    fn running(&self, job: u32) -> Run {
        let text = eventually("the job runs", || {
            std::fs::read_to_string(format!("/srv/app/shared/running-{job}")).ok()
        });
        let (release, pid) = text.split_once(' ').expect("a release and a pid");
        Run {
            job,
            release: release.to_owned(),
            pid: pid.parse().expect("a pid"),
            done: false,
        }
    }

    /// Runs a line that stops the queue's worker while it is at this job, which is over only after the worker was told.
    fn finishing_once_stopped(&self, job: u32, line: &str) -> Said {
        std::thread::scope(|scope| {
            let finish = scope.spawn(|| {
                eventually("it is told to stop", || {
                    let said = self.0.shell("zhylon", "supervisorctl status");
                    said.out.contains(" STOPPING ").then_some(())
                });
                let file = format!("/srv/app/shared/finish-{job}");
                std::fs::write(file, "").expect("let it finish");
            });
            let said = self.0.shell("zhylon", line);
            finish.join().expect("the job was told");
            said
        })
    }

    /// Waits until nothing waits; each of the first `count` jobs was done, once.
    fn all_done(&self, count: u32) -> Vec<Run> {
        let runs = eventually("all jobs are done", || {
            let (runs, rest) = self.told();
            (rest == "waiting 0 failed 0" && runs.iter().all(|run| run.done)).then_some(runs)
        });
        let jobs: Vec<u32> = runs.iter().map(|run| run.job).collect();
        assert_eq!(jobs, (1..=count).collect::<Vec<_>>(), "{runs:?}");
        runs
    }

    /// The queue workers there are, by pid, with their directories.
    fn workers(&self) -> BTreeMap<i32, String> {
        let entries = std::fs::read_dir("/proc").expect("/proc");
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let one = |pid: i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if !line.starts_with("php artisan queue:work") {
                return None;
            }
            let directory = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
            Some((pid, directory.to_string_lossy().into_owned()))
        };
        pids.filter_map(one).collect()
    }

    fn directories(&self) -> Vec<String> {
        self.workers().into_values().collect()
    }
}

/// A websocket client, as much as an echo needs.
struct Websocket {
    stream: TcpStream,
}

impl Websocket {
    fn open(port: u16) -> Self {
        let mut stream = eventually("it listens", || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a limit");
        let request = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("ask");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("its answer");
            head.extend(byte);
        }
        let head = String::from_utf8(head).expect("text");
        // The example of RFC 6455, 1.3.
        assert!(
            head.starts_with("HTTP/1.1 101") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            "{head}"
        );
        Self { stream }
    }

    /// Sends a text and gives what comes back: the server's pid and the text.
    fn echo(&mut self, text: &str) -> (String, String) {
        let mask = [7, 1, 200, 33];
        let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).expect("a short text")];
        frame.extend(mask);
        frame.extend(
            text.bytes()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        self.stream.write_all(&frame).expect("send");
        let (kind, payload) = self.frame();
        assert_eq!(kind, 1);
        let answer = String::from_utf8(payload).expect("text");
        let (pid, text) = answer.split_once(' ').expect("a pid and the text");
        (pid.to_owned(), text.to_owned())
    }

    /// The next frame: its kind and its payload.
    fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).expect("a frame");
        assert!(head[1] < 126, "a short frame without a mask");
        let mut payload = vec![0; head[1].into()];
        self.stream.read_exact(&mut payload).expect("its payload");
        (head[0] & 15, payload)
    }
}
