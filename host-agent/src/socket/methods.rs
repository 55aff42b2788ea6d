//! The methods: name and parameters to an answer. Supervisor's, and `zhylon.*` for what its own can not say.

use dxr::Value;

use super::codec::Call;
use super::command::Verb;
use super::door::Door;
use super::fault::{Code, Fault};
use super::info::structure;
use super::multicall::{MULTICALL, multicall};
use super::params::Params;
use super::read;
use super::session::Session;

/// The version of the interface; clients refuse to talk to any other.
const API_VERSION: &str = "3.0";

/// The Supervisor whose behaviour this is.
const SUPERVISOR_VERSION: &str = "4.2.5";

/// What `getIdentification` says.
const IDENTIFICATION: &str = "zhylon-agent";

/// What [`call`] knows, for `system.listMethods`.
const METHODS: [&str; 33] = [
    "supervisor.addProcessGroup",
    "supervisor.getAPIVersion",
    "supervisor.getAllProcessInfo",
    "supervisor.getIdentification",
    "supervisor.getPID",
    "supervisor.getProcessInfo",
    "supervisor.getState",
    "supervisor.getSupervisorVersion",
    "supervisor.getVersion",
    "supervisor.readProcessLog",
    "supervisor.readProcessStderrLog",
    "supervisor.readProcessStdoutLog",
    "supervisor.reloadConfig",
    "supervisor.removeProcessGroup",
    "supervisor.restart",
    "supervisor.sendProcessStdin",
    "supervisor.shutdown",
    "supervisor.signalAllProcesses",
    "supervisor.signalProcess",
    "supervisor.signalProcessGroup",
    "supervisor.startAllProcesses",
    "supervisor.startProcess",
    "supervisor.startProcessGroup",
    "supervisor.stopAllProcesses",
    "supervisor.stopProcess",
    "supervisor.stopProcessGroup",
    "supervisor.tailProcessLog",
    "supervisor.tailProcessStderrLog",
    "supervisor.tailProcessStdoutLog",
    "system.listMethods",
    MULTICALL,
    "zhylon.readLog",
    "zhylon.restartGroup",
];

/// Carries out one call.
pub(crate) async fn call<D: Door>(session: &Session<D>, call: Call) -> Result<Value, Fault> {
    if call.method == MULTICALL {
        multicall(session, call.params).await
    } else {
        single(session, &call.method, call.params).await
    }
}

/// Carries out any call but `system.multicall`.
pub(crate) async fn single<D: Door>(
    session: &Session<D>,
    method: &str,
    params: Vec<Value>,
) -> Result<Value, Fault> {
    let mut params = Params::new(params);
    let method = match method.split_once('.') {
        // The match below knows Supervisor's own by their bare names, which have no dot in them.
        Some(("supervisor", own)) if !own.contains('.') => own,
        Some(("system" | "zhylon", _)) => method,
        _ => "",
    };
    match method {
        "getAPIVersion" | "getVersion" => params.none(Value::String(API_VERSION.to_owned())),
        "getSupervisorVersion" => params.none(Value::String(SUPERVISOR_VERSION.to_owned())),
        "getIdentification" => params.none(Value::String(IDENTIFICATION.to_owned())),
        "getState" => {
            let state = [
                ("statecode", Value::Integer(1)),
                ("statename", Value::String("RUNNING".to_owned())),
            ];
            params.none(structure(state))
        }
        "getPID" => params.none(Value::Integer(keeper_pid())),
        "system.listMethods" => {
            let names = METHODS.iter().map(|name| Value::String((*name).to_owned()));
            params.none(Value::Array(names.collect()))
        }
        // Configuration comes from the api-server: there is never a file to read again, and scripts that ask go on.
        "reloadConfig" => {
            let nothing = || Value::Array(Vec::new());
            let changes = Value::Array(vec![nothing(), nothing(), nothing()]);
            params.none(Value::Array(vec![changes]))
        }
        "getAllProcessInfo" => {
            params.end()?;
            Ok(Value::Array(session.infos(&session.all())))
        }
        "getProcessInfo" => {
            let text = params.string()?;
            params.end()?;
            let mut infos = session.infos(&[session.resolve(&text)?]);
            // The name of a whole daemon has one answer only where it has one instance.
            match (infos.pop(), infos.is_empty()) {
                (Some(info), true) => Ok(info),
                _ => Err(Fault::new(Code::BadName, text)),
            }
        }
        "startProcess" => process(session, Verb::Start, params).await,
        "stopProcess" => process(session, Verb::Stop, params).await,
        "startProcessGroup" => group(session, Verb::Start, params).await,
        "stopProcessGroup" => group(session, Verb::Stop, params).await,
        "startAllProcesses" => all(session, Verb::Start, params).await,
        "stopAllProcesses" => all(session, Verb::Stop, params).await,
        "signalProcess" => {
            let text = params.string()?;
            // Supervisor looks the name up first.
            session.resolve(&text)?;
            let verb = params.signal()?;
            session.move_process(verb, &text, true).await
        }
        "signalProcessGroup" => {
            let named = [session.resolve_group(&params.string()?)?];
            session.move_groups(params.signal()?, &named, true).await
        }
        "signalAllProcesses" => {
            let verb = params.signal()?;
            session.move_groups(verb, &session.all(), true).await
        }
        "zhylon.restartGroup" => {
            let text = params.string()?;
            params.end()?;
            let named = match text.as_str() {
                "all" => session.all(),
                name => vec![session.resolve(name)?],
            };
            session.restart(&named).await
        }
        "readProcessStdoutLog" | "readProcessLog" => {
            let (name, offset, length) = params.slice()?;
            session.read_log(&name, offset, length).await
        }
        "tailProcessStdoutLog" | "tailProcessLog" => {
            let (name, offset, length) = params.slice()?;
            session.tail_log(&name, offset, length).await
        }
        // Both streams go to one log, so there is no second one; Supervisor answers thus under `redirect_stderr`.
        "readProcessStderrLog" => {
            session.resolve(&params.slice()?.0)?;
            Err(Fault::plain(Code::NoFile))
        }
        "tailProcessStderrLog" => {
            session.resolve(&params.slice()?.0)?;
            Ok(read::no_tail())
        }
        "zhylon.readLog" => {
            let (name, bytes) = (params.string()?, params.integer()?);
            params.end()?;
            session.last_bytes(&name, bytes).await
        }
        other => Err(refusal(other)),
    }
}

/// What is refused with a word on what to do instead, and what is not known at all.
fn refusal(method: &str) -> Fault {
    let instead = match method {
        "shutdown" | "restart" => {
            "the agent belongs to the system; use systemctl (daemons keep running while it is away)"
        }
        "addProcessGroup" | "removeProcessGroup" => {
            "daemons are created and deleted in Zhylon or with zhylonctl, not on the host"
        }
        "sendProcessStdin" => {
            "a daemon's standard input is /dev/null; let it read a file or a socket"
        }
        _ => return Fault::plain(Code::UnknownMethod),
    };
    Fault::new(Code::Failed, instead)
}

async fn process<D: Door>(
    session: &Session<D>,
    verb: Verb,
    params: Params,
) -> Result<Value, Fault> {
    let (text, wait) = params.name_and_wait()?;
    session.move_process(verb, &text, wait).await
}

async fn group<D: Door>(session: &Session<D>, verb: Verb, params: Params) -> Result<Value, Fault> {
    let (text, wait) = params.name_and_wait()?;
    let named = [session.resolve_group(&text)?];
    session.move_groups(verb, &named, wait).await
}

async fn all<D: Door>(
    session: &Session<D>,
    verb: Verb,
    mut params: Params,
) -> Result<Value, Fault> {
    let wait = params.wait()?;
    params.end()?;
    session.move_groups(verb, &session.all(), wait).await
}

/// Clients signal "the Supervisor" by this pid; the keeper is the one that stays.
fn keeper_pid() -> i32 {
    rustix::process::getppid().map_or(0, rustix::process::Pid::as_raw_pid)
}

#[cfg(test)]
pub(crate) const LISTED: &[&str] = &METHODS;
