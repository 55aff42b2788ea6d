use std::io::Write;

use proptest::collection::vec;
use proptest::prelude::*;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::*;
use crate::older_kernel::with_rules;

fn orders() -> Orders {
    Orders {
        record: "version=1\ndaemon=H3hxDfKZE0mHsxTqwN\n".to_owned(),
        join_cgroup: true,
        uid: 1000,
        gid: 1000,
        groups: vec![4, 27],
        umask: 0o022,
        nofile: Some((1024, 4096)),
        directory: c"/srv/app".to_owned(),
        argv: vec![c"php".to_owned(), c"worker.php".to_owned(), c"".to_owned()],
        env: vec![c"HOME=/home/anna".to_owned(), c"EMPTY=".to_owned()],
    }
}

fn c_string() -> impl Strategy<Value = CString> {
    vec(1..=u8::MAX, 0..40).prop_map(|bytes| CString::new(bytes).unwrap())
}

fn pair() -> impl Strategy<Value = CString> {
    ("[A-Za-z_][A-Za-z0-9_]{0,9}", c_string()).prop_map(|(key, value)| {
        CString::new([key.as_bytes(), b"=", value.as_bytes()].concat()).unwrap()
    })
}

prop_compose! {
    fn any_orders()(
        record in "([a-z]{1,8}=[^\n\0]{0,20}\n){0,4}",
        join_cgroup: bool,
        uid in 0..u32::MAX,
        gid in 0..u32::MAX,
        groups in vec(0..u32::MAX, 0..9),
        umask in 0..=0o777_u32,
        nofile in prop::option::of(any::<(u64, u64)>().prop_map(|(a, b)| (a.min(b), a.max(b)))),
        directory in c_string(),
        argv in vec(c_string(), 1..6),
        env in vec(pair(), 0..6),
    ) -> Orders {
        let directory = CString::new([b"/", directory.as_bytes()].concat()).unwrap();
        Orders { record, join_cgroup, uid, gid, groups, umask, nofile, directory, argv, env }
    }
}

proptest! {
    #[test]
    fn what_is_ordered_is_understood(orders in any_orders()) {
        let bytes = orders.encode().unwrap();
        prop_assert_eq!(Orders::decode(&bytes).unwrap(), orders);
    }

    #[test]
    fn cut_or_longer_orders_are_refused(orders in any_orders(), cut in any::<prop::sample::Index>()) {
        let mut bytes = orders.encode().unwrap();
        prop_assert!(Orders::decode(&bytes[..cut.index(bytes.len())]).is_err());
        bytes.push(0);
        prop_assert!(Orders::decode(&bytes).is_err());
    }

    #[test]
    fn damaged_orders_are_refused_or_within_bounds(
        orders in any_orders(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = orders.encode().unwrap();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(orders) = Orders::decode(&bytes) {
            prop_assert_eq!(orders.encode().unwrap(), bytes);
        }
    }

    #[test]
    fn any_bytes_after_the_head_do_no_harm(rest in vec(any::<u8>(), 0..200)) {
        let head = &orders().encode().unwrap()[..8];
        let _ = Orders::decode(&[head, &rest].concat());
        let _ = Orders::decode(&rest);
        let _ = StartFailure::decode(&rest);
    }

    #[test]
    fn failures_travel(step in 0_u8..20, errno in any::<i32>()) {
        let bytes = [&[step][..], &errno.to_le_bytes()].concat();
        match StartFailure::decode(&bytes) {
            Some(failure) => prop_assert_eq!(&failure.encode()[..], &bytes[..]),
            None => prop_assert!(!(1..=10).contains(&step)),
        }
        prop_assert_eq!(StartFailure::decode(&bytes[..4]), None);
    }
}

#[test]
fn every_rule_is_enforced_on_both_sides() {
    type Break = fn(&mut Orders);
    let breaks: [(&str, Break); 12] = [
        ("record: whole", |o| o.record.push('x')),
        ("record: at most", |o| {
            o.record = "\n".repeat(MAX_RECORD + 1)
        }),
        ("uid", |o| o.uid = u32::MAX),
        ("gid", |o| o.gid = u32::MAX),
        ("groups", |o| o.groups = vec![0; MAX_GROUPS + 1]),
        ("groups", |o| o.groups = vec![u32::MAX]),
        ("umask", |o| o.umask = 0o1000),
        ("nofile", |o| o.nofile = Some((2, 1))),
        ("directory", |o| o.directory = c"srv".to_owned()),
        ("argv", |o| o.argv.clear()),
        ("env: KEY", |o| o.env = vec![c"=x".to_owned()]),
        ("env: at", |o| o.env = vec![c"A=b".to_owned(); MAX_ENV + 1]),
    ];
    for (rule, spoil) in breaks {
        let mut orders = orders();
        spoil(&mut orders);
        let error = orders.encode().unwrap_err().to_string();
        assert!(error.contains(rule), "{rule}: {error}");
        assert!(Orders::decode(&wire::encode(&orders)).is_err(), "{rule}");
    }
    let mut orders = orders();
    orders.argv = vec![CString::new(vec![b'x'; MAX_STRING + 1]).unwrap()];
    assert!(orders.encode().is_err());
    orders.argv = vec![CString::new(vec![b'x'; MAX_STRING]).unwrap(); 9];
    assert!(orders.encode().unwrap_err().to_string().contains("1 MiB"));
}

#[test]
fn orders_can_not_be_changed_once_written() {
    let memfd = to_sealed_memfd(&orders()).unwrap();
    let mut file = std::fs::File::from(memfd);
    let denied = file.write_all(b"ZHYY").unwrap_err();
    assert_eq!(denied.raw_os_error(), Some(libc::EPERM));
    assert!(file.set_len(0).is_err());
    assert_eq!(read_sealed(file.into()).unwrap(), orders());
}

#[test]
fn before_linux_6_3_orders_are_sealed_all_the_same() {
    let noexec = u64::from(MemfdFlags::NOEXEC_SEAL.bits());
    let has_it = SeccompCmpOp::MaskedEq(noexec);
    let has_it = SeccompCondition::new(1, SeccompCmpArgLen::Dword, has_it, noexec);
    let rule = SeccompRule::new(vec![has_it.unwrap()]).unwrap();
    let rules = [(libc::SYS_memfd_create, vec![rule])].into();
    let memfd = with_rules(rules, libc::EINVAL, || to_sealed_memfd(&orders()).unwrap());
    assert_eq!(read_sealed(memfd).unwrap(), orders());
}

#[test]
fn orders_that_could_still_change_are_refused() {
    let bytes = orders().encode().unwrap();
    let all = [
        SealFlags::WRITE,
        SealFlags::SHRINK,
        SealFlags::GROW,
        SealFlags::SEAL,
    ];
    for missing in all {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memfd = memfd_create("test", flags).unwrap();
        rustix::io::write(&memfd, &bytes).unwrap();
        for seal in all.iter().filter(|seal| **seal != missing) {
            // SEAL must come last, which it is in the list.
            fcntl_add_seals(&memfd, *seal).unwrap();
        }
        let error = read_sealed(memfd).unwrap_err().to_string();
        assert_eq!(error, "orders are not sealed", "without {missing:?}");
    }
    let file = tempfile::tempfile().unwrap();
    let error = read_sealed(file.into()).unwrap_err().to_string();
    assert!(error == "orders are no memory file" || error == "orders are not sealed");
}
