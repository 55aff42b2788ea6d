//! What can happen to the engine.

use std::sync::Arc;
use std::time::Duration;

use zhylon_shared::id::DaemonId;
use zhylon_shared::signal::StopSignal;
use zhylon_shared::spec::DaemonSpec;
use zhylon_shared::state::{DesiredState, RestartOutcome, RestartStrategy};

use crate::time::Time;
use crate::view::LastExit;

/// One instance of a daemon: which slot, not which process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    /// The daemon.
    pub daemon: DaemonId,
    /// 0 … `processes` - 1.
    pub index: u32,
}

/// One spawn of a slot. Generations of a slot only rise, over restarts of the agent too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Run {
    /// The slot.
    pub slot: Slot,
    /// Which spawn of it.
    pub generation: u64,
}

/// One daemon as it should be; from the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredDaemon {
    /// Its id.
    pub id: DaemonId,
    /// What to run. Where `claim` says that it differs from the configuration, what was run before.
    pub spec: Arc<DaemonSpec>,
    /// Whether it should run; the same is true of it.
    pub state: DesiredState,
    /// Raised by every Start, Stop, Restart.
    pub intent_generation: i64,
    /// Raised by every Restart.
    pub restart_generation: i64,
    /// How that restart replaces the instances.
    pub restart_strategy: RestartStrategy,
    /// The server's revision in which it last changed.
    pub revision: i64,
    /// What the newest config epoch says of it.
    pub claim: Claim,
}

/// What the newest config epoch says of a daemon. Counters are compared within one epoch only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Claim {
    /// It was written in this epoch.
    #[default]
    Written,
    /// It was in the first configuration of this epoch and was not written since: nothing that runs is touched, holds
    /// stay, its restart generation counts as settled.
    Adopted {
        /// The configuration has another spec or state than what runs on here.
        differs: bool,
    },
    /// It was not in the first configuration of this epoch. It runs on until a person decides.
    Unclaimed,
}

/// A local operator's stop or start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// What the operator wants.
    pub state: DesiredState,
    /// Who: name and uid, for people.
    pub by: String,
    /// When, Unix milliseconds.
    pub time_ms: u64,
    /// Which intent generation it overrides; a newer one ends it.
    pub intent_generation: i64,
}

/// An instance found alive (or dead but unreaped) when the worker starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// Which run it is.
    pub run: Run,
    /// [`DaemonSpec::instance_hash`] of the spec it was started from.
    pub spec_hash: String,
    /// The restart generation it was started for.
    pub restart_generation: i64,
    /// The stop signal and grace of the spec it was started from: it is stopped as promised even if its daemon is gone.
    pub stop_signal: StopSignal,
    /// See `stop_signal`.
    pub stop_seconds: u32,
    /// How long it has been running.
    pub ran_for: Duration,
    /// Its process id, for people.
    pub pid: i32,
}

/// What a former worker of this boot noted of a slot; see [`crate::Engine::past`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// The slot.
    pub slot: Slot,
    /// Its newest run then.
    pub generation: u64,
    /// Where it rested; `None` while anything of a run was there, or if it was stopped on request.
    pub rest: Option<Rest>,
    /// Respawns since it was last started on request.
    pub restart_count: u64,
    /// How it last ended or failed to start.
    pub last_exit: Option<LastExit>,
}

/// An instance that ended unasked, and under which orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// What became of it.
    pub kind: RestKind,
    /// Since when.
    pub since: Time,
    /// [`DaemonSpec::instance_hash`] of the spec it was started from.
    pub spec_hash: String,
    /// The intent in force then: a newer one is a request to start.
    pub intent_generation: i64,
    /// The restart generation it was started for.
    pub restart_generation: i64,
    /// Failures that were answered with a delay.
    pub delays: u32,
    /// Whether it was crash-looping.
    pub crash_looping: bool,
}

/// Where an instance rests that ended unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestKind {
    /// EXITED.
    Exited,
    /// FATAL.
    Fatal,
    /// BACKOFF, until then.
    Backoff(Time),
}

/// How a main process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody saw it: `unknown (adopted)`.
    Unknown,
}

/// Why an instance could not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError {
    /// What was tried and the system's error, for people: `chdir /srv/app: No such file or directory (os error 2)`.
    pub message: String,
    /// Which of Supervisor's start faults it is.
    pub kind: StartErrorKind,
}

/// The kinds of start errors that Supervisor's clients tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartErrorKind {
    /// The program does not exist (NO_FILE).
    NoFile,
    /// The program is not executable (NOT_EXECUTABLE).
    NotExecutable,
    /// Anything else: user, directory, policy, resources (SPAWN_ERROR).
    Other,
}

/// What a local operator asks for. `Stop` and `Start` come with the hold that is already in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start what is not running.
    Start,
    /// Stop what is running.
    Stop,
    /// Replace what is running and start what is not; one step.
    Restart,
    /// Send a signal to the main processes.
    Signal(i32),
}

/// Names one local request; answered exactly once by [`crate::effect::Effect::Reply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Everything that can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// First input of a worker's life: what the ledger and the run records say. Instances of daemons that are not in
    /// `desired` are stopped with their own signal and grace (their tombstone). Later it counts as
    /// [`Input::Desired`].
    Restore {
        /// The complete set.
        desired: Vec<DesiredDaemon>,
        /// Holds in force; with an index, on that instance alone.
        holds: Vec<(DaemonId, Option<u32>, Hold)>,
        /// The newest settled restart generation of each daemon.
        settled: Vec<(DaemonId, i64, RestartOutcome)>,
        /// Rollouts that stopped: of which revision, and why.
        stopped: Vec<(DaemonId, i64, String)>,
        /// Instances that live.
        adopted: Vec<Adopted>,
        /// What a former worker of this boot noted.
        past: Vec<Past>,
        /// Every generation given from now on is at least this, and above those of `adopted`.
        first_generation: u64,
    },
    /// The complete set, durable in the ledger. Per daemon, one with an older revision of the same epoch than the known
    /// one is ignored and an equal one changes nothing, except that a failed check is tried again at once.
    Desired(Vec<DesiredDaemon>),
    /// The answer to [`crate::effect::Effect::Check`]: whether user, directory and program of the new spec resolve.
    Checked {
        /// The daemon.
        daemon: DaemonId,
        /// The revision that was checked.
        revision: i64,
        /// Why it does not, in words.
        result: Result<(), StartError>,
    },
    /// The process exists (its helper runs; the program may still fail to start).
    Spawned {
        /// Which run.
        run: Run,
        /// Its process id, for people.
        pid: i32,
    },
    /// The run never became the program; nothing of it is left.
    SpawnFailed {
        /// Which run.
        run: Run,
        /// Why.
        error: StartError,
    },
    /// The main process of a run ended. Its end is recorded and it is reaped. Comes once per run; if `TreeGone` came
    /// before it, whatever `tree_gone` says.
    Exited {
        /// Which run.
        run: Run,
        /// How.
        exit: Exit,
        /// Whether nothing of its tree is left. If not, [`Input::TreeGone`] follows once it is.
        tree_gone: bool,
    },
    /// Nothing of the run's tree is left.
    TreeGone {
        /// Which run.
        run: Run,
    },
    /// A local operator's request.
    ///
    /// On a daemon, the hold is in force until a newer intent generation or the opposite command; if it says what is
    /// desired anyway, or its intent is outdated already, [`crate::effect::Effect::HoldEnded`] takes it out of the ledger
    /// again. With targets of several daemons, each daemon's own intent generation is used instead of the hold's.
    ///
    /// On single instances, the hold is theirs alone; the next command on the whole daemon ends it, too.
    Command {
        /// Names it.
        ticket: Ticket,
        /// What.
        action: Action,
        /// Which daemons' or instances; never empty.
        targets: Vec<CommandTarget>,
        /// For start, stop, restart: the hold, already in the ledger of every target (`None` for `Signal`). Without one,
        /// whatever the intent overrides is forgotten with the worker.
        hold: Option<Hold>,
    },
    /// The time [`crate::Engine::next_deadline`] gave has come.
    DeadlineReached,
    /// The worker ends. With `stop_daemons` every instance is stopped first, desired state and holds untouched;
    /// without, nothing happens to them.
    Shutdown {
        /// Whether to stop everything.
        stop_daemons: bool,
    },
}

/// What a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandTarget {
    /// All instances of a daemon.
    Daemon(DaemonId),
    /// One instance.
    Instance(Slot),
}
