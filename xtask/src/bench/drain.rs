//! From a program's output to its log file: how fast, and at what cost, beside the smallest programs that do it and beside
//! peers. Ours runs with its index and with rotation, as everywhere.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::ours::System;
use super::peer::below;
use super::report::{Figure, Limit, Report};
use super::resident::processor_time;
use super::{Args, Bench};
use crate::build::root;
use crate::say_error;
use crate::up::processes::wait_until;

/// Bytes of one run: more than one rotated file, and less than all of them, so that what was moved can be counted.
const BYTES: u64 = 256 * 1024 * 1024;
/// Rounds of peers, which take several times as long.
const PEER_ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);

/// How a program speaks.
struct Way {
    name: &'static str,
    /// Bytes of one write.
    size: usize,
    /// The floor's way to take it.
    floor: &'static str,
    /// The bars of DESIGN: at least so much of the floor's speed, at most so much of its processor time.
    speed: f64,
    cost: f64,
}

const WAYS: [Way; 2] = [
    Way {
        name: "64 KiB writes",
        size: 64 * 1024,
        floor: "splice",
        speed: 0.95,
        cost: 1.25,
    },
    Way {
        name: "a write per 100-byte line",
        size: 100,
        floor: "lazy",
        speed: 0.8,
        cost: 1.25,
    },
];

/// Who takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taker {
    Floor,
    Ours,
    Supervisord,
    Svlogd,
    S6Log,
}

impl Taker {
    const ALL: [Self; 5] = [
        Self::Floor,
        Self::Ours,
        Self::Supervisord,
        Self::Svlogd,
        Self::S6Log,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Ours => "ours",
            Self::Supervisord => "supervisord",
            Self::Svlogd => "svlogd",
            Self::S6Log => "s6-log",
        }
    }
}

/// Seconds per gigabyte: until all was in files, and of a processor.
#[derive(Debug, Clone, Copy)]
struct Cost {
    wall: f64,
    processor: f64,
}

struct Stage<'a> {
    system: &'a System,
    runtime: &'a tokio::runtime::Runtime,
    dir: PathBuf,
    home: PathBuf,
    /// Of floor and peers: beside ours, for what a file system costs is no difference between programs.
    logs: PathBuf,
    speaker: PathBuf,
    drain: PathBuf,
}

/// Measures both ways to speak.
pub(crate) fn measure(
    bench: &Bench,
    runtime: &tokio::runtime::Runtime,
    system: &System,
    args: &Args,
    report: &mut Report,
) -> Result<()> {
    let home = PathBuf::from(std::env::var_os("HOME").context("HOME")?);
    let beside = tempfile::Builder::new()
        .prefix(".zhylon-bench.")
        .tempdir_in(&home)
        .context("a directory in HOME")?;
    let dir = bench.dir.path().join("drain");
    std::fs::create_dir(&dir)?;
    let stage = Stage {
        system,
        runtime,
        speaker: compile("speaker.c", &dir)?,
        drain: compile("drain.c", &dir)?,
        dir,
        logs: beside.path().join("logs"),
        home,
    };
    for way in &WAYS {
        let mut costs = Taker::ALL.map(|taker| (taker, Vec::new()));
        for round in 0..args.rounds {
            for (taker, costs) in &mut costs {
                let is_peer = !matches!(taker, Taker::Floor | Taker::Ours);
                if is_peer && (round >= PEER_ROUNDS || costs.len() < round) {
                    continue;
                }
                match stage.run(*taker, way) {
                    Ok(cost) => costs.push(cost),
                    Err(error) if is_peer => {
                        say_error(&format!("not measured: {}: {error:#}", taker.name()));
                    }
                    Err(error) => return Err(error.context(taker.name())),
                }
            }
        }
        add(report, way, &costs);
    }
    Ok(())
}

fn add(report: &mut Report, way: &Way, costs: &[(Taker, Vec<Cost>)]) {
    for (what, limit, figure) in [
        (
            "time",
            1.0 / way.speed,
            (|cost| cost.wall) as fn(&Cost) -> f64,
        ),
        ("processor", way.cost, |cost| cost.processor),
    ] {
        let work = format!("log, {}: {what}", way.name);
        for (taker, costs) in costs {
            let rounds = costs.iter().map(|cost| vec![figure(cost)]).collect();
            report.add_rounds(&work, taker.name(), "s/GB", rounds);
        }
        report.bar(&work, Figure::P50, Limit::Times(limit));
    }
}

impl Stage<'_> {
    fn run(&self, taker: Taker, way: &Way) -> Result<Cost> {
        let start = self.dir.join("start");
        let logs = self.logs.clone();
        std::fs::create_dir_all(&logs)?;
        let speaker = format!(
            "{} {} {} {BYTES}",
            self.speaker.display(),
            start.display(),
            way.size
        );
        let cost = match taker {
            Taker::Ours => self.ours(&speaker, &start),
            Taker::Supervisord => self.supervisord(&speaker, &start, &logs),
            Taker::Floor => {
                let mut drain = Command::new(&self.drain);
                drain.arg(way.floor).arg(logs.join("log"));
                self.piped(&speaker, drain, &start, &logs)
            }
            Taker::Svlogd => {
                std::fs::write(logs.join("config"), "s52428800\nn10\n")?;
                let mut drain = Command::new("svlogd");
                drain.arg(&logs);
                self.piped(&speaker, drain, &start, &logs)
            }
            Taker::S6Log => {
                let mut drain = Command::new("s6-log");
                drain.args(["n10", "s52428800"]).arg(&logs);
                self.piped(&speaker, drain, &start, &logs)
            }
        };
        let _ = std::fs::remove_file(&start);
        std::fs::remove_dir_all(&logs)?;
        cost
    }

    fn ours(&self, speaker: &str, start: &Path) -> Result<Cost> {
        let daemon = (self.runtime).block_on(self.system.create(speaker.to_owned(), 1))?;
        let pids = self.system.agent()?.map(|process| process.pid);
        let bare = daemon.id.strip_prefix("h:").unwrap_or(&daemon.id);
        let logs = self.home.join(".zhylon");
        let name = format!("daemon-{bare}.log");
        let speaks = |pid: &i32| {
            std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == self.speaker)
        };
        if !wait_until(PATIENCE, || below(pids[0]).iter().any(speaks)) {
            bail!("the daemon does not start");
        }
        let cost = timed(&pids, start, || size(&logs, &name));
        self.runtime.block_on(self.system.delete(&daemon.id))?;
        wait_until(PATIENCE, || !below(pids[0]).iter().any(speaks));
        for path in files(&logs, &name) {
            std::fs::remove_file(path)?;
        }
        cost
    }

    fn supervisord(&self, speaker: &str, start: &Path, logs: &Path) -> Result<Cost> {
        let shown = logs.display();
        let config = self.dir.join("supervisord.conf");
        let text = format!(
            "[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={}/supervisord.pid\n\
             [program:speaker]\ncommand={speaker}\nstartsecs=0\nredirect_stderr=true\nstdout_logfile={shown}/log\n\
             stdout_logfile_maxbytes=50MB\nstdout_logfile_backups=10\n",
            self.dir.display()
        );
        std::fs::write(&config, text)?;
        let mut peer = quiet(Command::new("/usr/bin/supervisord").arg("-c").arg(config))?;
        let pid = i32::try_from(peer.id())?;
        // Its program is there.
        if !wait_until(PATIENCE, || below(pid).len() > 1) {
            bail!("it starts nothing");
        }
        let cost = timed(&[pid], start, || size(logs, ""));
        let _ = std::fs::remove_file(start);
        let speakers: Vec<i32> = below(pid)
            .into_iter()
            .filter(|other| *other != pid)
            .collect();
        peer.kill()?;
        peer.wait()?;
        // They end by themselves once the start is gone.
        wait_until(PATIENCE, || {
            let lives = |pid: &i32| Path::new(&format!("/proc/{pid}")).exists();
            !speakers.iter().any(lives)
        });
        cost
    }

    fn piped(&self, speaker: &str, mut drain: Command, start: &Path, logs: &Path) -> Result<Cost> {
        let mut words = speaker.split(' ');
        let mut speaker = Command::new(words.next().context("a program")?)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let pipe = speaker.stdout.take().context("a pipe")?;
        let drain = drain
            .stdin(pipe)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let cost = match drain.spawn() {
            Ok(mut drain) => {
                let cost = timed(&[i32::try_from(drain.id())?], start, || size(logs, ""));
                speaker.kill()?;
                drain.wait()?;
                cost
            }
            Err(error) => Err(error.into()),
        };
        // It may have ended by itself.
        let _ = speaker.kill();
        speaker.wait()?;
        cost
    }
}

/// Says go, and waits until everything is there.
fn timed(pids: &[i32], start: &Path, size: impl Fn() -> u64) -> Result<Cost> {
    let before = processor_time(pids)?;
    let began = Instant::now();
    std::fs::write(start, "")?;
    while size() < BYTES {
        if began.elapsed() > PATIENCE {
            bail!("{} of {BYTES} bytes are there", size());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let wall = began.elapsed().as_secs_f64();
    let gigabytes = BYTES as f64 / 1e9;
    Ok(Cost {
        wall: wall / gigabytes,
        processor: (processor_time(pids)? - before) as f64 / 1e9 / gigabytes,
    })
}

/// Files whose names begin so, but for what peers keep beside logs.
fn files(dir: &Path, name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let known = |file: &str| file.starts_with(name) && !matches!(file, "config" | "lock" | "state");
    let paths = entries.filter(|entry| entry.file_name().to_str().is_some_and(known));
    paths.map(|entry| entry.path()).collect()
}

fn size(dir: &Path, name: &str) -> u64 {
    let sizes = files(dir, name).into_iter();
    sizes
        .filter_map(|path| Some(path.metadata().ok()?.len()))
        .sum()
}

fn quiet(command: &mut Command) -> Result<Child> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    Ok(command.stderr(Stdio::null()).spawn()?)
}

fn compile(source: &str, dir: &Path) -> Result<PathBuf> {
    let out = dir.join(source.trim_end_matches(".c"));
    let status = Command::new("cc")
        .args(["-O2", "-o"])
        .arg(&out)
        .arg(root().join("xtask/bench").join(source))
        .status()
        .context("start cc")?;
    anyhow::ensure!(status.success(), "cc failed on {source}");
    Ok(out)
}
