//! Help texts. Those of the commands are Supervisor's own where the command does the same.

/// `-h`.
pub(super) const USAGE: &str = "\
supervisorctl -- control the daemons of this server from the command line.

Usage: supervisorctl [options] action [arguments]

Options:
-s/--serverurl URL -- unix:// and the path of the agent's socket
     (default: $ZHYLON_SUPERVISOR_SOCKET, /run/zhylon-agent/supervisor.sock,
     /run/supervisor.sock)
-h/--help -- print usage message and exit
-c FILE, -u USERNAME, -p PASSWORD, -r FILE -- taken from scripts written for
     Supervisor and not used

There is no interactive shell. Use the action \"help\" to find out about
available actions.
";

/// `help`.
pub(super) const COMMANDS: &str = "
default commands (type help <topic>):
=====================================
pid  reread  restart  signal  start  status  stop  tail  update  version
";

/// `help COMMAND`.
pub(super) fn of(command: &str) -> Option<&'static str> {
    Some(match command {
        "help" => {
            "\
help\t\tPrint a list of available actions
help <action>\tPrint help for <action>"
        }
        "pid" => {
            "\
pid\t\t\tGet the PID of the agent.
pid <name>\t\tGet the PID of a single child process by name.
pid all\t\t\tGet the PID of every child process, one per line."
        }
        "reread" => {
            "\
reread \t\t\tNothing to read: daemons are configured in Zhylon"
        }
        "restart" => {
            "\
restart <name>\t\tRestart a process
restart <gname>:*\tRestart all processes in a group
restart <name> <name>\tRestart multiple processes or groups
restart all\t\tRestart all processes"
        }
        "signal" => {
            "\
signal <signal name> <name>\t\tSignal a process
signal <signal name> <gname>:*\t\tSignal all processes in a group
signal <signal name> <name> <name>\tSignal multiple processes or groups
signal <signal name> all\t\tSignal all processes"
        }
        "start" => {
            "\
start <name>\t\tStart a process
start <gname>:*\t\tStart all processes in a group
start <name> <name>\tStart multiple processes or groups
start all\t\tStart all processes"
        }
        "status" => {
            "\
status <name>\t\tGet status for a single process
status <gname>:*\tGet status for all processes in a group
status <name> <name>\tGet status for multiple named processes
status\t\t\tGet all process status info"
        }
        "stop" => {
            "\
stop <name>\t\tStop a process
stop <gname>:*\t\tStop all processes in a group
stop <name> <name>\tStop multiple processes or groups
stop all\t\tStop all processes"
        }
        "tail" => {
            "\
tail [-f] <name> [stdout|stderr] (default stdout)
Ex:
tail -f <name>\t\tContinuous tail of named process stdout
\t\t\tCtrl-C to exit.
tail -100 <name>\tlast 100 *bytes* of process stdout
tail <name> stderr\tlast 1600 *bytes* of process stderr"
        }
        "update" => {
            "\
update\t\t\tNothing to do: changes are carried out as they come
update <gname> [...]\tThe same, after checking the groups' names"
        }
        "version" => {
            "\
version\t\t\tShow the version of Supervisor whose behaviour this is"
        }
        _ => return None,
    })
}
