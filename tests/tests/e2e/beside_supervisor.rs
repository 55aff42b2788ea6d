//! On a host where Debian's real Supervisor runs the customer's other programs: one `supervisorctl` shows and moves both,
//! and neither notices when the other stops.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use xtask::up::processes::Process;
use zhylon_tests::daemons::{Watched, draft_of};
use zhylon_tests::machine::{Machine, Said, place};
use zhylon_tests::namespace::story;
use zhylon_tests::world::programs;
use zhylon_tests::{World, eventually, skip};

/// The customer's own programs.
const PROGRAMS: &str = "[program:mailer]\ncommand=/bin/sleep 1000\nstartsecs=0\n\
    [program:web]\ncommand=/bin/sleep 1000\nstartsecs=0\nnumprocs=2\nprocess_name=%(program_name)s_%(process_num)02d\n";
/// Debian's client, past ours.
const THEIRS: &str = "/usr/bin/supervisorctl -c /etc/supervisor/supervisord.conf";

#[test]
fn two_supervisors_share_a_host() {
    story(async |machine: Machine| {
        if !Path::new("/usr/bin/supervisord").exists() {
            return skip(
                "two_supervisors_share_a_host",
                "Debian's supervisor is not installed",
            );
        }
        let world = World::installed(&machine);
        let mut daemon = draft_of("zhylon", "sleep 1000");
        daemon.start_seconds = Some(0);
        let id = world.create(daemon).await.id;
        let bare = id.trim_start_matches("h:").to_owned();
        let ours = Watched::new(&world, &id).await;

        // Alone: the very command that people know, nothing of a Supervisor that is installed and does not run.
        let said = machine.shell("root", "supervisorctl status");
        assert_eq!((said.code, said.out.lines().count()), (0, 2), "{said:?}");

        // As on a host of its own: the agent's door is also where Supervisor's clients look.
        let enabled = Path::new("/etc/systemd/system/multi-user.target.wants/supervisor.service");
        place(enabled, "", 0o644);
        doctor(
            &world,
            "warn",
            "its service is enabled, and it can not be reached",
        );

        // It starts while we run, and has its own socket.
        let mut supervisord = Supervisor::start();
        ours.untouched();
        doctor(
            &world,
            "ok",
            "a real one runs beside us and may have /run/supervisor.sock",
        );
        let before = supervisord.processes(&machine);
        assert_eq!(
            before.keys().collect::<Vec<_>>(),
            ["mailer", "web:web_00", "web:web_01"]
        );

        plant(&machine);
        let in_home =
            |line: &str| machine.shell("root", &format!("cd /home/zhylon && {line} < code"));
        let said = in_home("supervisorctl status");
        let shown: Vec<&str> = said
            .out
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        let own = format!("daemon-{bare}:daemon-{bare}_00");
        for name in ["mailer", "web:web_00", "web:web_01", &own] {
            assert_eq!(
                shown.iter().filter(|shown| **shown == name).count(),
                1,
                "{name}: {said:?}"
            );
        }
        assert_eq!((said.code, shown.len()), (0, 5), "{said:?}");
        assert_eq!(
            in_home("supervisorctl status mailer").out.lines().count(),
            1
        );

        // Foreign names are theirs, ours are ours, also in one line.
        let said = in_home("supervisorctl restart mailer");
        assert_eq!(
            (said.code, &*said.out),
            (0, "mailer: stopped\nmailer: started\n"),
            "{said:?}"
        );
        let now = supervisord.processes(&machine);
        assert_eq!(changed(&before, &now), ["mailer"]);
        ours.untouched();
        let said = in_home(&format!("supervisorctl restart web:* daemon-{id}:*"));
        assert_eq!(
            (said.code, said.out.matches(": started").count()),
            (0, 3),
            "{said:?}"
        );
        let later = supervisord.processes(&machine);
        assert_eq!(changed(&now, &later), ["web:web_00", "web:web_01"]);
        let ours = ours.restarted(&world).await;
        let said = in_home("supervisorctl restart no-such-program");
        assert!(
            said.code != 0 && said.out.contains("ERROR (no such process)"),
            "{said:?}"
        );
        assert!(
            !Path::new("/run/planted").exists(),
            "a file of somebody's directory became code of root's"
        );
        let said = machine.shell("root", &format!("{THEIRS} status"));
        assert!(
            said.code == 0 && !said.out.contains("daemon-"),
            "theirs shows its own: {said:?}"
        );

        // An isolated user sees none of it.
        let said = machine.shell(
            "site1",
            "supervisorctl status; supervisorctl restart mailer",
        );
        assert!(
            said.code != 0
                && !said.out.contains("RUNNING")
                && !said.out.contains("mailer: started"),
            "{said:?}"
        );

        // Theirs goes: ours lives on, and is what is shown.
        supervisord.stop();
        ours.untouched();
        assert!(later.values().all(|process| !process.lives()));
        let said = machine.shell("root", "supervisorctl status");
        assert_eq!((said.code, said.out.lines().count()), (0, 2), "{said:?}");
        assert!(said.out.contains(&own), "{said:?}");

        // Ours goes, daemons too: theirs lives on, and is what is shown.
        let supervisord = Supervisor::start();
        ours.untouched();
        let theirs = supervisord.processes(&machine);
        drop(world);
        ours.gone();
        assert_eq!(supervisord.processes(&machine), theirs);
    });
}

/// What `host-agent doctor` says of the neighbour.
#[track_caller]
fn doctor(world: &World, level: &str, found: &str) {
    let config = world.dir().join("host-agent.toml");
    let text = std::fs::read_to_string(config).expect("the agent's configuration");
    let beside = world.dir().join("beside.toml");
    let door = "supervisor_socket = \"/run/supervisor.sock\"";
    place(&beside, &format!("{door}\n{text}"), 0o644);
    let mut doctor: Command = world.command(programs().path("host-agent"));
    doctor.args(["doctor", "--config"]).arg(beside);
    let said: Said = doctor.output().expect("start it").into();
    let line = format!("{level:4} {:16} {found}", "Supervisor");
    assert!(said.out.contains(&line), "{line}: {said:?}");
}

/// Which of them are other processes.
fn changed<'a>(
    before: &'a BTreeMap<String, Process>,
    now: &BTreeMap<String, Process>,
) -> Vec<&'a str> {
    before
        .iter()
        .filter(|(name, process)| now[*name] != **process)
        .map(|(name, _)| name.as_str())
        .collect()
}

/// A configuration in a directory that somebody calls from, and code for what it opens.
fn plant(machine: &Machine) {
    let home = machine.home("zhylon");
    let conf = "[supervisorctl]\nserverurl=unix:///nowhere\n[ctlplugin:x]\nsupervisor.ctl_factory=code:interact\n";
    machine.write("zhylon", &home.join("supervisord.conf"), conf, 0o644);
    machine.write(
        "zhylon",
        &home.join("code"),
        "open('/run/planted', 'w').close()\n",
        0o644,
    );
}

/// Debian's, with Debian's configuration.
struct Supervisor(Child);

impl Supervisor {
    fn start() -> Self {
        std::fs::create_dir_all("/var/log/supervisor").expect("where it logs");
        place("/etc/supervisor/conf.d/customer.conf", PROGRAMS, 0o644);
        let child = Command::new("/usr/bin/supervisord")
            .args(["-n", "-c", "/etc/supervisor/supervisord.conf"])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let own = Self(child.expect("start it"));
        eventually("the real Supervisor runs its programs", || {
            let said: Said = Command::new("/bin/sh")
                .args(["-c", &format!("{THEIRS} status")])
                .output()
                .expect("start it")
                .into();
            (said.out.matches(" RUNNING ").count() == 3).then_some(())
        });
        own
    }

    /// Its programs, as it tells itself.
    fn processes(&self, machine: &Machine) -> BTreeMap<String, Process> {
        let said = machine.shell("root", &format!("{THEIRS} status"));
        let one = |line: &str| {
            let (name, rest) = line.split_once(' ')?;
            let pid = rest.split_once("pid ")?.1.split(',').next()?;
            Some((name.to_owned(), Process::find(pid.parse().ok()?)?))
        };
        said.out.lines().filter_map(one).collect()
    }

    fn stop(&mut self) {
        let pid = self.0.id().cast_signed();
        Process::find(pid)
            .expect("it lives")
            .signal(rustix::process::Signal::TERM)
            .expect("end it");
        assert!(self.0.wait().expect("wait").success());
    }
}
