//! Real input: a ReactPHP HTTP server as a daemon, created over the public API.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use xtask::build::root;
use xtask::up::processes::Process;
use zhylon_tests::daemons::draft;
use zhylon_tests::{World, eventually, php, skip};

#[tokio::test]
async fn a_reactphp_server_is_kept_alive_and_drained() {
    let autoload = match php::reactphp() {
        Ok(autoload) => autoload,
        Err(why) => return skip("a_reactphp_server_is_kept_alive_and_drained", &why),
    };
    let world = World::up();
    let port = zhylon_tests::free_port();
    let server = root().join("examples/reactphp/server.php");
    let mut daemon = draft(&format!(
        "php8.2 {} {} 127.0.0.1:{port}",
        server.display(),
        autoload.display()
    ));
    daemon.stop_seconds = Some(20);
    let id = world.create(daemon).await.id;
    let first = world.running(&id).await[0];
    let greeting = format!("listening on tcp://127.0.0.1:{port} pid=");
    world.log_until(&id, &greeting).await;
    assert_eq!(answered_by(port), Some(first));

    // Killed while serving: back, with another pid, without anybody asking.
    Process::find(first)
        .expect("it lives")
        .signal(rustix::process::Signal::KILL)
        .expect("kill it");
    let second = eventually("another process answers", || {
        answered_by(port).filter(|pid| *pid != first)
    });
    let status = world
        .status(&id, "running again", |s| {
            s.instances
                .iter()
                .any(|i| i.pid == second && i.restart_count == 1)
        })
        .await;
    assert_eq!(
        status.instances[0]
            .last_exit
            .as_ref()
            .map(|exit| exit.signal),
        Some(9)
    );

    // A restart by the documented line drains: the request in flight is answered in full, by the old process.
    let slow = std::thread::spawn(move || get(port, "/slow?sleep=6"));
    world.log_until(&id, "request /slow").await;
    let restart = world.supervisorctl(&["restart", &format!("daemon-{id}:*")]);
    assert!(
        restart.status.success(),
        "{}",
        String::from_utf8_lossy(&restart.stdout)
    );
    let answer = slow.join().expect("the slow request").expect("an answer");
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains(&format!("pid {second}\n")),
        "{answer}"
    );
    let third = eventually("the new process answers", || {
        answered_by(port).filter(|pid| *pid != second)
    });
    for words in [
        "draining, 1 in flight",
        "drained",
        "bye",
        &format!("pid={third}"),
    ] {
        world.log_until(&id, words).await;
    }
    let status = world
        .status(&id, "running", |s| {
            s.instances.iter().any(|i| i.pid == third)
        })
        .await;
    assert!(
        !status.instances[0]
            .last_exit
            .as_ref()
            .expect("an exit")
            .killed_after_grace
    );

    // And stopped over the API, with a request in flight.
    let slow = std::thread::spawn(move || get(port, "/last?sleep=6"));
    world.log_until(&id, "request /last").await;
    assert!(
        world
            .ctl(&["daemon", "stop", &id, "--wait"])
            .status
            .success()
    );
    assert!(
        slow.join()
            .expect("the request")
            .expect("an answer")
            .contains(&format!("pid {third}\n"))
    );
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

/// The pid of the process that answers.
fn answered_by(port: u16) -> Option<i32> {
    get(port, "/")
        .ok()?
        .rsplit_once("pid ")?
        .1
        .trim()
        .parse()
        .ok()
}

fn get(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
