use std::time::{Duration, Instant};

use dxr::Value;
use host_agent_engine::effect::CommandOutcome;
use host_agent_engine::input::Action;
use zhylon_shared::state::InstanceState::{Fatal, Running, Stopped};

use super::clients::{call, ok, structs, text};
use super::fake::own_uid;
use super::served::Served;

const WEB: &str = "daemon-web000000000000000";
const WEB_H: &str = "daemon-h:web000000000000000";

#[test]
fn failures_are_faults_the_clients_know() {
    let served = Served::start();
    let id = served.fake.add("web", 1, Stopped);
    let start = |method: &str| {
        call(
            &served.socket,
            &format!("supervisor.{method}"),
            &[text(WEB)],
        )
    };
    for (fails, code, said) in [
        (
            CommandOutcome::NoFile,
            20,
            "NO_FILE: can't find command '/bin/server'",
        ),
        (
            CommandOutcome::NotExecutable,
            21,
            "NOT_EXECUTABLE: command at '/bin/server' is not executable",
        ),
        (
            CommandOutcome::SpawnError,
            50,
            &format!("SPAWN_ERROR: {WEB}"),
        ),
        (
            CommandOutcome::AbnormalTermination,
            40,
            &format!("ABNORMAL_TERMINATION: {WEB}"),
        ),
    ] {
        served.fake.edit(id, |one| one.fails = Some(fails));
        assert_eq!(start("startProcess"), Err((code, said.to_owned())));
        assert_eq!(structs(start("startProcessGroup").unwrap())[0].1, code);
    }
    served.fake.change(|world| world.shutting_down = true);
    assert_eq!(
        start("startProcess"),
        Err((
            50,
            format!("SPAWN_ERROR: {WEB}: the agent is shutting down")
        ))
    );
    assert_eq!(
        start("stopProcess"),
        Err((30, format!("FAILED: {WEB}: the agent is shutting down")))
    );
}

#[test]
fn groups_answer_only_for_what_moved() {
    let served = Served::start();
    let id = served.fake.add("web", 3, Running);
    served
        .fake
        .edit(id, |one| one.entry.view.instances[1].state = Fatal);
    let group = |method: &str| {
        structs(
            call(
                &served.socket,
                &format!("supervisor.{method}"),
                &[text(WEB)],
            )
            .unwrap(),
        )
    };
    assert_eq!(group("stopProcessGroup"), [ok("00"), ok("02")]);
    assert_eq!(group("stopProcessGroup"), []);
    assert_eq!(group("startProcessGroup"), [ok("00"), ok("01"), ok("02")]);
    assert_eq!(group("startProcessGroup"), []);
}

#[test]
fn all_and_none() {
    let served = Served::start();
    let all =
        |method: &str| structs(call(&served.socket, &format!("supervisor.{method}"), &[]).unwrap());
    assert_eq!(all("stopAllProcesses"), []);
    served.fake.add("api", 1, Stopped);
    served.fake.add("web", 2, Running);
    assert_eq!(all("stopAllProcesses"), [ok("00"), ok("01")]);
    assert_eq!(all("startAllProcesses").len(), 3);
}

#[test]
fn without_waiting_the_answer_comes_once_it_is_accepted() {
    let served = Served::start();
    let id = served.fake.add("web", 2, Running);
    served.fake.edit(id, |one| one.hangs = true);
    let begun = Instant::now();
    let stop = [text(WEB), Value::Boolean(false)];
    let results = call(&served.socket, "supervisor.stopProcessGroup", &stop).unwrap();
    assert_eq!(structs(results), [ok("00"), ok("01")]);
    // By the change, not by the deadline for one that does not come.
    assert!(
        begun.elapsed() < Duration::from_millis(900),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(served.fake.world().daemons[&id].entry.view.state, Stopped);
}

#[test]
fn without_waiting_a_command_that_shows_no_effect_is_accepted_too() {
    let served = Served::start();
    let id = served.fake.add("web", 1, Running);
    served.fake.edit(id, |one| one.deaf = true);
    let begun = Instant::now();
    let stop = [text(WEB), Value::Boolean(false)];
    assert!(call(&served.socket, "supervisor.stopProcess", &stop).is_ok());
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn commands_in_flight_are_bounded() {
    let served = Served::start();
    let id = served.fake.add("web", 1, Running);
    served.fake.edit(id, |one| one.hangs = true);
    let params = [text(WEB), Value::Boolean(false)];
    let stop = || call(&served.socket, "supervisor.stopProcess", &params);
    let most = if own_uid() == 0 { 256 + 64 } else { 16 };
    for sent in 0..most {
        assert!(stop().is_ok(), "{sent}");
    }
    let (code, said) = stop().unwrap_err();
    assert!(
        code == 30 && said.contains("too many commands are in flight"),
        "{said}"
    );
}

#[test]
fn restart_is_one_command() {
    let served = Served::start();
    let id = served.fake.add("web", 2, Running);
    served
        .fake
        .edit(id, |one| one.entry.view.instances[1].state = Stopped);
    let Value::Struct(mut halves) =
        call(&served.socket, "zhylon.restartGroup", &[text(WEB_H)]).unwrap()
    else {
        panic!("no struct");
    };
    assert_eq!(structs(halves.remove("stopped").unwrap()), [ok("00")]);
    assert_eq!(
        structs(halves.remove("started").unwrap()),
        [ok("00"), ok("01")]
    );
    let world = served.fake.world();
    assert_eq!(world.asked.len(), 1);
    assert_eq!(world.asked[0].0, Action::Restart);
}
