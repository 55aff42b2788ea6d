//! The two things that need assembly: a clone whose child never returns here, and system calls without `errno`.

use std::arch::asm;

use super::image::Image;

/// All handlers to default, ignored signals stay ignored. (libc's constants of these two do not fit their type.)
pub(super) const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
/// Born in the cgroup whose directory the arguments name.
pub(super) const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args` of Linux 5.7. An older kernel takes it as long as the fields it does not know are 0.
#[derive(Default)]
#[repr(C, align(8))]
pub(super) struct CloneArgs {
    pub(super) flags: u64,
    pub(super) pidfd: u64,
    pub(super) child_tid: u64,
    pub(super) parent_tid: u64,
    pub(super) exit_signal: u64,
    pub(super) stack: u64,
    pub(super) stack_size: u64,
    pub(super) tls: u64,
    pub(super) set_tid: u64,
    pub(super) set_tid_size: u64,
    pub(super) cgroup: u64,
}

/// Makes a child by system call `number` (clone3 or clone) that calls `child(image)` on its own stack. Returns its pid, or
/// the negated errno.
///
/// # Safety
/// `args` must ask for CLONE_VM with a stack nothing else uses, its end 16-byte aligned; `image` must satisfy `child`.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn clone(
    number: i64,
    args: [usize; 3],
    child: unsafe extern "C" fn(*mut Image) -> !,
    image: *mut Image,
) -> isize {
    let [a, b, c] = args;
    let result: isize;
    // SAFETY: the kernel keeps every register but rax, rcx and r11. The child starts behind `syscall` with rax = 0 on
    // the new stack, which `call` leaves aligned as a function expects it, and does not come back. The fourth and fifth
    // argument are not used with the flags asked for.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r9",
            "ud2",
            "2:",
            inlateout("rax") number as isize => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") 0_usize,
            in("r8") 0_usize,
            in("r9") child,
            in("r12") image,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// See the x86-64 one.
///
/// # Safety
/// As there.
#[cfg(target_arch = "aarch64")]
pub(super) unsafe fn clone(
    number: i64,
    args: [usize; 3],
    child: unsafe extern "C" fn(*mut Image) -> !,
    image: *mut Image,
) -> isize {
    let [a, b, c] = args;
    let result: isize;
    // SAFETY: the kernel keeps every register but x0. The child starts behind `svc` with x0 = 0 on the new, aligned
    // stack and does not come back; frame pointer and link register are its own. The fourth and fifth argument are not
    // used with the flags asked for.
    unsafe {
        asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x6",
            "blr x5",
            "brk #1",
            "2:",
            in("x8") number,
            inlateout("x0") a as isize => result,
            in("x1") b,
            in("x2") c,
            in("x3") 0_usize,
            in("x4") 0_usize,
            in("x5") child,
            in("x6") image,
        );
    }
    result
}

/// A system call that leaves `errno` alone. Returns its result, or the negated errno.
///
/// # Safety
/// As the call itself demands.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn syscall(number: i64, args: [usize; 5]) -> isize {
    let [a, b, c, d, e] = args;
    let result: isize;
    // SAFETY: the kernel keeps every register but rax, rcx and r11; the rest is the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// See the x86-64 one.
///
/// # Safety
/// As there.
#[cfg(target_arch = "aarch64")]
pub(super) unsafe fn syscall(number: i64, args: [usize; 5]) -> isize {
    let [a, b, c, d, e] = args;
    let result: isize;
    // SAFETY: the kernel keeps every register but x0; the rest is the caller's promise.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") a as isize => result,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            options(nostack),
        );
    }
    result
}
