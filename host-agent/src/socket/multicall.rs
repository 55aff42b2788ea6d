//! `system.multicall`: several calls in one request.

use dxr::Value;

use super::codec::weight;
use super::door::Door;
use super::fault::{Code, Fault};
use super::info::structure;
use super::methods::single;
use super::params::Params;
use super::session::Session;

/// Most calls in one `system.multicall`; a longer one is refused whole.
const MULTICALL_MAX: usize = 100;

/// Most bytes all answers of a `system.multicall` may hold together; the calls after that are not made and say FAILED.
const MULTICALL_ANSWER_MAX: usize = 4 * 1024 * 1024;

pub(crate) const MULTICALL: &str = "system.multicall";

/// The calls one after the other. Values come bare, not wrapped in arrays, as Supervisor's do.
pub(crate) async fn multicall<D: Door>(
    session: &Session<D>,
    params: Vec<Value>,
) -> Result<Value, Fault> {
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
