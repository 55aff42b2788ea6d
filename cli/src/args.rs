//! What can be typed. Flags are the API's field names with dashes.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::limits::{self, Limit};
use crate::since::since;

/// Steers daemons on the servers of a team.
#[derive(Debug, Parser)]
#[command(name = "zhylonctl", version, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// How to print data.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) noun: Noun,
}

/// Where and as whom.
#[derive(Debug, ClapArgs)]
pub(crate) struct Connection {
    /// Address of the API: `https://host:port`.
    #[arg(long, global = true, env = "ZHYLON_API_URL", value_name = "URL")]
    pub(crate) api_url: Option<String>,
    /// API token. Give it by the environment or by --api-token-file; argv can be read by everybody on this machine.
    #[arg(skip)]
    pub(crate) api_token: Option<String>,
    /// File that holds the API token; overrides ZHYLON_API_TOKEN.
    #[arg(
        long,
        global = true,
        env = "ZHYLON_API_TOKEN_FILE",
        value_name = "FILE"
    )]
    pub(crate) api_token_file: Option<PathBuf>,
    /// Certificates (PEM) to trust instead of those of this machine.
    #[arg(long, global = true, env = "ZHYLON_CA_FILE", value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

/// How to print data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// The proto3 JSON mapping, default values printed, enum names without their prefix.
    Json,
    /// Ids only, one per line.
    Name,
}

/// What to steer.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "one of these exists per run")]
pub(crate) enum Noun {
    /// Daemons: commands that are kept alive on a server.
    #[command(subcommand)]
    Daemon(DaemonVerb),
    /// Servers: hosts with an agent.
    #[command(subcommand)]
    Server(ServerVerb),
    /// Teams and their members.
    #[command(subcommand)]
    Team(TeamVerb),
}

/// What to do with daemons.
#[derive(Debug, Subcommand)]
pub(crate) enum DaemonVerb {
    /// Creates a daemon.
    Create {
        #[command(flatten)]
        server: ServerFlag,
        /// The command line. No shell runs unless it names one.
        #[arg(long)]
        command: String,
        #[command(flatten)]
        spec: SpecFlags,
        /// Creates it stopped.
        #[arg(long)]
        stopped: bool,
        /// Checks everything and stores nothing.
        #[arg(long)]
        validate_only: bool,
        #[command(flatten)]
        wait: WaitFlags,
    },
    /// Lists the daemons of a server, or of all servers of a team with --team.
    #[command(visible_alias = "ls")]
    List {
        /// The server [env: ZHYLON_SERVER_ID].
        #[arg(long, value_name = "SERVER", conflicts_with = "team")]
        server: Option<String>,
        /// All servers of this team.
        #[arg(long, value_name = "TEAM")]
        team: Option<String>,
    },
    /// Shows one daemon.
    Get(Target),
    /// Changes a daemon's spec; only the flags given.
    Update {
        #[command(flatten)]
        target: Target,
        /// The command line.
        #[arg(long)]
        command: Option<String>,
        #[command(flatten)]
        spec: SpecFlags,
        #[command(flatten)]
        wait: WaitFlags,
    },
    /// Starts a daemon.
    Start {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        wait: WaitFlags,
    },
    /// Stops a daemon.
    Stop {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        wait: WaitFlags,
    },
    /// Restarts a daemon.
    Restart {
        #[command(flatten)]
        target: Target,
        /// All instances at once, or one after the other: that stops at the first that does not run, and the rest keeps
        /// its process.
        #[arg(long, value_enum, default_value_t = Strategy::AllAtOnce)]
        strategy: Strategy,
        #[command(flatten)]
        wait: WaitFlags,
    },
    /// Deletes a daemon. Its host stops it with its grace.
    #[command(visible_alias = "rm")]
    Delete(Target),
    /// Prints a daemon's log.
    Logs {
        #[command(flatten)]
        target: Target,
        /// Stays and prints what comes; reconnects without losing a line.
        #[arg(short, long)]
        follow: bool,
        /// How many of the last lines to print first.
        #[arg(short = 'n', long, default_value_t = 10, value_name = "LINES")]
        tail_lines: i32,
        /// Everything since then instead, by the host's clock: so long ago, as in 90s, 15m, 2h or 1d, or Unix seconds.
        #[arg(long, conflicts_with = "tail_lines", value_name = "TIME", value_parser = since)]
        since: Option<SystemTime>,
        /// Only lines of this instance (0, 1, …).
        #[arg(long)]
        instance: Option<i32>,
    },
    /// Empties a daemon's log file on its host. Its events say who did.
    ClearLog(Target),
    /// Says what happened to a daemon: who started, stopped or changed it and from where, how its processes ended.
    /// The newest last; with -o json as the API gives them, the newest first. A deleted daemon's are kept for 7 days:
    /// name it by its id.
    Events {
        #[command(flatten)]
        target: Target,
        /// How many of the newest.
        #[arg(short = 'n', long, default_value_t = 20, value_name = "EVENTS")]
        #[arg(value_parser = clap::value_parser!(i32).range(1..=1000))]
        newest: i32,
    },
}

/// What to do with servers.
#[derive(Debug, Subcommand)]
pub(crate) enum ServerVerb {
    /// Creates a server.
    Create {
        #[command(flatten)]
        team: TeamFlag,
        /// Its name, unique per team.
        #[arg(long)]
        name: String,
    },
    /// Lists the servers of a team.
    #[command(visible_alias = "ls")]
    List(TeamFlag),
    /// Ends the identity of a server's agent at once: no certificate and no enrolment token of the server is good any more.
    /// Daemons go on running on the host; a new enrolment token gives it a new identity.
    RevokeIdentity {
        /// The server's id.
        server: String,
    },
    /// Creates a single-use enrolment token for a server's agent and prints it. It ends after an hour.
    EnrollToken {
        /// The server's id.
        server: String,
    },
}

/// What to do with teams.
#[derive(Debug, Subcommand)]
pub(crate) enum TeamVerb {
    /// Creates a team (platform operator only).
    Create {
        /// Its name.
        #[arg(long)]
        name: String,
        /// The user who owns it.
        #[arg(long, value_name = "USER")]
        owner_user_id: String,
    },
    /// Lists your teams.
    #[command(visible_alias = "ls")]
    List,
    /// Lists the members of a team and what they may do.
    Members(TeamFlag),
}

/// One daemon.
#[derive(Debug, ClapArgs)]
pub(crate) struct Target {
    /// The daemon: its id (`h:…`), or its name together with its server.
    pub(crate) daemon: String,
    /// The server a name is looked up on [env: ZHYLON_SERVER_ID].
    #[arg(
        long,
        env = "ZHYLON_SERVER_ID",
        hide_env_values = true,
        value_name = "SERVER"
    )]
    pub(crate) server: Option<String>,
}

/// One server.
#[derive(Debug, ClapArgs)]
pub(crate) struct ServerFlag {
    /// The server it runs on.
    #[arg(long, env = "ZHYLON_SERVER_ID", value_name = "SERVER")]
    pub(crate) server: String,
}

/// One team.
#[derive(Debug, ClapArgs)]
pub(crate) struct TeamFlag {
    /// The team.
    #[arg(long, env = "ZHYLON_TEAM_ID", value_name = "TEAM")]
    pub(crate) team: String,
}

/// Waiting for the host.
#[derive(Debug, ClapArgs)]
pub(crate) struct WaitFlags {
    /// Returns when the host has done it; the exit code says how it ended.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Longest wait, seconds.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

/// The fields of a spec, all optional.
#[derive(Debug, ClapArgs)]
pub(crate) struct SpecFlags {
    /// A label, unique per server.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Operating system user [default on creation: zhylon].
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// Absolute working directory; empty means the user's home.
    #[arg(long)]
    pub(crate) directory: Option<String>,
    /// How many instances run at once, 1 to 64.
    #[arg(long)]
    pub(crate) processes: Option<i32>,
    /// Seconds an instance must run to count as started, 0 to 3600.
    #[arg(long)]
    pub(crate) start_seconds: Option<i32>,
    /// Seconds of grace before the process tree is killed, 0 to 86400.
    #[arg(long)]
    pub(crate) stop_seconds: Option<i32>,
    /// The signal that asks it to end.
    #[arg(long, value_name = "SIGNAL", ignore_case = true)]
    #[arg(value_parser = ["TERM", "HUP", "INT", "QUIT", "KILL", "USR1", "USR2"])]
    pub(crate) stop_signal: Option<String>,
    /// When it is started again.
    #[arg(long, value_name = "POLICY", value_parser = ["always", "on-failure", "never"])]
    pub(crate) restart_policy: Option<String>,
    /// How often in a row a failed start is tried again before FATAL; 0 means for ever.
    #[arg(long)]
    pub(crate) max_retries: Option<i32>,
    /// An environment variable `NAME=VALUE`; repeat for more. On update the set replaces the old one. A value that
    /// argv must not show comes by `NAME` alone: it is taken from this program's own environment.
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) environment: Vec<String>,
    #[command(flatten)]
    pub(crate) limits: LimitFlags,
}

/// Bounds on what a daemon may use; `none` takes one away.
#[derive(Debug, ClapArgs)]
pub(crate) struct LimitFlags {
    /// Open files of each process, or `none`.
    #[arg(long, value_name = "FILES", value_parser = limits::nofile)]
    pub(crate) limit_nofile: Option<Limit<i32>>,
    /// Memory of all instances together: bytes, or with Ki, Mi, Gi, Ti as in 512Mi; or `none`.
    #[arg(long, value_name = "BYTES", value_parser = limits::memory)]
    pub(crate) limit_memory_max: Option<Limit<i64>>,
    /// CPUs of all instances together, as in 0.5, 2 or 500m (thousandths); or `none`.
    #[arg(long, value_name = "CPUS", value_parser = limits::cpu)]
    pub(crate) limit_cpu_max: Option<Limit<i32>>,
}

/// How a restart replaces the instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Strategy {
    /// All instances at once.
    AllAtOnce,
    /// One instance after the other.
    Rolling,
}
