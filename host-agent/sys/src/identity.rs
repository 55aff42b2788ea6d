//! Becoming somebody else: a thread for its file work, a process for good.
//!
//! Every change is read back. Ids of a process are per thread in the kernel; both functions change the calling thread
//! only, which is what a file thread needs, and all there is of the exec helper.

use std::io;

use rustix::process::{Gid, Uid, getegid, geteuid, getgid, getgroups, getuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

/// Gives the calling thread the file-system identity of a user, for good: every file it opens, makes or renames from now
/// on is judged as that user's doing, disk quota and reserved blocks included. Real and effective ids stay.
///
/// The thread also loses CAP_SYS_RESOURCE. `groups` are the supplementary ones, in any order. Without privilege only the
/// own uid is accepted, and gid and groups stay as they are.
///
/// Changing ids clears the calling thread's parent-death signal: never call it on the main thread.
///
/// # Errors
/// EPERM when the kernel did not do it, or for a foreign uid without privilege. The thread must then end: part of the
/// change may have happened.
pub fn assume_fs_identity(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    if !geteuid().is_root() {
        return only_own(uid);
    }
    set_groups(groups)?;
    set_fs_id(libc::SYS_setfsgid, gid)?;
    set_fs_id(libc::SYS_setfsuid, uid)?;

    let mut sets = capabilities(None)?;
    sets.effective.remove(CapabilitySet::SYS_RESOURCE);
    sets.permitted.remove(CapabilitySet::SYS_RESOURCE);
    set_capabilities(None, sets)?;
    let left = capabilities(None)?;
    let resource = (left.effective | left.permitted).contains(CapabilitySet::SYS_RESOURCE);
    if resource { Err(refused()) } else { Ok(()) }
}

/// Makes this single-threaded process the user's, for good: groups, gid, uid, no capability, an own session keyring.
///
/// For uid 0 capabilities stay (a root daemon is root). Without privilege only the own uid is accepted, and gid and groups
/// stay as they are; capabilities that the agent was given all the same are not for its daemons.
///
/// # Errors
/// EPERM when anything is not as asked, or when the way back is open. The process must then end.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    if !geteuid().is_root() {
        only_own(uid)?;
        leave_session_keyring();
        return drop_capabilities(uid);
    }
    if uid == u32::MAX || gid == u32::MAX {
        // -1 means "leave as it is" to the kernel.
        return Err(refused());
    }
    leave_session_keyring();
    let (to_uid, to_gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_groups(groups)?;
    set_thread_res_gid(to_gid, to_gid, to_gid)?;
    set_thread_res_uid(to_uid, to_uid, to_uid)?;
    drop_capabilities(uid)?;

    let same_uid = (getuid(), geteuid()) == (to_uid, to_uid);
    let same_gid = (getgid(), getegid()) == (to_gid, to_gid);
    let back = uid != 0 && set_thread_res_uid(None, Uid::ROOT, None).is_ok();
    if same_uid && same_gid && !back {
        Ok(())
    } else {
        Err(refused())
    }
}

fn refused() -> io::Error {
    io::Error::from_raw_os_error(libc::EPERM)
}

fn only_own(uid: u32) -> io::Result<()> {
    if uid == geteuid().as_raw() && uid == getuid().as_raw() {
        Ok(())
    } else {
        Err(refused())
    }
}

fn set_groups(groups: &[u32]) -> io::Result<()> {
    let mut wanted = groups.to_vec();
    wanted.sort_unstable();
    let gids: Vec<Gid> = wanted.iter().map(|g| Gid::from_raw_unchecked(*g)).collect();
    set_thread_groups(&gids)?;
    let mut real: Vec<u32> = getgroups()?.iter().map(|g| g.as_raw()).collect();
    real.sort_unstable();
    if real == wanted {
        Ok(())
    } else {
        Err(refused())
    }
}

/// setfsuid and setfsgid do not say whether they worked: they return the id that was in force before.
fn set_fs_id(call: libc::c_long, id: u32) -> io::Result<()> {
    // SAFETY: plain numbers; changes the calling thread only (the C library's wrappers are the same bare call).
    unsafe { libc::syscall(call, id) };
    // SAFETY: as above; -1 is never accepted, so this only reads.
    let real = unsafe { libc::syscall(call, u32::MAX) };
    if real as u32 == id && id != u32::MAX {
        Ok(())
    } else {
        Err(refused())
    }
}

/// Leaving uid 0 drops them by itself, unless the process was started with securebits that say otherwise.
fn drop_capabilities(uid: u32) -> io::Result<()> {
    clear_ambient_capability_set()?;
    let mut sets = capabilities(None)?;
    sets.inheritable = CapabilitySet::empty();
    if uid != 0 {
        sets.effective = CapabilitySet::empty();
        sets.permitted = CapabilitySet::empty();
    }
    set_capabilities(None, sets)?;
    let left: CapabilitySets = capabilities(None)?;
    if left == sets { Ok(()) } else { Err(refused()) }
}

/// The agent's session keyring must not be the daemon's. Made while root, so that it is not counted against the user's
/// small quota of keys. Hosts without keyrings have nothing to protect: failures do not matter.
fn leave_session_keyring() {
    let unnamed = std::ptr::null::<libc::c_char>();
    // SAFETY: KEYCTL_JOIN_SESSION_KEYRING with no name makes a new keyring and reads no memory.
    unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, unnamed) };
}

#[cfg(test)]
mod tests;
