//! Beside a real Supervisor.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use zhylon_shared::state::InstanceState::{Running, Stopped};

use crate::socket::tests::clients::{debian, has_debians_client, ours_through_sudo, ours_with};
use crate::socket::tests::fake::own_uid;
use crate::socket::tests::served::Served;
use crate::socket::tests::supervisord::Supervisord;
use crate::supervisorctl::Place;

const H: &str = "daemon-h:web000000000000000";

/// Two of `shop`, which say something, and `cron`, which does not run.
fn supervisord() -> Supervisord {
    let programs = |dir: &Path| {
        let program = |name: &str, rest: &str| {
            format!(
                "[program:{name}]\ncommand=sh -c 'echo hello; exec sleep 3600'\nstartsecs=0\nredirect_stderr=true\nstdout_logfile={}/{name}%(process_num)d.log\n{rest}\n",
                dir.display()
            )
        };
        program(
            "shop",
            "numprocs=2\nprocess_name=%(program_name)s_%(process_num)02d",
        ) + &program("cron", "autostart=false")
    };
    Supervisord::start(programs, |status| status.matches("RUNNING").count() == 2)
}

fn said_at(socket: &Path, place: &Place, args: &[&str]) -> (String, i32) {
    let (out, code) = ours_with(socket, Some(place.clone()), "", args);
    let text = String::from_utf8(out).unwrap();
    (text.replace("web000000000000000", "WEB"), code)
}

/// Names and states of a table.
fn states(table: &str) -> Vec<(&str, &str)> {
    table
        .lines()
        .map(|line| {
            let mut words = line.split_whitespace();
            (words.next().unwrap(), words.next().unwrap())
        })
        .collect()
}

#[test]
fn one_table_one_command_line_and_both_are_left_alone() {
    if !has_debians_client("one_table_one_command_line_and_both_are_left_alone") {
        return;
    }
    let (served, real) = (Served::start(), supervisord());
    served.fake.add("web", 1, Running);
    let place = real.place();
    let said = |args: &[&str]| said_at(&served.socket, &place, args);
    let asked = || std::mem::take(&mut served.fake.world().asked).len();
    let (shop, cron) = (
        [("shop:shop_00", "RUNNING"), ("shop:shop_01", "RUNNING")],
        ("cron", "STOPPED"),
    );
    let web = ("daemon-WEB:daemon-WEB_00", "RUNNING");

    let (table, code) = said(&["status"]);
    assert_eq!(states(&table), [cron, web, shop[0], shop[1]]);
    assert_eq!(code, 3);
    let columns: Vec<usize> = table
        .replace("WEB", "web000000000000000")
        .lines()
        .map(|line| line.find("RUNNING").or(line.find("STOPPED")).unwrap())
        .collect();
    // The name is 54 long, and there are three between.
    assert_eq!(columns, [57; 4]);
    assert_eq!(said(&["status", "all"]).0.lines().count(), 4);

    // As they are typed, the errors first.
    let own = format!("{H}:*");
    let (table, code) = said(&["status", "shop:*", &own, "nosuch", "shop:shop_01"]);
    assert!(table.starts_with("nosuch: ERROR (no such process)\n"));
    let rows = table.split_once('\n').unwrap().1;
    assert_eq!(states(rows), [shop[0], shop[1], web, shop[1]]);
    assert_eq!(code, 4);
    assert_eq!(said(&["status", "shop:*", &own]).1, 0);
    assert_eq!(said(&["status", "cron", "nosuch"]).1, 3);

    // Stopping theirs leaves ours alone, and the other way round.
    asked();
    assert_eq!(
        said(&["stop", "shop:shop_00"]),
        ("shop:shop_00: stopped\n".into(), 0)
    );
    assert_eq!(asked(), 0);
    assert_eq!(
        states(&debian(&real.socket(), &["status"]).out)[1].1,
        "STOPPED"
    );
    let (text, code) = said(&["restart", &own, "shop:shop_00", "nosuch"]);
    assert_eq!(
        text,
        "daemon-WEB:daemon-WEB_00: stopped\ndaemon-WEB:daemon-WEB_00: started\n\
         shop:shop_00: ERROR (not running)\nnosuch: ERROR (no such process)\n\
         shop:shop_00: started\nnosuch: ERROR (no such process)\n"
    );
    assert_eq!((code, asked()), (1, 1));
    let before = debian(&real.socket(), &["pid", "all"]).out;
    assert_eq!(said(&["stop", &own]).1, 0);
    assert_eq!(debian(&real.socket(), &["pid", "all"]).out, before);
    assert_eq!(said(&["start", &own]).1, 0);

    // Everything is everything.
    let (text, code) = said(&["stop", "all"]);
    assert_eq!(text.matches(": stopped").count(), 3, "{text}");
    assert_eq!((code, asked()), (0, 3));
    let (text, code) = said(&["start", "all"]);
    assert_eq!(text.matches(": started").count(), 4, "{text}");
    assert_eq!(code, 0);
    // That it is started is said before its first word.
    let log = real.dir.path().join("cron0.log");
    let says = |text: &str| real.wait(|_| fs::read_to_string(&log).is_ok_and(|log| log == text));
    says("hello\n");
    let (text, _) = said(&["signal", "CONT", "all"]);
    assert_eq!(text.matches(": signalled").count(), 4, "{text}");
    let (text, code) = said(&["restart", "all"]);
    assert_eq!(text.matches(": started").count(), 4, "{text}");
    assert_eq!(code, 0);
    says("hello\nhello\n");
    assert_eq!(said(&["pid", "all"]).0.lines().count(), 4);
    assert_eq!(said(&["pid", "cron", &own]).0.lines().count(), 2);

    assert_eq!(
        said(&["signal", "CONT", "cron"]),
        ("cron: signalled\n".into(), 0)
    );
    assert_eq!(said(&["tail", "shop:shop_00"]).1, 0);
    assert_eq!(said(&["tail", "-3", "cron"]), ("lo\n\n".into(), 0));
    assert_eq!(said(&["clear", "cron"]), ("cron: cleared\n".into(), 0));
    assert_eq!(said(&["tail", "cron"]), ("\n".into(), 0));
}

#[test]
fn configuration_is_theirs_and_their_life_not_ours() {
    if !has_debians_client("configuration_is_theirs_and_their_life_not_ours") {
        return;
    }
    let (served, real) = (Served::start(), supervisord());
    served.fake.add("web", 1, Running);
    let place = real.place();
    let said = |args: &[&str]| said_at(&served.socket, &place, args);
    let nothing = ("No config updates to processes\n".to_owned(), 0);
    assert_eq!(said(&["reread"]), nothing);
    let mut config = fs::read_to_string(real.config()).unwrap();
    config += "[program:late]\ncommand=sleep 3600\nstartsecs=0\n";
    fs::write(real.config(), config).unwrap();
    assert_eq!(said(&["reread"]), ("late: available\n".into(), 0));
    assert_eq!(said(&["update", H]), (String::new(), 0));
    assert_eq!(
        said(&["update", "nosuch"]),
        ("ERROR: no such group: nosuch\n".into(), 1)
    );
    assert_eq!(said(&["update"]), ("late: added process group\n".into(), 0));
    let runs = |line: &str| line.starts_with("late ") && line.contains("RUNNING");
    real.wait(|status| status.lines().any(runs));
    assert_eq!(
        said(&["add", "late"]),
        ("ERROR: process group already active\n".into(), 0)
    );
    assert_eq!(said(&["stop", "late"]).1, 0);
    assert_eq!(
        said(&["remove", "late"]),
        ("late: removed process group\n".into(), 0)
    );
    for command in ["shutdown", "reload"] {
        let (text, code) = said(&[command]);
        assert!(text.starts_with("error: FAILED: "), "{text}");
        assert!(
            text.contains(&format!("{} {command}\n", real.config().display())),
            "{text}"
        );
        assert_eq!(code, 1);
    }
    assert_eq!(said(&["status", "shop:*"]).1, 0);
}

#[test]
fn without_our_agent_theirs_is_still_handed_on() {
    if !has_debians_client("without_our_agent_theirs_is_still_handed_on") {
        return;
    }
    let real = supervisord();
    let none = real.dir.path().join("none");
    let said = |args: &[&str]| said_at(&none, &real.place(), args);
    let ours = format!("unix://{} no such file\n", none.display());
    let (text, code) = said(&["status"]);
    let table = text.strip_prefix(&ours).unwrap();
    assert_eq!((states(table).len(), code), (3, 3));
    assert_eq!(
        said(&["restart", "shop:shop_00"]),
        ("shop:shop_00: stopped\nshop:shop_00: started\n".into(), 0)
    );
    let (text, code) = said(&["restart", H, "shop:shop_01"]);
    assert_eq!(
        (text, code),
        (
            format!("{ours}shop:shop_01: stopped\nshop:shop_01: started\n"),
            7
        )
    );
}

/// A client that tells how it was called and exits with 7, and a configuration for it.
fn script(dir: &Path, url: &str) -> Place {
    let place = Place {
        program: dir.join("client"),
        config: dir.join("conf"),
    };
    let text = "#!/bin/sh\nread -r line\necho \"$line|$PWD|$*\"\nenv | grep -v '^_=\\|^PWD=\\|^SHLVL=' | sort\nexit 7\n";
    let source = dir.join("source");
    fs::write(&source, text).unwrap();
    // By another process: a child that another test starts meanwhile must not hold it open for writing.
    let installed = Command::new("install")
        .args(["-m", "755"])
        .args([&source, &place.program])
        .status();
    assert!(installed.unwrap().success());
    fs::write(&place.config, format!("[supervisorctl]\nserverurl={url}\n")).unwrap();
    place
}

#[test]
fn nothing_of_the_caller_reaches_it() {
    let (served, dir) = (Served::start(), tempfile::tempdir().unwrap());
    let place = script(dir.path(), "http://localhost:9001");
    let config = place.config.display();
    let environment = "LANG=C.UTF-8\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nZHYLON_SUPERVISORCTL_HANDED_ON=1\n";
    for (args, handed_on) in [
        (&["stop", "a", "b:*"][..], "stop a b:*"),
        (&["signal", "HUP", "a"], "signal HUP a"),
        (&["tail", "-f", "a", "stderr"], "tail -f a stderr"),
        (&["clear", "a"], "clear a"),
    ] {
        let (out, code) = ours_with(&served.socket, Some(place.clone()), "typed\n", args);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!("|/|-c {config} {handed_on}\n{environment}")
        );
        assert_eq!(code, 7);
    }
    // What is typed is for the program in the foreground, and for no other command.
    let (out, _) = ours_with(&served.socket, Some(place.clone()), "typed\n", &["fg", "a"]);
    assert!(String::from_utf8(out).unwrap().starts_with("typed|/|"));
}

#[test]
fn ourselves_and_our_own_agent_are_no_supervisor() {
    let (served, dir) = (Served::start(), tempfile::tempdir().unwrap());
    served.fake.add("web", 1, Running);
    let bare = ("web: ERROR (no such process)\n".to_owned(), 1);
    let check = |place: &Place| {
        assert_eq!(said_at(&served.socket, place, &["stop", "web"]), bare);
        let (table, _) = said_at(&served.socket, place, &["status"]);
        assert_eq!(table.lines().count(), 1, "{table}");
    };
    let of_agent = script(dir.path(), &served.url());
    check(&of_agent);
    let mut place = script(dir.path(), "http://localhost:9001");
    assert_eq!(said_at(&served.socket, &place, &["stop", "web"]).1, 7);
    let us = dir.path().join("us");
    std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &us).unwrap();
    place.program = us;
    check(&place);
    place.program = dir.path().join("nosuch");
    check(&place);
    let mut place = script(dir.path(), "http://localhost:9001");
    fs::set_permissions(&place.program, fs::Permissions::from_mode(0o644)).unwrap();
    check(&place);
    place = script(dir.path(), "http://localhost:9001");
    fs::write(&place.config, "[supervisord]\n").unwrap();
    check(&place);
    fs::remove_file(&place.config).unwrap();
    check(&place);
}

#[test]
fn a_line_about_ours_asks_nobody_else() {
    let (served, dir) = (Served::start(), tempfile::tempdir().unwrap());
    served.fake.add("web", 1, Stopped);
    let socket = dir.path().join("real");
    let listener = UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let place = script(dir.path(), &format!("unix://{}", socket.display()));
    let own = format!("{H}:*");
    for args in [
        &["restart", own.as_str()][..],
        &["status", &own],
        &["signal", "HUP", H],
        &["tail", &own],
        &["pid"],
        &["version"],
    ] {
        said_at(&served.socket, &place, args);
        assert!(listener.accept().is_err(), "{args:?}");
    }
    said_at(&served.socket, &place, &["status"]);
    assert!(listener.accept().is_ok());
}

#[test]
fn a_server_that_is_named_is_meant_alone() {
    let (served, dir) = (Served::start(), tempfile::tempdir().unwrap());
    let place = script(dir.path(), "http://localhost:9001");
    let named = format!("-s{}", served.url());
    let said = |args: &[&str]| said_at(Path::new("/no/such"), &place, args);
    let unknown = ("web: ERROR (no such process)\n".to_owned(), 1);
    assert_eq!(said(&[&named, "stop", "web"]), unknown);
    assert_eq!(said(&[&named, "stop", "all"]), (String::new(), 0));
    assert_eq!(said(&["stop", "web"]).1, 7);
}

#[test]
fn one_that_is_away_or_stuck() {
    if !has_debians_client("one_that_is_away_or_stuck") {
        return;
    }
    let (served, dir) = (Served::start(), tempfile::tempdir().unwrap());
    served.fake.add("web", 1, Running);
    let socket = dir.path().join("real");
    let place = Place {
        program: "/usr/bin/supervisorctl".into(),
        ..script(dir.path(), &format!("unix://{}", socket.display()))
    };
    let said = |args: &[&str]| said_at(&served.socket, &place, args);
    let url = format!("unix://{}", socket.display());
    let (table, code) = said(&["status"]);
    assert_eq!((table.lines().count(), code), (1, 0));
    assert_eq!(said(&["stop", "all"]).0.lines().count(), 1);
    assert_eq!(said(&["status", "x"]), (format!("{url} no such file\n"), 4));
    assert_eq!(said(&["stop", "x"]), (format!("{url} no such file\n"), 7));
    // It takes a connection and says nothing.
    let listener = UnixListener::bind(&socket).unwrap();
    let (text, code) = said(&["status"]);
    assert!(text.contains("does not answer"), "{text}");
    assert_eq!((text.lines().count(), code), (2, 3));
    drop(listener);
    assert_eq!(
        said(&["status", "x"]),
        (format!("{url} refused connection\n"), 4)
    );
}

#[test]
fn a_user_who_may_not_speak_to_it() {
    if !has_debians_client("a_user_who_may_not_speak_to_it") {
        return;
    }
    if own_uid() != 0 {
        let _ = std::io::Write::write_all(
            &mut std::io::stdout(),
            b"\nSKIPPED a_user_who_may_not_speak_to_it: only root can be another user\n",
        );
        return;
    }
    const ANNA: u32 = 54_321;
    let (served, real) = (Served::start(), supervisord());
    let open = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    open(served.dir.path(), 0o755);
    open(&served.socket, 0o666);
    open(real.dir.path(), 0o755);
    let own = served.fake.add("web", 1, Running);
    served.fake.edit(own, |one| one.entry.uid = Some(ANNA));
    let (place, socket) = (real.place(), served.socket.clone());
    let anna = std::thread::spawn(move || {
        let anna = rustix::process::Uid::from_raw(ANNA);
        rustix::thread::set_thread_res_uid(anna, anna, anna).unwrap();
        let said = |args: &[&str]| said_at(&socket, &place, args);
        [
            said(&["status"]),
            said(&["stop", "all"]),
            said(&["stop", "shop:*"]),
        ]
    });
    let [status, all, named] = anna.join().unwrap();
    assert_eq!((states(&status.0).len(), status.1), (1, 0));
    assert_eq!((all.0.lines().count(), all.1), (1, 0));
    assert!(named.0.contains("PermissionError"), "{}", named.0);
    assert_eq!(named.1, 1);
    assert_eq!(debian(&real.socket(), &["status", "shop:*"]).code, 0);
}

#[test]
fn through_sudo_only_who_may_move_everything_reaches_it() {
    const NAME: &str = "through_sudo_only_who_may_move_everything_reaches_it";
    if !has_debians_client(NAME) {
        return;
    }
    if own_uid() != 0 {
        let text = format!("\nSKIPPED {NAME}: only root can be another user\n");
        let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
        return;
    }
    let (served, real) = (Served::start(), supervisord());
    let open = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    open(served.dir.path(), 0o755);
    open(&served.socket, 0o666);
    // Whoever reaches the real one's socket may use it: it is for us to be careful.
    open(real.dir.path(), 0o755);
    open(&real.socket(), 0o666);
    let (place, socket) = (real.place(), served.socket.clone());
    let said = move |args: &[&str]| {
        let said = ours_through_sudo(&socket, place.clone(), args);
        (said.out, said.code)
    };
    let started = said(&["start", "cron"]);
    assert_eq!(started, ("cron: started\n".to_owned(), 0));
    let before = debian(&real.socket(), &["pid", "all"]).out;
    let bob = std::thread::spawn(move || {
        let bob = rustix::process::Uid::from_raw(54_322);
        rustix::thread::set_thread_res_uid(bob, bob, bob).unwrap();
        [
            said(&["restart", "cron"]),
            said(&["stop", "all"]),
            said(&["status"]),
            said(&["tail", "shop:shop_00"]),
        ]
    });
    let [restart, stop, status, tail] = bob.join().unwrap();
    let refused = "cron: ERROR (no such process)\n";
    assert_eq!(restart, (format!("{refused}{refused}"), 1));
    assert_eq!(stop, (String::new(), 0));
    assert_eq!(status, (String::new(), 0));
    assert_eq!(tail.1, 1, "{}", tail.0);
    assert_eq!(debian(&real.socket(), &["pid", "all"]).out, before);
}
