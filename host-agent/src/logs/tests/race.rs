//! A user who swaps what is at the log's path as fast as can be, while logs are opened, renamed and removed there: nothing but
//! the user's own log is ever reached. Each layer is tried alone: paths that lead nowhere, and the user's own identity.

use std::os::unix::fs::{MetadataExt as _, symlink};
use std::sync::atomic::{AtomicBool, AtomicU64};

use rustix::fs::{RenameFlags, renameat_with};

use super::desk::Identity;
use super::home;
use super::*;

/// Tries of each layer, if the time is enough; the environment may ask for more, and then takes its time.
const TRIES: u64 = 1_000_000;
const MORE: &str = "ZHYLON_TEST_RACE_TRIES";
/// Time of each layer without it.
const BUDGET: Duration = Duration::from_secs(4);
/// Longest time for one of them to be let in.
const PATIENCE: Duration = Duration::from_secs(60);
/// Fewer prove nothing.
const TRIES_MIN: u64 = 10_000;
/// Decoys in turn with the log itself.
const DECOYS: [&str; 6] = ["link", "hard", "fifo", "device", "dir", "other"];

/// What must never be reached, and what it is beside.
struct Trap {
    world: World,
    secret: PathBuf,
    vault: PathBuf,
}

impl Trap {
    fn new() -> Self {
        let world = World::quiet();
        let vault = world.dir.path().join("vault");
        fs::create_dir(&vault).unwrap();
        // The user's own, so that nothing but the path's rules keeps a root that goes through a link from writing it.
        let secret = vault.join(zhylon_shared::name::log_file(&world.daemon));
        for path in [&vault, &secret] {
            if path == &secret {
                fs::write(path, "secret").unwrap();
            }
            chown(path, Some(world.owner.uid), Some(world.owner.gid)).unwrap();
        }
        let logs = world.owner.home.join(".zhylon");
        fs::create_dir(&logs).unwrap();
        chown(&logs, Some(world.owner.uid), Some(world.owner.gid)).unwrap();
        let own = |path: &Path| chown(path, Some(world.owner.uid), Some(world.owner.gid)).unwrap();
        symlink(&secret, logs.join("link")).unwrap();
        fs::hard_link(&secret, logs.join("hard")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        mknodat(CWD, logs.join("fifo"), fifo, Mode::RWXU, 0).unwrap();
        own(&logs.join("fifo"));
        if own_uid() == 0 {
            let zero = rustix::fs::makedev(1, 5);
            let device = rustix::fs::FileType::CharacterDevice;
            mknodat(CWD, logs.join("device"), device, Mode::RWXU, zero).unwrap();
        } else {
            symlink("/dev/zero", logs.join("device")).unwrap();
        }
        fs::create_dir(logs.join("dir")).unwrap();
        fs::write(logs.join("other"), "").unwrap();
        own(&logs.join("other"));
        symlink(&vault, world.owner.home.join("way")).unwrap();
        Self {
            world,
            secret,
            vault,
        }
    }

    /// Swaps until told to stop; says how often.
    fn swap(&self, stop: &AtomicBool) -> u64 {
        let (home, mut swaps) = (&self.world.owner.home, 0);
        let logs = home.join(".zhylon");
        let log = self.world.file();
        // The other side may have renamed or removed it just now.
        let exchange = |a: &Path, b: &Path| renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE);
        while !stop.load(Ordering::Relaxed) {
            let decoy = logs.join(DECOYS[swaps as usize % DECOYS.len()]);
            let swapped = exchange(&decoy, &log).is_ok();
            let _ = exchange(&logs, &home.join("way"));
            let _ = exchange(&logs, &home.join("way"));
            // Else a decoy would stay in the log's place once the log was away.
            if swapped {
                let _ = exchange(&decoy, &log);
            }
            swaps += 1;
        }
        swaps
    }

    /// Whether what was opened is what must not be.
    fn is_an_escape(&self, stat: &rustix::fs::Stat) -> bool {
        let secret = fs::metadata(&self.secret).unwrap();
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        !regular || stat.st_nlink != 1 || home::identity(stat) == (secret.dev(), secret.ino())
    }

    fn check(&self) {
        assert_eq!(fs::read(&self.secret).unwrap(), b"secret");
        let vault: Vec<_> = fs::read_dir(&self.vault).unwrap().collect();
        assert_eq!(vault.len(), 1, "{vault:?}");
    }
}

fn race(identity: Option<Identity>) {
    let trap = Trap::new();
    let (owner, name) = (
        trap.world.owner.clone(),
        zhylon_shared::name::log_file(&trap.world.daemon),
    );
    let more = std::env::var(MORE)
        .ok()
        .and_then(|tries| tries.parse().ok());
    let (stop, tries) = (AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    let (opened, swaps) = std::thread::scope(|scope| {
        let swapper = scope.spawn(|| trap.swap(&stop));
        let victim = scope.spawn(|| {
            if let Some(identity) = &identity {
                identity.assume().unwrap();
            }
            let mut opened = 0;
            loop {
                let number = tries.fetch_add(1, Ordering::Relaxed);
                let enough = match more {
                    Some(more) => number >= more,
                    None => number >= TRIES || (number >= TRIES_MIN && began.elapsed() > BUDGET),
                };
                // Some machines swap so fast that the log's turn is long in coming.
                if enough && (opened > 0 || began.elapsed() > PATIENCE) {
                    break;
                }
                if let Ok(Some((mut file, stat))) = home::open_log(&owner, &name, true) {
                    assert!(!trap.is_an_escape(&stat), "try {number}");
                    file.write_all(b"x").unwrap();
                    opened += 1;
                }
                if number % 16 == 0 {
                    let aside = format!("{name}.000001");
                    let _ = home::rename_log(&owner, &name, &aside);
                    let _ = home::remove_log(&owner, &aside);
                }
            }
            opened
        });
        let opened = victim.join();
        stop.store(true, Ordering::Relaxed);
        (opened.unwrap(), swapper.join().unwrap())
    });
    trap.check();
    assert!(opened > 0, "it was never the log's turn");
    let tries = tries.load(Ordering::Relaxed);
    let text = format!("race: {tries} tries against {swaps} swaps, {opened} opened, 0 escapes\n");
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
}

#[test]
fn no_race_leads_through_a_path() {
    race(None);
}

#[test]
fn no_race_leads_anywhere_with_the_users_identity() {
    if own_uid() != 0 {
        let text = "\nSKIPPED no_race_leads_anywhere_with_the_users_identity: needs root\n";
        let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
        return;
    }
    race(Some(Identity::User {
        uid: NOBODY,
        gid: NOBODY,
        groups: Vec::new(),
    }));
}
