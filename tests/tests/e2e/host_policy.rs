//! The host has the last word: whom it refuses, the API says why and what to do; a person with root changes it without
//! touching a daemon.

use zhylon_proto::daemons::v1::{DaemonStatus, InstanceState};
use zhylon_tests::World;
use zhylon_tests::daemons::{Watched, draft_of};
use zhylon_tests::machine::{Machine, Said, place};
use zhylon_tests::namespace::story;
use zhylon_tests::world::programs;

/// Writes the policy and puts it in force.
fn reload(world: &World, policy: &str) -> Said {
    let path = world.dir().join("host-agent.toml");
    let text = std::fs::read_to_string(&path).expect("a configuration");
    let (kept, _) = text.split_once("[policy]").expect("a policy");
    place(&path, &format!("{kept}[policy]\n{policy}"), 0o644);
    agent(world, &["reload"])
}

fn agent(world: &World, words: &[&str]) -> Said {
    let config = world.dir().join("host-agent.toml");
    let mut command = world.command(programs().path("host-agent"));
    command.args(words).arg("--config").arg(config);
    command.output().expect("start it").into()
}

fn refused(rule: &'static str) -> impl Fn(&DaemonStatus) -> bool {
    move |status| status.message.contains(rule)
}

#[test]
fn a_host_refuses_whom_its_policy_does_not_name_whatever_the_api_says() {
    story(async |machine: Machine| {
        let passwd = std::fs::read_to_string("/etc/passwd").expect("users");
        place(
            "/etc/passwd",
            &format!("{passwd}toor:x:0:0::/home/toor:/bin/bash\n"),
            0o644,
        );
        let world = World::installed(&machine);
        let site1 = world.create(draft_of("site1", "sleep 1000")).await.id;
        let root = world.create(draft_of("root", "sleep 1000")).await.id;
        let running = [
            Watched::new(&world, &site1).await,
            Watched::new(&world, &root).await,
        ];

        // From now on no root, by any name.
        let said = reload(&world, "users = [\"zhylon\"]\n");
        assert_eq!(said.code, 0, "{said:?}");
        assert!(
            said.out.contains("zhylon; every user with uid ≥ 1000"),
            "{said:?}"
        );
        let toor = world.create(draft_of("toor", "sleep 1000")).await.id;
        let system = world.create(draft_of("daemon", "sleep 1000")).await.id;
        let by_uid = "its uid is 0, so it is root, and `root` is not in `policy.users`";
        let status = world.status(&toor, "refused", refused(by_uid)).await;
        for part in [
            "user toor",
            "add \"root\" to `users`",
            "`host-agent reload`",
        ] {
            assert!(status.message.contains(part), "{}", status.message);
        }
        let status = world
            .status(&system, "refused", refused("its uid is below 1000"))
            .await;
        assert!(status.message.contains("add \"daemon\" to"), "{status:?}");
        for (user, code, words) in [
            (
                "toor",
                1,
                format!("toor (uid 0, home /home/toor): no, {by_uid}"),
            ),
            ("daemon", 1, "no, it is not in `policy.users`".to_owned()),
            (
                "site1",
                0,
                "site1 (uid 2001, home /home/site1): yes".to_owned(),
            ),
            ("zhylon", 0, "yes, it is in `policy.users`".to_owned()),
            ("nobody-here", 1, String::new()),
        ] {
            let said = agent(&world, &["policy", "explain", user]);
            assert_eq!(said.code, code, "{said:?}");
            assert!(said.out.contains(&words), "{said:?}");
        }
        // What runs is left alone, until it is to be started.
        running.iter().for_each(Watched::untouched);
        let said = agent(&world, &["check-config"]);
        let no_root =
            "root             runs no daemons here, nor does any other account with uid 0";
        assert!(said.out.contains(no_root), "{said:?}");

        // A file that is not usable changes nothing; one that others could write is not.
        let said = reload(&world, "users = [\"Root\"]\nmax_processes = 0\n");
        assert_eq!((said.code, said.err.lines().count()), (78, 2), "{said:?}");
        let path = world.dir().join("host-agent.toml");
        place(&path, "", 0o666);
        let said = agent(&world, &["reload"]);
        assert!(
            said.err.contains("others than root may write to it"),
            "{said:?}"
        );
        assert_eq!(said.code, 78);
        place(
            &path,
            &format!("state_dir = {0:?}\nrun_dir = {1:?}\n[policy]\n", "/x", "/y"),
            0o644,
        );
        let said = agent(&world, &["reload"]);
        assert!(
            said.err.contains("no agent runs with these directories"),
            "{said:?}"
        );
        running.iter().for_each(Watched::untouched);
    });
}

#[test]
fn a_host_runs_no_more_processes_than_it_says() {
    story(async |machine: Machine| {
        let world = World::installed(&machine);
        let mut daemon = draft_of("site1", "sleep 1000");
        daemon.processes = Some(3);
        let three = world.create(daemon).await.id;
        let running = Watched::new(&world, &three).await;
        // The sample that `up` made is the fourth.
        let said = reload(
            &world,
            "users = [\"zhylon\", \"root\"]\nmax_processes = 5\n",
        );
        assert_eq!(said.code, 0, "{said:?}");
        let mut daemon = draft_of("site2", "sleep 1000");
        daemon.processes = Some(3);
        let more = world.create(daemon).await.id;
        // One more is room for, and the other two are told why not.
        world
            .status(&more, "one runs and two are refused", |status| {
                let count = |wanted: InstanceState| {
                    let states = status.instances.iter().map(|i| i.state());
                    states.filter(|state| *state == wanted).count()
                };
                refused("at most 5 processes")(status)
                    && (count(InstanceState::Running), count(InstanceState::Backoff)) == (1, 2)
            })
            .await;
        running.untouched();
        let said = reload(&world, "users = [\"zhylon\", \"root\"]\n");
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(world.running(&more).await.len(), 3);
        running.untouched();
    });
}
