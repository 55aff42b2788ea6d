//! `host-agent doctor`: a host that is well, and then every illness that can be given to it, each told with what to do.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use zhylon_tests::daemons::draft_of;
use zhylon_tests::machine::{Machine, Said, place};
use zhylon_tests::namespace::{source, story};
use zhylon_tests::world::programs;
use zhylon_tests::{World, eventually};

const SUDOERS: &str = "/etc/sudoers.d/zhylon-supervisorctl";

fn doctor(world: &World, more: &[&str]) -> Said {
    let mut command: Command = world.command(programs().path("host-agent"));
    command.arg("doctor").args(more).arg("--config");
    command.arg(world.dir().join("host-agent.toml"));
    command.output().expect("start it").into()
}

/// What it says of one check: level, finding, and what to do.
fn told(world: &World, check: &str) -> Vec<(String, String, String)> {
    let said = doctor(world, &["--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
    let checks = report["checks"].as_array().expect("checks");
    let has = |level: &str| checks.iter().any(|c| c["level"] == level);
    assert_eq!(said.code, i32::from(has("fail")), "{said:?}");
    assert_eq!(report["ok"], !has("fail"), "{said:?}");
    let text = |c: &serde_json::Value, key: &str| c[key].as_str().expect("a text").to_owned();
    checks
        .iter()
        .filter(|c| c["name"] == check)
        .map(|c| (text(c, "level"), text(c, "found"), text(c, "do")))
        .collect()
}

#[track_caller]
fn is(world: &World, check: &str, level: &str, found: &str, remedy: &str) {
    let all = told(world, check);
    let it = all
        .iter()
        .any(|(l, f, r)| l == level && f.contains(found) && r.contains(remedy));
    assert!(
        it,
        "{check}: {level} {found:?} {remedy:?} is not in {all:#?}"
    );
}

#[test]
fn a_doctor_finds_what_ails_a_host() {
    story(async |machine: Machine| {
        let world = World::installed(&machine);
        let id = world.create(draft_of("site1", "sleep 1000")).await.id;
        let pid = world.running(&id).await[0];
        let run_dir = world.socket().parent().expect("a directory").to_owned();
        let state_dir = world.dir().join("host-agent");

        // Well, but for what a story's machine lacks: root is allowed, its disk is in memory, there is no sudoers rule.
        let said = doctor(&world, &[]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(
            said.out.contains("\n0 broken, ") || said.out.starts_with("0 broken"),
            "{said:?}"
        );
        for check in [
            "agent",
            "exec helper",
            "local socket",
            "run records",
            "version",
            "link",
            "certificate",
            "clock",
        ] {
            let all = told(&world, check);
            assert!(
                all.iter().all(|(level, ..)| level == "ok") && !all.is_empty(),
                "{all:?}"
            );
        }
        is(&world, "policy", "warn", "root", "take `root` out of");
        is(
            &world,
            "state directory",
            "warn",
            "is in memory",
            "put state_dir on a disk",
        );
        is(
            &world,
            "supervisorctl",
            "ok",
            "/usr/local/bin/supervisorctl is this program",
            "",
        );

        // sudo: no rule, a good one, one that others could write, one that is none.
        is(
            &world,
            "sudo",
            "warn",
            "there is no /etc/sudoers.d",
            "deploy/sudoers.d",
        );
        let rule = source().join("deploy/sudoers.d/zhylon-supervisorctl");
        let rule = std::fs::read_to_string(rule).expect("the rule");
        place(SUDOERS, &rule, 0o440);
        is(&world, "sudo", "ok", "is valid", "");
        place(SUDOERS, &rule, 0o646);
        is(&world, "sudo", "fail", "mode 0646", "deploy/sudoers.d");
        place(SUDOERS, "zhylon ALL=(root NOPASSWD\n", 0o440);
        is(&world, "sudo", "fail", SUDOERS, "anew");

        // The client is another program, or none.
        let client = "/usr/local/bin/supervisorctl";
        std::fs::remove_file(client).expect("remove it");
        place(client, "#!/bin/sh\n", 0o755);
        is(
            &world,
            "supervisorctl",
            "warn",
            "is another program",
            "ln -s",
        );
        std::fs::remove_file(client).expect("remove it");
        symlink(programs().path("host-agent"), client).expect("as before");

        // Directories.
        for (dir, check, mode, well) in [
            (&state_dir, "state directory", 0o755, 0o700),
            (&run_dir, "run directory", 0o777, 0o755),
        ] {
            std::fs::set_permissions(dir, Permissions::from_mode(mode)).expect("its mode");
            is(
                &world,
                check,
                "fail",
                &format!("mode {mode:04o}"),
                &format!("chmod {well:04o}"),
            );
            std::fs::set_permissions(dir, Permissions::from_mode(well)).expect("its mode");
            chown(dir, Some(2001), None).expect("its owner");
            is(&world, check, "fail", "belongs to uid 2001", "chown -R 0");
            chown(dir, Some(0), None).expect("its owner");
        }

        // A record whose process is gone, and one that is none.
        let records = run_dir.join("records");
        let record = std::fs::read_to_string(records.join(pid.to_string())).expect("a record");
        let ghost = record.replace(&format!("pid={pid}\n"), "pid=999999\n");
        place(records.join("999999"), &ghost, 0o600);
        is(
            &world,
            "run records",
            "warn",
            "999999 (no such process)",
            "look again",
        );
        place(records.join("999999"), "torn", 0o600);
        is(&world, "run records", "warn", "999999 (", "look again");
        std::fs::remove_file(records.join("999999")).expect("remove it");

        // Its programs: replaced, another version of one, none.
        let dir = programs().dir.to_string_lossy().into_owned();
        for (program, words) in [
            ("cp", ["-a", &dir, "/opt/programs"]),
            ("mount", ["--bind", "/opt/programs", &dir]),
        ] {
            assert!(
                Command::new(program)
                    .args(words)
                    .status()
                    .expect("it")
                    .success()
            );
        }
        is(
            &world,
            "version",
            "warn",
            "another program",
            "`host-agent upgrade`",
        );
        place(programs().path("zhylon-exec"), "#!/bin/sh\nexit 0\n", 0o755);
        is(
            &world,
            "exec helper",
            "fail",
            "understands orders",
            "from one package",
        );
        std::fs::remove_file(programs().path("zhylon-exec")).expect("remove it");
        is(
            &world,
            "exec helper",
            "fail",
            "No such file",
            "from one package",
        );
        assert!(
            Command::new("umount")
                .args(["--lazy", &dir])
                .status()
                .expect("it")
                .success()
        );

        clocks_and_certificates(&world, &run_dir, &state_dir);
        what_the_host_gives(&world);

        // The worker stands still, then the agent is gone.
        let worker = eventually("a worker", || world.process("ZHYLON_WORKER_PID"));
        worker.signal(Signal::STOP).expect("stop it");
        is(
            &world,
            "local socket",
            "fail",
            "supervisor.sock: ",
            "look at its log",
        );
        worker.signal(Signal::CONT).expect("go on");
        is(&world, "local socket", "ok", "answers", "");
        let config = world.dir().join("none.toml");
        place(
            &config,
            "state_dir = \"/opt/no-agent\"\nrun_dir = \"/run/no-agent\"\n",
            0o644,
        );
        let mut none = Command::new(programs().path("host-agent"));
        let said: Said = none
            .arg("doctor")
            .arg("--config")
            .arg(config)
            .output()
            .expect("it")
            .into();
        assert_eq!(said.code, 1, "{said:?}");
        for line in [
            "fail agent            does not run",
            "fail state directory  /opt/no-agent: No such file",
            "fail local socket     /run/no-agent/supervisor.sock: No such file",
            "warn link             no worker has told of it yet",
        ] {
            assert!(said.out.contains(line), "{line}: {said:?}");
        }
        assert_eq!(world.running(&id).await, [pid]);
    });
}

/// A host that gives less: fewer descriptors, fewer rights, smaller numbers, no cgroups; each for this one look only.
fn what_the_host_gives(world: &World) {
    let program = programs().path("host-agent").display().to_string();
    let config = world.dir().join("host-agent.toml").display().to_string();
    let own = "mount --bind /opt/small";
    for (before, check, level, found) in [
        ("ulimit -n 64", "open files", "fail", "64 at most"),
        (
            "exec setpriv --bounding-set -sys_resource --inh-caps -sys_resource",
            "capabilities",
            "warn",
            "no CAP_SYS_RESOURCE",
        ),
        (
            &format!("{own} /proc/sys/fs/pipe-max-size"),
            "log pipes",
            "warn",
            "4096 bytes at most",
        ),
        (
            &format!("{own} /proc/sys/kernel/pid_max"),
            "process numbers",
            "warn",
            "4096 numbers",
        ),
        (
            "umount --lazy --recursive /sys/fs/cgroup",
            "cgroups",
            "warn",
            "",
        ),
    ] {
        place("/opt/small", "4096\n", 0o644);
        let and = if before.starts_with("exec") {
            ""
        } else {
            " && exec"
        };
        let line = format!("{before}{and} {program} doctor --config {config}");
        let mut shell = world.command("unshare");
        shell.args(["--mount", "/bin/sh", "-c", &line]);
        let said: Said = shell.output().expect("start it").into();
        let told = format!("{level:4} {check:16} {found}");
        assert!(said.out.contains(&told), "{told}: {said:?}");
    }
}

/// The clock of the api-server moves, as far as the agent knows; the certificate stays, and then is none.
fn clocks_and_certificates(world: &World, run_dir: &Path, state_dir: &Path) {
    let report = run_dir.join("link.json");
    let told = std::fs::read_to_string(&report).expect("how the link is");
    let days = |days: i64| {
        let mut moved: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        let server = moved["server_clock"].as_i64().expect("it was welcomed");
        moved["server_clock"] = (server + days * 24 * 3_600_000).into();
        place(&report, &moved.to_string(), 0o644);
    };
    is(world, "certificate", "ok", "ends in 29 days", "");
    for (ahead, clock, level, certificate, remedy) in [
        (
            25,
            "skew: 24 days behind",
            "warn",
            "should have been renewed",
            "the agent's log",
        ),
        (
            40,
            "skew: 39 days behind",
            "fail",
            "ended 10 days ago",
            "start the agent",
        ),
        (
            230,
            "skew: 229 days behind",
            "fail",
            "ended 200 days ago",
            "enroll --replace",
        ),
        (
            -3,
            "skew: 3 days ahead of",
            "fail",
            "begins in 2 days only",
            "both clocks",
        ),
    ] {
        days(ahead);
        is(world, "clock", "warn", clock, "timedatectl");
        is(world, "certificate", level, certificate, remedy);
    }
    place(&report, &told, 0o644);
    is(world, "clock", "ok", "as the api-server's", "");
    let chain = state_dir.join("identity/chain.pem");
    let whole = std::fs::read_to_string(&chain).expect("its certificate");
    place(&chain, "torn", 0o600);
    is(
        world,
        "certificate",
        "fail",
        "chain.pem",
        "enroll --replace",
    );
    place(&chain, &whole, 0o600);
}
