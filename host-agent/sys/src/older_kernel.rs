//! For tests: a thread to which the kernel says that it does not know certain calls, by a seccomp filter of its own.

use std::collections::BTreeMap;
use std::thread;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule, apply_filter};

/// Runs `body` on a thread for which each of `calls` fails with `errno`.
pub(crate) fn without<T: Send>(calls: &[i64], errno: i32, body: impl FnOnce() -> T + Send) -> T {
    let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    with_rules(rules, errno, body)
}

/// Runs `body` on a thread for which calls that match one of `rules` fail with `errno`.
pub(crate) fn with_rules<T: Send>(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    errno: i32,
    body: impl FnOnce() -> T + Send,
) -> T {
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let fails = SeccompAction::Errno(errno.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, fails, arch).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    let limited = || {
        apply_filter(&program).unwrap();
        body()
    };
    thread::scope(|scope| scope.spawn(limited).join().unwrap())
}
