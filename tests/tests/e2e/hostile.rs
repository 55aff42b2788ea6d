//! Users who mean harm, each a real one with real programs: nothing of theirs ever runs as root, and while they are at it
//! another user's daemon that dies is back at once.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use xtask::up::processes::Process;
use zhylon_proto::daemons::v1::{Daemon, DaemonStatus, InstanceState};
use zhylon_tests::daemons::{Watched, draft_of};
use zhylon_tests::machine::{Machine, place};
use zhylon_tests::namespace::story;
use zhylon_tests::world::programs;
use zhylon_tests::{World, eventually};

/// A respawn takes a few milliseconds. All that a hostile user could make others wait for lasts five seconds or more.
const AT_ONCE: Duration = Duration::from_secs(4);

/// Time since the boot, as start times of processes are told.
fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// From `began` until the kernel started this process: how soon the API tells of it does not count.
fn took(began: Duration, pid: i32) -> Duration {
    let process = Process::find(pid).expect("it lives");
    Duration::from_millis(process.start_time * 10).saturating_sub(began)
}

/// The daemon of somebody who does no harm.
struct Bystander {
    id: String,
}

impl Bystander {
    async fn new(world: &World) -> Self {
        let mut daemon = draft_of("site2", "/bin/sh -c 'echo a bystander; exec sleep 1000'");
        daemon.start_seconds = Some(0);
        let id = world.create(daemon).await.id;
        world.running(&id).await;
        Self { id }
    }

    /// Dies, and is back at once.
    async fn is_not_held_up(&self, world: &World, by: &str) {
        let before = world.running(&self.id).await;
        let process = Process::find(before[0]).expect("it lives");
        let began = since_boot();
        process.signal(Signal::KILL).expect("kill it");
        let status = world
            .status(&self.id, "back", |s| {
                s.state() == InstanceState::Running && s.instances[0].pid != before[0]
            })
            .await;
        let took = took(began, status.instances[0].pid);
        assert!(took < AT_ONCE, "{by}: {took:?}\n{}", world.log());
    }
}

fn hostile(command: &str) -> Daemon {
    let mut daemon = draft_of("site1", command);
    daemon.start_seconds = Some(0);
    daemon
}

/// What the status says about why instance 0 does not run.
fn message(status: &DaemonStatus) -> String {
    let exit = status.instances.first().and_then(|i| i.last_exit.as_ref());
    exit.map(|exit| exit.message.clone()).unwrap_or_default()
}

/// Compiles a shared object. Whoever builds Rust programs has a C compiler.
fn shared_object(source: &str, to: &Path) {
    let file = to.with_extension("c");
    place(&file, source, 0o644);
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([to, &file])
        .output()
        .expect("start cc");
    assert!(output.status.success(), "{output:?}");
}

/// Writes down who it is in every program that loads it.
const SPY: &str = r#"
#include <stdio.h>
#include <unistd.h>
__attribute__((constructor)) static void spy(void) {
    FILE *f = fopen("/home/site1/spied", "a");
    if (f) { fprintf(f, "%d %d\n", getuid(), geteuid()); fclose(f); }
}
"#;

#[test]
fn what_a_daemons_environment_commands_is_obeyed_by_its_own_program_only() {
    story(async |machine: Machine| {
        let world = World::installed(&machine);
        let bystander = Bystander::new(&world).await;
        let home = machine.home("site1");
        let spied = home.join("spied");
        machine.write("site1", &spied, "", 0o666);
        shared_object(SPY, &home.join("spy.so"));

        let mut daemon = hostile("/bin/sh -c '/bin/true; echo preloaded; exec sleep 1000'");
        for (name, value) in [
            ("LD_PRELOAD", "/home/site1/spy.so"),
            ("LD_AUDIT", "/home/site1/spy.so"),
            ("LD_LIBRARY_PATH", "/home/site1"),
            (
                "GLIBC_TUNABLES",
                "glibc.malloc.check=3:glibc.rtld.nns=999999",
            ),
            ("GCONV_PATH", "/home/site1"),
            ("RUST_LOG", "trace"),
        ] {
            daemon.environment.insert(name.to_owned(), value.to_owned());
        }
        let id = world.create(daemon).await.id;
        // Shell, true and sleep of every start: that it runs is said before its shell came that far.
        let loaded = |starts: usize| {
            eventually("all of its programs loaded it", || {
                let text = std::fs::read_to_string(&spied).ok()?;
                (text.lines().count() >= 3 * starts).then_some(())
            });
        };
        loaded(1);
        for start in 2..=4 {
            let restarted = world.ctl(&["daemon", "restart", &id, "--wait"]);
            assert!(restarted.status.success(), "{restarted:?}");
            loaded(start);
        }
        world.log_until(&id, "preloaded").await;
        bystander
            .is_not_held_up(&world, "a preloaded library")
            .await;
        let text = std::fs::read_to_string(&spied).expect("it was loaded");
        assert!(text.lines().all(|line| line == "2001 2001"), "{text}");
    });
}

/// Changes everything about its own output it can, then floods it; `%` is where it goes on.
const PLUMBER: &str = r#"/usr/bin/perl -e '
use Fcntl; $| = 1;
fcntl(STDOUT, 1031, 4096);
fcntl(STDOUT, F_SETFL, O_NONBLOCK | O_APPEND);
open(A, ">", "/dev/stdout"); open(B, "+<", "/dev/stderr"); open(C, "<", "/dev/stdout");
fcntl(C, F_SETFL, O_NONBLOCK);
for my $n (1 .. 20000) { syswrite(STDOUT, "x" x 100 . "\n"); sysread(C, my $stolen, 5000) if $n % 50 == 0; }
kill "TERM", getppid(); kill "KILL", getppid(); kill "STOP", getppid(); kill "KILL", 1;
setpgrp(0, 0); kill "STOP", $$; sleep 1000'"#;

#[test]
fn pipes_signals_and_limits_of_ones_own_are_ones_own() {
    story(async |machine: Machine| {
        let world = World::installed(&machine);
        let bystander = Bystander::new(&world).await;
        let agent = ["ZHYLON_KEEPER_PID", "ZHYLON_WORKER_PID"]
            .map(|name| eventually(name, || world.process(name)));

        // It shrinks, unblocks, reopens, steals and floods its pipe, strikes at its parent, and stops itself.
        let mut plumber = hostile(&PLUMBER.replace('\n', " "));
        plumber.stop_seconds = Some(1);
        let plumber = world.create(plumber).await.id;
        let pid = world.running(&plumber).await[0];
        let stopped = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            stat.contains(") T ").then_some(())
        };
        eventually("it has done all that, and stopped itself", stopped);
        bystander.is_not_held_up(&world, "a stopped plumber").await;
        world.log_until(&bystander.id, "a bystander").await;
        let before = Watched::new(&world, &plumber).await;
        let restarted = world.ctl(&["daemon", "stop", &plumber, "--wait"]);
        assert!(restarted.status.success(), "{restarted:?}");
        before.gone();

        // It sees three descriptors, and limits that a former life lowered are as before.
        let look = "/bin/bash -c 'ls /proc/self/fd | tr \"\\n\" \" \"; echo limits $(ulimit -n) $(ulimit -u) $(ulimit -f); \
                    ulimit -n 9; ulimit -u 1; ulimit -f 0; exec sleep 1000'";
        let look = world.create(hostile(look)).await.id;
        let first = world.log_until(&look, "limits").await;
        assert!(
            first.starts_with("0 1 2 3 limits "),
            "3 is the directory itself: {first}"
        );
        let restarted = world.ctl(&["daemon", "restart", &look, "--wait"]);
        assert!(restarted.status.success(), "{restarted:?}");
        let both = eventually_two_lines(&world, &look).await;
        assert_eq!(both[0], both[1]);

        // Every process of its own user, wherever it is: nobody else's.
        let rage = world
            .create(hostile(
                "/usr/bin/perl -e 'kill 9, -1; kill 9, 1; sleep 1000'",
            ))
            .await
            .id;
        world.running(&rage).await;
        bystander.is_not_held_up(&world, "rage").await;
        for process in agent {
            assert!(process.lives(), "{process:?}\n{}", world.log());
        }
    });
}

async fn eventually_two_lines(world: &World, id: &str) -> Vec<String> {
    let lines = zhylon_tests::eventually_async("two lines", || async {
        let text = world.whole_log(id).await;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        // What is said in pieces may be there in part.
        (lines.len() >= 2 && text.ends_with('\n')).then_some(lines)
    });
    lines.await
}

#[test]
fn swapped_directories_and_vanished_programs_lead_nowhere() {
    story(async |machine: Machine| {
        own_programs();
        let world = World::installed(&machine);
        let bystander = Bystander::new(&world).await;
        let home = machine.home("site1");

        // A working directory that becomes another's: entered with the user's own rights.
        let said = machine.shell("site1", "mkdir real; ln -sfn real app");
        assert_eq!(said.code, 0, "{said:?}");
        let mut daemon = hostile("/bin/sh -c 'echo in $(pwd -P); exec sleep 1000'");
        daemon.directory = "/home/site1/app".to_owned();
        let id = world.create(daemon).await.id;
        let pid = world.running(&id).await[0];
        for aim in ["/root", "/home/site2", "/proc/1/cwd"] {
            let pid = world.running(&id).await[0];
            let said = machine.shell("site1", &format!("ln -sfn {aim} app"));
            assert_eq!(said.code, 0, "{said:?}");
            let process = Process::find(pid).expect("it lives");
            process.signal(Signal::KILL).expect("kill it");
            let status = world
                .status(&id, "refused", |s| message(s).contains("chdir"))
                .await;
            let text = message(&status);
            assert!(
                text.contains("chdir /home/site1/app: Permission denied"),
                "{aim}: {text}"
            );
            bystander.is_not_held_up(&world, aim).await;
            let said = machine.shell("site1", "ln -sfn real app");
            assert_eq!(said.code, 0, "{said:?}");
        }
        assert_ne!(world.running(&id).await[0], pid);
        let log = world.whole_log(&id).await;
        assert!(
            log.lines().all(|line| line == "in /home/site1/real"),
            "{log}"
        );

        // Its program is deleted below it: it lives; ends: it is told; is there again: it runs.
        let program = home.join("program");
        std::fs::copy("/bin/sleep", &program).expect("a program");
        let id = world.create(hostile("/home/site1/program 1000")).await.id;
        let before = Watched::new(&world, &id).await;
        std::fs::remove_file(&program).expect("delete it");
        bystander.is_not_held_up(&world, "a deleted program").await;
        before.untouched();
        let pid = world.running(&id).await[0];
        let process = Process::find(pid).expect("it lives");
        process.signal(Signal::KILL).expect("kill it");
        world
            .status(&id, "told", |s| {
                message(s).contains("exec /home/site1/program: No such file")
            })
            .await;
        std::fs::copy("/bin/sleep", &program).expect("a program");
        world.running(&id).await;

        // The agent's own programs are deleted below it, as a package being replaced is: what starts still starts.
        let worker = eventually("a worker", || world.process("ZHYLON_WORKER_PID"));
        for name in ["zhylon-exec", "host-agent"] {
            std::fs::remove_file(programs().path(name)).expect("delete it");
        }
        bystander.is_not_held_up(&world, "no programs").await;
        let other = world.create(draft_of("zhylon", "sleep 1000")).await.id;
        world.running(&other).await;
        assert!(worker.lives(), "{}", world.log());
        run("umount", &["--lazy", &programs().dir.to_string_lossy()]);
    });
}

/// A copy of the programs where they are, so that a story may delete them.
fn own_programs() {
    let dir = programs().dir.to_string_lossy().into_owned();
    run("cp", &["-a", &dir, "/opt/programs"]);
    run("mount", &["--bind", "/opt/programs", &dir]);
}

fn run(program: &str, words: &[&str]) {
    let output = Command::new(program)
        .args(words)
        .output()
        .expect("start it");
    assert!(output.status.success(), "{program} {words:?}: {output:?}");
}

/// Stops every process of its own user that is about to become another program.
const STOPPER: &str = r#"while (1) { for my $p (</proc/[0-9]*>) { my @s = stat($p) or next; next if $s[4] != $<;
open(C, "<", "$p/comm") or next; my $c = <C>; next if $c ne "zhylon-exec\n"; $p =~ /(\d+)/; kill("STOP", $1) and print("stopped $1\n"); } }"#;

#[test]
fn a_start_that_its_user_stops_fails_alone() {
    story(async |machine: Machine| {
        let world = World::installed(&machine);
        let bystander = Bystander::new(&world).await;
        let mut stopper = machine.command("site1", "/usr/bin/perl");
        let _stopper = Ended(
            stopper
                .args(["-e", &format!("$| = 1; {STOPPER}")])
                .stdout(Stdio::null())
                .spawn()
                .expect("start it"),
        );
        // A search that takes long enough to be caught in, as whoever the daemon is to be.
        let mut daemon = hostile("no-such-program-anywhere");
        let path = ["/home/site1/a/b/c/d/e/f"; 1000].join(":");
        daemon.environment.insert("PATH".to_owned(), path);
        let id = world.create(daemon).await.id;
        let pid = eventually("a helper is stopped", || stopped_helper(2001));
        let helper = Process::find(pid).expect("it is stopped");
        for _ in 0..3 {
            bystander.is_not_held_up(&world, "a stopped helper").await;
        }
        let status = world
            .status(&id, "failed", |s| message(s).contains("did not start"))
            .await;
        // Had anybody let it go on, it would have found no such program.
        assert_eq!(message(&status), "the program did not start within 10 s");
        eventually("it is ended", || (!helper.lives()).then_some(()));
        bystander.is_not_held_up(&world, "after it").await;
    });
}

/// A `zhylon-exec` of this uid in state T.
fn stopped_helper(uid: u32) -> Option<i32> {
    use std::os::unix::fs::MetadataExt as _;
    let entries = std::fs::read_dir("/proc").expect("/proc");
    let mut pids = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        (entry.metadata().ok()?.uid() == uid).then_some(pid)
    });
    pids.find(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains("(zhylon-exec) T ")
    })
}

/// A child that is killed at the end.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A name service that knows nobody, and says so only if it likes.
const STALL: &str = r#"
#include <nss.h>
#include <unistd.h>
static enum nss_status stall(void) { while (access("/opt/stall/on", F_OK) == 0) usleep(20000); return NSS_STATUS_NOTFOUND; }
enum nss_status _nss_stall_getpwnam_r() { return stall(); }
enum nss_status _nss_stall_getpwuid_r() { return stall(); }
enum nss_status _nss_stall_getgrnam_r() { return stall(); }
enum nss_status _nss_stall_getgrgid_r() { return stall(); }
enum nss_status _nss_stall_initgroups_dyn() { return stall(); }
"#;

#[test]
fn a_name_service_that_hangs_holds_up_only_who_was_never_known() {
    story(async |machine: Machine| {
        std::fs::create_dir("/opt/stall").expect("a directory");
        shared_object(STALL, Path::new("/opt/stall/libnss_stall.so.2"));
        place("/etc/ld.so.conf.d/stall.conf", "/opt/stall\n", 0o644);
        run("ldconfig", &[]);
        let world = World::installed(&machine);
        let bystander = Bystander::new(&world).await;
        place(
            "/etc/nsswitch.conf",
            "passwd: files stall\ngroup: files stall\ninitgroups: files stall\n",
            0o644,
        );
        // With the new file, and before it hangs.
        bystander.is_not_held_up(&world, "another service").await;
        place("/opt/stall/on", "", 0o644);

        let mut waiting = Vec::new();
        for _ in 0..6 {
            waiting.push(world.create(hostile("sleep 1000")).await.id);
        }
        for _ in 0..4 {
            bystander
                .is_not_held_up(&world, "a name service that hangs")
                .await;
        }
        for id in &waiting {
            let status = world
                .status(id, "told", |s| message(s).contains("look-up"))
                .await;
            assert_eq!(
                message(&status),
                "user site1: the host's user look-up did not answer within 5 s"
            );
        }
        // By now every answer is an old one.
        bystander.is_not_held_up(&world, "old answers").await;
        // A new worker knows nobody, and takes over all the same.
        let pids = world.running(&bystander.id).await;
        let worker = eventually("a worker", || world.process("ZHYLON_WORKER_PID"));
        worker.signal(Signal::KILL).expect("kill it");
        world.comes_back("ZHYLON_WORKER_PID", worker);
        std::fs::remove_file("/opt/stall/on").expect("it answers again");
        for id in &waiting {
            world.running(id).await;
        }
        assert_eq!(world.running(&bystander.id).await, pids);
    });
}

/// Mounts a file system whose server never answers, and says so.
const HUNG: &str = r#"
import ctypes, os, sys, time
fd = os.open('/dev/fuse', os.O_RDWR)
libc = ctypes.CDLL(None, use_errno=True)
options = 'fd=%d,rootmode=40750,user_id=0,group_id=0,allow_other' % fd
if libc.mount(b'hung', sys.argv[1].encode(), b'fuse.hung', 6, options.encode()) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
print('mounted', flush=True)
time.sleep(1000)
"#;

#[test]
fn a_home_that_hangs_holds_up_only_its_own_user() {
    story(async |machine: Machine| {
        let world = World::installed(&machine);
        let bystander = Bystander::new(&world).await;
        let running = hostile(
            "/usr/bin/perl -e '$| = 1; while (1) { print \"x\" x 99, \"\\n\"; select(undef, undef, undef, 0.01) }'",
        );
        let running = world.create(running).await.id;
        let before = Watched::new(&world, &running).await;
        world.log_until(&running, "xxx").await;

        let mut server = Command::new("/usr/bin/python3");
        server
            .args(["-c", HUNG, "/home/site1"])
            .stdout(Stdio::piped());
        let mut server = Ended(server.spawn().expect("start it"));
        let mut said = String::new();
        let stdout = server.0.stdout.take().expect("its output");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut said).expect("read");
        assert_eq!(said, "mounted\n");

        // More starts there than there are threads for anything.
        let mut hung = Vec::new();
        for _ in 0..20 {
            hung.push(world.create(hostile("sleep 1000")).await.id);
        }
        for _ in 0..3 {
            bystander.is_not_held_up(&world, "a home that hangs").await;
        }
        // A change of every one of them has to look at that home first.
        for id in &hung {
            let changed = world.ctl(&["daemon", "update", id, "--stop-seconds", "5"]);
            assert!(changed.status.success(), "{changed:?}");
        }
        for _ in 0..2 {
            bystander
                .is_not_held_up(&world, "twenty checks that hang")
                .await;
        }
        let old = world.running(&bystander.id).await;
        let changed = world.ctl(&["daemon", "update", &bystander.id, "--command", "sleep 2000"]);
        let began = since_boot();
        assert!(changed.status.success(), "{changed:?}");
        let status = world
            .status(&bystander.id, "changed", |s| {
                s.state() == InstanceState::Running
                    && !s.reconciling
                    && s.instances[0].pid != old[0]
            })
            .await;
        let took = took(began, status.instances[0].pid);
        assert!(took < AT_ONCE, "a change: {took:?}\n{}", world.log());
        before.untouched();
        let status = world
            .status(&hung[0], "failed", |s| message(s).contains("did not start"))
            .await;
        assert_eq!(message(&status), "the program did not start within 10 s");

        drop(server);
        run("umount", &["--lazy", "/home/site1"]);
        for id in &hung {
            world.running(id).await;
        }
        before.untouched();
    });
}
