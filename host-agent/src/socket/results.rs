//! Outcomes of commands as Supervisor's results and faults. Pure.

use dxr::Value;
use host_agent_engine::effect::CommandOutcome;
use host_agent_engine::input::Slot;
use zhylon_shared::name;

use super::command::{Verb, slots};
use super::fault::{Code, Fault};
use super::info::structure;
use super::session::Named;

/// One result for each instance acted on; without outcomes (nobody waits), for each that will be.
pub(crate) fn group_results(
    verb: Verb,
    named: &[Named],
    outcomes: Option<&[(Slot, CommandOutcome)]>,
) -> Vec<Value> {
    let Some(outcomes) = outcomes else {
        return slots(named)
            .filter(|(_, state)| verb.acts_on(*state))
            .map(|(slot, _)| result(named, slot, Code::Success))
            .collect();
    };
    outcomes
        .iter()
        .map(|(slot, outcome)| (slot, verb.code(*outcome)))
        .filter(|(_, code)| !matches!(code, Code::AlreadyStarted | Code::NotRunning))
        .map(|(slot, code)| result(named, *slot, code))
        .collect()
}

/// What signalling with what is no signal comes to: that fault for each instance it would have reached.
pub(crate) fn bad_signal_results(named: &[Named], fault: &Fault) -> Vec<Value> {
    slots(named)
        .filter(|(_, state)| state.has_process())
        .map(|(slot, _)| described(slot, fault.code, fault.to_string()))
        .collect()
}

/// One line of an array of results.
pub(crate) fn result(named: &[Named], slot: Slot, code: Code) -> Value {
    let description = match code {
        Code::Success => "OK".to_owned(),
        _ => {
            let process = name::instance(&slot.daemon, slot.index);
            let text = format!("{}:{process}", name::group(&slot.daemon));
            let one = named.iter().find(|one| one.entry.view.id == slot.daemon);
            let detail = one.map_or_else(|| text.clone(), |one| detail(code, one, &text));
            Fault::new(code, detail).to_string()
        }
    };
    described(slot, code, description)
}

fn described(slot: Slot, code: Code, description: String) -> Value {
    structure([
        (
            "name",
            Value::String(name::instance(&slot.daemon, slot.index)),
        ),
        ("group", Value::String(name::group(&slot.daemon))),
        ("status", Value::Integer(code.number())),
        ("description", Value::String(description)),
    ])
}

/// What Supervisor says after the fault's name.
pub(crate) fn detail(code: Code, named: &Named, text: &str) -> String {
    let program = named.entry.spec.argv().first().map_or("", String::as_str);
    match code {
        Code::NoFile => format!("can't find command '{program}'"),
        Code::NotExecutable => format!("command at '{program}' is not executable"),
        _ => text.to_owned(),
    }
}

/// One code for several instances: the first real failure; else what all of them say; else that it went well (some
/// moved, others were there already).
pub(crate) fn worst(codes: impl Iterator<Item = Code>) -> Code {
    let mut settled = None;
    let mut moved = false;
    for code in codes {
        match code {
            Code::Success => moved = true,
            Code::AlreadyStarted | Code::NotRunning => settled = Some(code),
            _ => return code,
        }
    }
    match settled {
        Some(code) if !moved => code,
        _ => Code::Success,
    }
}
