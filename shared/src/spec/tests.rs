use super::*;

fn draft() -> SpecDraft {
    SpecDraft {
        command: "php artisan websockets:serve".to_owned(),
        ..SpecDraft::default()
    }
}

#[test]
fn defaults_are_the_published_ones() {
    let spec = DaemonSpec::check(draft()).unwrap();
    assert_eq!(spec.argv(), ["php", "artisan", "websockets:serve"]);
    assert_eq!(spec.user(), "zhylon");
    assert_eq!(spec.directory(), "");
    assert_eq!(
        (spec.processes(), spec.start_seconds(), spec.stop_seconds()),
        (1, 1, 10)
    );
    assert_eq!(spec.stop_signal(), StopSignal::Term);
    assert_eq!(spec.restart_policy(), RestartPolicy::Always);
    assert_eq!(spec.max_retries(), 0);
}

/// One row per rule: the change, the field and the rule that must be named.
#[test]
fn every_rule_is_named() {
    type Change = fn(&mut SpecDraft);
    let rows: &[(Change, &str, &str)] = &[
        (|d| d.command = String::new(), "command", "REQUIRED"),
        (|d| d.command = "''".to_owned(), "command", "REQUIRED"),
        (|d| d.command = "a".repeat(4097), "command", "TOO_LONG"),
        (|d| d.command = "a\0b".to_owned(), "command", "NUL"),
        (|d| d.command = "echo 'a".to_owned(), "command", "QUOTING"),
        (|d| d.user = Some(String::new()), "user", "USER_NAME"),
        (|d| d.user = Some("Root".to_owned()), "user", "USER_NAME"),
        (|d| d.user = Some("a".repeat(33)), "user", "USER_NAME"),
        (|d| d.directory = "var".to_owned(), "directory", "ABSOLUTE"),
        (
            |d| d.directory = format!("/{}", "a".repeat(4095)),
            "directory",
            "TOO_LONG",
        ),
        (|d| d.directory = "/a\0".to_owned(), "directory", "NUL"),
        (|d| d.processes = Some(0), "processes", "RANGE"),
        (|d| d.processes = Some(65), "processes", "RANGE"),
        (|d| d.processes = Some(-1), "processes", "RANGE"),
        (|d| d.start_seconds = Some(3601), "start_seconds", "RANGE"),
        (|d| d.stop_seconds = Some(86_401), "stop_seconds", "RANGE"),
        (|d| d.max_retries = 1001, "max_retries", "RANGE"),
        (|d| d.limits.nofile = Some(15), "limits.nofile", "RANGE"),
        (
            |d| d.limits.nofile = Some((1 << 30) + 1),
            "limits.nofile",
            "RANGE",
        ),
        (
            |d| d.limits.memory_max = Some(0),
            "limits.memory_max",
            "RANGE",
        ),
        (
            |d| d.limits.memory_max = Some(i64::MAX),
            "limits.memory_max",
            "RANGE",
        ),
        (|d| d.limits.cpu_max = Some(9), "limits.cpu_max", "RANGE"),
        (|d| d.limits.cpu_max = Some(-1), "limits.cpu_max", "RANGE"),
        (|d| d.name = "a:b".to_owned(), "name", "LABEL"),
        (|d| d.name = "a/b".to_owned(), "name", "LABEL"),
        (|d| d.name = "a\u{1b}[2J".to_owned(), "name", "LABEL"),
        (|d| d.name = "ä".repeat(65), "name", "LABEL"),
        (
            |d| d.environment = [("1A".to_owned(), Secret::new("x"))].into(),
            "environment",
            "VARIABLE_NAME",
        ),
        (
            |d| d.environment = [("A".to_owned(), Secret::new("\0"))].into(),
            "environment",
            "NUL",
        ),
        (
            |d| d.environment = [("A".to_owned(), Secret::new("x".repeat(32 * 1024)))].into(),
            "environment",
            "TOO_LONG",
        ),
        (
            |d| {
                d.environment = (0..65)
                    .map(|n| (format!("A{n}"), Secret::default()))
                    .collect()
            },
            "environment",
            "TOO_MANY",
        ),
    ];
    for (change, field, rule) in rows {
        let mut draft = draft();
        change(&mut draft);
        let violations = DaemonSpec::check(draft).unwrap_err().0;
        assert_eq!(violations.len(), 1, "{field} {rule}: {violations:?}");
        assert_eq!(
            (violations[0].field.as_str(), violations[0].rule),
            (*field, *rule)
        );
    }
}

#[test]
fn limits_are_inclusive() {
    let spec = DaemonSpec::check(SpecDraft {
        command: "a".repeat(4096),
        user: Some("_".to_owned()),
        directory: format!("/{}", "a".repeat(4094)),
        processes: Some(64),
        start_seconds: Some(3600),
        stop_seconds: Some(86_400),
        max_retries: 1000,
        name: "ä".repeat(64),
        ..SpecDraft::default()
    });
    assert!(spec.is_ok(), "{spec:?}");
}

#[test]
fn all_violations_at_once() {
    let violations = DaemonSpec::check(SpecDraft {
        processes: Some(0),
        user: Some("R".to_owned()),
        ..SpecDraft::default()
    });
    assert_eq!(violations.unwrap_err().0.len(), 3);
}

#[test]
fn label_and_scale_do_not_change_an_instance() {
    let base = DaemonSpec::check(draft()).unwrap();
    let check = |change: fn(&mut SpecDraft)| {
        let mut draft = draft();
        change(&mut draft);
        let other = DaemonSpec::check(draft).unwrap();
        assert_eq!(
            base.same_instance(&other),
            base.instance_hash() == other.instance_hash()
        );
        base.same_instance(&other)
    };
    assert!(check(|d| d.name = "web".to_owned()));
    assert!(check(|d| d.processes = Some(3)));
    assert!(!check(|d| d.command = "other".to_owned()));
    assert!(!check(|d| d.stop_seconds = Some(3)));
    assert!(!check(
        |d| d.environment = [("A".to_owned(), Secret::new("x"))].into()
    ));
}

#[test]
fn a_daemon_without_limits_has_the_hash_it_had_before_there_were_any() {
    let mut draft = draft();
    draft.environment = [("A".to_owned(), Secret::new("x"))].into();
    let plain = DaemonSpec::check(draft.clone()).unwrap();
    // Made by another program from the rule of 0.1: run records of that version hold such hashes.
    let old = "f9e6bebe5f79e3a03771fda1810be34690ad0dba4469eca76f364ee84db499fc";
    assert_eq!(plain.instance_hash(), old);

    let mut hashes = vec![old.to_owned()];
    type Change = fn(&mut LimitsDraft);
    let changes: [Change; 4] = [
        |l| l.nofile = Some(4_194_304),
        |l| l.memory_max = Some(4_194_304),
        |l| l.cpu_max = Some(1_024_000),
        |l| l.memory_max = Some(1 << 40),
    ];
    for change in changes {
        let mut limited = draft.clone();
        change(&mut limited.limits);
        let limited = DaemonSpec::check(limited).unwrap();
        assert!(!plain.same_instance(&limited));
        hashes.push(limited.instance_hash());
    }
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), 5, "each limit counts, and which it is");
}

#[test]
fn serde_round_trip_checks_again() {
    let spec = DaemonSpec::check(draft()).unwrap();
    let json = serde_json::to_string(&spec).unwrap();
    assert!(!json.contains("limits"), "an older version reads it too");
    let mut limited = draft();
    limited.limits.cpu_max = Some(1500);
    let limited = DaemonSpec::check(limited).unwrap();
    let text = serde_json::to_string(&limited).unwrap();
    assert_eq!(serde_json::from_str::<DaemonSpec>(&text).unwrap(), limited);
    assert_eq!(serde_json::from_str::<DaemonSpec>(&json).unwrap(), spec);
    let broken = json.replace("\"processes\":1", "\"processes\":65");
    assert!(serde_json::from_str::<DaemonSpec>(&broken).is_err());
}
