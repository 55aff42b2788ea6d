//! A child with seats gets what it is given, and nothing else of a long table.

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

use super::*;

fn seats() -> Seats {
    Seats::take()
        .unwrap()
        .expect("the tests run on Linux 5.9 or later")
}

/// What the seats hold, as the kernel names it.
fn taken(seats: &Seats) -> Vec<PathBuf> {
    let links = seats.numbers();
    let links = links.map(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap());
    links
        .filter(|link| link != Path::new("/dev/null"))
        .collect()
}

#[test]
fn nothing_above_the_seats_reaches_the_child() {
    let mut seats = seats();
    let mut low = tempfile::tempfile().unwrap();
    low.write_all(b"given").unwrap();
    let high = fcntl_dupfd_cloexec(&low, seats.end()).unwrap();
    fcntl_setfd(&high, FdFlags::empty()).unwrap();
    let seen = |fd: RawFd| format!("cat /proc/$$/fd/9; [ -e /proc/$$/fd/{fd} ] && echo seen");
    let (script, given) = (seen(high.as_raw_fd()), [(low.as_fd(), 9)]);

    let said = run_by(|order| spawn_with(&mut seats, order), &script, &given, None);
    assert_eq!(said, "given");
    // Nothing stays seated, and the caller's own table is as it was.
    assert_eq!(taken(&seats), Vec::<PathBuf>::new());
    assert!(rustix::fs::fstat(&high).is_ok() && rustix::fs::fstat(&low).is_ok());
    // The other way passes on what is not close-on-exec.
    assert_eq!(run(&script, &given, None), "givenseen\n");
}

#[test]
fn by_clone_it_is_the_same() {
    let said = without(&[libc::SYS_clone3], libc::ENOSYS, || {
        let mut seats = seats();
        run_by(|order| spawn_with(&mut seats, order), "echo $0", &[], None)
    });
    assert_eq!(said, "the-name\n");
}

#[test]
fn what_can_not_be_executed_is_an_error_and_the_callers_descriptors_stay() {
    let mut seats = seats();
    let (text, open_file) = (
        tempfile::NamedTempFile::new().unwrap(),
        tempfile::tempfile().unwrap(),
    );
    let error = spawn_with(
        &mut seats,
        &Spawn {
            exe: open(text.path()).as_fd(),
            argv0: c"text",
            cgroup: None,
            fds: &[(open_file.as_fd(), 1)],
        },
    );
    assert_eq!(error.unwrap_err().raw_os_error(), Some(libc::EACCES));
    assert!(rustix::fs::fstat(&open_file).is_ok());
    assert_eq!(taken(&seats), Vec::<PathBuf>::new());
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap();
    assert_eq!(children, "");
}

#[test]
fn a_number_that_is_a_seat_and_more_than_there_are_seats_are_given_all_the_same() {
    let mut seats = seats();
    let file = tempfile::tempfile().unwrap();
    let highest = seats.end() - 1;
    for numbers in [vec![highest], (3..12).collect()] {
        let given: Vec<_> = numbers
            .iter()
            .map(|number| (file.as_fd(), *number))
            .collect();
        let last = numbers[numbers.len() - 1];
        let script = format!("[ -e /proc/$$/fd/{last} ] && echo there");
        let said = run_by(|order| spawn_with(&mut seats, order), &script, &given, None);
        assert_eq!(said, "there\n", "{numbers:?}");
    }
}

#[test]
fn there_are_none_where_the_kernel_can_not_copy_a_part_of_a_table() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        let seats = without(&[libc::SYS_close_range], errno, Seats::take);
        assert!(seats.unwrap().is_none(), "errno {errno}");
    }
}
