use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;

const NOBODY: u32 = 65_534;

/// Ids are a thread's: what a test changes ends with it.
fn in_a_thread(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| scope.spawn(test).join()).unwrap();
}

fn needs_root(name: &str) -> bool {
    if !geteuid().is_root() {
        let _ = std::io::Write::write_all(
            &mut std::io::stdout(),
            format!("\nSKIPPED {name}: needs root\n").as_bytes(),
        );
    }
    geteuid().is_root()
}

#[test]
fn a_file_thread_acts_as_the_user_and_no_other_thread_does() {
    if !needs_root("a_file_thread_acts_as_the_user_and_no_other_thread_does") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(dir.path(), open).unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(&secret, Some(0), Some(4242)).unwrap();

    in_a_thread(|| {
        assume_fs_identity(NOBODY, 77, &[5, 3]).unwrap();
        assert!(File::open(&secret).is_err());
        let made = File::create(dir.path().join("made")).unwrap().metadata();
        let made = made.unwrap();
        assert_eq!((made.uid(), made.gid()), (NOBODY, 77));
        assert!(geteuid().is_root());
        let sets = capabilities(None).unwrap();
        let both = sets.effective | sets.permitted;
        assert!(!both.contains(CapabilitySet::SYS_RESOURCE));
    });
    in_a_thread(|| {
        assume_fs_identity(NOBODY, 77, &[4242]).unwrap();
        File::open(&secret).unwrap();
    });
    assert_eq!(
        File::create(dir.path().join("own"))
            .unwrap()
            .metadata()
            .unwrap()
            .uid(),
        0
    );
    assert!(!getgroups().unwrap().contains(&Gid::from_raw(4242)));
}

#[test]
fn there_is_no_way_back() {
    if !needs_root("there_is_no_way_back") {
        return;
    }
    in_a_thread(|| {
        become_user(NOBODY, 77, &[9, 8]).unwrap();
        let groups: Vec<u32> = getgroups().unwrap().iter().map(|g| g.as_raw()).collect();
        assert_eq!(groups, [8, 9]);
        assert_eq!((getuid().as_raw(), getegid().as_raw()), (NOBODY, 77));
        let sets = capabilities(None).unwrap();
        let all = sets.effective | sets.permitted | sets.inheritable;
        assert!(all.is_empty());
        assert!(set_thread_res_uid(None, Uid::ROOT, None).is_err());
        let own = become_user(NOBODY, 77, &[]);
        own.unwrap();
        for foreign in [0, 1000] {
            let errno = become_user(foreign, 77, &[]).unwrap_err().raw_os_error();
            assert_eq!(errno, Some(libc::EPERM));
            let errno = assume_fs_identity(foreign, 77, &[])
                .unwrap_err()
                .raw_os_error();
            assert_eq!(errno, Some(libc::EPERM));
        }
    });
}

#[test]
fn minus_one_is_nobody() {
    if !needs_root("minus_one_is_nobody") {
        return;
    }
    for (uid, gid) in [(u32::MAX, 1), (1, u32::MAX)] {
        in_a_thread(move || assert!(become_user(uid, gid, &[]).is_err()));
        in_a_thread(move || assert!(assume_fs_identity(uid, gid, &[]).is_err()));
    }
}
