//! Help texts. Those of the commands are Supervisor's own where the command does the same.

/// `-h`.
pub(super) const USAGE: &str = "\
supervisorctl -- control the daemons of this server from the command line.

Usage: supervisorctl [options] [action [arguments]]

Options:
-c/--configuration FILENAME -- the configuration of another supervisord, to
     speak to that one alone. Supervisor's usual files are the same as none
-h/--help -- print usage message and exit
-i/--interactive -- ask before the server is shut down or restarted
-s/--serverurl URL -- unix:// and the path of a socket, to speak to that server
     alone (default: $ZHYLON_SUPERVISOR_SOCKET,
     /run/zhylon-agent/supervisor.sock, /run/supervisor.sock)
-u/--username, -p/--password -- taken from scripts written for Supervisor and
     not used: the agent knows who calls
-r/--history_file FILENAME -- keep the shell's history there

action [arguments] -- see below

Actions are commands like \"tail\" or \"stop\". If no action is specified on the
command line, a \"shell\" interpreting actions typed interactively is started.
Use the action \"help\" to find out about available actions, and \"help beside\"
about a Supervisor on the same server.
";

/// `help`.
pub(super) const COMMANDS: &str = "
default commands (type help <topic>):
=====================================
add    exit      open  reload  restart   start   tail   
avail  fg        pid   remove  shutdown  status  update 
clear  maintail  quit  reread  signal    stop    version
";

/// `help TOPIC`.
pub(super) fn of(topic: &str) -> Option<&'static str> {
    Some(match topic {
        "add" => {
            "\
add <name> [...]\tNothing of ours: daemons are created in Zhylon
\t\t\tFor a Supervisor beside us, see help beside"
        }
        "avail" => "avail\t\t\tDisplay all configured processes",
        "beside" => BESIDE,
        "clear" => {
            "\
clear <name>\t\tClear a process' log files.
clear <name> <name>\tClear multiple process' log files
clear all\t\tClear all process' log files"
        }
        "exit" => "exit\tExit the supervisor shell.",
        "fg" => {
            "\
fg <process>\tConnect to a process in foreground mode
\t\tCtrl-C to exit"
        }
        "help" => {
            "\
help\t\tPrint a list of available actions
help <action>\tPrint help for <action>"
        }
        "maintail" => {
            "\
maintail -f \tContinuous tail of the agent's log (Ctrl-C to exit)
maintail -100\tlast 100 *bytes* of the agent's log
maintail\tlast 1600 *bytes* of the agent's log
"
        }
        "open" => {
            "\
open <url>\tConnect to another server and speak to it alone.
\t\t(unix:///socket/path)"
        }
        "pid" => {
            "\
pid\t\t\tGet the PID of the agent.
pid <name>\t\tGet the PID of a single child process by name.
pid all\t\t\tGet the PID of every child process, one per line."
        }
        "quit" => "quit\tExit the supervisor shell.",
        "reload" => "reload \t\tRefused: systemctl restart zhylon-agent, daemons run on",
        "remove" => {
            "\
remove <name> [...]\tNothing of ours: daemons are deleted in Zhylon
\t\t\tFor a Supervisor beside us, see help beside"
        }
        "reread" => {
            "\
reread \t\t\tNothing of ours to read: daemons are configured in Zhylon
\t\t\tFor a Supervisor beside us, see help beside"
        }
        "restart" => {
            "\
restart <name>\t\tRestart a process
restart <gname>:*\tRestart all processes in a group
restart <name> <name>\tRestart multiple processes or groups
restart all\t\tRestart all processes"
        }
        "shutdown" => "shutdown \tRefused: systemctl stop zhylon-agent, daemons run on",
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
update\t\t\tNothing of ours to do: changes are carried out as they come
update <gname> [...]\tThe same, after checking the groups' names
\t\t\tFor a Supervisor beside us, see help beside"
        }
        "version" => "version\t\t\tShow the version of Supervisor whose behaviour this is",
        _ => return None,
    })
}

const BESIDE: &str = "\
Where a Supervisor runs on the same server (/etc/supervisor/supervisord.conf and
/usr/bin/supervisorctl), this client is a window to both:
status\t\t\tOne table of Zhylon's daemons and its programs
start, stop, restart, signal, clear, pid with \"all\"
\t\t\tMean all of both
<name>\t\t\tWhat is not a Zhylon daemon (daemon-h:ID, daemon-ID) is
\t\t\thanded on to it, in one call
reread, update, avail\tDo its work, too
add, remove\t\tDo its work for its groups
pid, maintail, version\tWithout a name are the agent's
shutdown, reload\tNever reach it. Use
\t\t\t/usr/bin/supervisorctl -c /etc/supervisor/supervisord.conf
If it does not run, or the caller may not speak to it, what names no program of
it goes without a word about it.";
