//! What the daemons of the proofs do: they write down for themselves what happens to them, so that a checker need not
//! believe the agent. Each is a command of `zhylon-soak`.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rustix::fs::{FlockOperation, fcntl_lock};

use crate::random::Random;

/// Lines of one write, at most.
const BURST: usize = 64;
/// Longest rest between two bursts, in milliseconds.
const REST: usize = 9;
/// Length of the longest line's rest.
pub(super) const WIDEST: u64 = 97;

/// This instance's name, as the agent gives it.
fn name() -> String {
    std::env::var("SUPERVISOR_PROCESS_NAME").expect("started by an agent")
}

/// Appends a line to a file of this instance's own.
fn note(dir: &Path, kind: &str, line: &str) -> io::Result<()> {
    let path = dir.join(format!("{kind}.{}", name()));
    let mut file = File::options().create(true).append(true).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())
}

/// The lock of this slot, for as long as this process lives. Who finds it taken runs beside another one, and says so.
fn alone(dir: &Path) -> io::Result<Option<File>> {
    let path = dir.join(format!("lock.{}", name()));
    let file = File::options().create(true).append(true).open(path)?;
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            note(dir, "starts", &std::process::id().to_string())?;
            Ok(Some(file))
        }
        Err(_) => {
            note(dir, "twice", &std::process::id().to_string())?;
            Ok(None)
        }
    }
}

/// Numbered lines of all lengths in bursts, without a rest while `dir/full` is there, until `dir/stop` is; then how many
/// there were.
///
/// # Errors
/// When it can not write.
pub fn writer(dir: &Path) -> io::Result<ExitCode> {
    let Some(_lock) = alone(dir)? else {
        return Ok(ExitCode::FAILURE);
    };
    let (name, mut random) = (name(), Random::seeded());
    let (_, slot) = name.rsplit_once('_').expect("an instance's name");
    let progress = dir.join(format!("progress.{name}"));
    let mut out = io::stdout().lock();
    let (mut number, stop, full) = (0u64, dir.join("stop"), dir.join("full"));
    while !stop.exists() {
        for _ in 0..8 {
            let mut burst = String::new();
            for _ in 0..=random.below(BURST) {
                number += 1;
                burst += &super::lines::line(slot, number);
                burst.push('\n');
            }
            out.write_all(burst.as_bytes())?;
            out.flush()?;
            if !full.exists() {
                std::thread::sleep(Duration::from_millis(random.below(REST) as u64));
            }
        }
        fs::write(&progress, number.to_string())?;
    }
    out.write_all(format!("{slot} LAST {number}\n").as_bytes())?;
    out.flush()?;
    loop {
        std::thread::sleep(Duration::from_secs(1000));
    }
}

/// Ends by itself with code 0: after a few dozen milliseconds, or late enough to meet one that a next worker starts.
///
/// # Errors
/// When it can not write.
pub fn slot(dir: &Path) -> io::Result<ExitCode> {
    let Some(_lock) = alone(dir)? else {
        return Ok(ExitCode::FAILURE);
    };
    let mut random = Random::seeded();
    let least = [20, 600][random.below(2)];
    std::thread::sleep(Duration::from_millis(least + random.below(60) as u64));
    Ok(ExitCode::SUCCESS)
}

/// Waits for `dir/gate`, then says its last words and ends with a code of its own.
///
/// # Errors
/// When it can not write.
pub fn words(dir: &Path, offset: u64) -> io::Result<ExitCode> {
    let Some(_lock) = alone(dir)? else {
        return Ok(ExitCode::FAILURE);
    };
    let name = name();
    let (_, index) = name.rsplit_once('_').expect("an instance's name");
    let code = super::ends::code(index.parse().expect("an index"), offset);
    while !dir.join("gate").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut out = io::stdout().lock();
    out.write_all(format!("last words of {index}: {code}\n").as_bytes())?;
    out.flush()?;
    Ok(ExitCode::from(code))
}

/// Runs until it is told to end.
///
/// # Errors
/// When it can not write.
pub fn sleeper(dir: &Path) -> io::Result<ExitCode> {
    let Some(_lock) = alone(dir)? else {
        return Ok(ExitCode::FAILURE);
    };
    loop {
        std::thread::sleep(Duration::from_secs(1000));
    }
}

/// What instances noted, by kind: all lines of all of them.
pub(super) fn notes(dir: &Path, kind: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("the notes");
    let files = entries.filter_map(|entry| {
        let path = entry.expect("a note").path();
        let ours = path.file_name()?.to_str()?.starts_with(&format!("{kind}."));
        ours.then(|| fs::read_to_string(path).unwrap_or_default())
    });
    files
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// Fails if any slot ever had two.
pub(super) fn assert_alone(dir: &Path) {
    let twice = notes(dir, "twice");
    assert!(
        twice.is_empty(),
        "these ran beside another one of their slot: {twice:?}"
    );
}
