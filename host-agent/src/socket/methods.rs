//! The methods: name and parameters to an answer. Supervisor's, and `zhylon.*` for what its own can not say.

use dxr::Value;

use super::catalogue::{METHODS, find};
use super::codec::Call;
use super::command::Verb;
use super::config_info::config_infos;
use super::door::Door;
use super::fault::{Code, Fault};
use super::info::{structure, table};
use super::multicall::{MULTICALL, multicall};
use super::params::Params;
use super::read;
use super::results::bad_signal_results;
use super::session::{Named, Session};

/// The version of the interface; clients refuse to talk to any other.
const API_VERSION: &str = "3.0";

/// The Supervisor whose behaviour this is.
const SUPERVISOR_VERSION: &str = "4.2.5";

/// What `getIdentification` says.
const IDENTIFICATION: &str = "zhylon-agent";

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
            let names = METHODS.iter().map(|method| method.name);
            params.none(texts(names))
        }
        "system.methodHelp" => {
            let method = params.only_string().map(|name| find(&name))?;
            let method = method.ok_or_else(|| Fault::plain(Code::SignatureUnsupported))?;
            Ok(Value::String(method.help()))
        }
        "system.methodSignature" => {
            let method = params.only_string().map(|name| find(&name))?;
            let method = method.ok_or_else(|| Fault::plain(Code::SignatureUnsupported))?;
            Ok(texts(method.signature()))
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
            let text = params.only_string()?;
            let mut infos = session.infos(&[session.resolve(&text)?]);
            // The name of a whole daemon has one answer only where it has one instance.
            match (infos.pop(), infos.is_empty()) {
                (Some(info), true) => Ok(info),
                _ => Err(Fault::new(Code::BadName, text)),
            }
        }
        "getAllConfigInfo" => {
            params.end()?;
            let all = session.all();
            let infos = all.iter().flat_map(|one| {
                config_infos(
                    one,
                    &session.log_path(&one.entry),
                    session.door.log_rotation(),
                )
            });
            Ok(Value::Array(infos.collect()))
        }
        // Nobody listens here: Supervisor without event listeners.
        "sendRemoteCommEvent" => {
            let _ = (params.any()?, params.any()?);
            params.none(Value::Boolean(true))
        }
        "startProcess" => process(session, Verb::Start, params).await,
        "stopProcess" => process(session, Verb::Stop, params).await,
        "startProcessGroup" => group(session, Verb::Start, params).await,
        "stopProcessGroup" => group(session, Verb::Stop, params).await,
        "startAllProcesses" => all(session, Verb::Start, params).await,
        "stopAllProcesses" => all(session, Verb::Stop, params).await,
        "signalProcess" => {
            let text = params.string()?;
            let verb = params.signal()?;
            // Supervisor looks the name up first.
            session.resolve(&text)?;
            session.move_process(verb?, &text, true).await
        }
        "signalProcessGroup" => {
            let (text, verb) = (params.string()?, params.signal()?);
            signal(session, verb, &[session.resolve_group(&text)?]).await
        }
        "signalAllProcesses" => {
            let verb = params.signal()?;
            signal(session, verb, &session.all()).await
        }
        "zhylon.mayMoveAll" => params.none(Value::Boolean(session.has_all_rights())),
        "zhylon.status" => params.none(Value::String(table(&session.infos(&session.all())))),
        "zhylon.restartGroup" => {
            let text = params.only_string()?;
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
        "clearProcessLogs" | "clearProcessLog" => session.clear_log(&params.only_string()?).await,
        "clearAllProcessLogs" => {
            params.end()?;
            Ok(session.clear_all_logs().await)
        }
        "readLog" | "readMainLog" => {
            let (offset, length) = params.range()?;
            session.read_own_log(offset, length).await
        }
        "clearLog" => {
            params.end()?;
            session.clear_own_log()
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

async fn signal<D: Door>(
    session: &Session<D>,
    verb: Result<Verb, Fault>,
    named: &[Named],
) -> Result<Value, Fault> {
    match verb {
        Ok(verb) => session.move_groups(verb, named, true).await,
        Err(fault) => Ok(Value::Array(bad_signal_results(named, &fault))),
    }
}

fn texts(texts: impl Iterator<Item = &'static str>) -> Value {
    Value::Array(texts.map(|text| Value::String(text.to_owned())).collect())
}

/// Clients signal "the Supervisor" by this pid; the keeper is the one that stays.
fn keeper_pid() -> i32 {
    rustix::process::getppid().map_or(0, rustix::process::Pid::as_raw_pid)
}
