//! An agent without engine, disk or log files.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use host_agent_engine::input::DesiredDaemon;
use host_agent_engine::time::Time;
use host_agent_engine::view::{DaemonView, InstanceView};
use tokio::sync::{Semaphore, watch};
use zhylon_proto::agent::v1::{ConfigUpdate, DaemonConfig};
use zhylon_shared::id::DaemonId;
use zhylon_shared::spec::{DaemonSpec, SpecDraft};
use zhylon_shared::state::{DesiredState, InstanceState};
use zhylon_shared::wire;

use crate::journal::{DesiredLedger, JournalError};
use crate::link::door::{Board, Host, LogRead, LogSource};
use crate::logs::LogItem;
use crate::supervisor::{DaemonEntry, Events, Refused};

/// One thing the link made the host do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::link) enum Step {
    Stored(i64),
    Desired(Vec<DaemonId>),
    Forgot(DaemonId),
}

#[derive(Debug, Clone)]
pub(in crate::link) struct FakeHost {
    state: Arc<Mutex<State>>,
    version: watch::Sender<u64>,
    /// Every write of the ledger takes one permit.
    disk: Arc<Semaphore>,
    events: Events,
}

#[derive(Debug, Default)]
struct State {
    ledger: DesiredLedger,
    board: Board,
    steps: Vec<Step>,
    disk_error: Option<String>,
}

impl FakeHost {
    pub(in crate::link) fn new() -> Self {
        Self {
            state: Arc::default(),
            version: watch::channel(0).0,
            disk: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            events: Events::new(1),
        }
    }

    /// A disk that writes only as often as `let_disk_write` was called.
    pub(in crate::link) fn with_stuck_disk() -> Self {
        let disk = Arc::new(Semaphore::new(0));
        Self {
            disk,
            ..Self::new()
        }
    }

    pub(in crate::link) fn let_disk_write(&self) {
        self.disk.add_permits(1);
    }

    pub(in crate::link) fn break_disk(&self, error: &str) {
        self.lock().disk_error = Some(error.to_owned());
    }

    pub(in crate::link) fn steps(&self) -> Vec<Step> {
        self.lock().steps.clone()
    }

    pub(in crate::link) fn ledger(&self) -> DesiredLedger {
        self.lock().ledger.clone()
    }

    /// Puts a daemon on the board in a new version; `revision` tells its states apart.
    pub(in crate::link) fn show(&self, id: DaemonId, revision: i64, gone: bool) {
        let version = *self.version.borrow() + 1;
        let entry = Arc::new(entry(id, revision, gone, version));
        self.lock().board.insert(id, entry);
        self.version.send_replace(version);
    }

    /// So many events of the first daemon; gives their sequence numbers.
    pub(in crate::link) fn record_events(&self, count: usize) -> Vec<u64> {
        let before = *self.events.newest().borrow();
        for _ in 0..count {
            self.events.record_stop(id(1));
        }
        let new = self.events.after(before, usize::MAX);
        new.iter().map(|event| event.sequence).collect()
    }

    pub(in crate::link) fn unacknowledged_events(&self) -> Vec<u64> {
        let all = self.events.after(0, usize::MAX);
        all.iter().map(|event| event.sequence).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Host for FakeHost {
    fn desired(&self) -> DesiredLedger {
        self.ledger()
    }
    async fn store_desired(&self, ledger: DesiredLedger) -> Result<(), JournalError> {
        self.disk.acquire().await.unwrap().forget();
        let mut state = self.lock();
        if let Some(error) = &state.disk_error {
            return Err(JournalError(error.clone()));
        }
        state.steps.push(Step::Stored(ledger.revision));
        state.ledger = ledger;
        Ok(())
    }
    async fn desire(&self, set: Vec<DesiredDaemon>) -> Result<(), Refused> {
        let ids = set.iter().map(|daemon| daemon.id).collect();
        self.lock().steps.push(Step::Desired(ids));
        Ok(())
    }
    fn board(&self) -> Board {
        self.lock().board.clone()
    }
    fn version(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
    async fn forget(&self, id: DaemonId) {
        let mut state = self.lock();
        state.board.remove(&id);
        state.steps.push(Step::Forgot(id));
    }
    fn wall(&self, time: Time) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) + time.since_origin()
    }
    fn events(&self) -> &Events {
        &self.events
    }
}

pub(in crate::link) fn entry(id: DaemonId, revision: i64, gone: bool, version: u64) -> DaemonEntry {
    DaemonEntry {
        usage: Default::default(),
        view: DaemonView {
            id,
            state: InstanceState::Running,
            desired: DesiredState::Running,
            hold: None,
            revision,
            converged: true,
            settled_restart_generation: 0,
            restart_outcome: None,
            message: String::new(),
            instances: vec![InstanceView {
                index: 0,
                generation: 7,
                pid: 42,
                state: InstanceState::Running,
                since: Time::new(Duration::from_secs(1)),
                started: Some(Time::new(Duration::from_secs(1))),
                restart_count: 0,
                last_exit: None,
                next_start: None,
                hold: None,
            }],
        },
        spec: Arc::new(spec("true")),
        uid: None,
        version,
        gone,
    }
}

pub(in crate::link) fn spec(command: &str) -> DaemonSpec {
    DaemonSpec::check(SpecDraft {
        command: command.to_owned(),
        ..SpecDraft::default()
    })
    .unwrap()
}

/// The `n`th daemon of a test; the same one every time.
pub(in crate::link) fn id(n: u8) -> DaemonId {
    DaemonId::from_bare(&format!("daemon{n:012}")).unwrap()
}

pub(in crate::link) fn config(n: u8, command: &str, revision: i64) -> DaemonConfig {
    DaemonConfig {
        id: id(n).to_string(),
        spec: Some(wire::spec_to_agent(&spec(command))),
        running: true,
        intent_generation: 1,
        restart_generation: 0,
        restart_strategy: 0,
        revision,
    }
}

/// A snapshot of `set`, hash and all.
pub(in crate::link) fn snapshot(revision: i64, set: &[DaemonConfig]) -> ConfigUpdate {
    ConfigUpdate {
        config_epoch: "epoch".to_owned(),
        snapshot: true,
        base_revision: 0,
        target_revision: revision,
        hash: wire::set_hash(set),
        daemons: set.to_vec(),
        removed: Vec::new(),
    }
}

/// The change from `base` that leads to `set`.
pub(in crate::link) fn delta(
    base: i64,
    revision: i64,
    changed: &[DaemonConfig],
    removed: &[u8],
    set: &[DaemonConfig],
) -> ConfigUpdate {
    ConfigUpdate {
        snapshot: false,
        base_revision: base,
        daemons: changed.to_vec(),
        removed: removed.iter().map(|n| id(*n).to_string()).collect(),
        ..snapshot(revision, set)
    }
}

/// Logs in memory.
#[derive(Debug, Clone, Default)]
pub(in crate::link) struct FakeLogs {
    logs: Arc<Mutex<BTreeMap<DaemonId, FakeLog>>>,
}

#[derive(Debug, Clone)]
pub(in crate::link) struct FakeLog {
    items: Arc<Mutex<Vec<LogItem>>>,
    /// End, and whether the daemon still is.
    end: watch::Sender<(u64, bool)>,
    fault: Arc<Mutex<Option<io::ErrorKind>>>,
    hung: Arc<Mutex<Option<std::sync::mpsc::Receiver<()>>>>,
}

/// A read hangs at most this long, so that a test that waits for it fails and does not hang too.
pub(in crate::link) const HANG: Duration = Duration::from_secs(120);

impl FakeLogs {
    pub(in crate::link) fn add(&self, n: u8) -> FakeLog {
        let log = FakeLog {
            items: Arc::default(),
            end: watch::channel((0, true)).0,
            fault: Arc::default(),
            hung: Arc::default(),
        };
        self.logs.lock().unwrap().insert(id(n), log.clone());
        log
    }
}

impl FakeLog {
    pub(in crate::link) fn write(&self, instance: u32, text: &[u8]) {
        let next_position = self.end.borrow().0 + text.len() as u64;
        self.push(LogItem::Data {
            next_position,
            instance,
            time: 1,
            data: Bytes::copy_from_slice(text),
            partial: false,
        });
    }

    pub(in crate::link) fn lose(&self, bytes: u64) {
        let next_position = self.end.borrow().0 + bytes;
        self.push(LogItem::Missing {
            next_position,
            bytes,
            reason: zhylon_proto::daemons::v1::LogGapReason::User,
        });
    }

    pub(in crate::link) fn delete(&self) {
        self.end.send_modify(|end| end.1 = false);
    }

    pub(in crate::link) fn fail(&self, kind: io::ErrorKind) {
        *self.fault.lock().unwrap() = Some(kind);
    }

    /// The next read hangs until what is returned is dropped.
    pub(in crate::link) fn hang(&self) -> std::sync::mpsc::Sender<()> {
        let (release, hung) = std::sync::mpsc::channel();
        *self.hung.lock().unwrap() = Some(hung);
        release
    }

    fn push(&self, item: LogItem) {
        let next = next_position(&item);
        self.items.lock().unwrap().push(item);
        self.end.send_modify(|end| end.0 = next);
    }
}

fn next_position(item: &LogItem) -> u64 {
    match item {
        LogItem::Data { next_position, .. } | LogItem::Missing { next_position, .. } => {
            *next_position
        }
    }
}

impl LogSource for FakeLogs {
    type Reader = FakeReader;
    async fn reader(&self, daemon: DaemonId) -> io::Result<Option<FakeReader>> {
        let log = self.logs.lock().unwrap().get(&daemon).cloned();
        Ok(log.map(|log| FakeReader {
            end: log.end.subscribe(),
            log,
        }))
    }

    async fn clear(&self, daemon: DaemonId) -> io::Result<bool> {
        let log = self.logs.lock().unwrap().get(&daemon).cloned();
        let Some(log) = log else { return Ok(false) };
        match *log.fault.lock().unwrap() {
            Some(kind) => Err(kind.into()),
            None => {
                let end = log.end.borrow().0;
                let mut items = log.items.lock().unwrap();
                *items = vec![LogItem::Missing {
                    next_position: end,
                    bytes: end,
                    reason: zhylon_proto::daemons::v1::LogGapReason::Cleared,
                }];
                Ok(true)
            }
        }
    }
}

#[derive(Debug)]
pub(in crate::link) struct FakeReader {
    log: FakeLog,
    end: watch::Receiver<(u64, bool)>,
}

impl LogRead for FakeReader {
    fn end(&self) -> u64 {
        self.log.end.borrow().0
    }

    fn tail_position(&self, lines: u32, _instance: Option<u32>) -> io::Result<u64> {
        // One item is one line here.
        let items = self.log.items.lock().unwrap();
        let before = items.len().saturating_sub(lines as usize);
        Ok(before
            .checked_sub(1)
            .map_or(0, |at| next_position(&items[at])))
    }

    fn since(&self, second: i64) -> io::Result<u64> {
        // Everything here is of second 1.
        let end = self.log.end.borrow().0;
        Ok(if second <= 1 { 0 } else { end })
    }

    fn before(
        &self,
        position: u64,
        (mut cost, per_piece): (u64, u64),
        instance: Option<u32>,
    ) -> io::Result<u64> {
        let items = self.log.items.lock().unwrap();
        let mut begin = position;
        for (at, item) in items.iter().enumerate().rev() {
            let (start, end) = (
                at.checked_sub(1).map_or(0, |n| next_position(&items[n])),
                next_position(item),
            );
            let other = matches!(item, LogItem::Data { instance: of, .. } if instance.is_some_and(|i| i != *of));
            if end > position || other {
                continue;
            }
            let piece = end - start + per_piece;
            if piece > cost {
                break;
            }
            (cost, begin) = (cost - piece, start);
        }
        Ok(begin)
    }

    fn next(&self, position: u64, max_bytes: usize) -> io::Result<Option<LogItem>> {
        let hung = self.log.hung.lock().unwrap().take();
        if let Some(hung) = hung {
            let _ = hung.recv_timeout(HANG);
        }
        if let Some(kind) = *self.log.fault.lock().unwrap() {
            return Err(kind.into());
        }
        let items = self.log.items.lock().unwrap();
        let found = items.iter().find(|item| next_position(item) > position);
        Ok(found.cloned().map(|item| match item {
            LogItem::Data {
                next_position,
                instance,
                time,
                data,
                ..
            } => {
                let rest = data.slice(data.len() - (next_position - position) as usize..);
                let piece = rest.slice(..rest.len().min(max_bytes));
                LogItem::Data {
                    next_position: position + piece.len() as u64,
                    instance,
                    time,
                    partial: piece.len() < rest.len(),
                    data: piece,
                }
            }
            missing @ LogItem::Missing { .. } => missing,
        }))
    }

    async fn wait_after(&mut self, position: u64) -> bool {
        let now = *self
            .end
            .wait_for(|(end, alive)| *end > position || !alive)
            .await
            .unwrap();
        now.0 > position
    }
}
