//! What can be called: the one table behind `system.listMethods`, `methodHelp` and `methodSignature`. Data only; what a
//! method does is in [`super::methods`], and a test keeps the two together.

use std::fmt::Write as _;

/// A type on the wire and what it is for.
type Typed = (&'static str, &'static str);

/// One method.
#[derive(Debug)]
pub(crate) struct Method {
    /// `namespace.method`.
    pub(crate) name: &'static str,
    /// What it does.
    what: &'static str,
    /// Type, name and meaning of each parameter.
    params: &'static [(&'static str, &'static str, &'static str)],
    returns: Typed,
}

impl Method {
    /// Its types: what it returns, then what it takes.
    pub(crate) fn signature(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.returns.0).chain(self.params.iter().map(|param| param.0))
    }

    /// Its description, in the form of Supervisor's: tools read the tags.
    pub(crate) fn help(&self) -> String {
        let mut help = format!("{}\n\n", self.what);
        for (kind, name, meaning) in self.params {
            // Writing to a string can not fail.
            let _ = writeln!(help, "@param {kind} {name} {meaning}");
        }
        let (kind, meaning) = self.returns;
        let _ = writeln!(help, "@return {kind} result {meaning}");
        help
    }
}

/// The method of this name.
pub(crate) fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}

const NONE: &[(&str, &str, &str)] = &[];
const NAME: (&str, &str, &str) = ("string", "name", "a daemon, or one instance of it");
const GROUP: (&str, &str, &str) = ("string", "name", "a daemon");
const WAIT: (&str, &str, &str) = ("boolean", "wait", "until it is done (the default)");
const SIGNAL: (&str, &str, &str) = ("string", "signal", "`HUP`, `SIGHUP` or `1`");
const OFFSET: (&str, &str, &str) = (
    "int",
    "offset",
    "from where on; below zero (with length 0): so many bytes from the end",
);
const LENGTH: (&str, &str, &str) = ("int", "length", "how many bytes; 0: all");
const SLICE: &[(&str, &str, &str)] = &[NAME, OFFSET, LENGTH];
const MAIN_SLICE: &[(&str, &str, &str)] = &[OFFSET, LENGTH];
const TRUE: Typed = ("boolean", "true, else a fault");
const RESULTS: Typed = ("array", "one {name, group, status, description} each");
const TAIL: Typed = ("array", "[string bytes, int end of the log, bool overflow]");
const BYTES: Typed = ("string", "the bytes");

const READ_OUT: &str =
    "Reads a daemon's log. Offsets are places in all it ever wrote: they only rise.";
const READ_ERR: &str = "Both streams of a daemon go to one log, so this one does not exist.";
const TAIL_OUT: &str =
    "Reads the end of a daemon's log; `overflow` says that there was more before.";
const READ_MAIN: &str = "Reads what the agent itself logged lately. Only root has it.";
const CLEAR: &str = "Empties a daemon's log. Who was reading it is told of a gap; what is written from now on is kept.";
const VERSION: &str = "Says the version of this interface.";
const REFUSED: &str = "Refused, with what to do instead.";

macro_rules! methods {
    ($($name:literal: $what:expr, $params:expr => $returns:expr;)*) => {
        &[$(Method { name: $name, what: $what, params: $params, returns: $returns }),*]
    };
}

/// All methods, by name.
pub(crate) const METHODS: &[Method] = methods! {
    "supervisor.addProcessGroup": REFUSED, &[GROUP] => TRUE;
    "supervisor.clearAllProcessLogs": "Empties the logs of all daemons.", NONE => RESULTS;
    "supervisor.clearLog": "Forgets what the agent itself logged lately. Only root can.", NONE => TRUE;
    "supervisor.clearProcessLog": CLEAR, &[NAME] => TRUE;
    "supervisor.clearProcessLogs": CLEAR, &[NAME] => TRUE;
    "supervisor.getAPIVersion": VERSION, NONE => ("string", "3.0");
    "supervisor.getAllConfigInfo": "Says how every instance is configured.", NONE =>
        ("array", "one struct each, with Supervisor's keys");
    "supervisor.getAllProcessInfo": "Says how every instance is, by name.", NONE =>
        ("array", "what getProcessInfo says of each");
    "supervisor.getIdentification": "Says who answers.", NONE => ("string", "zhylon-agent");
    "supervisor.getPID": "Says the pid of the agent's main process.", NONE => ("int", "the pid");
    "supervisor.getProcessInfo": "Says how an instance is.", &[NAME] =>
        ("struct", "name, group, state, pid, times, log file, description");
    "supervisor.getState": "Says how the agent is.", NONE =>
        ("struct", "{int statecode, string statename}");
    "supervisor.getSupervisorVersion": "Says which Supervisor this behaves like.", NONE =>
        ("string", "4.2.5");
    "supervisor.getVersion": VERSION, NONE => ("string", "3.0");
    "supervisor.readLog": READ_MAIN, MAIN_SLICE => BYTES;
    "supervisor.readMainLog": READ_MAIN, MAIN_SLICE => BYTES;
    "supervisor.readProcessLog": READ_OUT, SLICE => BYTES;
    "supervisor.readProcessStderrLog": READ_ERR, SLICE => BYTES;
    "supervisor.readProcessStdoutLog": READ_OUT, SLICE => BYTES;
    "supervisor.reloadConfig": "Finds nothing: the configuration comes from Zhylon by itself.", NONE =>
        ("array", "[[added, changed, removed]], all empty");
    "supervisor.removeProcessGroup": REFUSED, &[GROUP] => TRUE;
    "supervisor.restart": REFUSED, NONE => TRUE;
    "supervisor.sendProcessStdin": REFUSED, &[NAME, ("string", "chars", "what to say to it")] => TRUE;
    "supervisor.sendRemoteCommEvent": "Does nothing, as Supervisor without event listeners.", &[
        ("string", "type", "the event's type"), ("string", "data", "its body")] => TRUE;
    "supervisor.shutdown": REFUSED, NONE => TRUE;
    "supervisor.signalAllProcesses": "Signals every instance.", &[SIGNAL] => RESULTS;
    "supervisor.signalProcess": "Signals an instance or a daemon.", &[NAME, SIGNAL] => TRUE;
    "supervisor.signalProcessGroup": "Signals all instances of a daemon.", &[GROUP, SIGNAL] => RESULTS;
    "supervisor.startAllProcesses": "Starts every instance that does not run.", &[WAIT] => RESULTS;
    "supervisor.startProcess": "Starts an instance or a daemon.", &[NAME, WAIT] => TRUE;
    "supervisor.startProcessGroup": "Starts what of a daemon does not run.", &[GROUP, WAIT] => RESULTS;
    "supervisor.stopAllProcesses": "Stops every instance.", &[WAIT] => RESULTS;
    "supervisor.stopProcess": "Stops an instance or a daemon.", &[NAME, WAIT] => TRUE;
    "supervisor.stopProcessGroup": "Stops all instances of a daemon.", &[GROUP, WAIT] => RESULTS;
    "supervisor.tailProcessLog": TAIL_OUT, SLICE => TAIL;
    "supervisor.tailProcessStderrLog": READ_ERR, SLICE => TAIL;
    "supervisor.tailProcessStdoutLog": TAIL_OUT, SLICE => TAIL;
    "system.listMethods": "Lists the methods.", NONE => ("array", "their names, sorted");
    "system.methodHelp": "Describes a method.", &[("string", "name", "its name")] =>
        ("string", "the description");
    "system.methodSignature": "Says a method's types.", &[("string", "name", "its name")] =>
        ("array", "what it returns, then what it takes");
    "system.multicall": "Makes several calls, one after the other.", &[
        ("array", "calls", "structs {string methodName, array params}")] =>
        ("array", "what each returned, or {int faultCode, string faultString}");
    "zhylon.mayMoveAll": "Says whether this peer may move every daemon, or only those of its own user.", NONE =>
        ("boolean", "whether it may");
    "zhylon.readLog": "Reads the end of a daemon's log as it is, which XML's strings can not carry.", &[
        NAME, ("int", "bytes", "how many")] => ("base64", "the bytes");
    "zhylon.restartGroup": "Stops and starts a daemon (or `all`) in one: no client killed between the halves leaves it down.",
        &[GROUP] => ("struct", "{array stopped, array started}");
    "zhylon.status": "Says in one text what a table of all instances needs: a line each, columns apart by tabs.", NONE =>
        ("string", "group, name, state and description of each");
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_helps_name_their_types() {
        assert!(METHODS.is_sorted_by_key(|method| method.name));
        for method in METHODS {
            let help = method.help();
            let tags: Vec<&str> = help
                .lines()
                .filter_map(|line| line.strip_prefix('@'))
                .map(|tag| tag.split(' ').nth(1).unwrap())
                .collect();
            let (takes, returns) = tags.split_at(tags.len() - 1);
            let all: Vec<&str> = returns.iter().chain(takes).copied().collect();
            assert_eq!(all, method.signature().collect::<Vec<_>>(), "{help}");
        }
    }
}
