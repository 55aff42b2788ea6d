//! The methods: name and parameters to an answer. Supervisor's, and `zhylon.*` for what its own can not say.

use std::vec::IntoIter;

use dxr::Value;

use super::codec::{Call, weight};
use super::command::Verb;
use super::door::Door;
use super::fault::{Code, Fault};
use super::info::structure;
use super::session::Session;
use super::{read, signal};

/// The version of the interface; clients refuse to talk to any other.
const API_VERSION: &str = "3.0";

/// The Supervisor whose behaviour this is.
const SUPERVISOR_VERSION: &str = "4.2.5";

/// What `getIdentification` says.
const IDENTIFICATION: &str = "zhylon-agent";

/// Most calls in one `system.multicall`; a longer one is refused whole.
const MULTICALL_MAX: usize = 100;

/// Most bytes all answers of a `system.multicall` may hold together; the calls after that are not made and say FAILED.
const MULTICALL_ANSWER_MAX: usize = 4 * 1024 * 1024;

const MULTICALL: &str = "system.multicall";

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

/// The parameters of a call, taken one by one.
struct Params(IntoIter<Value>);

impl Params {
    fn wrong() -> Fault {
        Fault::plain(Code::IncorrectParameters)
    }

    fn string(&mut self) -> Result<String, Fault> {
        match self.0.next() {
            Some(Value::String(text)) => Ok(text),
            _ => Err(Self::wrong()),
        }
    }

    fn integer(&mut self) -> Result<i64, Fault> {
        match self.0.next() {
            Some(Value::Integer(number)) => Ok(number.into()),
            Some(Value::Long(number)) => Ok(number),
            _ => Err(Self::wrong()),
        }
    }

    /// `wait`, the last parameter of most commands; true when left out.
    fn wait(&mut self) -> Result<bool, Fault> {
        match self.0.next() {
            None => Ok(true),
            Some(Value::Boolean(wait)) => Ok(wait),
            Some(Value::Integer(wait)) => Ok(wait != 0),
            _ => Err(Self::wrong()),
        }
    }

    fn end(mut self) -> Result<(), Fault> {
        match self.0.next() {
            None => Ok(()),
            Some(_) => Err(Self::wrong()),
        }
    }
}

/// Carries out one call.
pub(crate) async fn call<D: Door>(session: &Session<D>, call: Call) -> Result<Value, Fault> {
    if call.method == MULTICALL {
        multicall(session, call.params).await
    } else {
        single(session, &call.method, call.params).await
    }
}

async fn single<D: Door>(
    session: &Session<D>,
    method: &str,
    params: Vec<Value>,
) -> Result<Value, Fault> {
    let mut params = Params(params.into_iter());
    let method = match method.split_once('.') {
        // The match below knows Supervisor's own by their bare names, which have no dot in them.
        Some(("supervisor", own)) if !own.contains('.') => own,
        Some(("system" | "zhylon", _)) => method,
        _ => "",
    };
    match method {
        "getAPIVersion" | "getVersion" => constant(params, Value::String(API_VERSION.to_owned())),
        "getSupervisorVersion" => constant(params, Value::String(SUPERVISOR_VERSION.to_owned())),
        "getIdentification" => constant(params, Value::String(IDENTIFICATION.to_owned())),
        "getState" => {
            let state = [
                ("statecode", Value::Integer(1)),
                ("statename", Value::String("RUNNING".to_owned())),
            ];
            constant(params, structure(state))
        }
        "getPID" => constant(params, Value::Integer(keeper_pid())),
        "system.listMethods" => {
            let names = METHODS.iter().map(|name| Value::String((*name).to_owned()));
            constant(params, Value::Array(names.collect()))
        }
        // Configuration comes from the api-server: there is never a file to read again, and scripts that ask go on.
        "reloadConfig" => {
            let nothing = || Value::Array(Vec::new());
            let changes = Value::Array(vec![nothing(), nothing(), nothing()]);
            constant(params, Value::Array(vec![changes]))
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
            let verb = signal_verb(params)?;
            session.move_process(verb, &text, true).await
        }
        "signalProcessGroup" => {
            let named = [session.resolve_group(&params.string()?)?];
            session
                .move_groups(signal_verb(params)?, &named, true)
                .await
        }
        "signalAllProcesses" => {
            let verb = signal_verb(params)?;
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
            let (name, offset, length) = slice(params)?;
            session.read_log(&name, offset, length).await
        }
        "tailProcessStdoutLog" | "tailProcessLog" => {
            let (name, offset, length) = slice(params)?;
            session.tail_log(&name, offset, length).await
        }
        // Both streams go to one log, so there is no second one; Supervisor answers thus under `redirect_stderr`.
        "readProcessStderrLog" => {
            session.resolve(&slice(params)?.0)?;
            Err(Fault::plain(Code::NoFile))
        }
        "tailProcessStderrLog" => {
            session.resolve(&slice(params)?.0)?;
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

fn constant(params: Params, value: Value) -> Result<Value, Fault> {
    params.end().map(|()| value)
}

fn slice(mut params: Params) -> Result<(String, i64, i64), Fault> {
    let slice = (params.string()?, params.integer()?, params.integer()?);
    params.end().map(|()| slice)
}

fn signal_verb(mut params: Params) -> Result<Verb, Fault> {
    let text = match params.0.next() {
        Some(Value::String(text)) => text,
        Some(Value::Integer(number)) => number.to_string(),
        _ => return Err(Params::wrong()),
    };
    params.end()?;
    let number = signal::parse(&text).ok_or_else(|| Fault::new(Code::BadSignal, text))?;
    Ok(Verb::Signal(number))
}

async fn process<D: Door>(
    session: &Session<D>,
    verb: Verb,
    mut params: Params,
) -> Result<Value, Fault> {
    let (text, wait) = (params.string()?, params.wait()?);
    params.end()?;
    session.move_process(verb, &text, wait).await
}

async fn group<D: Door>(
    session: &Session<D>,
    verb: Verb,
    mut params: Params,
) -> Result<Value, Fault> {
    let (text, wait) = (params.string()?, params.wait()?);
    params.end()?;
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

/// The calls one after the other. Values come bare, not wrapped in arrays, as Supervisor's do.
async fn multicall<D: Door>(session: &Session<D>, params: Vec<Value>) -> Result<Value, Fault> {
    let [Value::Array(calls)] = <[Value; 1]>::try_from(params).map_err(|_| Params::wrong())? else {
        return Err(Params::wrong());
    };
    if calls.len() > MULTICALL_MAX {
        let rule = format!("at most {MULTICALL_MAX} calls at once, not {}", calls.len());
        return Err(Fault::new(Code::IncorrectParameters, rule));
    }
    let mut answers = Vec::with_capacity(calls.len());
    let mut size = 0;
    for call in calls {
        let answer = if size > MULTICALL_ANSWER_MAX {
            Err(Fault::new(
                Code::Failed,
                "the answers before this one were too long; call it alone",
            ))
        } else {
            part(session, call).await
        };
        let answer = answer.unwrap_or_else(|fault| {
            structure([
                ("faultCode", Value::Integer(fault.code.number())),
                ("faultString", Value::String(fault.to_string())),
            ])
        });
        size += weight(&answer);
        answers.push(answer);
    }
    Ok(Value::Array(answers))
}

async fn part<D: Door>(session: &Session<D>, call: Value) -> Result<Value, Fault> {
    let Value::Struct(mut call) = call else {
        return Err(Params::wrong());
    };
    let params = match call.remove("params") {
        None => Vec::new(),
        Some(Value::Array(params)) => params,
        Some(_) => return Err(Params::wrong()),
    };
    let wrong = |why| Err(Fault::new(Code::IncorrectParameters, why));
    match call.remove("methodName") {
        Some(Value::String(method)) if method == MULTICALL => {
            wrong("Recursive system.multicall forbidden")
        }
        Some(Value::String(method)) => single(session, &method, params).await,
        _ => wrong("No methodName"),
    }
}

#[cfg(test)]
pub(crate) const LISTED: &[&str] = &METHODS;
