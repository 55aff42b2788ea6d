use super::*;
use zhylon_shared::spec::SpecDraft;

fn spec(restart_policy: RestartPolicy) -> DaemonSpec {
    let command = "serve".to_owned();
    let restart_policy = Some(restart_policy);
    DaemonSpec::check(SpecDraft {
        command,
        restart_policy,
        ..SpecDraft::default()
    })
    .unwrap()
}

/// Every policy against every end, before and after RUNNING.
#[test]
fn every_end_under_every_policy() {
    use std::fmt::Write as _;
    let now = Time::new(Duration::from_secs(1000));
    let ends = [
        ("never became the program", None),
        ("exit 0", Some(Exit::Code(0))),
        ("exit 1", Some(Exit::Code(1))),
        ("signal 9", Some(Exit::Signal(9))),
        ("unknown", Some(Exit::Unknown)),
    ];
    let mut table = String::new();
    for policy in [
        RestartPolicy::Always,
        RestartPolicy::OnFailure,
        RestartPolicy::Never,
    ] {
        for (name, exit) in ends {
            // What never became the program never ran.
            let ran_at_all = exit.map(|_| Some(Duration::from_secs(5)));
            for ran in [None].into_iter().chain(ran_at_all) {
                let end = End {
                    exit,
                    ran,
                    started: now - Duration::from_millis(100),
                };
                let verdict =
                    Record::default().judge(now, &spec(policy), &end, &mut Jitter::new(0));
                let verdict = match verdict {
                    Verdict::Respawn(at) if at == now => "respawn".to_owned(),
                    Verdict::Respawn(at) => format!("respawn after {:?}", at.since(now)),
                    Verdict::Backoff(_) => "BACKOFF".to_owned(),
                    Verdict::Exited => "EXITED".to_owned(),
                    Verdict::Fatal => "FATAL".to_owned(),
                };
                let before = if ran.is_some() { "RUNNING" } else { "STARTING" };
                writeln!(table, "{policy:?}: {before}, {name}: {verdict}").unwrap();
            }
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn delays_double_to_sixty_seconds() {
    let delays: Vec<u64> = (0..9).map(|earlier| delay(earlier).as_secs()).collect();
    assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(delay(u32::MAX).as_secs(), 60);
}

#[test]
fn jitter_uses_all_of_its_twenty_percent_and_no_more() {
    let mut jitter = Jitter::new(7);
    let second = Duration::from_secs(1);
    let spread: Vec<Duration> = (0..5000).map(|_| jitter.spread(second)).collect();
    assert_eq!(spread.iter().min(), Some(&Duration::from_millis(800)));
    assert_eq!(spread.iter().max(), Some(&Duration::from_millis(1200)));
}

#[test]
fn the_same_seed_spreads_alike() {
    let spread = |seed| Jitter::new(seed).spread(LONGEST_DELAY);
    assert_eq!(spread(3), spread(3));
    assert_ne!(spread(3), spread(4));
}

#[test]
fn the_record_is_bounded() {
    let mut record = Record::default();
    let spec = spec(RestartPolicy::Always);
    for second in 0..1000 {
        let now = Time::new(Duration::from_secs(second));
        let end = End {
            exit: Some(Exit::Code(1)),
            ran: Some(Duration::ZERO),
            started: now,
        };
        record.judge(now, &spec, &end, &mut Jitter::new(0));
        assert!(record.ends.len() <= CRASH_LOOP_ENDS);
    }
}
