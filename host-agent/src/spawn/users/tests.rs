use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn name(name: &str) -> Who {
    Who::Name(name.to_owned())
}

#[test]
fn root_is_found_by_name_and_uid_and_nobody_else_is_made_up() {
    let users = Users::asking_here();
    let root = users.find(&name("root")).unwrap();
    assert_eq!((root.owner.uid, root.owner.gid), (0, 0));
    assert_eq!(users.find(&Who::Uid(0)).unwrap(), root);
    assert!(users.answers_at_once(&name("root")));
    assert!(!users.answers_at_once(&name("bin")));
    let error = users.find(&name("no-such-user")).unwrap_err();
    assert_eq!(
        error,
        "user no-such-user: there is no such user on this host"
    );
}

#[test]
fn groups_are_found_by_name() {
    let users = Users::asking_here();
    assert_eq!(users.group("root"), Ok(Some(0)));
    assert_eq!(users.group("no-such-group"), Ok(None));
}

#[test]
fn one_question_is_asked_once_however_many_wait_for_it() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let users = Users::with(|question| {
        ASKED.fetch_add(1, Ordering::Relaxed);
        look_up::here(question)
    });
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| users.find(&name("root")).unwrap());
        }
    });
    assert_eq!(ASKED.load(Ordering::Relaxed), 1);
}

/// Answers of a service that hangs, as `by_child` tells of it, but at once.
fn away(question: &Question) -> Result<Found, String> {
    Err(format!("{question} hangs"))
}

#[test]
fn who_was_known_stays_known_while_the_service_is_away() {
    let users = Users::with(away);
    let asked = Question::User(name("root"));
    let root = look_up::here(&asked);
    let long_ago = Instant::now().checked_sub(2 * FRESH).unwrap();
    let old = Answer {
        found: root.clone(),
        at: long_ago,
        believed_for: FRESH,
        files: stamp(),
    };
    users.shared.lock().answers.insert(asked, old);
    assert!(!users.answers_at_once(&name("root")));
    assert_eq!(users.find(&name("root")).map(Found::User), root);
    // And is not asked about again at once.
    assert!(users.answers_at_once(&name("root")));
    assert!(users.find(&name("bin")).unwrap_err().contains("hangs"));
}

#[test]
fn a_changed_file_makes_every_answer_old() {
    let users = Users::asking_here();
    let asked = Question::User(name("root"));
    let other = Answer {
        found: Ok(Found::Nothing),
        at: Instant::now(),
        believed_for: FRESH,
        files: [None; FILES.len()],
    };
    users.shared.lock().answers.insert(asked, other);
    assert_eq!(users.find(&name("root")).unwrap().owner.uid, 0);
}

#[test]
fn no_more_than_the_bound_is_asked_at_a_time() {
    let users = Users::with(away);
    let mut state = users.shared.lock();
    for n in 0..LOOK_UPS_MAX as u32 {
        state.asking.insert(Question::User(Who::Uid(n)));
    }
    drop(state);
    let error = users.find(&name("root")).unwrap_err();
    assert_eq!(error, "user root: the host's user look-up is busy");
    // It is not asked at every start: whoever waits for an answer gets one.
    assert!(users.answers_at_once(&name("root")));
}

#[test]
fn only_answers_of_nothing_but_files_are_believed_for_long() {
    let debian = "# users: ldap\npasswd:  files systemd # ldap\ngroup: files systemd\nhosts: files dns\nnetgroup: nis\n";
    assert!(asks_only_files(debian));
    assert!(asks_only_files(""));
    for service in [
        "passwd: files sss",
        "group: compat",
        "initgroups: files ldap",
        "passwd: files [NOTFOUND=return] nis",
    ] {
        assert!(!asks_only_files(service), "{service}");
    }
    let here = std::fs::read_to_string(NSSWITCH).is_ok_and(|text| asks_only_files(&text));
    let users = Users::asking_here();
    users.find(&name("root")).unwrap();
    users.find(&name("no-such-user")).unwrap_err();
    let believed: Vec<_> = (users.shared.lock().answers.values())
        .map(|answer| answer.believed_for)
        .collect();
    let expected = if here { FRESH_OF_FILES } else { FRESH };
    assert_eq!(believed, [expected; 2]);
}
